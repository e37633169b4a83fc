"""What a person does to the file, as changes of its text: bytes in, bytes out.

Every byte that a change does not mean stays as it is. Nothing is written here, and whether the
result is a good configuration is for the loader to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from sidecar.config import Snapshot
from sidecar.editing import Path, Value, remove, rename, set_value, written
from sidecar.errors import EditRefused
from sidecar.keytext import digest


def hash_of(text: str) -> str:
    """A key's text as the file keeps it."""
    return f"sha256:{digest(text).hex()}"


def utc(moment: datetime) -> str:
    """A moment as the file has it: UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def create_key(
    text: bytes, name: str, key: str, now: datetime, fields: Mapping[str, Value]
) -> bytes:
    """A new key `name` whose text is `key`; `fields` are what the file says of it."""
    entry: dict[str, Value] = {**fields, "hash": hash_of(key), "created": utc(now)}
    return set_value(text, ("keys", name), entry)


def edit_key(text: bytes, name: str, fields: Mapping[str, Value | None]) -> bytes:
    """Set fields of a key; None takes one away."""
    return edit_fields(text, ("keys", name), fields)


def edit_fields(text: bytes, path: Path, fields: Mapping[str, Value | None]) -> bytes:
    """Set fields of what stands at `path`, or begin it; None takes one away."""
    for field, value in fields.items():
        place = (*path, field)
        text = remove(text, place) if value is None else set_value(text, place, value)
    return text


def add(text: bytes, path: Path, fields: Mapping[str, Value]) -> bytes:
    """A new group or provider at `path`. Refused when there is one."""
    if written(text, path) is not None:
        raise EditRefused(f'there is already a "{path[-1]}" under {path[0]}')
    return set_value(text, path, fields)


def set_routes(text: bytes, path: Path, routes: Sequence[Value] | None) -> bytes:
    """The list of routes of the key or group at `path`; None takes a key's own list away, so that
    it follows its group again."""
    place = (*path, "routes")
    if routes is not None:
        return set_value(text, place, routes)
    return text if written(text, place) is None else remove(text, place)


def delete(text: bytes, path: Path) -> bytes:
    """What stands at `path` is gone."""
    return remove(text, path)


def rename_key(text: bytes, name: str, new_name: str) -> bytes:
    """Another name; its counts and times follow by its hash."""
    return rename(text, ("keys", name), new_name)


def switch_key(text: bytes, snapshot: Snapshot, name: str, *, enabled: bool) -> bytes:
    """Enable or disable a key. Enabling takes the switch away again, or says `true` where a key
    inherits it (`<<: *shared`) and has none of its own."""
    if snapshot.keys[name].enabled is enabled:
        return text
    path = ("keys", name, "enabled")
    if enabled:
        with suppress(EditRefused):
            return remove(text, path)
    return set_value(text, path, enabled)


def rotate_key(
    text: bytes, snapshot: Snapshot, name: str, key: str, until: datetime | None
) -> bytes:
    """A new text for a key. The one before is accepted until `until`, or not at all."""
    current = snapshot.keys[name].hashes
    if until is not None and not current:
        raise EditRefused(f'key "{name}" has no text yet, so there is nothing to overlap with')
    text = set_value(text, ("keys", name, "hash"), hash_of(key))
    if until is not None:
        before: dict[str, Value] = {
            "hash": f"sha256:{current[0].digest.hex()}",
            "until": utc(until),
        }
        return set_value(text, ("keys", name, "previous"), before)
    return remove(text, ("keys", name, "previous")) if len(current) > 1 else text


def delete_key(text: bytes, name: str) -> bytes:
    """The key is gone."""
    return delete(text, ("keys", name))
