"""Reads the rate headers that most vendors copied from OpenAI, under whatever names.

Nothing here raises: a header that makes no sense says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from sidecar import Quota, QuotaKind

Window = tuple[QuotaKind, float | None]
"""What a vendor's window counts, and its length in seconds if the name implies one."""

OPENAI: Mapping[str, Window] = {
    "requests": (QuotaKind.REQUESTS, 60.0),
    "tokens": (QuotaKind.TOKENS, 60.0),
}
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_NUMBER = re.compile(r"\d{1,15}")
_SECONDS = re.compile(r"\d{1,9}(\.\d{1,9})?")
_DURATION = re.compile(r"(?:\d{1,9}(?:\.\d{1,9})?(?:ms|h|m|s))+")
_PART = re.compile(r"([\d.]+)(ms|h|m|s)")


def read_ratelimits(
    headers: Mapping[str, str],
    windows: Mapping[str, Window] = OPENAI,
    stem: str = "x-ratelimit-{}-",
) -> tuple[Quota, ...]:
    """`x-ratelimit-{limit,remaining,reset}-NAME` for the names of `windows`; resets are durations
    (`6m0s`, `12ms`) or plain seconds. `stem` is the header's name before NAME."""
    found = []
    for name, (kind, window) in windows.items():
        limit = whole(headers.get(stem.format("limit") + name))
        left = whole(headers.get(stem.format("remaining") + name))
        if limit is not None or left is not None:
            reset = _duration(headers.get(stem.format("reset") + name, ""))
            found.append(Quota(kind, limit, left, reset, window))
    return tuple(found)


def whole(text: str | None) -> int | None:
    """A header's whole number; None when it is none."""
    return int(text) if text is not None and _NUMBER.fullmatch(text) else None


def _duration(text: str) -> float | None:
    """A Go duration, or seconds, as seconds."""
    if _SECONDS.fullmatch(text):
        return float(text)
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
