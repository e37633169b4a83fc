"""Lets calls through: those that fit at once, and those that must wait in their order.

A call gets one lease over all gates of the first of its options that is open, or it waits in the
lines of the gates that keep them shut, one an option, the narrowest first: so nobody is held up by
a call that waits for something else. Event-driven: what may have opened is looked at, and a timer
rings for what opens by itself.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from sidecar.scheduling.fair_queue import Line
from sidecar.scheduling.lease import (
    GRAIN,
    Blocked,
    CallAt,
    Lease,
    NoRoom,
    Option,
    Place,
    Renew,
    Waiter,
)
from sidecar.scheduling.limiter import Gate

log = logging.getLogger("sidecar.scheduling.admission")

MOST_WAITING = 10_000
"""Calls that may wait at one time; more are refused at once."""
LOOKS = 1000
"""Looks per waiting call after one change: beyond, something goes round in circles."""


class Admission:
    """The one waiting room. `clock` gives monotonic seconds and `call_at` sets its timers.

    `leases` run, `granted` counts all; `on_block` hears which gate makes a call wait at first.
    """

    def __init__(self, clock: Callable[[], float], call_at: CallAt) -> None:
        self._clock = clock
        self._call_at = call_at
        self._numbers = itertools.count()
        self._waiters: dict[int, Waiter[Any]] = {}
        # Gates whose first in line may be let through by now, or stand elsewhere; those looked at.
        self._doubtful: dict[Gate, None] = {}
        self._settled: set[Gate] = set()
        self._draining = False
        self.leases: set[Lease[Any]] = set()
        self.granted = 0
        self.on_block: Callable[[Gate], None] = lambda _: None

    def __iter__(self) -> Iterator[Waiter[Any]]:
        """The calls that wait, by arrival."""
        return iter(sorted(self._waiters.values(), key=lambda each: each.seq))

    def __len__(self) -> int:
        return len(self._waiters)

    def asks(
        self, key: str, share: float, urgency: int,
        every: Sequence[Option[Place]], renew: Renew[Place],
    ) -> Waiter[Place]:  # fmt: skip
        """A call that wants to be let through; nothing happens yet."""
        return Waiter(next(self._numbers), key, share, urgency, every, renew)

    def at_once(self, waiter: Waiter[Place]) -> Lease[Place] | None:
        """A lease on the first option that is open now; None when there is none."""
        now = self._clock()
        for option in waiter.options:
            if self._shut(waiter, option, now) is None:
                lease = self._grant(waiter, option, now)
                self._drain()
                return lease
        return None

    async def lease(
        self, waiter: Waiter[Place], patience: float, *, alone: float = 0.0
    ) -> Lease[Place]:
        """A lease, as soon as the call's turn comes. Raises `NoRoom` after `patience` seconds, or
        at once when it is plain that they would not do.

        For `alone` seconds only the first option is waited for.
        """
        waiter.alone = alone > 0
        lease = self.at_once(waiter)
        if lease is not None:
            return lease
        future: asyncio.Future[Lease[Place]] = asyncio.get_running_loop().create_future()
        waiter.future = future
        self._enter(waiter, patience, alone)
        try:
            return await future
        except asyncio.CancelledError:
            # It may have been let through in the very moment in which it left.
            if future.done() and not future.cancelled() and future.exception() is None:
                future.result().refund()
            raise
        finally:
            self._leave(waiter)

    def recheck(self, gates: Iterable[Gate]) -> None:
        """These gates may have opened."""
        self._doubt(gates)
        self._drain()

    def rejudge(self) -> None:
        """The configuration or a hold changed: every waiting call goes by its new options, and
        those that run count in new limits on how many may."""
        for lease in tuple(self.leases):
            lease.catch_up(self._clock())
        for waiter in list(self):
            if waiter.seq not in self._waiters:
                continue  # it was let through, by room that another one of these gave back
            try:
                waiter.every = waiter.renew()
            except Exception as why:  # noqa: BLE001 - it is the waiting call that has to hear of it
                self._answer(waiter, why)
                continue
            self._step_out(waiter)
            if not self._review(waiter, self._clock()) and waiter.is_hopeless(self._clock()):
                self._give_up(waiter)
        self._drain()

    def blocked(self, waiter: Waiter[Any], now: float) -> list[Blocked]:
        """What keeps each of its options shut now; fewer than it has when one is open."""
        pairs = ((option, self._shut(waiter, option, now)) for option in waiter.every)
        return [o.blocked(gate, waiter.urgency, now) for o, gate in pairs if gate is not None]

    def _enter(self, waiter: Waiter[Any], patience: float, alone: float) -> None:
        now = self._clock()
        waiter.since, waiter.patience = now, patience
        waiter.alone = waiter.alone and waiter.is_well_alone(alone, now)
        full = len(self._waiters) >= MOST_WAITING
        if full or waiter.is_hopeless(now):
            raise NoRoom(self.blocked(waiter, now), 0.0, now, full=full)
        self._waiters[waiter.seq] = waiter
        waiter.timers.append(self._call_at(now + patience, self._expire, waiter))
        if waiter.alone:
            waiter.timers.append(self._call_at(now + alone, self._widen, waiter))
        if not self._review(waiter, now):
            self.on_block(next(iter(waiter.stands)))
        self._drain()

    def _leave(self, waiter: Waiter[Any]) -> None:
        self._waiters.pop(waiter.seq, None)
        waiter.park(self._clock(), parked=False)
        for timer in waiter.timers:
            timer.cancel()
        waiter.timers.clear()
        self._step_out(waiter)
        self._drain()

    def _step_out(self, waiter: Waiter[Any]) -> None:
        """Leave every line; whoever stood behind may be next."""
        for gate in waiter.stands:
            if gate.line is not None:
                gate.line.remove(waiter)
        self._doubt(waiter.stands)
        waiter.stands = {}

    def _shut(self, waiter: Waiter[Any], option: Option[Any], now: float) -> Gate | None:
        """The first gate on the way that the call cannot pass now."""
        need, urgency = option.need, waiter.urgency
        for gate in option.gates:
            line = gate.line
            if line is None:
                if not gate.fits(need[gate.unit], urgency, now):
                    return gate
                continue
            if not gate.fits(need[gate.unit], waiter.urgency_at(line, now), now):
                return gate
            if line and not line.lets_pass(waiter, now):
                if gate not in self._settled:
                    self._doubtful[gate] = None  # do those before it still have to wait here?
                return gate
        return None

    def _grant(self, waiter: Waiter[Place], option: Option[Place], now: float) -> Lease[Place]:
        need, urgency = option.need, waiter.urgency
        marks = []
        for gate in option.gates:
            amount = need[gate.unit]
            if gate.line:
                gate.line.passes(waiter, amount, now)
                self._doubtful[gate] = None  # it may be the oldest one's turn now
            marks.append(gate.take(amount, urgency, now))
        lease = Lease(option, marks, waiter.renew, self._take_back)
        self.leases.add(lease)
        self.granted += 1
        self._settled.clear()
        return lease

    def _review(self, waiter: Waiter[Any], now: float) -> bool:
        """Let a waiting call through, or have it stand where it is kept; whether it is gone."""
        stands: dict[Gate, Option[Any]] = {}
        for option in waiter.options:
            gate = self._shut(waiter, option, now)
            if gate is None:
                waiter.park(now, parked=False)
                self._answer(waiter, self._grant(waiter, option, now))
                return True
            waiter.stand(stands, gate, option)
        if stands.keys() != waiter.stands.keys():
            self._move(waiter, stands)
        waiter.stands = stands
        waiter.park(now, parked=all(gate.holds for gate in stands))
        return False

    def _move(self, waiter: Waiter[Any], stands: dict[Gate, Option[Any]]) -> None:
        left = [gate for gate in waiter.stands if gate not in stands]
        for gate in left:
            if gate.line is not None:
                gate.line.remove(waiter)
        for gate in stands:
            if gate.line is None:
                gate.line = Line()
            if gate not in waiter.stands:
                gate.line.add(waiter)
        waiter.stood(self._clock(), next(iter(stands)))
        self._doubt((*left, *stands))

    def _doubt(self, gates: Iterable[Gate]) -> None:
        """Something changed at these gates."""
        self._settled.clear()
        for gate in gates:
            if gate.line:
                self._doubtful[gate] = None

    def _answer(self, waiter: Waiter[Any], answer: Lease[Any] | Exception) -> None:
        future = waiter.future
        assert future is not None  # noqa: S101 - it waits
        self._waiters.pop(waiter.seq, None)
        self._step_out(waiter)
        if future.done():  # it is leaving
            if isinstance(answer, Lease):
                answer.refund()
        elif isinstance(answer, Lease):
            future.set_result(answer)
        else:
            future.set_exception(answer)

    def _drain(self) -> None:
        """Look at every gate that may have opened, until none is left."""
        if self._draining:
            return
        self._draining = True
        try:
            for _ in range(LOOKS + LOOKS * len(self._waiters)):
                if not self._doubtful:
                    return
                self._let_in(self._doubtful.popitem()[0])
            log.error("the lines of those who wait do not come to rest: a defect of Sidecar's")
            self._call_at(self._clock() + 1.0, self._drain)
        finally:
            self._draining = False

    def _let_in(self, gate: Gate) -> None:
        """Let those through who wait here, in order, as far as there is room."""
        now = self._clock()
        line = gate.line
        if gate.spent:  # by calls that ran: none that ends helps those who wait here
            for each in [e for e in self if gate in e.stands and e.is_hopeless(now)]:
                self._give_up(each)
        while line and (front := line.front(now)) is not None:
            waiter = self._waiters[front.seq]
            if not self._review(waiter, now) and gate in waiter.stands:
                self._settled.add(gate)
                self._doubtful.pop(gate, None)
                # Look again when the first in line may pass.
                urgency, need = waiter.urgency_at(line, now), waiter.stands[gate].need
                at = gate.opens_itself(need[gate.unit], urgency, now)
                gate.ring(max(at, now + GRAIN), self._call_at, self.recheck)
                return

    def _expire(self, waiter: Waiter[Any]) -> None:
        if waiter.seq not in self._waiters:
            return
        now = self._clock()
        if waiter.next_look(now) <= now:
            self._give_up(waiter)
        if waiter.seq in self._waiters:
            waiter.timers[0] = self._call_at(waiter.next_look(now), self._expire, waiter)

    def _give_up(self, waiter: Waiter[Any]) -> None:
        now = self._clock()
        waiter.alone = False
        # Room may have come in this very moment, and a pause, too.
        if not self._review(waiter, now) and not waiter.is_parked:
            self._answer(waiter, NoRoom(self.blocked(waiter, now), waiter.waited(now), now))

    def _widen(self, waiter: Waiter[Any]) -> None:
        """It has waited for its own place for long enough; any other will do."""
        if waiter.seq in self._waiters:
            waiter.alone = False
            self._review(waiter, self._clock())
            self._drain()

    def _take_back(self, lease: Lease[Any], marks: Sequence[Any], amounts: Sequence[int]) -> None:
        now = self._clock()
        self.leases.discard(lease)
        for gate, mark, amount in zip(lease.option.gates, marks, amounts, strict=True):
            gate.settle(mark, amount, now)
        if self._waiters:
            self.recheck(lease.option.gates)
