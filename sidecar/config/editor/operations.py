"""Edits of keys, groups and providers, as changes of the file's text: bytes in, bytes out.

Bytes outside the edit stay as they are. Nothing is written here; the loader validates the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from sidecar.api_keys import digest
from sidecar.config.editor import Draft, FieldPath
from sidecar.config.model import Snapshot
from sidecar.config.yaml.writer import Value
from sidecar.errors import EditRefused
from sidecar.records import utc_text


def hash_of(text: str) -> str:
    """Return the hash of a key's secret as the file holds it: `sha256:` and 64 digits."""
    return f"sha256:{digest(text).hex()}"


def create_key(
    text: bytes, name: str, key: str, now: datetime, fields: Mapping[str, Value]
) -> bytes:
    """Add a key `name` with the secret `key` and these fields; return the new text."""
    entry: dict[str, Value] = {**fields, "hash": hash_of(key), "created": utc_text(now)}
    draft = Draft(text)
    draft.set_value(("keys", name), entry)
    return draft.text


def edit_fields(draft: Draft, path: FieldPath, fields: Mapping[str, Value | None]) -> bytes:
    """Set fields of the entry at `path`, which is created if missing; None removes one."""
    for field, value in fields.items():
        place = (*path, field)
        if value is None:
            draft.remove(place)
        else:
            draft.set_value(place, value)
    return draft.text


def add(text: bytes, path: FieldPath, fields: Mapping[str, Value]) -> bytes:
    """Add a group or provider at `path`. Raises `EditRefused` when there is one."""
    draft = Draft(text)
    if draft.written(path) is not None:
        raise EditRefused(f'there is already a "{path[-1]}" under {path[0]}')
    draft.set_value(path, fields)
    return draft.text


def set_routes(text: bytes, path: FieldPath, routes: Sequence[Value] | None) -> bytes:
    """Set the routes of the key or group at `path`.

    None removes a key's own list, so that it uses its group's again.
    """
    draft, place = Draft(text), (*path, "routes")
    if routes is not None:
        draft.set_value(place, routes)
    elif draft.written(place) is not None:
        draft.remove(place)
    return draft.text


def delete(text: bytes, path: FieldPath) -> bytes:
    """Remove the entry at `path`; return the new text."""
    draft = Draft(text)
    draft.remove(path)
    return draft.text


def rename_key(text: bytes, name: str, new_name: str) -> bytes:
    """Rename a key. Its counts and times follow it by its hash."""
    draft = Draft(text)
    draft.rename(("keys", name), new_name)
    return draft.text


def switch_key(text: bytes, snapshot: Snapshot, name: str, *, enabled: bool) -> bytes:
    """Enable or disable a key.

    Enabling removes `enabled:`, or writes `true` where the key inherits `false` (`<<:
    *shared`).
    """
    if snapshot.keys[name].enabled is enabled:
        return text
    draft, path = Draft(text), ("keys", name, "enabled")
    if enabled:
        with suppress(EditRefused):
            draft.remove(path)
            return draft.text
    draft.set_value(path, enabled)
    return draft.text


def rotate_key(
    text: bytes, snapshot: Snapshot, name: str, key: str, until: datetime | None
) -> bytes:
    """Set a new secret for a key; the current one is accepted until `until`, or ends now."""
    current = snapshot.keys[name].hashes
    if until is not None and not current:
        raise EditRefused(f'key "{name}" has no secret yet, so there is nothing to overlap with')
    draft, previous = Draft(text), ("keys", name, "previous")
    draft.set_value(("keys", name, "hash"), hash_of(key))
    if until is not None:
        before: dict[str, Value] = {
            "hash": f"sha256:{current[0].digest.hex()}",
            "until": utc_text(until),
        }
        draft.set_value(previous, before)
    elif len(current) > 1:
        draft.remove(previous)
    return draft.text


def delete_key(text: bytes, name: str) -> bytes:
    """Remove a key; return the new text."""
    return delete(text, ("keys", name))
