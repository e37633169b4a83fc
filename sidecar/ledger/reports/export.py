"""The lines of a usage report as data: the same columns and figures in JSON and in CSV.

A money column is US dollars, exact to the nano-dollar. What is unknown is null, and an empty field
in CSV.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from decimal import Decimal

import msgspec

from sidecar.ledger.reports.sums import Sums
from sidecar.ledger.reports.usage import Dimension, UsageRow
from sidecar.records import as_dollars

COUNTED = (
    "calls",
    "unknown_calls",
    "partial_calls",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)
CsvRow = dict[str, str | int | Decimal | None]

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of cells that spreadsheets evaluate (OWASP: CSV injection)."""


def plain(amount: Decimal) -> str:
    """A number without an exponent and without idle zeros."""
    text = f"{amount:f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"


def row(by: Sequence[Dimension], line: UsageRow, as_if: Decimal | None = None) -> CsvRow:
    """The columns of a line: its dimensions by name, then its figures, then `cost_as_if_usd`, the
    cost with the multiplier `as_if`, when there is one."""
    found: CsvRow = dict(zip(by, line.names, strict=True))
    found |= figures(line.sums)
    if as_if is not None:
        found["cost_as_if_usd"] = as_dollars(line.sums.at(as_if))
    return found


def figures(sums: Sums) -> CsvRow:
    """The columns that every report has."""
    found: CsvRow = {name: getattr(sums, name) for name in COUNTED}
    return found | {"cost_usd": as_dollars(sums.charged), "unpriced_calls": sums.unpriced_calls}


def as_json(value: object) -> str:
    """JSON for people and programs alike: indented, money as numbers with all of their digits."""
    return msgspec.json.format(msgspec.json.encode(_exact(value)), indent=2).decode()


def as_csv(rows: Sequence[CsvRow], columns: Sequence[str]) -> str:
    """CSV with a header, as RFC 4180 has it, but for lines that end as this system's do.

    A text that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for each in rows:
        writer.writerow([_field(each[name]) for name in columns])
    return text.getvalue()


def columns(by: Sequence[Dimension], *, as_if: bool = False) -> list[str]:
    """The names of the columns."""
    return list(row(by, UsageRow(("",) * len(by), Sums()), Decimal(1) if as_if else None))


def _field(value: str | int | Decimal | None) -> str | int | None:
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return value


def _exact(value: object) -> object:
    """Decimals as JSON numbers; the encoder's own way is a text."""
    match value:
        case Decimal():
            return msgspec.Raw(plain(value).encode())
        case dict():
            return {name: _exact(each) for name, each in value.items()}
        case list() | tuple():
            return [_exact(each) for each in value]
    return value
