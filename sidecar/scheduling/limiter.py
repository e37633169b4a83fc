"""The limiter protocol, the units that limiters count in, and the retry budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sidecar.scheduling.fair_queue import FairQueue


MINUTE_SECONDS = 60.0
NEVER = math.inf
ACTIVE_SECONDS = 60.0
"""Seconds for which an admitted call keeps headroom in force against less urgent calls."""


class LimitUnit(IntEnum):
    """The unit that a limiter counts in; the index of its amount in a `Demand`.

    For output that is not written yet, limits of the file count the expected tokens and vendor
    quotas count the upper bound: a vendor does not carry an excess over to the next window.
    """

    CALLS = 0
    TOKENS = 1
    INPUT = 2
    OUTPUT = 3
    MONEY = 4
    TOKENS_UPPER_BOUND = 5
    OUTPUT_UPPER_BOUND = 6


Demand = Sequence[int]
"""The amount that a call takes of each unit, indexed by `LimitUnit`; money in nano-dollars."""


def demand_of(
    input_tokens: int, output_tokens: int, money: int = 0, upper_bound: int | None = None
) -> Demand:
    """Return the demand of one call.

    Args:
        money: Nano-dollars.
        upper_bound: The most output tokens that the call may take; `output_tokens` if None.
    """
    most = output_tokens if upper_bound is None else upper_bound
    return (
        1, input_tokens + output_tokens, input_tokens, output_tokens, money,
        input_tokens + most, most,
    )  # fmt: skip


class Limiter:
    """A condition that a call must meet before it is admitted.

    Times are monotonic seconds. `urgency` is an `Urgency` as a number: lower goes first.

    Attributes:
        scope: The subject of the limiter, for people: `key "nightly"`.
        kind: A code for metrics and JSON: `rpm`, `cooldown`.
        name: The reason to wait, for people, with the line of the file if one sets it.
        queue: The calls that wait here; None until a call has waited.
        counts_sent: Whether a request that was sent and failed still counts, as it does at
            the vendor.
    """

    __slots__ = ("counts_sent", "kind", "name", "queue", "scope", "timer", "unit", "wakeup_at")

    timed = True
    """True if time alone may make room."""
    counts_turns = True
    """False if another process decides when the oldest of its calls goes first."""
    is_pause = False
    """True if a user or an outage blocks all calls: a call that waits here has no deadline."""
    at_rest = False
    """True while it admits every call and counts none, so that it need not be asked."""
    spent = False
    """True if settled spend has reached the budget: no running call can make room."""

    def __init__(self, scope: str, kind: str, unit: LimitUnit, name: str) -> None:
        self.scope = scope
        self.kind = kind
        self.unit = unit
        self.name = name
        self.queue: FairQueue | None = None
        self.timer: Any = None
        self.wakeup_at = NEVER
        self.counts_sent = False

    def schedule_wakeup(
        self, at: float, call_at: Callable[..., Any], callback: Callable[[Any], None]
    ) -> None:
        """Call `callback([self])` at `at`, in place of an earlier wakeup; `NEVER` changes nothing.

        Args:
            call_at: As `asyncio.AbstractEventLoop.call_at`.
        """
        if at in {NEVER, self.wakeup_at}:
            return
        if self.timer is not None:
            self.timer.cancel()
        self.wakeup_at = at
        self.timer = call_at(at, self._wake, callback)

    def _wake(self, callback: Callable[[Any], None]) -> None:
        self.timer, self.wakeup_at = None, NEVER
        callback([self])

    def allows(self, amount: int, urgency: int, now: float) -> bool:
        """Return whether a call that takes `amount` may be admitted now."""
        raise NotImplementedError

    def available_at(self, amount: int, urgency: int, now: float) -> float:
        """Return the earliest time at which `amount` may fit.

        `now` if an event may make room at any moment; `NEVER` if waiting cannot help.
        """
        raise NotImplementedError

    def next_check_at(self, amount: int, urgency: int, now: float) -> float:
        """Return when time alone may make room; `NEVER` if only an event can."""
        return self.available_at(amount, urgency, now) if self.timed else NEVER

    def acquire(self, amount: int, urgency: int, now: float) -> Any:
        """Count an admitted call; return the reservation to pass to `settle`, or None if there is
        nothing to settle."""
        raise NotImplementedError

    def settle(self, reservation: Any, amount: int, now: float) -> None:
        """Replace the reservation by the amount that the call took; 0 if it took nothing.

        Called once for each reservation.
        """
        raise NotImplementedError


RETRY_SHARE = 0.2
"""Retries that each call adds to the budget."""
MIN_RETRIES_PER_SECOND = 0.5
"""Retries that time alone adds, so that a process with few calls can retry, too."""
MAX_SAVED_RETRIES = 30.0


class RetryBudget(Limiter):
    """A token bucket of retries: each call adds a share of one, as does time.

    Compare Finagle's `RetryBudget`.

    Attributes:
        saved: The retries that were left when it was last asked or added to.
    """

    __slots__ = ("_at", "_clock", "saved")

    def __init__(self, clock: Callable[[], float]) -> None:
        name = f"retries are limited to {RETRY_SHARE:.0%} of the calls"
        super().__init__("retries", "retries", LimitUnit.CALLS, name)
        self._clock = clock
        self.saved = MAX_SAVED_RETRIES
        self._at = clock()

    @property
    def remaining(self) -> float:
        """The retries that are left now."""
        self._fill(self._clock())
        return self.saved

    def record_call(self) -> None:
        """Record a call's first attempt, which adds to the budget."""
        self.saved = min(MAX_SAVED_RETRIES, self.saved + RETRY_SHARE)

    def give_back(self) -> None:
        """Give back a retry that was not made."""
        self.saved += 1

    def allows(self, amount: int, urgency: int, now: float) -> bool:
        """Return whether a retry is left."""
        self._fill(now)
        return self.saved >= 1

    def available_at(self, amount: int, urgency: int, now: float) -> float:
        """Return when time alone will have added one retry."""
        self._fill(now)
        return now + max(0.0, 1 - self.saved) / MIN_RETRIES_PER_SECOND

    def acquire(self, amount: int, urgency: int, now: float) -> None:
        """Take one retry, which counts whatever its result."""
        self.saved -= 1

    def _fill(self, now: float) -> None:
        self.saved = min(MAX_SAVED_RETRIES, self.saved + (now - self._at) * MIN_RETRIES_PER_SECOND)
        self._at = now
