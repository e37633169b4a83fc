"""Replaces a model's name inside a request, and not one byte more.

A JSON body is never re-serialised: prompt caches and signatures hang on its very bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import msgspec

from sidecar.errors import Kind, Refused

TRIES = 16
"""Occurrences of the field's name that are tried before the body is scanned as a whole."""

_NAME = b'"model"'
_TO_VALUE = re.compile(rb'"model"[ \t\r\n]*:[ \t\r\n]*("(?:[^"\\]|\\.)*")')
_BOUNDARY = re.compile(r'boundary=(?:"([^"]+)"|([^;\s]+))', re.IGNORECASE)
_FIELD = re.compile(rb'\bname=(?:"model"|model)(?:;|\s|$)', re.IGNORECASE)


class _Model(msgspec.Struct):
    model: str = ""


def splice_model(body: bytes, old: str, new: str) -> bytes:
    """`body`, a JSON object, with the value of its top-level `model` replaced; itself when the
    names are equal. Raises `ValueError` when there is no such field."""
    if old == new:
        return body
    value = json.dumps(new).encode()
    for tried, (start, end) in enumerate(_from_the_end(body)):
        if tried >= TRIES:
            break
        spliced = body[:start] + value + body[end:]
        # Only the top-level field's value shows when the result is read again.
        if _read(spliced) == new:
            return spliced
    start, end = _scan(body)
    return body[:start] + value + body[end:]


def _from_the_end(body: bytes) -> Iterator[tuple[int, int]]:
    at = len(body)
    while (at := body.rfind(_NAME, 0, at)) >= 0:
        match = _TO_VALUE.match(body, at)
        if match is not None:
            yield match.span(1)


def _read(body: bytes) -> str | None:
    try:
        return msgspec.json.decode(body, type=_Model).model
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _scan(body: bytes) -> tuple[int, int]:
    """The span of the last top-level `model` value, whatever escapes its name is written with."""
    text = body.decode()
    decoder = json.JSONDecoder()
    at = _skip(text, 0) + 1
    found: tuple[int, int] | None = None
    while text[at := _skip(text, at)] != "}":
        name, at = decoder.raw_decode(text, at)
        start = _skip(text, _skip(text, at) + 1)
        _, at = decoder.raw_decode(text, start)
        if name == "model":
            found = start, at
        at = _skip(text, at)
        at += text[at] == ","
    if found is None:
        raise ValueError("there is no top-level model")
    start, end = found
    return len(text[:start].encode()), len(text[:end].encode())


def _skip(text: str, at: int) -> int:
    while text[at] in " \t\r\n":
        at += 1
    return at


def form_model(body: bytes, content_type: str) -> tuple[str, tuple[int, int]] | None:
    """The `model` field of a multipart form (RFC 7578) and the span of its value; None when there
    is none. Raises `Refused` when there are two: which one counts is up to who reads it."""
    match = _BOUNDARY.search(content_type)
    if match is None or "multipart/form-data" not in content_type.lower():
        return None
    delimiter = b"--" + (match[1] or match[2]).encode()
    found: tuple[str, tuple[int, int]] | None = None
    at = body.find(delimiter)
    while at >= 0:
        head = at + len(delimiter)
        middle = body.find(b"\r\n\r\n", head)
        end = body.find(b"\r\n" + delimiter, head)
        if middle < 0 or end < 0:
            break
        if middle < end and _FIELD.search(body[head:middle]):
            if found is not None:
                raise Refused(Kind.BAD_REQUEST, "the form names a model twice; send one")
            start = middle + 4
            found = body[start:end].decode("utf-8", "replace"), (start, end)
        at = end + 2
    return found
