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

from sidecar.scheduling.fair_queue import FairQueue
from sidecar.scheduling.lease import (
    TIMER_SLACK_SECONDS,
    AdmissionOption,
    Blocked,
    CallAt,
    Lease,
    NotAdmitted,
    Place,
    Renew,
    Waiter,
)
from sidecar.scheduling.limiter import Limiter

log = logging.getLogger("sidecar.scheduling.admission")

MAX_WAITING = 10_000
"""Calls that may wait at one time; more are refused at once."""
MAX_CHECKS_PER_WAITER = 1000
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
        self._to_check: dict[Limiter, None] = {}
        self._checked: set[Limiter] = set()
        self._draining = False
        self.leases: set[Lease[Any]] = set()
        self.granted = 0
        self.on_block: Callable[[Limiter], None] = lambda _: None

    def __iter__(self) -> Iterator[Waiter[Any]]:
        """The calls that wait, by arrival."""
        return iter(sorted(self._waiters.values(), key=lambda each: each.seq))

    def __len__(self) -> int:
        return len(self._waiters)

    def new_waiter(
        self, key: str, share: float, urgency: int,
        every: Sequence[AdmissionOption[Place]], renew: Renew[Place],
    ) -> Waiter[Place]:  # fmt: skip
        """A call that wants to be let through; nothing happens yet."""
        return Waiter(next(self._numbers), key, share, urgency, every, renew)

    def try_lease(self, waiter: Waiter[Place]) -> Lease[Place] | None:
        """A lease on the first option that is open now; None when there is none."""
        now = self._clock()
        for option in waiter.options:
            if self._first_blocking(waiter, option, now) is None:
                lease = self._grant(waiter, option, now)
                self._drain()
                return lease
        return None

    async def acquire(
        self, waiter: Waiter[Place], max_wait: float, *, alone: float = 0.0
    ) -> Lease[Place]:
        """A lease, as soon as the call's turn comes. Raises `NotAdmitted` after `patience` seconds,
        or at once when it is plain that they would not do.

        For `alone` seconds only the first option is waited for.
        """
        waiter.first_only = alone > 0
        lease = self.try_lease(waiter)
        if lease is not None:
            return lease
        future: asyncio.Future[Lease[Place]] = asyncio.get_running_loop().create_future()
        waiter.future = future
        self._enter(waiter, max_wait, alone)
        try:
            return await future
        except asyncio.CancelledError:
            # It may have been let through in the very moment in which it left.
            if future.done() and not future.cancelled() and future.exception() is None:
                future.result().refund()
            raise
        finally:
            self._leave(waiter)

    def recheck(self, limiters: Iterable[Limiter]) -> None:
        """These gates may have opened."""
        self._mark_for_check(limiters)
        self._drain()

    def reevaluate(self) -> None:
        """The configuration or a hold changed: every waiting call goes by its new options, and
        those that run count in new limits on how many may."""
        for lease in tuple(self.leases):
            lease.join_new_limits(self._clock())
        for waiter in list(self):
            if waiter.seq not in self._waiters:
                continue  # it was let through, by room that another one of these gave back
            try:
                waiter.all_options = waiter.renew()
            except Exception as why:  # noqa: BLE001 - it is the waiting call that has to hear of it
                self._answer(waiter, why)
                continue
            self._leave_queues(waiter)
            if not self._admit_or_queue(waiter, self._clock()) and waiter.cannot_be_admitted(
                self._clock()
            ):
                self._reject(waiter)
        self._drain()

    def blocked(self, waiter: Waiter[Any], now: float) -> list[Blocked]:
        """What keeps each of its options shut now; fewer than it has when one is open."""
        pairs = (
            (option, self._first_blocking(waiter, option, now)) for option in waiter.all_options
        )
        return [
            o.blocked(limiter, waiter.urgency, now) for o, limiter in pairs if limiter is not None
        ]

    def _enter(self, waiter: Waiter[Any], max_wait: float, alone: float) -> None:
        now = self._clock()
        waiter.since, waiter.max_wait = now, max_wait
        waiter.first_only = waiter.first_only and waiter.should_wait_for_first(alone, now)
        full = len(self._waiters) >= MAX_WAITING
        if full or waiter.cannot_be_admitted(now):
            raise NotAdmitted(self.blocked(waiter, now), 0.0, now, full=full)
        self._waiters[waiter.seq] = waiter
        waiter.timers.append(self._call_at(now + max_wait, self._expire, waiter))
        if waiter.first_only:
            waiter.timers.append(self._call_at(now + alone, self._stop_waiting_for_first, waiter))
        if not self._admit_or_queue(waiter, now):
            self.on_block(next(iter(waiter.queued_at)))
        self._drain()

    def _leave(self, waiter: Waiter[Any]) -> None:
        self._waiters.pop(waiter.seq, None)
        waiter.park(self._clock(), parked=False)
        for timer in waiter.timers:
            timer.cancel()
        waiter.timers.clear()
        self._leave_queues(waiter)
        self._drain()

    def _leave_queues(self, waiter: Waiter[Any]) -> None:
        """Leave every line; whoever stood behind may be next."""
        for limiter in waiter.queued_at:
            if limiter.queue is not None:
                limiter.queue.remove(waiter)
        self._mark_for_check(waiter.queued_at)
        waiter.queued_at = {}

    def _first_blocking(
        self, waiter: Waiter[Any], option: AdmissionOption[Any], now: float
    ) -> Limiter | None:
        """The first gate on the way that the call cannot pass now."""
        need, urgency = option.demand, waiter.urgency
        for limiter in option.limiters:
            line = limiter.queue
            if line is None:
                if not limiter.allows(need[limiter.unit], urgency, now):
                    return limiter
                continue
            if not limiter.allows(need[limiter.unit], waiter.urgency_at(line, now), now):
                return limiter
            if line and not line.may_pass(waiter, now):
                if limiter not in self._checked:
                    self._to_check[limiter] = None  # do those before it still have to wait here?
                return limiter
        return None

    def _grant(
        self, waiter: Waiter[Place], option: AdmissionOption[Place], now: float
    ) -> Lease[Place]:
        need, urgency = option.demand, waiter.urgency
        marks = []
        for limiter in option.limiters:
            amount = need[limiter.unit]
            if limiter.queue:
                limiter.queue.charge(waiter, amount, now)
                self._to_check[limiter] = None  # it may be the oldest one's turn now
            marks.append(limiter.acquire(amount, urgency, now))
        lease = Lease(option, marks, waiter.renew, self._on_lease_end)
        self.leases.add(lease)
        self.granted += 1
        self._checked.clear()
        return lease

    def _admit_or_queue(self, waiter: Waiter[Any], now: float) -> bool:
        """Let a waiting call through, or have it stand where it is kept; whether it is gone."""
        stands: dict[Limiter, AdmissionOption[Any]] = {}
        for option in waiter.options:
            limiter = self._first_blocking(waiter, option, now)
            if limiter is None:
                waiter.park(now, parked=False)
                self._answer(waiter, self._grant(waiter, option, now))
                return True
            waiter.queue_option(stands, limiter, option)
        if stands.keys() != waiter.queued_at.keys():
            self._change_queues(waiter, stands)
        waiter.queued_at = stands
        waiter.park(now, parked=all(limiter.is_pause for limiter in stands))
        return False

    def _change_queues(
        self, waiter: Waiter[Any], stands: dict[Limiter, AdmissionOption[Any]]
    ) -> None:
        left = [limiter for limiter in waiter.queued_at if limiter not in stands]
        for limiter in left:
            if limiter.queue is not None:
                limiter.queue.remove(waiter)
        for limiter in stands:
            if limiter.queue is None:
                limiter.queue = FairQueue()
            if limiter not in waiter.queued_at:
                limiter.queue.add(waiter)
        waiter.record_blocked(self._clock(), next(iter(stands)))
        self._mark_for_check((*left, *stands))

    def _mark_for_check(self, limiters: Iterable[Limiter]) -> None:
        """Something changed at these gates."""
        self._checked.clear()
        for limiter in limiters:
            if limiter.queue:
                self._to_check[limiter] = None

    def _answer(self, waiter: Waiter[Any], answer: Lease[Any] | Exception) -> None:
        future = waiter.future
        assert future is not None  # noqa: S101 - it waits
        self._waiters.pop(waiter.seq, None)
        self._leave_queues(waiter)
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
            for _ in range(MAX_CHECKS_PER_WAITER + MAX_CHECKS_PER_WAITER * len(self._waiters)):
                if not self._to_check:
                    return
                self._admit_from(self._to_check.popitem()[0])
            log.error("the lines of those who wait do not come to rest: a defect of Sidecar's")
            self._call_at(self._clock() + 1.0, self._drain)
        finally:
            self._draining = False

    def _admit_from(self, limiter: Limiter) -> None:
        """Let those through who wait here, in order, as far as there is room."""
        now = self._clock()
        line = limiter.queue
        if limiter.spent:  # by calls that ran: none that ends helps those who wait here
            for each in [e for e in self if limiter in e.queued_at and e.cannot_be_admitted(now)]:
                self._reject(each)
        while line and (front := line.head(now)) is not None:
            waiter = self._waiters[front.seq]
            if not self._admit_or_queue(waiter, now) and limiter in waiter.queued_at:
                self._checked.add(limiter)
                self._to_check.pop(limiter, None)
                # Look again when the first in line may pass.
                urgency, need = waiter.urgency_at(line, now), waiter.queued_at[limiter].demand
                at = limiter.next_check_at(need[limiter.unit], urgency, now)
                limiter.schedule_wakeup(
                    max(at, now + TIMER_SLACK_SECONDS), self._call_at, self.recheck
                )
                return

    def _expire(self, waiter: Waiter[Any]) -> None:
        if waiter.seq not in self._waiters:
            return
        now = self._clock()
        if waiter.next_check_at(now) <= now:
            self._reject(waiter)
        if waiter.seq in self._waiters:
            waiter.timers[0] = self._call_at(waiter.next_check_at(now), self._expire, waiter)

    def _reject(self, waiter: Waiter[Any]) -> None:
        now = self._clock()
        waiter.first_only = False
        # Room may have come in this very moment, and a pause, too.
        if not self._admit_or_queue(waiter, now) and not waiter.is_parked:
            self._answer(waiter, NotAdmitted(self.blocked(waiter, now), waiter.waited(now), now))

    def _stop_waiting_for_first(self, waiter: Waiter[Any]) -> None:
        """It has waited for its own place for long enough; any other will do."""
        if waiter.seq in self._waiters:
            waiter.first_only = False
            self._admit_or_queue(waiter, self._clock())
            self._drain()

    def _on_lease_end(
        self, lease: Lease[Any], marks: Sequence[Any], amounts: Sequence[int]
    ) -> None:
        now = self._clock()
        self.leases.discard(lease)
        for limiter, mark, amount in zip(lease.option.limiters, marks, amounts, strict=True):
            limiter.settle(mark, amount, now)
        if self._waiters:
            self.recheck(lease.option.limiters)
