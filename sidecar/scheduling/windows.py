"""Counters by the calendar: days, weeks and months of a time zone, by the time of day.

They outlive the process: `restore` takes back what was counted before. A clock that is set back
finds what it had counted then; one that is set forward and back again loses nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta, tzinfo

from sidecar.config.model import Period, Urgency
from sidecar.scheduling.limiter import ACTIVE_SECONDS, MINUTE_SECONDS, NEVER, Limiter, LimitUnit

KEPT_PERIODS = 4
"""Periods whose counts are kept, for clocks that are set."""


def period_bounds(period: Period, moment: float, zone: tzinfo | None) -> tuple[float, float]:
    """When the period around `moment` began and when the next one begins, in seconds since the
    epoch; `zone` None is the machine's."""
    local = datetime.fromtimestamp(moment, zone)
    day = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if period is Period.WEEK:
        day -= timedelta(days=day.weekday())
    elif period is Period.MONTH:
        day = day.replace(day=1)
    following = day + timedelta(days={Period.DAY: 1, Period.WEEK: 7, Period.MONTH: 32}[period])
    if period is Period.MONTH:
        following = following.replace(day=1)
    return day.timestamp(), following.timestamp()


class CountingLimiter(Limiter):
    """A gate that counts up to `limit` (0 lets nothing pass).

    `headroom` is the part of it, by urgency, that is kept free for more urgent calls while there
    are any. What was used beyond an estimate is carried: it counts like anything else. `running`
    are the calls that count by their estimates; `reserved` is the part of `used` that these make
    up and may give back. A count of calls is never reserved: one that runs was made.
    """

    __slots__ = ("_last_admitted", "headroom", "limit", "reserved", "running", "used")

    def __init__(self, scope: str, kind: str, unit: LimitUnit, name: str, limit: int) -> None:
        super().__init__(scope, kind, unit, name)
        self.limit = limit
        self.used = self.reserved = self.running = 0
        self.headroom: Mapping[Urgency, float] = {}
        self._last_admitted = [-NEVER, -NEVER, -NEVER]

    @property
    def settled(self) -> int:
        """The part of `used` that stays, whatever the running calls come to."""
        return self.used - self.reserved

    def ceiling(self, urgency: int, now: float) -> int:
        """What calls of this urgency may use of the limit now."""
        part = self.headroom.get(Urgency(urgency), 0.0) if urgency and self.headroom else 0.0
        if part and now < self._headroom_until(urgency):
            return self.limit - int(self.limit * part)
        return self.limit

    def remaining(self, now: float) -> int:
        """What is left of the limit; below zero when more was used than was let through for."""
        self.advance(now)
        return self.limit - self.used

    def advance(self, now: float) -> None:
        """Let go of what is too old to count."""

    def allows(self, amount: int, urgency: int, now: float) -> bool:
        """An empty window takes any call: one that alone exceeds it could never pass else."""
        self.advance(now)
        if self.used <= 0 or not amount:
            return self.limit > 0
        return self.used + amount <= (self.ceiling(urgency, now) if self.headroom else self.limit)

    def available_at(self, amount: int, urgency: int, now: float) -> float:
        """Return `now` when the running calls may give back enough, else when enough of what
        counts now is too old."""
        if self.limit > 0 and self.reserved > 0:
            self.advance(now)
            if self.settled <= max(self.ceiling(urgency, now) - amount, 0):
                return now
        return self.next_check_at(amount, urgency, now)

    def clears(self, now: float) -> float:
        """Return when all of it is free again, if no further call is admitted."""
        return NEVER if self.limit <= 0 else self._drops_to(0, now)

    def next_check_at(self, amount: int, urgency: int, now: float) -> float:
        """Return when enough of what counts now is too old, if no running call ends before."""
        if self.limit <= 0:
            return NEVER
        self.advance(now)
        ceiling = self.ceiling(urgency, now)
        at = self._drops_to(ceiling - amount, now)
        if ceiling == self.limit:
            return at
        return min(at, max(self._drops_to(self.limit - amount, now), self._headroom_until(urgency)))

    def _drops_to(self, most: int, now: float) -> float:
        """When `used` will be at most this, or nothing, if nothing else happens."""
        raise NotImplementedError

    def _headroom_until(self, urgency: int) -> float:
        """Until when the headroom binds calls of this urgency."""
        return max(self._last_admitted[:urgency]) + ACTIVE_SECONDS

    def _record_urgency(self, urgency: int, now: float) -> None:
        if self.headroom:
            self._last_admitted[urgency] = now


