"""Limiters that count: in sixty seconds, in a calendar period, at one time, or in money.

Calendar counts outlive the process: `restore` adds those of an earlier one. The last periods are
kept, so that a system clock that is set back, or forward and back again, loses no count.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from datetime import tzinfo

from msgspec import Struct

from sidecar.config.model import Period, Urgency
from sidecar.scheduling.limiter import ACTIVE_SECONDS, MINUTE_SECONDS, NEVER, Limiter, LimitUnit

KEPT_PERIODS = 4
"""Calendar periods whose counts are kept."""


class CountingLimiter(Limiter):
    """A limiter that counts up to `limit`; 0 admits nothing.

    Attributes:
        headroom: The share of the limit, by urgency, that is kept for more urgent calls while
            there are any.
        used: The amount that counts; an excess over an estimate included.
        reserved: The part of `used` that running calls may return. Always 0 if calls are counted:
            a running call was made.
        running: The calls that count by their estimates.
    """

    __slots__ = (
        "_advances_at", "_last_admitted", "headroom", "limit", "reserved", "running", "used",
    )  # fmt: skip

    def __init__(self, scope: str, kind: str, unit: LimitUnit, name: str, limit: int) -> None:
        super().__init__(scope, kind, unit, name)
        self.limit = limit
        self.used = self.reserved = self.running = 0
        self.headroom: Mapping[Urgency, float] = {}
        self._last_admitted = [-NEVER, -NEVER, -NEVER]
        self._advances_at = NEVER  # when `advance` may have something to do

    @property
    def settled(self) -> int:
        """The part of `used` that running calls cannot return."""
        return self.used - self.reserved

    def ceiling(self, urgency: int, now: float) -> int:
        """Return the part of the limit that calls of this urgency may use now."""
        share = self.headroom.get(Urgency(urgency), 0.0) if urgency and self.headroom else 0.0
        if share and now < self._headroom_until(urgency):
            return self.limit - int(self.limit * share)
        return self.limit

    def remaining(self, now: float) -> int:
        """Return the rest of the limit; below 0 if calls took more than their estimates."""
        self.advance(now)
        return self.limit - self.used

    def advance(self, now: float) -> None:
        """Drop amounts that are too old to count."""

    def allows(self, amount: int, urgency: int, now: float) -> bool:
        """Return whether the amount fits; an empty window admits any amount, however large."""
        if now >= self._advances_at:
            self.advance(now)
        if self.used <= 0 or not amount:
            return self.limit > 0
        return self.used + amount <= (self.ceiling(urgency, now) if self.headroom else self.limit)

    def available_at(self, amount: int, urgency: int, now: float) -> float:
        """Return `now` if running calls may return enough, else when enough will be too old."""
        if self.limit > 0 and self.reserved > 0:
            self.advance(now)
            if self.settled <= max(self.ceiling(urgency, now) - amount, 0):
                return now
        return self.next_check_at(amount, urgency, now)

    def clears(self, now: float) -> float:
        """Return when the window is empty again if no further call is admitted."""
        return NEVER if self.limit <= 0 else self._drops_to(0, now)

    def next_check_at(self, amount: int, urgency: int, now: float) -> float:
        """Return when enough will be too old to count, if no running call ends before."""
        if self.limit <= 0:
            return NEVER
        self.advance(now)
        ceiling = self.ceiling(urgency, now)
        at = self._drops_to(ceiling - amount, now)
        if ceiling == self.limit:
            return at
        return min(at, max(self._drops_to(self.limit - amount, now), self._headroom_until(urgency)))

    def _drops_to(self, most: int, now: float) -> float:
        """Return when `used` will be at most `most`, or 0, by time alone."""
        raise NotImplementedError

    def _headroom_until(self, urgency: int) -> float:
        """Return until when headroom binds calls of this urgency."""
        return max(self._last_admitted[:urgency]) + ACTIVE_SECONDS


class CalendarWindow(CountingLimiter):
    """Counts a day, a week or a month of a time zone. `wall` returns seconds since the epoch;
    `on_change` is called when `used` or `settled` changes, so that the count can be stored.

    Attributes:
        started_at: The start of the current period, in seconds since the epoch.
    """

    __slots__ = (
        "_amounts", "_ends", "_moved", "_on_change", "_reserved", "_wall", "period", "started_at",
        "zone",
    )  # fmt: skip

    def __init__(
        self, scope: str, kind: str, unit: LimitUnit, name: str, limit: int, period: Period,
        wall: Callable[[], float], on_change: Callable[[CalendarWindow], None],
    ) -> None:  # fmt: skip
        super().__init__(scope, kind, unit, name, limit)
        self.period = period
        self._wall = wall
        self._on_change = on_change
        self.zone: tzinfo | None = None
        # Of each kept period; of the current one, as it was when it became that.
        self._amounts: dict[float, int] = {}
        self._reserved: dict[float, int] = {}
        self._moved: dict[float, float] = {}
        self.started_at = self._ends = 0.0
        self._advances_at = -NEVER  # the clock of its periods is another

    def set_zone(self, zone: tzinfo | None) -> None:
        """Use another time zone. The current period keeps the count, and running calls are
        settled in it."""
        if zone == self.zone:
            return
        begun, settled, reserved = self.started_at, self.settled, self.reserved
        self.zone = zone
        self._turn(self._wall())
        if reserved and begun != self.started_at:
            self._move(begun, reserved)
        if settled > self.settled:
            self._add(self.started_at, settled - self.settled)

    def restore(self, begun: float, used: int) -> None:
        """Restore the count of an earlier process in the period that began at `begun`."""
        self._turn(wall := self._wall())
        if begun == self.started_at:
            self.used = max(self.settled, used) + self.reserved
            return
        reserved = self._reserved.get(begun, 0)
        self._amounts[begun] = max(self._amounts.get(begun, 0) - reserved, used) + reserved
        self._turn(wall)

    def advance(self, now: float) -> None:
        """Start a new period if it is time."""
        wall = self._wall()
        if not self.started_at <= wall < self._ends:
            self._turn(wall)

    def acquire(self, amount: int, urgency: int, now: float) -> tuple[float, int, int]:
        """Count a call in the current period; return its period, its estimate, and the part of that
        which it may return."""
        if self.headroom:
            self._last_admitted[urgency] = now
        wall = self._wall()
        if not self.started_at <= wall < self._ends:
            self._turn(wall)
        self.running += 1
        reserved = 0 if self.unit is LimitUnit.CALLS else amount
        if amount:
            self.used += amount
            self.reserved += reserved
            self._on_change(self)
        return self.started_at, amount, reserved

    def settle(self, reservation: tuple[float, int, int], amount: int, now: float) -> None:
        """Replace the estimate by the true amount, in the period that the call began in."""
        self.running -= 1
        begun, estimate, reserved = reservation
        begun = self._moved.get(begun, begun)
        self._add(begun, amount - estimate, -reserved)

    def correct(self, amount: int, started: float) -> None:
        """Add an amount, which may be negative, to the period of a call that began at `started`
        (seconds since the epoch); does nothing if that period is no longer kept."""
        self.advance(0.0)
        begun, _ = self.period.bounds(started, self.zone)
        if begun in self._amounts:
            self._add(begun, amount)

    def _drops_to(self, most: int, now: float) -> float:
        return now if self.used <= max(most, 0) else self._end(now)

    def _end(self, now: float) -> float:
        return now + max(0.0, self._ends - self._wall())

    def _turn(self, wall: float) -> None:
        if self.started_at in self._amounts:
            self._amounts[self.started_at] = self.used
            self._reserved[self.started_at] = self.reserved
        self.started_at, self._ends = self.period.bounds(wall, self.zone)
        self.used = self._amounts.pop(self.started_at, 0)
        self.reserved = self._reserved.get(self.started_at, 0)
        self._amounts[self.started_at] = self.used  # the newest is dropped last
        while len(self._amounts) > KEPT_PERIODS:
            oldest = next(iter(self._amounts))
            del self._amounts[oldest]
            self._reserved.pop(oldest, None)

    def _move(self, begun: float, reserved: int) -> None:
        """Move the reservations of running calls from another zone's period to the current."""
        now = self.started_at
        self._moved = {
            at: now if to == begun else to for at, to in self._moved.items() if at != now
        }
        self._moved[begun] = now
        while len(self._moved) > KEPT_PERIODS:
            del self._moved[next(iter(self._moved))]
        self._add(begun, -reserved, -reserved)
        self._add(now, reserved, reserved)

    def _add(self, begun: float, amount: int, reserved: int = 0) -> None:
        """Add to what is used in a period, and to the part of it that is reserved."""
        if begun == self.started_at:
            self.used += amount
            self.reserved += reserved
            if amount or reserved:
                self._on_change(self)
        elif begun in self._amounts:
            self._amounts[begun] += amount
            self._reserved[begun] = self._reserved.get(begun, 0) + reserved


