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
"""Occurrences of the field's name that are tried before the body is scanned as a whole."""

_SPACE = rb"[ \t\r\n]*"
_TO_VALUE = re.compile(rb'"model"[ \t\r\n]*:[ \t\r\n]*("(?:[^"\\]|\\.)*")')
_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"]+)"|([^;\s]+))', re.IGNORECASE)
_PARAMETER = re.compile(rb';\s*([\w*-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))')


# Numbers are stepped over, however long.
_JSON = json.JSONDecoder(parse_int=len, parse_float=len)


class _Model(msgspec.Struct):
    model: str = ""


def splice_model(body: bytes, old: str, new: str) -> bytes:
    """`body`, a JSON object, with the value of its top-level `model` replaced; itself when the
    names are equal. Raises `ValueError` when there is no such field, `ProxyError` when the body is
    nested too deeply to find it."""
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
    """`body`, a JSON object, with the value of its top-level field `name` replaced; with that field
    at its end when there is none. Raises `ProxyError` or `RecursionError` on what cannot be
    read."""
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
    """`body`, a JSON object, without its top-level field `name`, whose value is null, and without
    the comma that belongs to it; `body` itself when there is no such field, or it is not found."""
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
    """The spans of what may be the value of the field, the first `MAX_SPLICE_TRIES` from the
    end."""
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
    """The span of the last top-level value of the field, whatever escapes its name is written
    with."""
    # One character a byte: offsets stay, and what JSON is made of is ASCII anyway.
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
    """The `model` field of a multipart form (RFC 7578) and the span of its value; None when there
    is none. Raises `ProxyError` when there are two: which one counts is up to who reads it."""
    found: tuple[str, tuple[int, int]] | None = None
    for head, start, end in _parts(body, content_type):
        if not _is_model(head):
            continue
        if found is not None:
            raise ProxyError(ErrorKind.BAD_REQUEST, "the form names a model twice; send one")
        found = body[start:end].decode("utf-8", "replace"), (start, end)
    return found


def _parts(body: bytes, content_type: str) -> Iterator[tuple[bytes, int, int]]:
    """The head of every part, and where its content begins and ends; none of a broken form."""
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
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


def peek(body: bytes, shape: type[T]) -> T:
    """The fields of `shape` (a msgspec Struct) in a JSON object; a repeated field's last value
    counts. Raises `ProxyError` (bad request) on what is no JSON object, or when a typed field is
    wrong."""
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
