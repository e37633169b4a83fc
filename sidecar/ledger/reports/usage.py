"""Usage by key, group, model, day and so on: the query, and the rows that answer it.

The daily sums answer in milliseconds over months. A query that they cannot answer (by session, or
for an exact time) adds up the calls, as far back as they are kept.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from enum import StrEnum
from itertools import chain

from msgspec import Struct, structs

from sidecar.ledger.reports.sums import Sums
from sidecar.ledger.rollups import ALL_FIGURES, COUNTS, DIMENSIONS, FIGURES


class Dimension(StrEnum):
    """A dimension by which usage is grouped and filtered."""

    KEY = "key"
    GROUP = "group"
    PROVIDER = "provider"
    MODEL = "model"
    """The model that was asked for; for parts that another model answered, that one."""
    DAY = "day"
    SESSION = "session"
    PROGRAM = "program"
    """The client's own name, without its version; else the system's name of the caller's
    program."""
    REPO = "repo"
    BRANCH = "branch"
    NODE = "node"
    """The process, where several share their usage: see `sidecar.ledger.reports.nodes`."""

    @property
    def column(self) -> str:
        """Return its name in the tables."""
        return "group_name" if self is Dimension.GROUP else self.value


class Days(Struct, frozen=True):
    """Whole days, both ends included; None is an open end."""

    first: date | None = None
    last: date | None = None


class TimeRange(Struct, frozen=True):
    """From one time to just before another, in seconds since the epoch, by when a call began."""

    start: float
    end: float = float("inf")


class UsageQuery(Struct, frozen=True):
    """A query: grouped `by` these dimensions, within `window`, of the calls that match `where`.

    `where` has names or patterns (`gpt-5*`) for a dimension, of which one must match; "" is none,
    or unknown.
    """

    by: tuple[Dimension, ...] = ()
    window: Days | TimeRange = Days()
    where: Mapping[Dimension, Sequence[str]] = {}

    @property
    def fits_daily_sums(self) -> bool:
        """Return whether the daily sums can answer it."""
        asked = {each.column for each in chain(self.by, self.where)}
        return isinstance(self.window, Days) and asked <= {*DIMENSIONS, "node"}


class UsageRow(Struct, frozen=True):
    """One row of the answer: its names, in the order of `by`, and the sums of its calls."""

    names: tuple[str, ...]
    sums: Sums


def usage(connection: sqlite3.Connection, question: UsageQuery) -> list[UsageRow]:
    """Return the rows: by day if that is a dimension, then the most expensive first; [] without
    calls."""
    columns = [each.column for each in question.by]
    conditions, parameters = _conditions(question)
    sums = ", ".join(f"sum({name})" for name in COUNTS + FIGURES)
    source = "days" if question.fits_daily_sums else ALL_FIGURES
    found = connection.execute(
        f"SELECT {', '.join([*columns, sums])} FROM {source} WHERE {conditions}"  # noqa: S608 - names of ours
        + (f" GROUP BY {', '.join(columns)}" if columns else ""),
        parameters,
    )
    counts = len(columns)
    figures = counts + len(COUNTS)
    lines = [
        UsageRow(row[:counts], Sums.of(row[counts:figures], row[figures:]))
        for row in found
        # Without GROUP BY SQLite returns a row even without calls. A row without calls may still
        # have tokens of this model that calls for other models used.
        if any(row[counts:])
    ]
    return sorted(lines, key=lambda line: _order(question.by, line))


def usage_by_day(
    connection: sqlite3.Connection, question: UsageQuery
) -> dict[tuple[str, ...], dict[date, Sums]]:
    """Return the same rows, each split by day; days without calls are absent."""
    apart: dict[tuple[str, ...], dict[date, Sums]] = {}
    for line in usage(connection, structs.replace(question, by=(*question.by, Dimension.DAY))):
        *names, day = line.names
        apart.setdefault(tuple(names), {})[date.fromisoformat(day)] = line.sums
    return apart


def kept_since(connection: sqlite3.Connection, question: UsageQuery) -> float | None:
    """Return when the oldest kept call began, if the answer leaves out older ones; else None.

    Daily sums leave out none, and neither do calls that are all still kept.
    """
    if question.fits_daily_sums:
        return None
    first_day = connection.execute("SELECT min(day) FROM days").fetchone()[0]
    oldest = connection.execute(
        "SELECT started, day FROM calls ORDER BY started LIMIT 1"
    ).fetchone()
    return oldest[0] if oldest and first_day < oldest[1] else None


def _order(by: Sequence[Dimension], line: UsageRow) -> tuple[object, ...]:
    day = line.names[by.index(Dimension.DAY)] if Dimension.DAY in by else ""
    return (day, -(line.sums.charged or 0), -(line.sums.tokens or 0), line.names)


def _conditions(question: UsageQuery) -> tuple[str, list[str | float]]:
    pieces = ["true"]
    parameters: list[str | float] = []
    for condition, value in _window(question):
        pieces.append(condition)
        parameters.append(value)
    for dimension, names in question.where.items():
        matches = [_match(dimension.column, name) for name in names]
        pieces.append(f"({' OR '.join(condition for condition, _ in matches) or 'false'})")
        parameters += [value for _, value in matches]
    return " AND ".join(pieces), parameters


def _window(question: UsageQuery) -> list[tuple[str, str | float]]:
    window = question.window
    if isinstance(window, TimeRange):
        return [("started >= ?", window.start), ("started < ?", window.end)]
    found: list[tuple[str, str | float]] = []
    if window.first is not None:
        found.append(("day >= ?", window.first.isoformat()))
        if not question.fits_daily_sums:  # the index by time skips older calls
            midnight = datetime.combine(window.first, time(), UTC).timestamp()
            found.append(("started >= ?", midnight - 2 * 86_400))
    if window.last is not None:
        found.append(("day <= ?", window.last.isoformat()))
    return found


def _match(column: str, name: str) -> tuple[str, str]:
    """Return the condition and parameter for a name or a pattern. `[` is a wildcard for SQLite, and
    a plain character here."""
    if "*" in name or "?" in name:
        return f"{column} GLOB ?", name.replace("[", "[[]")
    return f"{column} = ?", name
