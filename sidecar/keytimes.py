"""When keys were last seen, used and refused, and how that reads to a person."""

from __future__ import annotations

from datetime import UTC, datetime

from sidecar.changes import utc
from sidecar.config import Key
from sidecar.tables import KeyTimes

NEVER = KeyTimes()
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


def breaks(key: Key, times: KeyTimes, now: float) -> str:
    """What taking a key away would break."""
    who = f" by {times.program}" if times.program else ""
    if times.last_used is None:
        return f'key "{key.name}" was never used'
    return f'key "{key.name}" was used {ago(times.last_used, now)}{who}'


def status_of(key: Key, now: float) -> str:
    """Whether a key can be used: enabled, disabled, expired, or without a text so far."""
    if not key.enabled:
        return "disabled"
    if key.expires is not None and key.expires.timestamp() <= now:
        return "expired"
    return "enabled" if key.hashes else "no text yet"
