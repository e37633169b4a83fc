"""What an edit starts from and results in, and the fields that it sets, as the file has them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import TypeAlias

from msgspec import Struct

from sidecar.config.editor import Draft, FieldPath, operations, written
from sidecar.config.history import Versions
from sidecar.config.model import Snapshot
from sidecar.config.schema import fields as declared
from sidecar.config.schema import parsers
from sidecar.config.yaml.writer import Value
from sidecar.errors import EditRefused
from sidecar.records import utc_text

EditedFields: TypeAlias = dict[str, object]
"""Fields by name, as JSON has them; null removes one."""
_OTHERS = frozenset({"hash", "previous", "created", "enabled", "routes"})
"""Fields that have edits of their own."""
KEY = frozenset(option.name for option in declared.KEY.options) - _OTHERS
GROUP = frozenset(option.name for option in declared.GROUP.options) - _OTHERS


class EditBase(Struct, frozen=True):
    """Start of an edit: the text, the snapshot in force, the time, and the older versions."""

    text: bytes
    snapshot: Snapshot
    now: datetime
    versions: Versions


class EditedText(Struct, frozen=True):
    """The new text; `secret` is that of a key that was made, to be shown once."""

    text: bytes
    secret: str | None = None


def edited(
    base: EditBase, path: FieldPath, fields: EditedFields, known: frozenset[str] | None
) -> bytes:
    """Return the text with these fields at `path` set or, where null, removed. Only fields that
    differ are written. `known` are the fields that may be edited (None: all)."""
    before = written(base.text, path)
    before = before if isinstance(before, Mapping) else {}
    wanted = _fields(fields, known, base, before)
    touched = {
        name: value
        for name, value in wanted.items()
        if (name in before if value is None else before.get(name) != value)
    }
    text = base.text
    for name, value in touched.items():
        text = _with_field(text, (*path, name), before.get(name), value)
    return text


def _with_field(text: bytes, path: FieldPath, before: Value | None, value: Value | None) -> bytes:
    """Return the text with a field set or, where None, removed.

    Of a mapping only the fields that differ are written, so that its comments stay. It is written
    as a whole where that is impossible, such as for fields that it inherits.
    """
    if isinstance(before, Mapping) and isinstance(value, Mapping):
        names = [name for name in {**before, **value} if before.get(name) != value.get(name)]
        with suppress(EditRefused):
            return operations.edit_fields(Draft(text), path, {n: value.get(n) for n in names})
    return operations.edit_fields(Draft(text), path[:-1], {path[-1]: value})


def whole(base: EditBase, fields: EditedFields, known: frozenset[str] | None) -> dict[str, Value]:
    """Return the fields of something new."""
    wanted = _fields(fields, known, base, {})
    return {name: value for name, value in wanted.items() if value is not None}


def _fields(
    fields: EditedFields, known: frozenset[str] | None, base: EditBase, before: Mapping[str, Value]
) -> dict[str, Value | None]:
    """Return the fields as the file writes them; "" and empty collections remove a field."""
    found: dict[str, Value | None] = {}
    for name, value in fields.items():
        if name in _OTHERS or (known is not None and name not in known):
            raise EditRefused(f'"{name[:40]}" is not changed in this way')
        text = None if value in ("", [], {}) else _value(value)
        if name == "expires" and isinstance(text, str) and text != before.get(name):
            text = _until(text, base)
        found[name] = text
    return found


def _until(text: str, base: EditBase) -> str:
    try:
        return utc_text(parsers.until(text, base.snapshot.timezone, base.now))
    except EditRefused as error:
        raise EditRefused(f"the end {error}") from None


def after(text: str, now: datetime) -> datetime:
    """Return the time after a duration. Raises `EditRefused`."""
    try:
        return parsers.after(text, now)
    except EditRefused as error:
        raise EditRefused(f"the overlap {error}") from None


def _value(value: object) -> Value | None:
    """Return a JSON value as the file can write it. Raises `EditRefused`."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, list):
        return [_whole(each) for each in value]
    if isinstance(value, dict):
        return {name: _whole(each) for name, each in value.items()}
    raise EditRefused("a number with a fraction is written as text")


def _whole(value: object) -> Value:
    found = _value(value)
    if found is None:
        raise EditRefused("null can only take away a whole field")
    return found
