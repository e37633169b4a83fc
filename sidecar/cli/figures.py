"""How figures read: money, counts, shares and little curves. Unknown reads "unknown", never 0."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from decimal import Decimal

from sidecar.reports.columns import dollars
from sidecar.reports.sums import Sums

UNKNOWN = "unknown"
AT_LEAST = "+"
"""Behind a figure that leaves out what is unknown of some calls."""
WIDEST = 30
"""Columns of a curve; more days than that share them."""
_BLOCKS, _LETTERS = "▁▂▃▄▅▆▇█", "_.:-=+*#"


def printable(text: str) -> str:
    """A client's own words, which may hold anything, on a terminal."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def money(nano: int | None, *, whole: bool = True) -> str:
    """`$12.30`, `$0.0042`; with a `+` when it is not the whole of it."""
    if nano is None:
        return UNKNOWN
    amount = dollars(nano) or Decimal(0)
    if 0 < amount < Decimal("0.0001"):
        text = "<$0.0001"
    else:
        text = f"${amount:,.2f}" if amount >= 1 or not amount else f"${amount:.4f}"
    return text if whole else text + AT_LEAST


def cost(sums: Sums) -> str:
    """What calls cost, as far as it is known."""
    return money(sums.charged, whole=sums.costs_all)


def count(amount: int | None, *, whole: bool = True) -> str:
    """`1,234,567`."""
    if amount is None:
        return UNKNOWN
    return f"{amount:,}" + ("" if whole else AT_LEAST)


def share(part: float | None) -> str:
    """`12 %`; nothing where there is no whole to be part of."""
    if part is None:
        return ""
    return "<1 %" if 0 < part < 0.01 else f"{part:.0%}".replace("%", " %")


def curve(days: Sequence[int | None]) -> str:
    """A block a day, or a few days, as high as it is of the highest one; `?` where it is unknown.

    In letters where the terminal's encoding has no blocks.
    """
    size = -(-len(days) // WIDEST) or 1
    together = [_both(days[at : at + size]) for at in range(0, len(days), size)]
    most = max((amount for amount in together if amount is not None), default=0)
    levels = _BLOCKS if has_blocks() else _LETTERS
    return "".join("?" if each is None else _level(each, most, levels) for each in together)


def _both(days: Sequence[int | None]) -> int | None:
    known = [amount for amount in days if amount is not None]
    return sum(known) if known else None


def _level(amount: int, most: int, levels: str) -> str:
    if amount <= 0:
        return levels[0]
    return levels[max(1, amount * (len(levels) - 1) // most)]


def has_blocks() -> bool:
    """Whether the terminal can show blocks and marks, by its encoding."""
    try:
        _BLOCKS.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
