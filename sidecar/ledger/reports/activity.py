"""Recent activity of each key: its last days, and the programs that used it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import UTC, date, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct

from sidecar.ledger.model import day_of
from sidecar.ledger.reports.sums import Sums, total
from sidecar.ledger.reports.usage import Days, Dimension, UsageQuery, usage_by_day

RECENT_DAYS = 7
"""Days that are recent, today included."""


class Recent(Struct, frozen=True):
    """The last days of a key, oldest first and today last."""

    days: tuple[Sums, ...]

    @property
    def all_days(self) -> Sums:
        """Return the sum of all days."""
        return total(self.days)

    @property
    def today(self) -> Sums:
        """Return the sums of today."""
        return self.days[-1]


class Program(Struct, frozen=True):
    """A program that used a key, by its own name; times in seconds since the epoch.

    `new`: it appeared within the last week, after another program had used the key.
    """

    name: str
    first_seen: float
    last_seen: float
    new: bool


def today(connection: sqlite3.Connection, now: float) -> date:
    """Return the day of `now` (seconds since the epoch) in the ledger's time zone."""
    return day_of(now, zone(connection))


def zone(connection: sqlite3.Connection) -> tzinfo | None:
    """Return the time zone of the ledger's days; None is the machine's."""
    found = connection.execute("SELECT value FROM settings WHERE name = 'timezone'").fetchone()
    name = found[0] if found else ""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):  # the file came from another machine
        return None


def recent_days(today: date) -> list[date]:
    """Return the recent days, oldest first."""
    return [today - timedelta(days=back) for back in reversed(range(RECENT_DAYS))]


def recent(connection: sqlite3.Connection, today: date) -> dict[str, Recent]:
    """Return the recent days of each key; a key without calls is absent."""
    days = recent_days(today)
    question = UsageQuery((Dimension.KEY,), Days(days[0], days[-1]))
    return {
        key: Recent(tuple(by_day.get(day, Sums()) for day in days))
        for (key,), by_day in usage_by_day(connection, question).items()
    }


def programs(connection: sqlite3.Connection, now: float) -> Mapping[str, list[Program]]:
    """Return the programs that used each key, the latest first."""
    found: dict[str, list[Program]] = {}
    for key, name, first, last, earliest in connection.execute(
        "SELECT key, program, first_seen, last_seen, min(first_seen) OVER (PARTITION BY key)"
        " FROM programs ORDER BY key, last_seen DESC"
    ):
        new = first > earliest and first > now - RECENT_DAYS * 86_400
        found.setdefault(key, []).append(Program(name, first, last, new))
    return found
