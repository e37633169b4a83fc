"""The objects of admission: what a call asks for, and what it gets.

```
Waiter ──AdmissionOptions──▶ Admission ──▶ Lease (ends once: settle, keep or refund)
                                     └──▶ NotAdmitted (for each option, the limiter that blocks it)
```
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from msgspec import Struct, structs

from sidecar.errors import SidecarError
from sidecar.routing.candidates import Candidate
from sidecar.scheduling.limiter import NEVER, Demand, Limiter, LimitUnit
from sidecar.scheduling.windows import ConcurrencyLimit

if TYPE_CHECKING:
    from sidecar.scheduling.fair_queue import FairQueue


PARKED_RECHECK_SECONDS = 1.0
"""Seconds between two checks of the deadline of a paused call."""
TIMER_SLACK_SECONDS = 0.001
"""Seconds by which a timer is set ahead at least, so that rounding cannot make it spin."""


class AdmissionOption(Struct, frozen=True, eq=False):
    """One way to serve a call: a candidate, its limiters (the narrowest first), its demand.

    `by_size` is the input tokens that the size of the request suggests; None if not estimated.
    `has_budget` is whether one of the limiters counts money, so that the call's cost must be known
    when its lease ends.
    """

    candidate: Candidate
    limiters: tuple[Limiter, ...]
    demand: Demand
    by_size: int | None = None
    has_budget: bool = False

    def available_at(self, urgency: int, now: float) -> float:
        """Return the earliest time at which every limiter may admit this option.

        Monotonic seconds; other waiting calls are ignored. `NEVER` if waiting cannot help. `now`
        while a pause is active: a paused call waits without a deadline.
        """
        if any(
            limiter.is_pause and not limiter.allows(1, urgency, now) for limiter in self.limiters
        ):
            return now
        return max((at for at, _ in self._blocking(urgency, now)), default=now)

    def blocked(self, limiter: Limiter, urgency: int, now: float) -> Blocked:
        """Return the reason that this option is blocked, where `limiter` is the first that blocks
        it."""
        available_at = self.available_at(urgency, now)
        last = (each for at, each in self._blocking(urgency, now) if at == available_at > now)
        return Blocked(self, limiter, available_at, next(last, limiter))

    def _blocking(self, urgency: int, now: float) -> Iterator[tuple[float, Limiter]]:
        for limiter in self.limiters:
            amount = self.demand[limiter.unit]
            if not limiter.is_pause and not limiter.allows(amount, urgency, now):
                yield limiter.available_at(amount, urgency, now), limiter


class Blocked(Struct, frozen=True):
    """The reason that one option is blocked.

    Attributes:
        limiter: The limiter in whose queue the call waits.
        available_at: The earliest time (monotonic seconds) at which the option may be free.
        last_blocking: The limiter that blocks it for longest.
    """

    option: AdmissionOption
    limiter: Limiter
    available_at: float
    last_blocking: Limiter


class NotAdmitted(SidecarError):
    """Raised when a call is not admitted within its `max_wait`.

    Attributes:
        waited: Seconds that the call waited, without pauses.
        now: When it was rejected, in monotonic seconds.
        queue_full: Whether it was rejected because too many calls wait.
    """

    def __init__(
        self, blocked: Sequence[Blocked], waited: float, now: float, *, full: bool = False
    ) -> None:
        super().__init__(blocked[0].limiter.name if blocked else "no option is left")
        self.blocked = tuple(blocked)
        self.waited = waited
        self.now = now
        self.queue_full = full

    @property
    def soonest(self) -> Blocked:
        """The option that may be free first."""
        return min(self.blocked, key=lambda each: each.available_at)


class Timer(Protocol):
    """A handle that `CallAt` returns."""

    def cancel(self) -> None:
        """Cancel the callback."""


CallAt = Callable[..., Timer]
"""As `asyncio.AbstractEventLoop.call_at`: monotonic seconds, a function, its arguments."""


class Sources(NamedTuple):
    """The sources of time and chance.

    Attributes:
        clock: Returns monotonic seconds.
        wall: Returns seconds since the epoch.
        draw: Returns a random number from 0 to 1.
        call_at: Sets a timer on `clock`.
    """

    clock: Callable[[], float]
    wall: Callable[[], float]
    draw: Callable[[], float]
    call_at: CallAt


Renew = Callable[[], Sequence[AdmissionOption]]
"""Returns the options of a call by the configuration and the vendors' state of now. May raise,
which rejects the call."""
OnLeaseEnd = Callable[["Lease", Demand, Demand], None]
"""Called with the lease, the amounts to settle, and those to settle at limiters with
`counts_sent`."""
_NOTHING: Demand = (0,) * len(LimitUnit)


class Lease(Struct, eq=False):
    """Permission for one attempt: a reservation at every limiter of an option. Ends once.

    Attributes:
        candidate: The candidate that the attempt may be sent to.
        taken: The limiters that have something to settle, each with its reservation.
        on_settled: Called with the same amounts as `OnLeaseEnd` before it, if the lease holds
            room that other processes share.
    """

    option: AdmissionOption
    candidate: Candidate
    taken: list[tuple[Limiter, Any]]
    _renew: Renew
    _on_end: OnLeaseEnd
    ended: bool = False
    on_settled: Callable[[Demand, Demand], None] | None = None

    def settle(self, used: Demand) -> None:
        """End the lease with the amounts that the attempt took."""
        self._on_end(self, used, used)

    def keep(self) -> None:
        """End the lease of an attempt whose usage is unknown: its estimate counts."""
        self.settle(self.option.demand)

    def refund(self, *, sent: bool = False) -> None:
        """End the lease of an attempt that failed. A request that was `sent` still counts at
        limiters with `counts_sent`."""
        self._on_end(self, _NOTHING, self.option.demand if sent else _NOTHING)

    def reservation(self, limiter: Limiter) -> Any:
        """Return the reservation of this lease at `limiter`; None if it has none there."""
        for each, reservation in self.taken:
            if each is limiter:
                return reservation
        return None

    def drop_reservation(self, limiter: Limiter) -> None:
        """Leave nothing to settle at `limiter`."""
        self.taken = [pair for pair in self.taken if pair[0] is not limiter]

    def join_new_limits(self, now: float) -> None:
        """Take a slot at concurrency limits that the configuration gained since the grant."""
        try:
            renewed = [option for option in self._renew() if option.candidate is self.candidate]
        except Exception:  # noqa: BLE001 - its key was removed, and the key's limits with it
            return
        option = self.option
        added = [
            limiter
            for each in renewed
            for limiter in each.limiters
            if isinstance(limiter, ConcurrencyLimit) and limiter not in option.limiters
        ]
        self.taken += [
            (limiter, limiter.acquire(option.demand[limiter.unit], 0, now)) for limiter in added
        ]
        self.option = structs.replace(option, limiters=(*option.limiters, *added))


class Waiter(Struct, eq=False):
    """A call that asks for a lease. Times are monotonic seconds; `max_wait` is seconds.

    Attributes:
        share: The weight of its key.
        all_options: Its options, by preference.
        first_only: Whether it waits for the first option alone.
        queued_at: The limiters in whose queues it waits, each with the option that it blocks.
        blocked_log: Each time that it was blocked by another limiter, with the limiter's name.
    """

    seq: int
    key: str
    share: float
    urgency: int
    all_options: Sequence[AdmissionOption]
    renew: Renew
    first_only: bool = False
    since: float = NEVER
    max_wait: float = 0.0
    _parked: float = 0.0
    _parked_since: float = NEVER
    queued_at: dict[Limiter, AdmissionOption] = {}
    blocked_log: list[tuple[float, str]] = []
    future: asyncio.Future[Lease] | None = None
    timers: list[Timer] = []

    @property
    def options(self) -> Sequence[AdmissionOption]:
        """The options that it takes now."""
        return self.all_options[:1] if self.first_only else self.all_options

    def parked(self, now: float) -> float:
        """Return the seconds for which all of its options were paused, which its deadline does
        not count."""
        return self._parked + max(0.0, now - self._parked_since)

    @property
    def is_parked(self) -> bool:
        """Return whether all of its options are paused now."""
        return self._parked_since != NEVER

    @staticmethod
    def queue_option(
        queued_at: dict[Limiter, AdmissionOption], limiter: Limiter, option: AdmissionOption
    ) -> None:
        """Queue an option at a limiter; of several, keep the one with the least demand, which is
        free first."""
        other = queued_at.get(limiter)
        if other is None or option.demand[limiter.unit] < other.demand[limiter.unit]:
            queued_at[limiter] = option

    def record_blocked(self, now: float, limiter: Limiter) -> None:
        """Log that `limiter` blocks the call, unless it is the latest entry."""
        if not self.blocked_log or self.blocked_log[-1][1] != limiter.name:
            self.blocked_log.append((now, limiter.name))

    def park(self, now: float, *, parked: bool) -> None:
        """Stop the deadline, or resume it."""
        if parked != self.is_parked:
            self._parked = self.parked(now)
            self._parked_since = now if parked else NEVER

    def deadline(self, now: float) -> float:
        """Return when `max_wait` ends, if the call is not parked from now on."""
        return self.since + self.max_wait + self.parked(now)

    def waited(self, now: float) -> float:
        """Return the seconds of `max_wait` that have passed."""
        return now - self.since - self.parked(now)

    def next_check_at(self, now: float) -> float:
        """Return when to check the deadline again; `now` if it has passed."""
        left = self.deadline(now) - now
        if self.is_parked:
            return now + max(left, PARKED_RECHECK_SECONDS)
        return now + left if left > TIMER_SLACK_SECONDS else now

    def urgency_at(self, queue: FairQueue | None, now: float) -> int:
        """Return its urgency at a limiter with this queue.

        An aged head counts as interactive: headroom must not block it, as it blocks others.
        """
        return 0 if queue is not None and queue.is_aged_head(self, now) else self.urgency

    def should_wait_for_first(self, seconds: float, now: float) -> bool:
        """Return whether to wait `seconds` for the first option alone: time may free it, there are
        other options, and `max_wait` is longer."""
        available_at = self.all_options[0].available_at(self.urgency, now)
        return len(self.all_options) > 1 and seconds < self.max_wait and available_at != NEVER

    def cannot_be_admitted(self, now: float) -> bool:
        """Return whether no option can be free before the deadline."""
        deadline = self.deadline(now)
        return all(option.available_at(self.urgency, now) > deadline for option in self.all_options)
