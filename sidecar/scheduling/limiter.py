"""The limiter protocol, its units, and the budget of retries."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sidecar.scheduling.fair_queue import Line


MINUTE = 60.0
NEVER = math.inf
ACTIVE = 60.0
"""Seconds for which a served call keeps headroom in force for its like."""


class Unit(IntEnum):
    """What a gate counts; the index of its amount in a `Need`.

    Of an answer that is not written yet, limits of the file count what it is likely to take, and
    what a vendor said is left what it may take at most: a vendor does not carry over what exceeds.
    """

    CALLS = 0
    TOKENS = 1
    INPUT = 2
    OUTPUT = 3
    MONEY = 4
    TOKENS_AT_MOST = 5
    OUTPUT_AT_MOST = 6


Need = Sequence[int]
"""What a call takes of each unit, by `Unit`; money in nano-dollars."""


def need(input_tokens: int, output_tokens: int, money: int = 0, at_most: int | None = None) -> Need:
    """What one call takes; `at_most` is output, where that is a guess."""
    most = output_tokens if at_most is None else at_most
    return (
        1, input_tokens + output_tokens, input_tokens, output_tokens, money,
        input_tokens + most, most,
    )  # fmt: skip


class Gate:
    """Something that a call must pass.

    `name` says what it is and which line of the file made it, for people. `line` are those who
    wait here. `timed` gates open by themselves at a time that `opens` knows. `keeps_sent`: what
    was sent and failed still counts as a call here, as it does at the vendor.
    """

    __slots__ = ("keeps_sent", "kind", "line", "name", "rings", "scope", "timer", "unit")

    timed = True
    holds = False
    """Whether it was shut on purpose: waiting here is nobody's failure."""
    spent = False
    """Whether it is a budget that was reached by settled spend: no running call gives that back."""

    def __init__(self, scope: str, kind: str, unit: Unit, name: str) -> None:
        self.scope = scope
        self.kind = kind
        self.unit = unit
        self.name = name
        self.line: Line | None = None
        self.timer: Any = None
        self.rings = NEVER
        self.keeps_sent = False

    def ring(self, at: float, call_at: Callable[..., Any], told: Callable[[Any], None]) -> None:
        """Have `told` called with this gate, in a list, at that moment and at no other."""
        if at in {NEVER, self.rings}:
            return
        if self.timer is not None:
            self.timer.cancel()
        self.rings = at
        self.timer = call_at(at, self._rung, told)

    def _rung(self, told: Callable[[Any], None]) -> None:
        self.timer, self.rings = None, NEVER
        told([self])

    def fits(self, amount: int, urgency: int, now: float) -> bool:
        """Whether a call that takes `amount` may pass now."""
        raise NotImplementedError

    def opens(self, amount: int, urgency: int, now: float) -> float:
        """No sooner than then will it fit: `now` when that may happen any moment, `NEVER` when it
        cannot."""
        raise NotImplementedError

    def opens_itself(self, amount: int, urgency: int, now: float) -> float:
        """When time alone may let it in, so that it is worth a look; `NEVER` when only an event
        can."""
        return self.opens(amount, urgency, now) if self.timed else NEVER

    def take(self, amount: int, urgency: int, now: float) -> Any:
        """Count a call that passes; the mark is what `settle` wants to see again."""
        raise NotImplementedError

    def settle(self, mark: Any, amount: int, now: float) -> None:
        """The call is over, and took this much: 0 when it took nothing. Once for each mark."""
        raise NotImplementedError


SHARE = 0.2
"""Further attempts that each call adds to the budget."""
PER_SECOND = 0.5
"""Further attempts that time alone adds, so that few calls can be helped, too."""
MOST = 30.0


class RetryBudget(Gate):
    """A bucket of further attempts. `clock` gives monotonic seconds."""

    __slots__ = ("_at", "_clock", "_left")

    def __init__(self, clock: Callable[[], float]) -> None:
        name = "more is being tried again than a share of the calls"
        super().__init__("retries", "retries", Unit.CALLS, name)
        self._clock = clock
        self._left = MOST
        self._at = clock()

    @property
    def left(self) -> float:
        """Further attempts that may be made now."""
        self._fill(self._clock())
        return self._left

    def call(self) -> None:
        """A call makes its first attempt."""
        self._left = min(MOST, self._left + SHARE)

    def fits(self, amount: int, urgency: int, now: float) -> bool:
        """Whether there is one left."""
        self._fill(now)
        return self._left >= 1

    def opens(self, amount: int, urgency: int, now: float) -> float:
        """When time alone will have added one."""
        self._fill(now)
        return now + max(0.0, 1 - self._left) / PER_SECOND

    def take(self, amount: int, urgency: int, now: float) -> None:
        """A further attempt is made."""
        self._left -= 1

    def settle(self, mark: None, amount: int, now: float) -> None:
        """However it went: it was made."""

    def _fill(self, now: float) -> None:
        self._left = min(MOST, self._left + (now - self._at) * PER_SECOND)
        self._at = now
