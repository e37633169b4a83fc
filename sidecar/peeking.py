"""Reads a few named fields of a JSON body without building the rest.

Only a model must be right; any other field of an unexpected type counts as absent, since it is the
vendor's business to complain about it.
"""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from sidecar.errors import Kind, Refused

T = TypeVar("T")

ABSENT = msgspec.Raw()
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


def peek(body: bytes, shape: type[T]) -> T:
    """The fields of `shape` (a msgspec Struct) in a JSON object; a repeated field's last value
    counts. Raises `Refused` (bad request) on what is no JSON object, or when a typed field is
    wrong."""
    try:
        return _decode(body, shape)
    except msgspec.ValidationError as error:
        raise Refused(Kind.BAD_REQUEST, f"the request body cannot be routed: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(Kind.BAD_REQUEST, f"the request body is not valid JSON: {error}") from None
    except RecursionError:
        raise Refused(Kind.BAD_REQUEST, "the request body is nested too deeply") from None


def _decode(body: bytes, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        # Agents cut emoji in half. Half of one is valid JSON, which the library refuses even in
        # texts that it skips; this copy is only looked at.
        mended = _SURROGATE.sub(rb"\\ufffd", body)
        if mended == body:
            raise
        found = msgspec.json.decode(mended, type=shape)
        if "\ufffd" in (getattr(found, "model", None) or ""):
            raise  # a model's name cannot be half a character
        return found


def number(raw: msgspec.Raw) -> int | None:
    """A whole number that is not negative, or None."""
    value = _loose(raw)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return None
    return value


def truth(raw: msgspec.Raw) -> bool:
    """Whether the field is exactly `true`."""
    return bytes(raw) == b"true"


def text(raw: msgspec.Raw) -> str | None:
    """A string, or None."""
    value = _loose(raw)
    return value if isinstance(value, str) else None


def mapping(raw: msgspec.Raw) -> dict[str, object]:
    """An object, or an empty one."""
    value = _loose(raw)
    return value if isinstance(value, dict) else {}


def _loose(raw: msgspec.Raw) -> object:
    if not raw:
        return None
    try:
        value: object = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return value
