"""What a call asks for and what it gets: options, the lease of one of them, or why there is none.

Waiter ──Options──▶ admission ──▶ Lease (ends once: settle, keep or refund)
                             └──▶ NoRoom (what kept each option shut)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from msgspec import Struct

from sidecar.errors import SidecarError
from sidecar.scheduling.limiter import NEVER, Demand, Limiter
from sidecar.scheduling.windows import ConcurrencyLimit

if TYPE_CHECKING:
    from sidecar.scheduling.fair_queue import FairQueue


Place = TypeVar("Place")

PARKED_RECHECK_SECONDS = 1.0
"""Seconds at least between two looks at the patience of a call that is parked."""
TIMER_SLACK_SECONDS = 0.001
"""Seconds that a timer is set ahead at least, so that rounding never makes it spin."""


class AdmissionOption(Struct, Generic[Place], frozen=True, eq=False):
    """One way to serve a call: where, past which gates (the narrowest first), for how much."""

    candidate: Place
    limiters: tuple[Limiter, ...]
    demand: Demand

    def available_at(self, urgency: int, now: float) -> float:
        """No sooner than then can all of it be open, whoever else waits; `NEVER_USED` when it
        can't.

        A hold ends when it ends: nobody gives up because of one, nor of what is full meanwhile.
        """
        if any(
            limiter.is_pause and not limiter.allows(1, urgency, now) for limiter in self.limiters
        ):
            return now
        return max((opens for opens, _ in self._blocking(urgency, now)), default=now)

    def blocked(self, limiter: Limiter, urgency: int, now: float) -> Blocked:
        """What to say of it while it is `gate` that keeps it shut."""
        opens = self.available_at(urgency, now)
        later = (last for at, last in self._blocking(urgency, now) if at == opens > now)
        return Blocked(self, limiter, opens, next(later, limiter))

    def _blocking(self, urgency: int, now: float) -> Iterator[tuple[float, Limiter]]:
        for limiter in self.limiters:
            amount = self.demand[limiter.unit]
            if not limiter.is_pause and not limiter.allows(amount, urgency, now):
                yield limiter.available_at(amount, urgency, now), limiter


class Blocked(Struct, frozen=True):
    """What keeps one option shut, and the soonest moment (monotonic) at which it may be open.

    `gate` is where its call stands, and `last` the one that is shut for longest.
    """

    option: AdmissionOption[Any]
    limiter: Limiter
    available_at: float
    last_blocking: Limiter


class NotAdmitted(SidecarError):
    """A call was not let through within its patience. `full`: too many wait already. `waited` is
    seconds; `now` the moment (monotonic) of the no."""

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
        """The option that may open first."""
        return min(self.blocked, key=lambda each: each.available_at)


class Timer(Protocol):
    """What `CallAt` gives."""

    def cancel(self) -> None:
        """Do not ring."""


CallAt = Callable[..., Timer]
"""As `asyncio.AbstractEventLoop.call_at`: a monotonic moment, a function, its arguments."""

Renew = Callable[[], Sequence[AdmissionOption[Place]]]
"""Makes the options of a call anew, as the configuration and the vendors have them now."""
OnLeaseEnd = Callable[["Lease[Any]", Sequence[Any], Sequence[int]], None]


class Lease(Generic[Place]):
    """Permission for one attempt: taken at every gate on its way, and given back exactly once."""

    __slots__ = ("_on_end", "_renew", "_reservations", "ended", "option")

    def __init__(
        self,
        option: AdmissionOption[Place],
        marks: list[Any],
        renew: Renew[Place],
        take_back: OnLeaseEnd,
    ) -> None:
        self._reservations = marks
        self._renew = renew
        self._on_end = take_back
        self.option = option
        self.ended = False

    @property
    def candidate(self) -> Place:
        """Where the attempt may go."""
        return self.option.candidate

    def settle(self, used: Demand) -> None:
        """The attempt is over, and this is what it took."""
        self._end([used[limiter.unit] for limiter in self.option.limiters])

    def keep(self) -> None:
        """The attempt is over, and nobody knows what it took: the estimate stands."""
        self.settle(self.option.demand)

    def refund(self, *, sent: bool = False) -> None:
        """The attempt came to nothing. What was `sent` still counts where the vendor counts it."""
        need = self.option.demand
        self._end(
            [
                need[limiter.unit] if sent and limiter.counts_sent else 0
                for limiter in self.option.limiters
            ]
        )

    def reservation(self, limiter: Limiter) -> Any:
        """What `gate` gave this lease; None when it is not on its way."""
        for each, mark in zip(self.option.limiters, self._reservations, strict=True):
            if each is limiter:
                return mark
        return None

    def join_new_limits(self, now: float) -> None:
        """Take a slot at gates that count running calls and were not there when this began."""
        try:
            today = [option for option in self._renew() if option.candidate is self.candidate]
        except Exception:  # noqa: BLE001 - its key is gone, and with it what it would count in
            return
        option = self.option
        new = [
            g
            for o in today
            for g in o.limiters
            if isinstance(g, ConcurrencyLimit) and g not in option.limiters
        ]
        self._reservations += [
            limiter.acquire(option.demand[limiter.unit], 0, now) for limiter in new
        ]
        self.option = AdmissionOption(option.candidate, (*option.limiters, *new), option.demand)

    def _end(self, amounts: Sequence[int]) -> None:
        if self.ended:
            raise AssertionError("a lease ends once")
        self.ended = True
        self._on_end(self, self._reservations, amounts)


class Waiter(Generic[Place]):
    """A call that asks to be let through: of a key with its `share`, at an urgency.

    `every` are its options, by preference; while `alone`, only the first is wanted. `renew` makes
    them anew when the configuration changes; it may raise, which ends the wait. `stands` are the
    gates in whose lines it is, and `trail` when it came to stand behind what, in words. Times are
    monotonic; `patience` is seconds.
    """

    __slots__ = (
        "_parked",
        "_parked_since",
        "all_options",
        "blocked_log",
        "first_only",
        "future",
        "key",
        "max_wait",
        "queued_at",
        "renew",
        "seq",
        "share",
        "since",
        "timers",
        "urgency",
    )  # fmt: skip

    def __init__(
        self, seq: int, key: str, share: float, urgency: int,
        every: Sequence[AdmissionOption[Place]], renew: Renew[Place],
    ) -> None:  # fmt: skip
        self.seq = seq
        self.key = key
        self.share = share
        self.urgency = urgency
        self.all_options = every
        self.renew = renew
        self.first_only = False
        self.since, self.max_wait = NEVER, 0.0
        self._parked, self._parked_since = 0.0, NEVER
        self.queued_at: dict[Limiter, AdmissionOption[Place]] = {}
        self.blocked_log: list[tuple[float, str]] = []
        self.future: asyncio.Future[Lease[Place]] | None = None
        self.timers: list[Timer] = []

    @property
    def options(self) -> Sequence[AdmissionOption[Place]]:
        """The options that it would take now."""
        return self.all_options[:1] if self.first_only else self.all_options

    def parked(self, now: float) -> float:
        """Seconds for which all of its ways were shut on purpose: its patience stood still."""
        return self._parked + max(0.0, now - self._parked_since)

    @property
    def is_parked(self) -> bool:
        """Whether they are now."""
        return self._parked_since != NEVER

    @staticmethod
    def queue_option(
        stands: dict[Limiter, AdmissionOption[Place]],
        limiter: Limiter,
        option: AdmissionOption[Place],
    ) -> None:
        """Have an option wait at a gate: of several the one that asks least, as it opens first."""
        other = stands.get(limiter)
        if other is None or option.demand[limiter.unit] < other.demand[limiter.unit]:
            stands[limiter] = option

    def record_blocked(self, now: float, limiter: Limiter) -> None:
        """It came to stand behind this; standing behind the same again is no news."""
        if not self.blocked_log or self.blocked_log[-1][1] != limiter.name:
            self.blocked_log.append((now, limiter.name))

    def park(self, now: float, *, parked: bool) -> None:
        """Have its patience stand still from now on, or go on."""
        if parked != self.is_parked:
            self._parked = self.parked(now)
            self._parked_since = now if parked else NEVER

    def deadline(self, now: float) -> float:
        """When its patience ends, if it is not parked from now on."""
        return self.since + self.max_wait + self.parked(now)

    def waited(self, now: float) -> float:
        """Seconds of its patience that are gone."""
        return now - self.since - self.parked(now)

    def next_check_at(self, now: float) -> float:
        """When to look at its patience again; `now` when that is over."""
        left = self.deadline(now) - now
        if self.is_parked:
            return now + max(left, PARKED_RECHECK_SECONDS)
        return now + left if left > TIMER_SLACK_SECONDS else now

    def urgency_at(self, line: FairQueue | None, now: float) -> int:
        """Its urgency in a line: the oldest one's turn counts as urgent, since headroom must not
        make it hold others up."""
        return 0 if line is not None and line.is_aged_head(self, now) else self.urgency

    def should_wait_for_first(self, seconds: float, now: float) -> bool:
        """Whether to wait for the first option alone so long: it may open by itself (or sooner, as
        calls there come to less than was thought), and there is more than that to wait for, and
        longer."""
        opens = self.all_options[0].available_at(self.urgency, now)
        return len(self.all_options) > 1 and seconds < self.max_wait and opens != NEVER

    def cannot_be_admitted(self, now: float) -> bool:
        """Whether it is plain that none of its options opens within its patience."""
        deadline = self.deadline(now)
        return all(option.available_at(self.urgency, now) > deadline for option in self.all_options)
