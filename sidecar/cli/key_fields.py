"""The fields of a key as the commands print them, and when it was used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sidecar.admin.api_types.entities import KeyTimesList
from sidecar.cli.client import LiveError, find_live
from sidecar.config.model import Key
from sidecar.humanize import iso, utc
from sidecar.ledger.reader import read_times
from sidecar.records import KeyTimes


def times_of(state: Path) -> dict[str, KeyTimes]:
    """By key: from the process if one runs, else from its books."""
    try:
        live = find_live(state)
        rows = None if live is None else live.get("/api/times", KeyTimesList).keys
    except LiveError:
        rows = None
    return read_times(state) if rows is None else rows


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
