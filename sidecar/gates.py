"""What a call must pass to be let through: counters of calls, tokens and money, exact in process.

A gate knows its own room and nothing else: not who waits, not what stands beside it. Times are
monotonic seconds, passed in. Every operation is O(1), amortised.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from sidecar.config import Urgency

if TYPE_CHECKING:
    from sidecar.lines import Line

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


class Window(Gate):
    """A gate that counts up to `limit` (0 lets nothing pass).

    `headroom` is the part of it, by urgency, that is kept free for more urgent calls while there
    are any. What was used beyond an estimate is carried: it counts like anything else. `running`
    are the calls that count by their estimates; `reserved` is the part of `used` that these make
    up and may give back. A count of calls is never reserved: one that runs was made.
    """

    __slots__ = ("_served", "headroom", "limit", "reserved", "running", "used")

    def __init__(self, scope: str, kind: str, unit: Unit, name: str, limit: int) -> None:
        super().__init__(scope, kind, unit, name)
        self.limit = limit
        self.used = self.reserved = self.running = 0
        self.headroom: Mapping[Urgency, float] = {}
        self._served = [-NEVER, -NEVER, -NEVER]

    @property
    def settled(self) -> int:
        """The part of `used` that stays, whatever the running calls come to."""
        return self.used - self.reserved

    def ceiling(self, urgency: int, now: float) -> int:
        """What calls of this urgency may use of the limit now."""
        part = self.headroom.get(Urgency(urgency), 0.0) if urgency and self.headroom else 0.0
        if part and now < self._lapses(urgency):
            return self.limit - int(self.limit * part)
        return self.limit

    def left(self, now: float) -> int:
        """What is left of the limit; below zero when more was used than was let through for."""
        self.slide(now)
        return self.limit - self.used

    def slide(self, now: float) -> None:
        """Let go of what is too old to count."""

    def fits(self, amount: int, urgency: int, now: float) -> bool:
        """An empty window takes any call: one that alone exceeds it could never pass else."""
        self.slide(now)
        if self.used <= 0 or not amount:
            return self.limit > 0
        return self.used + amount <= (self.ceiling(urgency, now) if self.headroom else self.limit)

    def opens(self, amount: int, urgency: int, now: float) -> float:
        """Return `now` when the running calls may give back enough, else when enough of what
        counts now is too old."""
        if self.limit > 0 and self.reserved > 0:
            self.slide(now)
            if self.settled <= max(self.ceiling(urgency, now) - amount, 0):
                return now
        return self.opens_itself(amount, urgency, now)

    def clears(self, now: float) -> float:
        """Return when all of it is free again, if no further call is admitted."""
        return NEVER if self.limit <= 0 else self._falls_to(0, now)

    def opens_itself(self, amount: int, urgency: int, now: float) -> float:
        """Return when enough of what counts now is too old, if no running call ends before."""
        if self.limit <= 0:
            return NEVER
        self.slide(now)
        ceiling = self.ceiling(urgency, now)
        at = self._falls_to(ceiling - amount, now)
        if ceiling == self.limit:
            return at
        return min(at, max(self._falls_to(self.limit - amount, now), self._lapses(urgency)))

    def _falls_to(self, most: int, now: float) -> float:
        """When `used` will be at most this, or nothing, if nothing else happens."""
        raise NotImplementedError

    def _lapses(self, urgency: int) -> float:
        """Until when the headroom binds calls of this urgency."""
        return max(self._served[:urgency]) + ACTIVE

    def _note(self, urgency: int, now: float) -> None:
        if self.headroom:
            self._served[urgency] = now


class Slots(Window):
    """How many calls may run at one time."""

    __slots__ = ()
    timed = False

    def take(self, amount: int, urgency: int, now: float) -> int:
        """Take a slot."""
        self.used += amount
        self._note(urgency, now)
        return amount

    def settle(self, mark: int, amount: int, now: float) -> None:
        """Give the slot back, however the call went."""
        self.used -= mark

    def opens_itself(self, amount: int, urgency: int, now: float) -> float:
        """When headroom lapses, if nothing but that keeps a free slot from it."""
        if not self.headroom or self.used + amount > self.limit:
            return NEVER
        return self._lapses(urgency)

    def opens(self, amount: int, urgency: int, now: float) -> float:
        """Return `now`: any call may end at any moment."""
        return NEVER if self.limit <= 0 else now


class Entry:
    """An amount in a sliding window; `reserved` is the part that a running call may give back."""

    __slots__ = ("amount", "at", "counts", "reserved")

    def __init__(self, at: float, amount: int, reserved: int = 0) -> None:
        self.at = at
        self.amount = amount
        self.reserved = reserved
        self.counts = True


class Minute(Window):
    """What passes within any sixty seconds, by an exact log.

    A call counts for a minute from when it was let through, by its estimate until the truth is
    known. Less than the estimate is given back at once; what was used beyond it counts for a
    minute from when that was learned.
    """

    __slots__ = ("_log",)

    def __init__(self, scope: str, kind: str, unit: Unit, name: str, limit: int) -> None:
        super().__init__(scope, kind, unit, name, limit)
        self._log: deque[Entry] = deque()

    def slide(self, now: float) -> None:
        """Let go of what is a minute old."""
        log = self._log
        while log and log[0].at + MINUTE <= now:
            entry = log.popleft()
            entry.counts = False
            self.used -= entry.amount
            self.reserved -= entry.reserved

    def take(self, amount: int, urgency: int, now: float) -> Entry:
        """Count it from now on."""
        self._note(urgency, now)
        entry = Entry(now, amount, 0 if self.unit is Unit.CALLS else amount)
        self._log.append(entry)
        self.used += amount
        self.reserved += entry.reserved
        self.running += 1
        return entry

    def settle(self, mark: Entry, amount: int, now: float) -> None:
        """Put the truth in place of the estimate."""
        self.running -= 1
        self.reserved -= mark.reserved if mark.counts else 0
        mark.reserved = 0
        excess = amount - mark.amount
        if excess > 0:
            self.slide(now)
            self._log.append(Entry(now, excess))
            self.used += excess
        elif excess < 0 and mark.counts:
            mark.amount = amount
            self.used += excess

    def _falls_to(self, most: int, now: float) -> float:
        left = self.used
        at = now
        for entry in self._log:
            if left <= max(most, 0):
                break
            left -= entry.amount
            at = entry.at + MINUTE
        return at


def sharing(gates: Iterable[Gate]) -> int:
    """How many calls run at the one of these limits on tokens where the fewest do: so many share
    its room with another one. 0 where none is limited."""
    tokens = (Unit.TOKENS, Unit.OUTPUT)
    return min((g.running for g in gates if isinstance(g, Window) and g.unit in tokens), default=0)
