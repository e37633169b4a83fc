"""What an edit starts from and comes to, and the fields it sets, as the file writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from sidecar.config.editor import Draft, FieldPath, operations
from sidecar.config.history import Versions
from sidecar.config.model import Snapshot
from sidecar.config.schema import fields as declared
from sidecar.config.schema import parsers
from sidecar.config.yaml.writer import Value
from sidecar.errors import EditRefused
from sidecar.records import utc_text

Fields: TypeAlias = dict[str, Any]
_OTHERS = frozenset({"hash", "previous", "created", "enabled", "routes"})
"""Fields that have edits of their own."""
KEY = frozenset(option.name for option in declared.KEY.options) - _OTHERS
GROUP = frozenset(option.name for option in declared.GROUP.options) - _OTHERS


@dataclass(frozen=True, slots=True)
class Base:
    """What an edit is made on: the text, what is in force, the time, and the older texts."""

    text: bytes
    snapshot: Snapshot
    now: datetime
    versions: Versions


@dataclass(frozen=True, slots=True)
class Made:
    """The new text; `secret` is the text of a key that was made, to be shown once."""

    text: bytes
    secret: str | None = None


def edited(base: Base, path: FieldPath, fields: Fields, known: frozenset[str] | None) -> bytes:
    """The text with these fields of what stands at `path` set or, where null, taken away; `known`
    are the ones there may be. Only what differs from what is written is touched."""
    draft = Draft(base.text)
    before = draft.written(path)
    before = before if isinstance(before, Mapping) else {}
    wanted = _fields(fields, known, base, before)
    touched = {
        name: value
        for name, value in wanted.items()
        if (name in before if value is None else before.get(name) != value)
    }
    return operations.edit_fields(draft, path, touched)


def whole(base: Base, fields: Fields, known: frozenset[str] | None) -> dict[str, Value]:
    """The fields of something new."""
    wanted = _fields(fields, known, base, {})
    return {name: value for name, value in wanted.items() if value is not None}


def _fields(
    fields: Fields, known: frozenset[str] | None, base: Base, before: Mapping[str, Value]
) -> dict[str, Value | None]:
    """The fields as the file writes them; "" and empty collections take a field away."""
    found: dict[str, Value | None] = {}
    for name, value in fields.items():
        if name in _OTHERS or (known is not None and name not in known):
            raise EditRefused(f'"{name[:40]}" is not changed in this way')
        text = None if value in ("", [], {}) else _value(value)
        if name == "expires" and isinstance(text, str) and text != before.get(name):
            text = _until(text, base)
        found[name] = text
    return found


def _until(text: str, base: Base) -> str:
    try:
        return utc_text(parsers.until(text, base.snapshot.timezone, base.now))
    except EditRefused as error:
        raise EditRefused(f"the end {error}") from None


def after(text: str, now: datetime) -> datetime:
    """So long from now. Raises `EditRefused`."""
    try:
        return parsers.after(text, now)
    except EditRefused as error:
        raise EditRefused(f"the overlap {error}") from None


def _value(value: Any) -> Value | None:
    """What JSON holds, as far as the file can say it."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, list):
        return [_whole(each) for each in value]
    if isinstance(value, dict):
        return {name: _whole(each) for name, each in value.items()}
    raise EditRefused("a number with a fraction is written as text")


def _whole(value: Any) -> Value:
    found = _value(value)
    if found is None:
        raise EditRefused("null can only take away a whole field")
    return found
