"""`2h`, `30d` or a date, as a person types it: a moment that lies ahead.

Raises `EditRefused`, whose text goes on behind the name of the field; guesses nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo

from sidecar.errors import EditRefused
from sidecar.loading.words import Misread, duration, moment

LONGEST = timedelta(days=100 * 365)


def after(text: str, now: datetime) -> datetime:
    """So long from `now`: `90s`, `2h`, `30d`. A bare number says nothing: of what?"""
    try:
        return now + _length(text)
    except Misread:
        raise EditRefused("is a time such as 90s, 2h or 30d") from None


def until(text: str, zone: tzinfo | None, now: datetime) -> datetime:
    """A date or time, read in `zone` (None: this machine's), or so long from `now`."""
    dated = "-" in text or text.isdecimal()
    try:
        found = moment(text, zone) if dated else now + _length(text)
    except Misread:
        raise EditRefused(
            "is a time such as 2h or 30d, or a date such as 2026-12-31T18:00"
        ) from None
    if found <= now:
        raise EditRefused(f"{text} has passed")
    return found


def _length(text: str) -> timedelta:
    try:
        length = timedelta(seconds=duration("" if text.isdecimal() else text))
    except OverflowError:
        length = timedelta.max
    if not timedelta() < length <= LONGEST:
        raise EditRefused("is a time between 1s and 100 years")
    return length
