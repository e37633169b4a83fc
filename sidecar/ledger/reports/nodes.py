"""Usage of several nodes: the daily sums of each as text, and one report over all of them.

The text of a day is a JSON list: the names of the columns, then a row for each key, group, provider
and model, in whole tokens and nano-dollars. A column that a reader lacks is left out; one that a
writer lacked is 0, or unknown.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import date
from functools import reduce
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec

from sidecar.ledger.reports.sums import add_known
from sidecar.ledger.reports.usage import Days, Dimension, UsageQuery
from sidecar.ledger.rollups import COUNTS, FIGURES

LOG = logging.getLogger("sidecar.ledger")
MAX_DAY_ROWS = 500
"""Rows of one day of one node; the rows of the fewest calls become one."""
FOLDED = "(other)"
"""Key, group, provider and model of the row that stands for many."""
NOT_COVERED = "that of others is known by day, key, group, provider and model only"
ALL_NODES = "all"
"""Stands for every node where one is named."""
NAMES = ("key", "group_name", "provider", "model")
COLUMNS = (*NAMES, *COUNTS, *FIGURES)
COVERED = frozenset(
    (Dimension.DAY, Dimension.KEY, Dimension.GROUP, Dimension.PROVIDER, Dimension.MODEL,
     Dimension.NODE)
)  # fmt: skip
"""The dimensions by which the usage of other nodes is known."""

Cell = str | int | None
NodeRow = tuple[Any, ...]
"""The cells of a row, in the order of `COLUMNS`."""
MAX_AMOUNT = 10**17
"""The largest amount of a cell, so that sums fit into a column."""


class NamedDays(NamedTuple):
    """The days of one node, by the name that it is shown by."""

    name: str
    days: Mapping[str, str]


def covers(question: UsageQuery) -> bool:
    """Return whether the usage of other nodes can answer a question."""
    return isinstance(question.window, Days) and COVERED.issuperset(
        chain(question.by, question.where)
    )


def node_of(ledger: sqlite3.Connection) -> str:
    """Return the lasting name of a ledger; "" for one that no process has opened since there are
    such names."""
    found = ledger.execute("SELECT value FROM settings WHERE name = 'node'").fetchone()
    return str(found[0]) if found else ""


def days_as_text(ledger: sqlite3.Connection, since: date) -> dict[str, str]:
    """Return the days since then, each with its sums as text."""
    return {
        day: msgspec.json.encode([COLUMNS, *_bounded(rows)]).decode()
        for day, rows in _by_day(ledger, Days(since)).items()
    }


@contextmanager
def merged(
    ledger: sqlite3.Connection, name: str, others: Iterable[NamedDays], window: Days
) -> Iterator[sqlite3.Connection]:
    """Open the daily sums of this node, called `name`, and of others, as one ledger in memory.

    It answers what `covers` allows.
    """
    with closing(sqlite3.connect(":memory:")) as together:
        columns = ", ".join(("node", "day", *COLUMNS))
        together.execute(f"CREATE TABLE days ({columns})")
        together.execute("CREATE TABLE settings (name, value)")
        together.executemany(
            "INSERT INTO settings VALUES (?, ?)", ledger.execute("SELECT name, value FROM settings")
        )
        places = ", ".join("?" * (2 + len(COLUMNS)))
        add = f"INSERT INTO days VALUES ({places})"  # noqa: S608 - "?" alone
        for day, rows in _by_day(ledger, window).items():
            together.executemany(add, ((name, day, *row) for row in rows))
        for other in others:
            for day, text in other.days.items():
                rows = _read(other.name, day, text)
                together.executemany(add, ((other.name, day, *row) for row in rows))
        yield together


def _by_day(ledger: sqlite3.Connection, window: Days) -> dict[str, list[NodeRow]]:
    sums = ", ".join(f"sum({name})" for name in COUNTS + FIGURES)
    names = ", ".join(("day", *NAMES))
    first = "" if window.first is None else window.first.isoformat()
    last = "9999" if window.last is None else window.last.isoformat()
    found = ledger.execute(
        f"SELECT {names}, {sums} FROM days WHERE day BETWEEN ? AND ?"  # noqa: S608 - names of ours
        f" GROUP BY {names} ORDER BY {names}",
        (first, last),
    )
    return {day: [row[1:] for row in rows] for day, rows in groupby(found, itemgetter(0))}


def _bounded(rows: Sequence[NodeRow]) -> Sequence[NodeRow]:
    """Return the rows, with those of the fewest calls as one where there are too many."""
    if len(rows) <= MAX_DAY_ROWS:
        return rows
    most = sorted(rows, key=lambda row: row[len(NAMES)], reverse=True)
    kept, folded = most[: MAX_DAY_ROWS - 1], most[MAX_DAY_ROWS - 1 :]
    amounts = zip(*(row[len(NAMES) :] for row in folded), strict=True)
    return [*kept, (*[FOLDED] * len(NAMES), *(reduce(add_known, each) for each in amounts))]


def _read(node: str, day: str, text: str) -> list[NodeRow]:
    """Return the rows of a text; none, with a warning, if it is not what a node writes."""
    try:
        columns, *rows = msgspec.json.decode(text, type=list[list[Cell]])
        return [_row(dict(zip(columns, row, strict=True))) for row in rows]
    except (msgspec.DecodeError, ValueError):
        LOG.warning("the usage of node %s on %s cannot be read and is left out", node, day)
        return []


def _row(cells: Mapping[Cell, Cell]) -> NodeRow:
    """Return the cells in the order of `COLUMNS`. Raises `ValueError` for one of another type."""
    found = (
        *(cells.get(name, "") for name in NAMES),
        *(cells.get(name, 0) for name in COUNTS),
        *(cells.get(name) for name in FIGURES),
    )
    for name, cell in zip(COLUMNS, found, strict=True):
        fits = isinstance(cell, str) if name in NAMES else isinstance(cell, int)
        if not fits and (cell is not None or name not in FIGURES):
            raise ValueError(f"{name} is no value of its column")
        if isinstance(cell, int) and abs(cell) > MAX_AMOUNT:
            raise ValueError(f"{name} is more than a day can have")
    return found
