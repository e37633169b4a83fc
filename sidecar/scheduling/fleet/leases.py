"""The two ways to lease: by the counts of this process alone, or also on the shared engine.

A call first gets a lease from this process, whose own counts are a part of what all nodes count.
Then, in one round trip, the engine takes room in every shared limit or names one that has none. In
that case the lease of this process is refunded, and the call waits at the gate of that limit.

While the engine fails, calls are rejected, or each process admits its part of every limit alone
and counts what it admitted on the engine later.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Protocol
from urllib.parse import quote

from sidecar.config.limit_table import LimitId
from sidecar.config.model import Urgency
from sidecar.errors import ErrorKind, ProxyError
from sidecar.scheduling.admission import Admission
from sidecar.scheduling.fleet.gate import Gate
from sidecar.scheduling.lease import Lease, Waiter
from sidecar.scheduling.limiter import Demand, Limiter, LimitUnit, RetryBudget
from sidecar.scheduling.limits import Limits
from sidecar.scheduling.windows import (
    BudgetWindow,
    CalendarWindow,
    ConcurrencyLimit,
    CountingLimiter,
)
from sidecar.shared.engine import Engine
from sidecar.shared.journal import Change
from sidecar.shared.scopes import NEVER, CalendarPeriod, Denied, Scope, Ticket
from sidecar.shared.server import EngineError

log = logging.getLogger("sidecar.shared")

RETRY_AFTER_SECONDS = 2.0


class Leases(Protocol):
    """A way to lease."""

    def with_gates(self, limiters: tuple[Limiter, ...]) -> tuple[Limiter, ...]:
        """Return the limiters of a call with the gates of those that are shared."""

    async def try_lease(self, waiter: Waiter) -> Lease | None:
        """Return a lease on the first option that is free now; None if none is."""

    async def acquire(self, waiter: Waiter, max_wait: float, *, sticky_wait: float = 0.0) -> Lease:
        """Return a lease as soon as an option is free; see `Admission.acquire`."""

    def correct(
        self, windows: Iterable[CalendarWindow], before: Demand, after: Demand, started: float
    ) -> None:
        """Correct what calendar windows count of an ended call, where others share it."""

    def reconcile(self) -> None:
        """Follow a new configuration of the limits."""


class LocalLeases:
    """Leases by the counts of this process."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.acquire = admission.acquire

    def with_gates(self, limiters: tuple[Limiter, ...]) -> tuple[Limiter, ...]:
        """Return the limiters: none is shared."""
        return limiters

    async def try_lease(self, waiter: Waiter) -> Lease | None:
        """Return a lease on the first option that is free now; None if none is."""
        return self._admission.try_lease(waiter)

    def correct(
        self, windows: Iterable[CalendarWindow], before: Demand, after: Demand, started: float
    ) -> None:
        """Do nothing: this process's own windows are corrected already."""

    def reconcile(self) -> None:
        """Do nothing: nothing is kept here."""


