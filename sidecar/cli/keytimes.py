"""When keys were last seen, used and refused, and how that reads."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sidecar.changes import utc
from sidecar.cli.live import LiveError, find_live
from sidecar.config import Key
from sidecar.reading import read_times
from sidecar.tables import KeyTimes

NEVER = KeyTimes()
_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"))


def times_of(state: Path) -> dict[str, KeyTimes]:
    """By key: from the process if one runs, else from its books."""
    try:
        live = find_live(state)
        rows = None if live is None else live.get("/api/keys")["keys"]
    except LiveError:
        rows = None
    if rows is None:
        return read_times(state)
    return {name: KeyTimes(**each) for name, each in rows.items()}


def row(key: Key, times: KeyTimes, text: str | None = None) -> dict[str, Any]:
    """A key as `--json` has it; `key` only when its text was just made."""
    fields: dict[str, Any] = {"name": key.name}
    if text is not None:
        fields["key"] = text
    return fields | {
        "group": key.group.name,
        "vendor": key.group.vendor.name,
        "enabled": key.enabled,
        "created": None if key.created is None else utc(key.created),
        "expires": None if key.expires is None else utc(key.expires),
        "last_seen": iso(times.last_seen),
        "last_used": iso(times.last_used),
        "last_refused": iso(times.last_refused),
    }


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
