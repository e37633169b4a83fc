"""Reads how long a vendor says to wait, in every way in which vendors write it.

All results are seconds from now, finite and never negative; what makes no sense is None. Nothing
here raises, whatever a server sends.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

MAX_RETRY_AFTER_SECONDS = 31 * 86400.0
"""Seconds beyond which a reset is not believed: no vendor's window is longer than a month."""

_LONGEST_TEXT = 64
_EPOCH_SECONDS = 1e9
_EPOCH_MILLISECONDS = 1e11
_HINTS = {"retry-after-ms": 0.001, "retry-after": 1.0}
"""Headers that say how long to wait, and their unit in seconds."""
_UNITS = {"milliseconds": 0.001, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = r"\d{1,15}(?:\.\d{1,15})?"
_PART = rf"({_NUMBER})\s*(milliseconds|ms|s|m|h|d)"
_LONG_UNIT = r"(?:ec(?:ond)?s?|in(?:ute)?s?|ours?|ays?)?(?![a-z])"
_PARTS = re.compile(_PART, re.IGNORECASE | re.ASCII)
_SECONDS = re.compile(_NUMBER, re.ASCII)
_DURATION = re.compile(rf"(?:{_PART})+", re.ASCII)
_SAID = re.compile(
    rf"\b(?:again|retry)\s+(?:in|after)\s+((?:{_PART}{_LONG_UNIT}[\s,]{{0,3}})+)",
    re.IGNORECASE | re.ASCII,
)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by `retry-after-ms` or `Retry-After` (RFC 9110 section 10.2.3: seconds or a
    date, which is taken relative to the answer's own `Date`). None when it says nothing usable."""
    for name, unit in _HINTS.items():
        seconds = _number(headers.get(name, ""), unit)
        if seconds is not None:
            return seconds
    until, since = _moment(headers.get("retry-after", "")), sent_at(headers)
    return None if until is None or since is None else max(0.0, until - since)


def is_nonsense(name: str, value: str) -> bool:
    """Return whether a header, its name in lower case, should tell how long to wait and does not:
    no number of seconds, negative, longer than any window, or no date."""
    unit = _HINTS.get(name)
    if unit is None or _number(value, unit) is not None:
        return False
    return name != "retry-after" or _moment(value.strip()) is None


def _number(text: str, unit: float) -> float | None:
    text = text.strip()
    if len(text) > _LONGEST_TEXT or not _SECONDS.fullmatch(text):
        return None
    seconds = float(text) * unit
    return seconds if seconds <= MAX_RETRY_AFTER_SECONDS else None


def wait_in_message(message: str) -> float | None:
    """The wait that an error's message speaks of: "try again in 1m30s", "retry after 20 seconds".

    Many vendors put it nowhere else.
    """
    said = _SAID.search(message)
    return None if said is None else _sum(said[1])


def duration(text: str) -> float | None:
    """Plain seconds, or a duration like `6m0s`, `12ms` (Go's) or `1.5s` (protobuf's)."""
    if len(text) > _LONGEST_TEXT:
        return None
    if _SECONDS.fullmatch(text):
        return float(text)
    return _sum(text) if _DURATION.fullmatch(text) else None


def seconds_until(text: str, since: float) -> float | None:
    """How long it is, from `since` (epoch seconds), until what a reset header says: a duration, a
    date (RFC 3339 or HTTP's), or seconds or milliseconds since the epoch."""
    seconds = duration(text)
    if seconds is None:
        until = _moment(text)
        seconds = None if until is None else until - since
    elif seconds >= _EPOCH_MILLISECONDS:
        seconds = seconds / 1000 - since
    elif seconds >= _EPOCH_SECONDS:
        seconds -= since
    return None if seconds is None or seconds > MAX_RETRY_AFTER_SECONDS else max(0.0, seconds)


def sent_at(headers: Mapping[str, str]) -> float | None:
    """When an answer was sent, in epoch seconds by the vendor's own clock: absolute resets are
    relative to that, however wrong the clock of this machine is."""
    return _moment(headers.get("date", ""))


def _sum(parts: str) -> float:
    return sum(float(number) * _UNITS[unit.lower()] for number, unit in _PARTS.findall(parts))


@lru_cache(maxsize=256)
def _moment(text: str) -> float | None:
    """Epoch seconds of a date; one without a zone is UTC. Answers of one second share theirs, and
    reading one costs more than all other figures of an answer."""
    if len(text) > _LONGEST_TEXT:
        return None
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        with suppress(ValueError, TypeError, OverflowError):
            moment = read(text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return None
