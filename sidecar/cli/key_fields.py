"""The fields of a key as the commands print them, and when it was used."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from sidecar.cli.client import LiveError, find_live
from sidecar.config.model import Key
from sidecar.ledger.reader import read_times
from sidecar.records import KeyTimes, utc_text


def times_of(state: Path) -> dict[str, KeyTimes]:
    """By key: from the process if one runs, else from its books."""
    try:
        live = find_live(state)
        rows = None if live is None else live.get("/api/times")["keys"]
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
        "created": _utc(key.created),
        "expires": _utc(key.expires),
        "last_seen": _utc(times.last_seen),
        "last_used": _utc(times.last_used),
        "last_refused": _utc(times.last_refused),
    }


def _utc(time: datetime | float | None) -> str | None:
    return None if time is None else utc_text(time)
