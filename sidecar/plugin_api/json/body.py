"""Read or replace single fields of a JSON body without parsing the rest."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import TypeVar

import msgspec

from sidecar.errors import ErrorKind, ProxyError

MAX_SPLICE_TRIES = 16
"""Occurrences of the field's name that are tried before the whole body is scanned."""

_SPACE = rb"[ \t\r\n]*"
_TO_VALUE = re.compile(rb'"model"[ \t\r\n]*:[ \t\r\n]*("(?:[^"\\]|\\.)*")')
_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"]+)"|([^;\s]+))', re.IGNORECASE)
_PARAMETER = re.compile(rb';\s*([\w*-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))')


# The values of numbers are not needed, and converting a very long one is slow.
_JSON = json.JSONDecoder(parse_int=len, parse_float=len)


class _Model(msgspec.Struct):
    model: str = ""


def splice_model(body: bytes, old: str, new: str) -> bytes:
    """Return a JSON object with the value of its top-level `model` replaced.

    Every other byte stays. The last of several such fields is replaced.

    Raises:
        ValueError: The body has no top-level `model`.
        ProxyError: The body is nested too deeply to search.
    """
    if old == new:
        return body
    value = json.dumps(new).encode()
    for start, end in _from_the_end(body, b'"model"', _TO_VALUE):
        spliced = body[:start] + value + body[end:]
        # Only the top-level field's value shows when the result is read again.
        if _read(spliced) == new:
            return spliced
    try:
        start, end = _scan(body, "model")
    except RecursionError:
        raise ProxyError(ErrorKind.BAD_REQUEST, "the request body is nested too deeply") from None
    return body[:start] + value + body[end:]


def splice_field(body: bytes, name: str, value: bytes) -> bytes:
    """Return a JSON object with the value of its top-level field `name` replaced or appended.

    Every other byte stays.

    Args:
        body: The JSON object.
        name: The name of the field, without quotes.
        value: The JSON of the value.
    Raises:
        ProxyError: The body is no JSON object.
        RecursionError: The body is nested too deeply.

    Example: `splice_field(b'{"a":1}', "b", b"true")` returns `b'{"a":1,"b":true}'`.
    """
    fields = _fields(body)
    if name not in fields:
        end = body.rindex(b"}")
        comma = b"," if fields else b""
        return body[:end] + comma + _quoted(name) + b":" + value + body[end:]
    old = bytes(fields[name])
    if old == value:
        return body
    wanted = _quoted(name)
    to_value = re.compile(re.escape(wanted) + _SPACE + b":" + _SPACE + b"(" + re.escape(old) + b")")
    for start, end in _from_the_end(body, wanted, to_value):
        spliced = body[:start] + value + body[end:]
        if bytes(_fields(spliced)[name]) == value:
            return spliced
    start, end = _scan(body, name)
    return body[:start] + value + body[end:]


def cut_null(body: bytes, name: str) -> bytes:
    """Return a JSON object without its top-level field `name` if that is null.

    Its comma is removed with it; every other byte stays. The body itself if there is no such field.

    Example: `cut_null(b'{"a":1,"usage":null}', "usage")` returns `b'{"a":1}'`.
    """
    field = _quoted(name)
    null = re.escape(field) + _SPACE + b":" + _SPACE + b"null"
    behind = re.compile(b"(," + _SPACE + null + b")(?=" + _SPACE + b"[,}])")
    before = re.compile(b"[{]" + _SPACE + b"(" + null + _SPACE + b"(?:," + _SPACE + b")?)")
    for pattern in (behind, before):
        for match in islice(pattern.finditer(body), MAX_SPLICE_TRIES):
            start, end = match.span(1)
            found = body[:start] + body[end:]
            # Deeper down, or in a text, it would leave the top-level one where it is.
            if _lacks(found, name):
                return found
    return body


def _quoted(name: str) -> bytes:
    return json.dumps(name).encode()


def _lacks(body: bytes, name: str) -> bool:
    try:
        return name not in _fields(body)
    except ProxyError:
        return False


def _fields(body: bytes) -> dict[str, msgspec.Raw]:
    return peek(body, dict[str, msgspec.Raw])


def _from_the_end(
    body: bytes, name: bytes, to_value: re.Pattern[bytes]
) -> Iterator[tuple[int, int]]:
    """Yield the spans of possible values of the field, `MAX_SPLICE_TRIES` of them from the end."""
    at = len(body)
    tried = 0
    while tried < MAX_SPLICE_TRIES and (at := body.rfind(name, 0, at)) >= 0:
        match = to_value.match(body, at)
        if match is not None:
            tried += 1
            yield match.span(1)