class BudgetWindow(CalendarWindow):
    """The money of a day, a week or a month, in nano-dollars.

    A budget is *spent* once the settled amount reaches it; then only calls that are known to cost
    nothing (an amount of 0) are admitted. Before, a call is admitted if it fits beside the
    reservations of running calls, or if there are none: so an estimate above the rest does not lock
    that up. The overshoot is at most the cost of the calls that ran when the budget was reached.
    """

    __slots__ = ("_name",)

    @property
    def name(self) -> str:
        """The reason to wait, for people: the budget is spent, or running calls may spend it."""
        if self.spent:
            return self.spent_name
        return self._name.replace(" is at its ", " has running calls that may use up its ", 1)

    @name.setter
    def name(self, name: str) -> None:
        self._name = name

    @property
    def spent_name(self) -> str:
        """The reason once it is spent."""
        return self._name

    @property
    def spent(self) -> bool:  # type: ignore[override]
        """Return whether the settled amount has reached the budget."""
        return self.settled >= self.limit

    def allows(self, amount: int, urgency: int, now: float) -> bool:
        """Return whether the budget is not spent and the amount fits beside the running calls."""
        if not amount:
            return True
        wall = self._wall()
        if not self.started_at <= wall < self._ends:
            self._turn(wall)
        ceiling = self.ceiling(urgency, now) if self.headroom else self.limit
        if self.used - self.reserved >= ceiling:
            return False
        return self.reserved <= 0 or self.used + amount <= ceiling

    def available_at(self, amount: int, urgency: int, now: float) -> float:
        """Return `now` while it is not spent: running calls return what they do not cost."""
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
    """Counts the calls that run at one time."""

    __slots__ = ()
    timed = False

    def acquire(self, amount: int, urgency: int, now: float) -> int:
        """Take a slot."""
        self.used += amount
        if self.headroom:
            self._last_admitted[urgency] = now
        return amount

    def settle(self, reservation: int, amount: int, now: float) -> None:
        """Return the slot, whatever the call took."""
        self.used -= reservation

    def next_check_at(self, amount: int, urgency: int, now: float) -> float:
        """Return when headroom lapses, if only that blocks a free slot."""
        if not self.headroom or self.used + amount > self.limit:
            return NEVER
        return self._headroom_until(urgency)

    def available_at(self, amount: int, urgency: int, now: float) -> float:
        """Return `now`: a running call may end at any moment."""
        return NEVER if self.limit <= 0 else now


