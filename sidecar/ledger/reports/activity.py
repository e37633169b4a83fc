"""What each key did of late: its last days, the programs that used it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sidecar.ledger.model import day_of
from sidecar.ledger.reports.sums import Sums, total
from sidecar.ledger.reports.usage import Days, Dimension, UsageQuery, usage_by_day

RECENT_DAYS = 7
"""How many days are recent, today included."""


@dataclass(frozen=True, slots=True)
class Recent:
    """The last days of a key, oldest first and today last."""

    days: tuple[Sums, ...]

    @property
    def whole(self) -> Sums:
        """All of them together."""
        return total(self.days)

    @property
    def today(self) -> Sums:
        """The last of them."""
        return self.days[-1]


@dataclass(frozen=True, slots=True)
class Program:
    """A program that used a key, by the name it gave itself; seconds since the epoch. `new` is one
    that came within the last week to a key that others had used before."""

    name: str
    first_seen: float
    last_seen: float
    new: bool


def today(connection: sqlite3.Connection, now: float) -> date:
    """The day that the books have at `now` (seconds since the epoch)."""
    return day_of(now, zone(connection))


def zone(connection: sqlite3.Connection) -> tzinfo | None:
    """The time zone whose days the books tell apart; None is the machine's."""
    found = connection.execute("SELECT value FROM settings WHERE name = 'timezone'").fetchone()
    name = found[0] if found else ""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):  # the books came from another machine
        return None


def recent_days(today: date) -> list[date]:
    """The days that are recent, oldest first."""
    return [today - timedelta(days=back) for back in reversed(range(RECENT_DAYS))]


def recent(connection: sqlite3.Connection, today: date) -> dict[str, Recent]:
    """What each key did of late; a key that did nothing is left out."""
    days = recent_days(today)
    question = UsageQuery((Dimension.KEY,), Days(days[0], days[-1]))
    return {
        key: Recent(tuple(by_day.get(day, Sums()) for day in days))
        for (key,), by_day in usage_by_day(connection, question).items()
    }


def programs(connection: sqlite3.Connection, now: float) -> Mapping[str, list[Program]]:
    """The programs that used each key, the latest first."""
    found: dict[str, list[Program]] = {}
    for key, name, first, last, earliest in connection.execute(
        "SELECT key, program, first_seen, last_seen, min(first_seen) OVER (PARTITION BY key)"
        " FROM programs ORDER BY key, last_seen DESC"
    ):
        new = first > earliest and first > now - RECENT_DAYS * 86_400
        found.setdefault(key, []).append(Program(name, first, last, new))
    return found
