"""`2h` or a date, as typed behind an option: a moment that lies ahead.

Ends the command with status 2 when it is none; guesses nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

from sidecar.cli.common import fail
from sidecar.loading.words import Misread, duration, moment

LONGEST = timedelta(days=100 * 365)


def after(option: str, text: str) -> datetime:
    """So long from now: `90s`, `2h`, `30d`. A bare number says nothing: of what?"""
    try:
        length = timedelta(seconds=duration("" if text.isdecimal() else text))
    except (Misread, OverflowError):
        fail(f"{option} is a time such as 90s, 2h or 30d")
    if not timedelta() < length <= LONGEST:
        fail(f"{option} is a time between 1s and 100 years")
    return datetime.now(UTC) + length


def until(option: str, text: str, zone: tzinfo | None) -> datetime:
    """A date or time, or so long from now."""
    try:
        dated = "-" in text or text.isdecimal()
        found = moment(text, zone) if dated else after(option, text)
    except Misread:
        fail(f"{option} is a time such as 2h or 30d, or a date such as 2026-12-31T18:00")
    if found <= datetime.now(UTC):
        fail(f"{option}: {text} has passed")
    return found
