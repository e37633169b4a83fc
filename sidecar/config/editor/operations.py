"""What a person does to the file, as changes of its text: bytes in, bytes out.

Every byte that a change does not mean stays as it is. Nothing is written here, and whether the
result is a good configuration is for the loader to say.
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
    """A key's text as the file keeps it."""
    return f"sha256:{digest(text).hex()}"


def create_key(
    text: bytes, name: str, key: str, now: datetime, fields: Mapping[str, Value]
) -> bytes:
    """A new key `name` whose text is `key`; `fields` are what the file says of it."""
    entry: dict[str, Value] = {**fields, "hash": hash_of(key), "created": utc_text(now)}
    draft = Draft(text)
    draft.set_value(("keys", name), entry)
    return draft.text


def edit_key(text: bytes, name: str, fields: Mapping[str, Value | None]) -> bytes:
    """Set fields of a key; None takes one away."""
    return edit_fields(Draft(text), ("keys", name), fields)


def edit_fields(draft: Draft, path: FieldPath, fields: Mapping[str, Value | None]) -> bytes:
    """Set fields of what stands at `path`, or begin it; None takes one away."""
    for field, value in fields.items():
        place = (*path, field)
        if value is None:
            draft.remove(place)
        else:
            draft.set_value(place, value)
    return draft.text


def add(text: bytes, path: FieldPath, fields: Mapping[str, Value]) -> bytes:
    """A new group or provider at `path`. Refused when there is one."""
    draft = Draft(text)
    if draft.written(path) is not None:
        raise EditRefused(f'there is already a "{path[-1]}" under {path[0]}')
    draft.set_value(path, fields)
    return draft.text


def set_routes(text: bytes, path: FieldPath, routes: Sequence[Value] | None) -> bytes:
    """The list of routes of the key or group at `path`; None takes a key's own list away, so that
    it follows its group again."""
    draft, place = Draft(text), (*path, "routes")
    if routes is not None:
        draft.set_value(place, routes)
    elif draft.written(place) is not None:
        draft.remove(place)
    return draft.text


def delete(text: bytes, path: FieldPath) -> bytes:
    """What stands at `path` is gone."""
    draft = Draft(text)
    draft.remove(path)
    return draft.text


def rename_key(text: bytes, name: str, new_name: str) -> bytes:
    """Another name; its counts and times follow by its hash."""
    draft = Draft(text)
    draft.rename(("keys", name), new_name)
    return draft.text


def switch_key(text: bytes, snapshot: Snapshot, name: str, *, enabled: bool) -> bytes:
    """Enable or disable a key. Enabling takes the switch away again, or says `true` where a key
    inherits it (`<<: *shared`) and has none of its own."""
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
    """A new text for a key. The one before is accepted until `until`, or not at all."""
    current = snapshot.keys[name].hashes
    if until is not None and not current:
        raise EditRefused(f'key "{name}" has no text yet, so there is nothing to overlap with')
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
    """The key is gone."""
    return delete(text, ("keys", name))