def _read(body: bytes) -> str | None:
    try:
        return msgspec.json.decode(body, type=_Model).model
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _scan(body: bytes, wanted: str) -> tuple[int, int]:
    """Return the span of the last top-level value of the field, also if its name has escapes."""
    # In Latin-1 each byte is one character, so offsets stay valid; JSON's syntax is ASCII.
    text = body.decode("latin-1")
    at = _skip(text, 0) + 1
    found: tuple[int, int] | None = None
    while text[at := _skip(text, at)] != "}":
        name, at = _JSON.raw_decode(text, at)
        start = _skip(text, _skip(text, at) + 1)
        _, at = _JSON.raw_decode(text, start)
        if name == wanted:
            found = start, at
        at = _skip(text, at)
        at += text[at] == ","
    if found is None:
        raise ValueError(f"there is no top-level {wanted}")
    return found


def _skip(text: str, at: int) -> int:
    while text[at] in " \t\r\n":
        at += 1
    return at


def form_model(body: bytes, content_type: str) -> tuple[str, tuple[int, int]] | None:
    """Return the `model` field of a multipart form and the span of its value; None if none.

    Source: RFC 7578.

    Raises:
        ProxyError: The form has two such fields, of which parsers take either.
    """
    found: tuple[str, tuple[int, int]] | None = None
    for head, start, end in _parts(body, content_type):
        if not _is_model(head):
            continue
        if found is not None:
            raise ProxyError(ErrorKind.BAD_REQUEST, "the form names a model twice; send one")
        found = body[start:end].decode("utf-8", "replace"), (start, end)
    return found


def _parts(body: bytes, content_type: str) -> Iterator[tuple[bytes, int, int]]:
    """Yield the head of each part and the span of its content; nothing of a malformed form."""
    match = _BOUNDARY.search(content_type)
    if match is None or not content_type.lower().startswith("multipart/form-data"):
        return
    delimiter = b"--" + (match[1] or match[2]).encode()
    at = 0 if body.startswith(delimiter) else body.find(b"\r\n" + delimiter) + 2
    while body.startswith(delimiter, at):
        head = at + len(delimiter)
        middle = body.find(b"\r\n\r\n", head)
        end = body.find(b"\r\n" + delimiter, head)
        if end < 0:
            return
        if 0 <= middle < end:
            yield body[head:middle], middle + 4, end
        at = end + 2


def _is_model(head: bytes) -> bool:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-disposition":
            return any(
                parameter[1].lower() == b"name" and (parameter[2] or parameter[3]) == b"model"
                for parameter in _PARAMETER.finditer(value)
            )
    return False


T = TypeVar("T")

ABSENT = msgspec.Raw()
"""The default of a field that may be absent (see `peek`)."""
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


def peek(body: bytes, shape: type[T]) -> T:
    """Return the fields of a JSON object that `shape` names; the rest is not decoded.

    The last value of a repeated field is used.

    Args:
        body: The JSON object.
        shape: A msgspec Struct. Give a field the type `msgspec.Raw` and the default `ABSENT` to
            accept any value, and read it with `number`, `truth`, `text` or `mapping`.
    Raises:
        ProxyError: The body is no JSON object, or a field has another type than in `shape`.
    """
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _repaired(body, shape)


def _repaired(body: bytes, shape: type[T]) -> T:
    """Read a body that msgspec rejects. Raises `ProxyError` as `peek`."""
    try:
        return _decode(body, shape)
    except msgspec.ValidationError as error:
        raise ProxyError(
            ErrorKind.BAD_REQUEST, f"the request body cannot be routed: {error}"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProxyError(
            ErrorKind.BAD_REQUEST, f"the request body is not valid JSON: {error}"
        ) from None
    except RecursionError:
        raise ProxyError(ErrorKind.BAD_REQUEST, "the request body is nested too deeply") from None


def _decode(body: bytes, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        # Agents cut emoji in half. A lone surrogate is valid JSON, but msgspec rejects it even in
        # strings that it skips. Only this copy is changed.
        repaired = _SURROGATE.sub(rb"\\ufffd", body)
        if repaired == body:
            raise
        found = msgspec.json.decode(repaired, type=shape)
        if "\ufffd" in (getattr(found, "model", None) or ""):
            raise  # a model's name cannot be half a character
        return found


def number(raw: msgspec.Raw) -> int | None:
    """Return a non-negative integer; None for any other value."""
    if not raw:
        return None
    value = _decode_or_none(raw)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return None
    return value


def truth(raw: msgspec.Raw) -> bool:
    """Return whether the value is exactly `true`."""
    return bytes(raw) == b"true"


def text(raw: msgspec.Raw) -> str | None:
    """Return a string; None for any other value."""
    if not raw:
        return None
    value = _decode_or_none(raw)
    return value if isinstance(value, str) else None


def mapping(raw: msgspec.Raw) -> dict[str, object]:
    """Return a JSON object; {} for any other value."""
    if not raw:
        return {}
    value = _decode_or_none(raw)
    return value if isinstance(value, dict) else {}


def _decode_or_none(raw: msgspec.Raw) -> object:
    try:
        value: object = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return value
