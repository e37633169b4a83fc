"""Numbers, durations, times, money and near names as text for people."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal

from sidecar.records import NANODOLLARS, as_dollars

MAX_LISTED_NAMES = 20
_SIZES = ((10**9, "G"), (10**6, "M"), (10**3, "k"))


def amount(value: float | None, unit: str) -> str:
    """Return a number in full: `1,204`, `$2.50`; `?` for None."""
    if value is None:
        return "?"
    return f"${value:,.2f}" if unit == "usd" else f"{value:,.0f}"


def short(value: float | None, unit: str = "") -> str:
    """Return a number in about five characters: `104k`, `1.2M`, `$2.50`; `?` for None."""
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
    """Return a duration: `80 ms`, `2.4 s`, `31 s`, `4 min`, `3 h`, `2 d`; `?` for None.

    Rounded up from ten seconds on.
    """
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


def error_class(code: str) -> str:
    """Return the class of an attempt for people: `rate limited`, `authentication failed`."""
    return code.replace("auth_", "authentication_").replace("_", " ")


def plural(count: int, noun: str) -> str:
    """Return `1 call`, `2 calls`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


UNKNOWN = "unknown"
AT_LEAST = "+"
"""The mark of a sum that lacks calls with unknown amounts."""
MAX_CURVE_COLUMNS = 30
"""The widest curve; more days share columns."""
_BLOCKS, _LETTERS = "▁▂▃▄▅▆▇█", "_.:-=+*#"


def printable(text: str) -> str:
    """Return a client's text with its unprintable characters escaped."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def money(nano: int | None, *, whole: bool = True) -> str:
    """Return `$12.30`, `$0.0042`; with a `+` unless it is complete."""
    if nano is None:
        return UNKNOWN
    amount = as_dollars(nano) or Decimal(0)
    if 0 < amount < Decimal("0.0001"):
        text = "<$0.0001"
    else:
        text = f"${amount:,.2f}" if amount >= 1 or not amount else f"${amount:.4f}"
    return text if whole else text + AT_LEAST


def count(amount: int | None, *, whole: bool = True) -> str:
    """Return `1,234,567`; with a `+` unless it is complete."""
    if amount is None:
        return UNKNOWN
    return f"{amount:,}" + ("" if whole else AT_LEAST)


def share(part: float | None) -> str:
    """Return a part of 1 as `12%`; "" for None."""
    if part is None:
        return ""
    return "<1%" if 0 < part < 0.01 else f"{part:.0%}"


def curve(days: Sequence[int | None]) -> str:
    """Return a bar for each day, or each few days, scaled to the highest; `?` for unknown.

    Uses letters where the terminal's encoding has no blocks.
    """
    size = -(-len(days) // MAX_CURVE_COLUMNS) or 1
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
    """Return whether the terminal's encoding has blocks and marks."""
    try:
        _BLOCKS.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"))


def ago(seconds: float | None, now: float) -> str:
    """Return `3 minutes ago`; `never` for None."""
    if seconds is None:
        return "never"
    passed = max(0.0, now - seconds)
    for size, unit in _UNITS:
        if passed >= size:
            count = int(passed // size)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def when(seconds: float, now: float) -> str:
    """Return the local time, as in the log, and how long ago it was."""
    here = datetime.fromtimestamp(seconds).astimezone()
    return f"{here:%Y-%m-%d %H:%M:%S} ({ago(seconds, now)})"


def dollars(nano: int) -> str:
    """Return nano-dollars as `$0.0123`, `$12.5`; nine digits for amounts below $0.001, else six."""
    digits = 9 if abs(nano) < NANODOLLARS // 1000 else 6
    return f"${nano / NANODOLLARS:.{digits}f}".rstrip("0").rstrip(".")


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known name closest to a mistyped `word`; None when none is close."""
    from difflib import get_close_matches  # slow to import, and needed for mistakes only

    names = list(known)
    close = get_close_matches(word, names, n=1)
    return next(iter(close or [name for name in names if name.lower() == word.lower()]), None)


def suggestion(word: str, known: Iterable[str], *, otherwise: str) -> str:
    """Return `did you mean "x"?`, or `there is: x, y` where no name is close to `word`.

    Lists at most `MAX_LISTED_NAMES`; returns `otherwise` where there is no known name.
    """
    names = list(dict.fromkeys(known))
    if near := nearest(word, names):
        return f'did you mean "{near}"?'
    more = ", …" if len(names) > MAX_LISTED_NAMES else ""
    return f"there is: {', '.join(names[:MAX_LISTED_NAMES])}{more}" if names else otherwise