class CalendarWindow(CountingLimiter):
    """What passes within a day, a week or a month. `wall` gives seconds since the epoch, and
    `changed` is called whenever `used` or `settled` changes, so that it can be kept."""

    __slots__ = (
        "_amounts", "_begun", "_changed", "_ends", "_moved", "_reserved", "_wall", "_zone",
        "period",
    )  # fmt: skip

    def __init__(
        self, scope: str, kind: str, unit: LimitUnit, name: str, limit: int, period: Period,
        wall: Callable[[], float], changed: Callable[[CalendarWindow], None],
    ) -> None:  # fmt: skip
        super().__init__(scope, kind, unit, name, limit)
        self.period = period
        self._wall = wall
        self._changed = changed
        self._zone: tzinfo | None = None
        self._amounts: dict[float, int] = {}
        self._reserved: dict[float, int] = {}
        self._moved: dict[float, float] = {}
        self._begun = self._ends = 0.0

    @property
    def started_at(self) -> float:
        """When the period that `used` counts began, in seconds since the epoch."""
        return self._begun

    def set_zone(self, zone: tzinfo | None) -> None:
        """Follow this time zone from now on; what was counted since its period began stays, and
        running calls are settled in the period that it has now."""
        if zone == self._zone:
            return
        begun, settled, reserved = self._begun, self.settled, self.reserved
        self._zone = zone
        self._turn(self._wall())
        if reserved and begun != self._begun:
            self._move(begun, reserved)
        if settled > self.settled:
            self._add(self._begun, settled - self.settled)

    def restore(self, begun: float, used: int) -> None:
        """Take back what was counted in a period before this process began."""
        reserved = self._reserved.get(begun, 0)
        self._amounts[begun] = max(self._amounts.get(begun, 0) - reserved, used) + reserved
        self._turn(self._wall())

    def advance(self, now: float) -> None:
        """Follow the calendar."""
        wall = self._wall()
        if not self._begun <= wall < self._ends:
            self._turn(wall)

    def acquire(self, amount: int, urgency: int, now: float) -> tuple[float, int]:
        """Count it in the period of this moment."""
        self._record_urgency(urgency, now)
        self.advance(now)
        self._add(self._begun, amount, self._part_reserved(amount))
        self.running += 1
        return self._begun, amount

    def settle(self, mark: tuple[float, int], amount: int, now: float) -> None:
        """Put the truth in place of the estimate, in the period that the call began in."""
        self.running -= 1
        begun, estimate = mark
        begun = self._moved.get(begun, begun)
        self._add(begun, amount - estimate, -self._part_reserved(estimate))

    def _part_reserved(self, estimate: int) -> int:
        return 0 if self.unit is LimitUnit.CALLS else estimate

    def correct(self, amount: int, started: float) -> None:
        """Count so much more, or less, of a call that began at `started` (seconds since the
        epoch); nothing in a period that is remembered no longer."""
        self.advance(0.0)
        begun, _ = period_bounds(self.period, started, self._zone)
        if begun in self._amounts:
            self._add(begun, amount)

    def _drops_to(self, most: int, now: float) -> float:
        return now if self.used <= max(most, 0) else self._end(now)

    def _end(self, now: float) -> float:
        return now + max(0.0, self._ends - self._wall())

    def _turn(self, wall: float) -> None:
        self._begun, self._ends = period_bounds(self.period, wall, self._zone)
        self.used = self._amounts.pop(self._begun, 0)
        self.reserved = self._reserved.get(self._begun, 0)
        self._amounts[self._begun] = self.used  # the newest one is forgotten last
        while len(self._amounts) > KEPT_PERIODS:
            oldest = next(iter(self._amounts))
            del self._amounts[oldest]
            self._reserved.pop(oldest, None)

    def _move(self, begun: float, reserved: int) -> None:
        """Carry what running calls have reserved in another zone's period into today's."""
        now = self._begun
        self._moved = {
            at: now if to == begun else to for at, to in self._moved.items() if at != now
        }
        self._moved[begun] = now
        while len(self._moved) > KEPT_PERIODS:
            del self._moved[next(iter(self._moved))]
        self._add(begun, -reserved, -reserved)
        self._add(now, reserved, reserved)

    def _add(self, begun: float, amount: int, reserved: int = 0) -> None:
        """Change what is used in a period, and how much of it is reserved."""
        if begun not in self._amounts:
            return
        self._amounts[begun] += amount
        self._reserved[begun] = self._reserved.get(begun, 0) + reserved
        if begun == self._begun:
            self.used += amount
            self.reserved += reserved
            if amount or reserved:
                self._changed(self)


