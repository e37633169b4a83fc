"""Rows of a models list in Anthropic's shape, out of whatever shape they come in."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from sidecar import ModelEntry, as_object

_FIELDS = ("display_name", "created_at")
_UNKNOWN = "1970-01-01T00:00:00Z"
"""When a model was made of which nobody says so: what the vendor itself gives then."""
_LATEST = 253_402_300_799


def as_row(entry: ModelEntry) -> bytes:
    """The row of a model: its own bytes, or what its name alone says."""
    return entry.raw if entry.raw is not None else _row(entry.id, entry.id, _UNKNOWN)


def in_shape(entry: ModelEntry) -> ModelEntry:
    """An entry whose row is in Anthropic's shape: as it came, or made of what it says."""
    row = as_object(entry.raw or b"")
    if row.get("type") == "model" and all(isinstance(row.get(name), str) for name in _FIELDS):
        return entry
    names = (row.get("display_name"), row.get("name"), entry.id)
    title = next(name for name in names if isinstance(name, str) and name)
    return ModelEntry(entry.id, _row(entry.id, title, _moment(row.get("created"))))


def _row(model: str, title: str, created_at: str) -> bytes:
    row = {"type": "model", "id": model, "display_name": title, "created_at": created_at}
    return json.dumps(row).encode()


def _moment(created: object) -> str:
    """Epoch seconds in RFC 3339."""
    if type(created) is not int or not 0 < created <= _LATEST:
        return _UNKNOWN
    return datetime.fromtimestamp(created, UTC).isoformat().replace("+00:00", "Z")
