"""Rows of a models list in Anthropic's shape, whatever their own shape is."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from sidecar import ModelEntry, as_object

_FIELDS = ("display_name", "created_at")
_UNKNOWN = "1970-01-01T00:00:00Z"
"""The date that Anthropic gives for a model without a known one."""
_MAX_EPOCH_SECONDS = 253_402_300_799


def as_row(entry: ModelEntry) -> bytes:
    """Return the JSON of a row: its own bytes, or one made from its name."""
    return entry.raw if entry.raw is not None else _row(entry.id, entry.id, _UNKNOWN)


def in_shape(entry: ModelEntry) -> ModelEntry:
    """Return the entry with a row in Anthropic's shape."""
    row = as_object(entry.raw or b"")
    if row.get("type") == "model" and all(isinstance(row.get(name), str) for name in _FIELDS):
        return entry
    names = (row.get("display_name"), row.get("name"), entry.id)
    title = next(name for name in names if isinstance(name, str) and name)
    return ModelEntry(entry.id, _row(entry.id, title, _rfc3339(row.get("created"))))


def _row(model: str, title: str, created_at: str) -> bytes:
    row = {"type": "model", "id": model, "display_name": title, "created_at": created_at}
    return json.dumps(row).encode()


def _rfc3339(created: object) -> str:
    """Return epoch seconds in RFC 3339; `_UNKNOWN` if they are invalid."""
    if type(created) is not int or not 0 < created <= _MAX_EPOCH_SECONDS:
        return _UNKNOWN
    return datetime.fromtimestamp(created, UTC).isoformat().replace("+00:00", "Z")