class BudgetWindow(CalendarWindow):
    """Money of a day, a week or a month.

    It is *spent* once what was settled has reached it. From then on only a call that is known to
    cost nothing (an amount of 0) is admitted. Until then a call is admitted if it fits beside what
    running calls have reserved, or if none has reserved anything: so an estimate above what is left
    does not lock up the rest. What is settled exceeds the budget by no more than the cost of the
    calls that ran when it was reached.
    """

    __slots__ = ("_name",)

    @property
    def name(self) -> str:
        """What shuts it, for people: what was spent, or what running calls may still spend."""
        if self.spent:
            return self._name
        return self._name.replace(" is at its ", " has running calls that may use up its ", 1)

    @name.setter
    def name(self, name: str) -> None:
        self._name = name

    @property
    def spent(self) -> bool:  # type: ignore[override]
        """Whether what was settled has reached the budget."""
        return self.settled >= self.limit

    def allows(self, amount: int, urgency: int, now: float) -> bool:
        """Return whether the budget is not spent and there is room beside the running calls."""
        if not amount:
            return True
        self.advance(now)
        ceiling = self.ceiling(urgency, now)
        if self.settled >= ceiling:
            return False
        return self.reserved <= 0 or self.used + amount <= ceiling

    def available_at(self, amount: int, urgency: int, now: float) -> float:
        """Return `now` while it is not spent: the running calls give back what they do not cost."""
        if not amount:
            return now
        self.advance(now)
        if self.settled < self.ceiling(urgency, now):
            return now
        return self.next_check_at(amount, urgency, now)

    def next_check_at(self, amount: int, urgency: int, now: float) -> float:
        """Return when the next period begins, or headroom lapses."""
        if self.allows(amount, urgency, now):
            return now
        if self.limit <= 0:
            return NEVER
        if self.ceiling(urgency, now) <= self.settled < self.limit:
            return min(self._end(now), max(now, self._headroom_until(urgency)))
        return self._end(now)


class ConcurrencyLimit(CountingLimiter):
    """How many calls may run at one time."""

    __slots__ = ()
    timed = False

    def acquire(self, amount: int, urgency: int, now: float) -> int:
        """Take a slot."""
        self.used += amount
        self._record_urgency(urgency, now)
        return amount

    def settle(self, mark: int, amount: int, now: float) -> None:
        """Give the slot back, however the call went."""
        self.used -= mark

    def next_check_at(self, amount: int, urgency: int, now: float) -> float:
        """When headroom lapses, if nothing but that keeps a free slot from it."""
        if not self.headroom or self.used + amount > self.limit:
            return NEVER
        return self._headroom_until(urgency)

    def available_at(self, amount: int, urgency: int, now: float) -> float:
        """Return `now`: any call may end at any moment."""
        return NEVER if self.limit <= 0 else now


class WindowReservation:
    """An amount in a sliding window; `reserved` is the part that a running call may give back."""

    __slots__ = ("amount", "at", "counts", "reserved")

    def __init__(self, at: float, amount: int, reserved: int = 0) -> None:
        self.at = at
        self.amount = amount
        self.reserved = reserved
        self.counts = True


class SlidingWindow(CountingLimiter):
    """What passes within any sixty seconds, by an exact log.

    A call counts for a minute from when it was let through, by its estimate until the truth is
    known. Less than the estimate is given back at once; what was used beyond it counts for a
    minute from when that was learned.
    """

    __slots__ = ("_log",)

    def __init__(self, scope: str, kind: str, unit: LimitUnit, name: str, limit: int) -> None:
        super().__init__(scope, kind, unit, name, limit)
        self._log: deque[WindowReservation] = deque()

    def advance(self, now: float) -> None:
        """Let go of what is a minute old."""
        log = self._log
        while log and log[0].at + MINUTE_SECONDS <= now:
            entry = log.popleft()
            entry.counts = False
            self.used -= entry.amount
            self.reserved -= entry.reserved

    def acquire(self, amount: int, urgency: int, now: float) -> WindowReservation:
        """Count it from now on."""
        self._record_urgency(urgency, now)
        entry = WindowReservation(now, amount, 0 if self.unit is LimitUnit.CALLS else amount)
        self._log.append(entry)
        self.used += amount
        self.reserved += entry.reserved
        self.running += 1
        return entry

    def settle(self, mark: WindowReservation, amount: int, now: float) -> None:
        """Put the truth in place of the estimate."""
        self.running -= 1
        self.reserved -= mark.reserved if mark.counts else 0
        mark.reserved = 0
        excess = amount - mark.amount
        if excess > 0:
            self.advance(now)
            self._log.append(WindowReservation(now, excess))
            self.used += excess
        elif excess < 0 and mark.counts:
            mark.amount = amount
            self.used += excess

    def _drops_to(self, most: int, now: float) -> float:
        left = self.used
        at = now
        for entry in self._log:
            if left <= max(most, 0):
                break
            left -= entry.amount
            at = entry.at + MINUTE_SECONDS
        return at


def reserved_by_others(limiters: Iterable[Limiter]) -> int:
    """How many calls run at the one of these limits on tokens where the fewest do: so many share
    its room with another one. 0 where none is limited."""
    tokens = (LimitUnit.TOKENS, LimitUnit.OUTPUT)
    return min(
        (g.running for g in limiters if isinstance(g, CountingLimiter) and g.unit in tokens),
        default=0,
    )