class WindowReservation(Struct, eq=False, gc=False):
    """An amount in a sliding window; `reserved` is the part that its running call may return."""

    at: float
    amount: int
    reserved: int = 0
    counts: bool = True


class SlidingWindow(CountingLimiter):
    """Counts any sixty seconds, by an exact log.

    A call counts for a minute from its admission, by its estimate until its usage is known. What it
    does not use is returned at once; an excess counts for a minute from when it became known.
    """

    __slots__ = ("_log",)

    def __init__(self, scope: str, kind: str, unit: LimitUnit, name: str, limit: int) -> None:
        super().__init__(scope, kind, unit, name, limit)
        self._log: deque[WindowReservation] = deque()
        self._advances_at = -NEVER

    def advance(self, now: float) -> None:
        """Drop amounts that are a minute old."""
        log = self._log
        while log and log[0].at + MINUTE_SECONDS <= now:
            entry = log.popleft()
            entry.counts = False
            self.used -= entry.amount
            self.reserved -= entry.reserved
        self._advances_at = log[0].at + MINUTE_SECONDS if log else -NEVER

    def acquire(self, amount: int, urgency: int, now: float) -> WindowReservation:
        """Count a call for a minute from now on."""
        if self.headroom:
            self._last_admitted[urgency] = now
        reserved = 0 if self.unit is LimitUnit.CALLS else amount
        entry = WindowReservation(now, amount, reserved)
        self._log.append(entry)
        self.used += amount
        self.reserved += reserved
        self.running += 1
        return entry

    def settle(self, reservation: WindowReservation, amount: int, now: float) -> None:
        """Replace the estimate by the true amount."""
        self.running -= 1
        if reservation.counts:
            self.reserved -= reservation.reserved
        reservation.reserved = 0
        excess = amount - reservation.amount
        if excess > 0:
            self.advance(now)
            self._log.append(WindowReservation(now, excess))
            self.used += excess
        elif excess < 0 and reservation.counts:
            reservation.amount = amount
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
