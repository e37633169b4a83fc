"""Counters by the calendar: days, weeks and months of a time zone, by the time of day.

They outlive the process: `restore` takes back what was counted before. A clock that is set back
finds what it had counted then; one that is set forward and back again loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo

from sidecar.config import Period
from sidecar.gates import Unit, Window

REMEMBERED = 4
"""Periods whose counts are kept, for clocks that are set."""


def starts(period: Period, moment: float, zone: tzinfo | None) -> tuple[float, float]:
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


class Calendar(Window):
    """What passes within a day, a week or a month. `wall` gives seconds since the epoch, and
    `changed` hears of every change, so that it can be kept."""

    __slots__ = ("_amounts", "_begun", "_changed", "_ends", "_wall", "_zone", "period")

    def __init__(
        self, scope: str, kind: str, unit: Unit, name: str, limit: int, period: Period,
        wall: Callable[[], float], changed: Callable[[Calendar], None],
    ) -> None:  # fmt: skip
        super().__init__(scope, kind, unit, name, limit)
        self.period = period
        self._wall = wall
        self._changed = changed
        self._zone: tzinfo | None = None
        self._amounts: dict[float, int] = {}
        self._begun = self._ends = 0.0

    @property
    def begun(self) -> float:
        """When the period that `used` counts began, in seconds since the epoch."""
        return self._begun

    def live_in(self, zone: tzinfo | None) -> None:
        """Follow this time zone from now on; what was counted since its period began stays."""
        if zone != self._zone:
            used = self.used
            self._zone = zone
            self._turn(self._wall())
            if used > self.used:
                self._add(self._begun, used - self.used)

    def restore(self, begun: float, used: int) -> None:
        """Take back what was counted in a period before this process began."""
        self._amounts[begun] = max(self._amounts.get(begun, 0), used)
        self._turn(self._wall())

    def slide(self, now: float) -> None:
        """Follow the calendar."""
        wall = self._wall()
        if not self._begun <= wall < self._ends:
            self._turn(wall)

    def take(self, amount: int, urgency: int, now: float) -> tuple[float, int]:
        """Count it in the period of this moment."""
        self._note(urgency, now)
        self.slide(now)
        self._add(self._begun, amount)
        self.running += 1
        return self._begun, amount

    def settle(self, mark: tuple[float, int], amount: int, now: float) -> None:
        """Put the truth in place of the estimate, in the period that the call began in."""
        self.running -= 1
        begun, estimate = mark
        if amount != estimate and begun in self._amounts:
            self._add(begun, amount - estimate)

    def correct(self, amount: int, started: float) -> None:
        """Count so much more, or less, of a call that began at `started` (seconds since the
        epoch); nothing in a period that is remembered no longer."""
        self.slide(0.0)
        begun, _ = starts(self.period, started, self._zone)
        if begun in self._amounts:
            self._add(begun, amount)

    def _falls_to(self, most: int, now: float) -> float:
        return now if self.used <= max(most, 0) else now + max(0.0, self._ends - self._wall())

    def _turn(self, wall: float) -> None:
        self._begun, self._ends = starts(self.period, wall, self._zone)
        self.used = self._amounts.pop(self._begun, 0)
        self._amounts[self._begun] = self.used  # the newest one is forgotten last
        while len(self._amounts) > REMEMBERED:
            del self._amounts[next(iter(self._amounts))]

    def _add(self, begun: float, amount: int) -> None:
        self._amounts[begun] += amount
        if begun == self._begun:
            self.used += amount
            self._changed(self)
