"""Numbers, durations, times and money as text for people."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

from sidecar.records import KeyTimes

_SIZES = ((10**9, "G"), (10**6, "M"), (10**3, "k"))


def amount(value: float | None, unit: str) -> str:
    """A figure as it is: `1,204`, `$2.50`; `?` when it is not known."""
    if value is None:
        return "?"
    return f"${value:,.2f}" if unit == "usd" else f"{value:,.0f}"


def short(value: float | None, unit: str = "") -> str:
    """A figure in five characters or so: `104k`, `1.2M`, `$2.50`."""
    if value is None:
        return "?"
    if unit == "usd":
        return f"${value:,.2f}"
    for size, letter in _SIZES:
        if abs(value) >= size:
            found = value / size
            return f"{found:.0f}{letter}" if abs(found) >= 99.95 else f"{found:.3g}{letter}"
    return f"{value:.0f}"


def span(seconds: float | None) -> str:
    """How long: `80 ms`, `2.4 s`, `31 s`, `4 min`, `3 h`, `2 d`; rounded up from ten seconds on."""
    if seconds is None:
        return "?"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{math.ceil(seconds)} s"
    for size, unit, most in ((60, "min", 120), (3600, "h", 48)):
        if seconds / size < most:
            return f"{math.ceil(seconds / size)} {unit}"
    return f"{math.ceil(seconds / 86400)} d"


def plural(count: int, noun: str) -> str:
    """`1 call`, `2 calls`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


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
    amount = as_dollars(nano) or Decimal(0)
    if 0 < amount < Decimal("0.0001"):
        text = "<$0.0001"
    else:
        text = f"${amount:,.2f}" if amount >= 1 or not amount else f"${amount:.4f}"
    return text if whole else text + AT_LEAST


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


NEVER_USED = KeyTimes()
_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"))


def iso(seconds: float | None) -> str | None:
    """Seconds since the epoch as ISO 8601 in UTC."""
    return None if seconds is None else utc(datetime.fromtimestamp(seconds, UTC))


def ago(seconds: float | None, now: float) -> str:
    """`3 minutes ago`, for people."""
    if seconds is None:
        return "never"
    passed = max(0.0, now - seconds)
    for size, unit in _UNITS:
        if passed >= size:
            count = int(passed // size)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def when(seconds: float, now: float) -> str:
    """The time of day here, as the log has it, and how long ago that was."""
    here = datetime.fromtimestamp(seconds).astimezone()
    return f"{here:%Y-%m-%d %H:%M:%S} ({ago(seconds, now)})"


def utc(moment: datetime) -> str:
    """A moment as the file has it: UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


NANO = 1_000_000_000
"""Nano-dollars in a dollar."""


def dollars(nano: int) -> str:
    """Nano-dollars for people: `$0.0123`, `$12.5`; millionths and less only of small amounts."""
    digits = 9 if abs(nano) < NANO // 1000 else 6
    return f"${nano / NANO:.{digits}f}".rstrip("0").rstrip(".")


def as_dollars(nano: int | None) -> Decimal | None:
    """Nano-dollars as dollars."""
    return None if nano is None else Decimal(nano).scaleb(-9)