class SharedLeases:
    """Leases by the counts of all nodes of an engine.

    Args:
        clock: Returns monotonic seconds.
        refuses: Whether calls with limits are rejected while the engine fails.
    """

    def __init__(
        self, admission: Admission, limits: Limits, engine: Engine, clock: Callable[[], float],
        *, refuses: bool,
    ) -> None:  # fmt: skip
        self._admission = admission
        self._limits = limits
        self._engine = engine
        self._clock = clock
        self._refuses = refuses
        self._names: dict[CountingLimiter, str] = {}
        self._engine_names: dict[LimitId, str] = {}
        self._gates: dict[CountingLimiter, Gate] = {}
        self._by_id: dict[str, Gate] = {}
        self._closed: set[Gate] = set()
        self._asking = 0
        engine.on_wake = self._wake
        engine.on_change = self._follow_engine
        engine.journal.own_counts = self._own_counts
        self.reconcile()
        if not engine.is_reached:
            self._follow_engine()

    def with_gates(self, limiters: tuple[Limiter, ...]) -> tuple[Limiter, ...]:
        """Return the limiters, each shared one followed by its gate."""
        found: list[Limiter] = []
        for each in limiters:
            found.append(each)
            if isinstance(each, CountingLimiter) and each in self._names:
                found.append(self._gate(each))
        return tuple(found)

    async def try_lease(self, waiter: Waiter) -> Lease | None:
        """Return a lease on the first option that is free now, here and on the engine; None if
        none is. Raises `ProxyError` if the engine fails."""
        lease = self._admission.try_lease(waiter)
        while lease is not None and not await self._confirm(lease, waiter):
            lease = self._admission.try_lease(waiter)
        return lease

    async def acquire(self, waiter: Waiter, max_wait: float, *, sticky_wait: float = 0.0) -> Lease:
        """Return a lease as soon as an option is free, here and on the engine.

        Raises `NotAdmitted` as `Admission.acquire`, and `ProxyError` if the engine fails.
        """
        sticky_until = self._clock() + sticky_wait
        try:
            while True:
                sticky_wait = max(0.0, sticky_until - self._clock())
                lease = await self._admission.acquire(waiter, max_wait, sticky_wait=sticky_wait)
                if await self._confirm(lease, waiter):
                    return lease
        finally:
            self._leave_queues()

    def correct(
        self, windows: Iterable[CalendarWindow], before: Demand, after: Demand, started: float
    ) -> None:
        """Correct what all nodes count of an ended call."""
        changes = [
            (self._names[each], _period(each, started), after[each.unit] - before[each.unit])
            for each in windows
            if each in self._names
        ]
        changes = [change for change in changes if change[2]]
        if changes:
            self._engine.correct(changes)

    def reconcile(self) -> None:
        """Follow a new configuration of the limits; a limit that was renamed counts anew."""
        known, limits = self._engine_names, list(self._limits)
        self._engine_names = {each: known.get(each) or _engine_name(each) for each, *_ in limits}
        self._names = {each.window: self._engine_names[each.limit_id] for each in limits}
        self._gates = {known: gate for known, gate in self._gates.items() if known in self._names}
        for window, gate in self._gates.items():
            gate.limit_id = self._names[window]
        self._by_id = {gate.limit_id: gate for gate in self._gates.values()}

    async def _confirm(self, lease: Lease, waiter: Waiter) -> bool:
        """Take the room of a lease on the engine; if there is none, refund the lease."""
        limiters, demand = lease.option.limiters, lease.option.demand
        gates = [each for each in limiters if isinstance(each, Gate) and demand[each.unit]]
        if not gates:
            return True
        now = self._clock()
        arrival = now if waiter.since == NEVER else waiter.since
        scopes = [self._scope(gate, demand[gate.unit], waiter, now) for gate in gates]
        lease_id = self._engine.new_id()
        self._asking += 1
        try:
            denied = await self._ask(lease_id, waiter.urgency, arrival, scopes)
        except BaseException as error:
            self._undo(lease, waiter)
            if not isinstance(error, EngineError):
                raise
            if self._refuses:
                raise _unavailable(error) from None
            return False
        finally:
            self._asking -= 1
        if denied is not None:
            self._deny(lease, gates[denied.at], waiter, denied)
            return False
        lease.on_settled = partial(self._settle, lease_id, gates)
        for gate in gates:
            gate.open(lease.reservation(gate))
        self._admission.recheck(gates)
        return True

    async def _ask(
        self, lease_id: str, urgency: int, arrival: float, scopes: Sequence[Scope]
    ) -> Denied | None:
        """Ask the engine for a lease, if it works."""
        if self._engine.is_reached:
            try:
                return await self._engine.lease(lease_id, urgency, arrival, scopes)
            except BaseException:
                self._engine.give_up(lease_id)
                raise
        if self._refuses:
            raise EngineError(self._engine.failure)
        self._engine.lease_alone(lease_id, scopes)
        return None

    def _follow_engine(self) -> None:
        """Admit by this process's part while the engine fails, and by the whole when it works."""
        engine = self._engine
        if engine.is_reached:
            log.warning("shared state: the server answers again; limits hold for all processes")
            self._limits.divide(1)
            self._wake("", 0, False)
        elif self._refuses:
            log.error("shared state: the server %s; calls with limits are rejected", engine.failure)
        else:
            log.error(
                "shared state: the server %s; this process has %s of each limit",
                engine.failure, "the whole" if engine.nodes == 1 else f"1/{engine.nodes}",
            )  # fmt: skip
            self._limits.divide(engine.nodes)
            engine.leave([gate.limit_id for gate in self._closed])
            for gate in self._closed:
                gate.reset()
            self._closed.clear()
        self._admission.reevaluate()

    def _own_counts(self) -> Iterator[Change]:
        now = self._clock()
        for window, name in self._names.items():
            if isinstance(window, CalendarWindow):
                window.advance(now)
                yield name, _period(window, self._engine.server_time()), window.used

    def _deny(self, lease: Lease, gate: Gate, waiter: Waiter, denied: Denied) -> None:
        gate.close(denied, self._clock())
        self._closed.add(gate)
        self._undo(lease, waiter)
        if denied.is_turn:
            self._start_turn(gate, denied.number)

    def _start_turn(self, gate: Gate, number: int) -> None:
        """Let the oldest call at a gate go; it may pass the headroom of this process, too."""
        gate.start_turn(number, self._clock())
        self._admission.recheck((gate, gate.window))

    def _undo(self, lease: Lease, waiter: Waiter) -> None:
        for limiter in lease.option.limiters:
            if limiter.queue:
                limiter.queue.take_back(waiter, lease.option.demand[limiter.unit])
            if isinstance(limiter, RetryBudget):
                limiter.give_back()
        lease.refund()

    def _settle(self, lease_id: str, gates: Sequence[Gate], used: Demand, sent: Demand) -> None:
        now = self._clock()
        if self._engine.is_reached:
            tickets = [(gate.limit_id, _ticket(gate, now)) for gate in gates if gate.window.queue]
            self._engine.queue([(name, ticket) for name, ticket in tickets if ticket is not None])
        amounts = [(sent if gate.counts_sent else used)[gate.unit] for gate in gates]
        self._engine.settle(lease_id, amounts)

    def _wake(self, limit_id: str, number: int, turn: bool) -> None:  # noqa: FBT001
        """Let calls ask again at one gate, or at all of them if messages may have been lost."""
        gates = list(self._closed)
        if limit_id:
            gates = [self._by_id[limit_id]] if limit_id in self._by_id else []
        for gate in gates:
            if turn:
                self._start_turn(gate, number)
            else:
                gate.wake(number)
        self._admission.recheck(gates)
        self._leave_queues()
        # The denial that this message follows may still be on its way.
        if limit_id and not self._asking and all(gate.is_idle for gate in gates):
            self._engine.leave([limit_id])

    def _leave_queues(self) -> None:
        """Give up this node's tickets at gates where no call waits any longer."""
        idle = [each for each in self._closed if each.is_idle]
        left = [each.limit_id for each in idle if each.is_closed]
        for gate in idle:
            gate.at_rest = True
            self._closed.discard(gate)
        if left:
            self._engine.leave(left)

    def _gate(self, window: CountingLimiter) -> Gate:
        gate = self._gates.get(window)
        if gate is None:
            gate = self._gates[window] = Gate(self._names[window], window)
            self._by_id[gate.limit_id] = gate
        return gate

    def _scope(self, gate: Gate, amount: int, waiter: Waiter, now: float) -> Scope:
        window, urgency = gate.window, waiter.urgency
        kept = window.headroom.get(Urgency(urgency), 0.0) if urgency else 0.0
        is_calendar = isinstance(window, CalendarWindow)
        return Scope(
            gate.limit_id, _kind(window), window.limit, window.limit - int(window.limit * kept),
            amount, window.unit is not LimitUnit.CALLS, bool(window.headroom),
            _ticket(gate, now), self._periods(window) if is_calendar else None,
        )  # fmt: skip

    def _periods(self, window: CountingLimiter) -> tuple[CalendarPeriod, CalendarPeriod]:
        assert isinstance(window, CalendarWindow)  # noqa: S101 - checked by its caller
        first = _period(window, self._engine.server_time())
        return first, _period(window, first.ends)


