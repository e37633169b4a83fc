"""The fields of a key as the commands print them, and its times."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from sidecar.admin.api_types.entities import KeyTimesList
from sidecar.cli.client import ProcessError, find_process
from sidecar.config.model import Key
from sidecar.humanize import ago
from sidecar.ledger.reader import read_times
from sidecar.records import KeyTimes, utc_text


def times_of(state: Path) -> dict[str, KeyTimes]:
    """Return the times of each key: from the process if one runs, else from the ledger."""
    try:
        live = find_process(state)
        rows = None if live is None else live.get("/api/times", KeyTimesList).keys
    except ProcessError:
        rows = None
    return read_times(state) if rows is None else rows


def row(key: Key, times: KeyTimes, text: str | None = None) -> dict[str, Any]:
    """Return a key as `--json` has it; `key` is there only when its secret was just made."""
    fields: dict[str, Any] = {"name": key.name}
    if text is not None:
        fields["key"] = text
    return fields | {
        "group": key.group.name,
        "vendor": key.group.vendor.name,
        "enabled": key.enabled,
        "created": _utc(key.created),
        "expires": _utc(key.expires),
        "last_seen": _utc(times.last_seen),
        "last_used": _utc(times.last_used),
        "last_used_on": times.host or None,
        "last_refused": _utc(times.last_refused),
    }


def last_use(times: KeyTimes, now: float) -> str:
    """Return when a key was last used, and on which machine if another process served it; of one
    that no provider has served yet, when it was tried."""
    if times.last_used is None and times.last_seen is not None:
        return f"never, tried {ago(times.last_seen, now)}"
    return f"{ago(times.last_used, now)}{f' on {times.host}' if times.host else ''}"


def _utc(time: datetime | float | None) -> str | None:
    return None if time is None else utc_text(time)
