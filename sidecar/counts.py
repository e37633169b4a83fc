"""How much of a limit by the calendar was used: the one count that must outlive the process.

Opens no file and runs no statement; `sidecar.tables` has the table itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

DAYS = 62
"""How long a count is kept after its period began: two months."""

UPSERT = "INSERT OR REPLACE INTO counts (name, begun, used) VALUES (?, ?, ?)"
SELECT = "SELECT name, begun, used FROM counts"
DELETE_OLD = "DELETE FROM counts WHERE begun < ?"


@dataclass(frozen=True, slots=True)
class Count:
    """How much of a limit was used since its period began, in seconds since the epoch. `name` is
    the limit's, in whatever words its owner knows it by."""

    name: tuple[str, ...]
    begun: float
    used: int


Counts = dict[tuple[str, ...], Count]


def to_row(count: Count) -> tuple[str, float, int]:
    """The parameters of `UPSERT`."""
    name = msgspec.json.encode([word.encode("utf-8", "replace").decode() for word in count.name])
    return name.decode(), count.begun, min(max(count.used, 0), (1 << 63) - 1)


def from_row(name: str, begun: float, used: int) -> Count:
    """A row of `SELECT`."""
    return Count(tuple(map(str, msgspec.json.decode(name))), begun, used)
