"""The limiter protocol, its units, and the budget of retries."""

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
"""Seconds for which a served call keeps headroom in force for its like."""


class LimitUnit(IntEnum):
    """What a gate counts; the index of its amount in a `Demand`.

    Of an answer that is not written yet, limits of the file count what it is likely to take, and
    what a vendor said is left what it may take at most: a vendor does not carry over what exceeds.
    """

    CALLS = 0
    TOKENS = 1
    INPUT = 2
    OUTPUT = 3
    MONEY = 4
    TOKENS_UPPER_BOUND = 5
    OUTPUT_UPPER_BOUND = 6


Demand = Sequence[int]
"""What a call takes of each unit, by `LimitUnit`; money in nano-dollars."""


def demand_of(
    input_tokens: int, output_tokens: int, money: int = 0, at_most: int | None = None
) -> Demand:
    """What one call takes; `at_most` is output, where that is a guess."""
    most = output_tokens if at_most is None else at_most
    return (
        1, input_tokens + output_tokens, input_tokens, output_tokens, money,
        input_tokens + most, most,
    )  # fmt: skip


class Limiter:
    """Something that a call must pass.

    `name` says what it is and which line of the file made it, for people. `line` are those who
    wait here. `timed` gates open by themselves at a time that `opens` knows. `keeps_sent`: what
    was sent and failed still counts as a call here, as it does at the vendor.
    """

    __slots__ = ("counts_sent", "kind", "name", "queue", "scope", "timer", "unit", "wakeup_at")

    timed = True
    is_pause = False
    """Whether it was shut on purpose: waiting here is nobody's failure."""
    spent = False
    """Whether it is a budget that was reached by settled spend: no running call gives that back."""

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
        self, at: float, call_at: Callable[..., Any], told: Callable[[Any], None]
    ) -> None:
        """Have `told` called with this gate, in a list, at that moment and at no other."""
        if at in {NEVER, self.wakeup_at}:
            return
        if self.timer is not None:
            self.timer.cancel()
        self.wakeup_at = at
        self.timer = call_at(at, self._wake, told)

    def _wake(self, told: Callable[[Any], None]) -> None:
        self.timer, self.wakeup_at = None, NEVER
        told([self])

    def allows(self, amount: int, urgency: int, now: float) -> bool:
        """Whether a call that takes `amount` may pass now."""
        raise NotImplementedError

    def available_at(self, amount: int, urgency: int, now: float) -> float:
        """No sooner than then will it fit: `now` when that may happen any moment, `NEVER_USED` when
        it cannot."""
        raise NotImplementedError

    def next_check_at(self, amount: int, urgency: int, now: float) -> float:
        """When time alone may let it in, so that it is worth a look; `NEVER_USED` when only an
        event can."""
        return self.available_at(amount, urgency, now) if self.timed else NEVER

    def acquire(self, amount: int, urgency: int, now: float) -> Any:
        """Count a call that passes; the mark is what `settle` wants to see again."""
        raise NotImplementedError

    def settle(self, mark: Any, amount: int, now: float) -> None:
        """The call is over, and took this much: 0 when it took nothing. Once for each mark."""
        raise NotImplementedError


RETRY_SHARE = 0.2
"""Further attempts that each call adds to the budget."""
MIN_RETRIES_PER_SECOND = 0.5
"""Further attempts that time alone adds, so that few calls can be helped, too."""
MAX_SAVED_RETRIES = 30.0


class RetryBudget(Limiter):
    """A bucket of further attempts. `clock` gives monotonic seconds."""

    __slots__ = ("_at", "_clock", "_remaining")

    def __init__(self, clock: Callable[[], float]) -> None:
        name = "more is being tried again than a share of the calls"
        super().__init__("retries", "retries", LimitUnit.CALLS, name)
        self._clock = clock
        self._remaining = MAX_SAVED_RETRIES
        self._at = clock()

    @property
    def remaining(self) -> float:
        """Further attempts that may be made now."""
        self._fill(self._clock())
        return self._remaining

    def record_call(self) -> None:
        """A call makes its first attempt."""
        self._remaining = min(MAX_SAVED_RETRIES, self._remaining + RETRY_SHARE)

    def allows(self, amount: int, urgency: int, now: float) -> bool:
        """Whether there is one left."""
        self._fill(now)
        return self._remaining >= 1

    def available_at(self, amount: int, urgency: int, now: float) -> float:
        """When time alone will have added one."""
        self._fill(now)
        return now + max(0.0, 1 - self._remaining) / MIN_RETRIES_PER_SECOND

    def acquire(self, amount: int, urgency: int, now: float) -> None:
        """A further attempt is made."""
        self._remaining -= 1

    def settle(self, mark: None, amount: int, now: float) -> None:
        """However it went: it was made."""

    def _fill(self, now: float) -> None:
        self._remaining = min(
            MAX_SAVED_RETRIES, self._remaining + (now - self._at) * MIN_RETRIES_PER_SECOND
        )
        self._at = now