def _ticket(gate: Gate, now: float) -> Ticket | None:
    """Return the order of the calls of this process that wait at a limit: for running calls of
    its own, or for other processes."""
    found = [
        Ticket(head.urgency, head.since, oldest.since)
        for queue in (gate.queue, gate.window.queue)
        if queue and (head := queue.head(now)) and (oldest := queue.oldest())
    ]
    if not found:
        return None
    first = min(found)
    return first._replace(oldest=min(each.oldest for each in found))


def _kind(window: CountingLimiter) -> str:
    if isinstance(window, BudgetWindow):
        return "budget"
    if isinstance(window, CalendarWindow):
        return "calendar"
    return "slots" if isinstance(window, ConcurrencyLimit) else "window"


def _period(window: CalendarWindow, at: float) -> CalendarPeriod:
    """Return the calendar period of a time. Its label is the local date that it begins on: so
    another time zone continues the count."""
    begun, ends = window.period.bounds(at, window.zone)
    return CalendarPeriod(f"{datetime.fromtimestamp(begun, window.zone):%Y%m%d}", ends)


def _engine_name(limit_id: LimitId) -> str:
    return "/".join(quote(part, safe="*-.") for part in limit_id)


def _unavailable(error: EngineError) -> ProxyError:
    return ProxyError(
        ErrorKind.OVERLOADED,
        f"the server of state.shared {error}, so that the limits cannot be checked",
        retry_after=RETRY_AFTER_SECONDS,
    )
