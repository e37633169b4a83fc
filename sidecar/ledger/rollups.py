"""SQL for daily sums and for the counts of calendar limits."""

from __future__ import annotations

import msgspec

from sidecar.records import PeriodCount

DIMENSIONS = ("day", "key", "group_name", "provider", "model", "program", "repo", "branch")
COUNTS = (
    "calls",
    "unknown_calls",
    "partial_calls",
    "unpriced_calls",
    "uncosted_calls",
    "unused_calls",
)
FIGURES = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cost_listed",
    "cost_charged",
)
"""Sums that are NULL while the figure is unknown of every call."""

_KEYS = ", ".join(DIMENSIONS)
_COLUMNS = ", ".join(DIMENSIONS + COUNTS + FIGURES)
_SUMS = ", ".join(f"sum({name})" for name in COUNTS + FIGURES)
_ADD = ", ".join(
    [f"{name} = {name} + excluded.{name}" for name in COUNTS]
    + [f"{name} = coalesce({name} + excluded.{name}, {name}, excluded.{name})" for name in FIGURES]
)
_ON_CONFLICT = f"ON CONFLICT ({_KEYS}) DO UPDATE SET {_ADD}"
_MEET = """
    ON CONFLICT (key, program) DO UPDATE SET
        first_seen = min(first_seen, excluded.first_seen),
        last_seen = max(last_seen, excluded.last_seen)
"""

LAST_CALL = "SELECT coalesce(max(rowid), 0) FROM calls"
"""The row number before that of the next new row."""
_SUMS_OF_PARTS = ", ".join([*("0" for _ in COUNTS), *(f"sum({name})" for name in FIGURES)])
_OF_PARTS = ", ".join([*(f"0 AS {name}" for name in COUNTS), *FIGURES])
ALL_FIGURES = f"""
    (SELECT number, started, session, {_COLUMNS} FROM call_figures
    UNION ALL SELECT number, started, session, {_KEYS}, {_OF_PARTS} FROM part_figures)
"""  # noqa: S608 - constants
"""The figures of every call, with its parts under their own models."""
SELECT_SUMS = f"""
    SELECT {_KEYS}, {_SUMS}, min(started), max(started) FROM call_figures
    WHERE number > ? GROUP BY {_KEYS}
"""  # noqa: S608 - constants
"""The sums of the calls written since `LAST_CALL` was read, as `ADD_SUMS` takes them, and the first
and the last time of each."""
_MARKS = ", ".join("?" * len(DIMENSIONS + COUNTS + FIGURES))
ADD_SUMS = f"INSERT INTO days ({_COLUMNS}) VALUES ({_MARKS}) {_ON_CONFLICT}"  # noqa: S608 - constants
ADD_PARTS = f"""
    INSERT INTO days ({_COLUMNS}) SELECT {_KEYS}, {_SUMS_OF_PARTS} FROM part_figures
    WHERE number > ? GROUP BY {_KEYS} {_ON_CONFLICT}
"""  # noqa: S608 - constants
"""Add the parts of the calls written since `LAST_CALL` was read to the daily sums."""
SELECT_ANY_PARTS = """
    SELECT 1 FROM calls INDEXED BY calls_in_parts WHERE parts <> '[]' AND started >= ? LIMIT 1
"""
"""One row if a call that began at that time or later has parts, as few have."""
_TAKEN = ", ".join(f"-sum({name})" for name in COUNTS + FIGURES)
SUBTRACT_CALL, ADD_CALL = (
    f"""
    INSERT INTO days ({_COLUMNS}) SELECT {_KEYS}, {sums} FROM {ALL_FIGURES}
    WHERE number = ? GROUP BY {_KEYS} {_ON_CONFLICT}
    """  # noqa: S608 - constants
    for sums in (_TAKEN, _SUMS)
)
"""Subtract a call from the daily sums, and add it again, by the number of its row."""
SELECT_PROGRAMS = "SELECT program FROM programs WHERE key = ? ORDER BY last_seen DESC"
ADD_PROGRAM = f"INSERT INTO programs VALUES (?, ?, ?, ?) {_MEET}"  # noqa: S608 - constants
SET_TIMEZONE = "INSERT OR REPLACE INTO settings (name, value) VALUES ('timezone', ?)"
NAME_NODE = (
    "INSERT OR IGNORE INTO settings (name, value) VALUES ('node', lower(hex(randomblob(8))))"
)
"""Give the ledger its lasting name, by which others tell its sums from those of other ledgers."""

RENAME = (
    "UPDATE calls SET key = :new WHERE key = :old",
    "UPDATE under_way SET key = :new WHERE key = :old",
    f"""
    INSERT INTO days ({_COLUMNS}) SELECT day, :new, {", ".join((DIMENSIONS + COUNTS + FIGURES)[2:])}
    FROM days WHERE key = :old {_ON_CONFLICT}
    """,  # noqa: S608 - constants
    "DELETE FROM days WHERE key = :old",
    f"""
    INSERT INTO programs SELECT :new, program, first_seen, last_seen
    FROM programs WHERE key = :old {_MEET}
    """,  # noqa: S608 - constants
    "DELETE FROM programs WHERE key = :old",
    "DELETE FROM keys WHERE name = :old",
)
"""Move all rows of a key to its new name, and merge them with the rows there."""

DELETE_OLDEST_DAY = "DELETE FROM days WHERE day = (SELECT min(day) FROM days WHERE day < ?)"
DELETE_OLD_PROGRAMS = "DELETE FROM programs WHERE last_seen < ?"

COUNT_KEPT_DAYS = 62
"""Days for which a count is kept after its period began."""

UPSERT = "INSERT OR REPLACE INTO counts (name, begun, used) VALUES (?, ?, ?)"
SELECT = "SELECT name, begun, used FROM counts"
DELETE_OLD = "DELETE FROM counts WHERE begun < ?"


def to_row(count: PeriodCount) -> tuple[str, float, int]:
    """Return the parameters of `UPSERT`."""
    name = msgspec.json.encode([word.encode("utf-8", "replace").decode() for word in count.name])
    return name.decode(), count.begun, min(max(count.used, 0), (1 << 63) - 1)


def from_row(name: str, begun: float, used: int) -> PeriodCount:
    """Return the count in a row of `SELECT`."""
    return PeriodCount(tuple(map(str, msgspec.json.decode(name))), begun, used)
