"""Parse durations, dates and waits in every format that vendors use.

Waits are seconds from now, finite and not negative; None for an invalid text. Nothing here raises,
whatever a server sends.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

MAX_RETRY_AFTER_SECONDS = 31 * 86400.0
"""Longer waits are ignored: no vendor's window is longer than a month."""

_MAX_TEXT_CHARS = 64
_EPOCH_SECONDS = 1e9
_EPOCH_MILLISECONDS = 1e11
_HINTS = {"retry-after-ms": 0.001, "retry-after": 1.0}
"""Headers with a wait, and their unit in seconds."""
WAIT_HEADERS = frozenset(_HINTS)
_UNITS = {"milliseconds": 0.001, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = r"\d{1,15}(?:\.\d{1,15})?"
_PART = rf"({_NUMBER})\s*(milliseconds|ms|s|m|h|d)"
_LONG_UNIT = r"(?:ec(?:ond)?s?|in(?:ute)?s?|ours?|ays?)?(?![a-z])"
_PARTS = re.compile(_PART, re.IGNORECASE | re.ASCII)
_SECONDS = re.compile(_NUMBER, re.ASCII)
_DURATION = re.compile(rf"(?:{_PART})+", re.ASCII)
_IN_MESSAGE = re.compile(
    rf"\b(?:again|retry)\s+(?:in|after)\s+((?:{_PART}{_LONG_UNIT}[\s,]{{0,3}})+)",
    re.IGNORECASE | re.ASCII,
)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait by `retry-after-ms` or `Retry-After`; None if neither is valid.

    A date in `Retry-After` is taken relative to the response's own `Date`.
    Source: RFC 9110 section 10.2.3.
    """
    for name, unit in _HINTS.items():
        seconds = _number(headers.get(name, ""), unit)
        if seconds is not None:
            return seconds
    until, since = _epoch_seconds(headers.get("retry-after", "")), sent_at(headers)
    return None if until is None or since is None else max(0.0, until - since)


def is_nonsense(name: str, value: str) -> bool:
    """Return whether a header, its name in lower case, should tell how long to wait and does not:
    no number of seconds, negative, longer than any window, or no date."""
    unit = _HINTS.get(name)
    if unit is None or _number(value, unit) is not None:
        return False
    return name != "retry-after" or _epoch_seconds(value.strip()) is None


def _number(text: str, unit: float) -> float | None:
    text = text.strip()
    if len(text) > _MAX_TEXT_CHARS or not _SECONDS.fullmatch(text):
        return None
    seconds = float(text) * unit
    return seconds if seconds <= MAX_RETRY_AFTER_SECONDS else None


def wait_in_message(message: str) -> float | None:
    """Return the wait in an error message, in seconds; None if it has none.

    Example: 90.0 for "Please try again in 1m30s", 20.0 for "retry after 20 seconds". Many vendors
    give the wait nowhere else.
    """
    found = _IN_MESSAGE.search(message)
    return None if found is None else _sum(found[1])


def duration(text: str) -> float | None:
    """Return the seconds of a duration; None if the text is none.

    Example: 30.0 for "30", 360.0 for "6m0s", 0.012 for "12ms" (Go), 1.5 for "1.5s" (protobuf).
    """
    if len(text) > _MAX_TEXT_CHARS:
        return None
    if _SECONDS.fullmatch(text):
        return float(text)
    return _sum(text) if _DURATION.fullmatch(text) else None


def seconds_until(text: str, since: float) -> float | None:
    """Return the seconds from `since` until the time in a reset header; None if it is invalid.

    Args:
        text: A duration, a date (RFC 3339 or RFC 9110), or seconds or milliseconds since the epoch.
        since: Epoch seconds: `sent_at` of the response, else the current time.
    """
    seconds = duration(text)
    if seconds is None:
        until = _epoch_seconds(text)
        seconds = None if until is None else until - since
    elif seconds >= _EPOCH_MILLISECONDS:
        seconds = seconds / 1000 - since
    elif seconds >= _EPOCH_SECONDS:
        seconds -= since
    return None if seconds is None or seconds > MAX_RETRY_AFTER_SECONDS else max(0.0, seconds)


def sent_at(headers: Mapping[str, str]) -> float | None:
    """Return the `Date` of a response in epoch seconds; None if it is missing or invalid.

    Take absolute resets relative to it: the clock of this machine may be wrong.
    """
    return _epoch_seconds(headers.get("date", ""))


def _sum(parts: str) -> float:
    return sum(float(number) * _UNITS[unit.lower()] for number, unit in _PARTS.findall(parts))


@lru_cache(maxsize=256)
def _epoch_seconds(text: str) -> float | None:
    """Return the epoch seconds of a date; one without a zone is UTC.

    Cached: the responses of one second have the same date, and parsing it costs more than all
    other headers.
    """
    if len(text) > _MAX_TEXT_CHARS:
        return None
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        with suppress(ValueError, TypeError, OverflowError):
            date = read(text)
            return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    return None
