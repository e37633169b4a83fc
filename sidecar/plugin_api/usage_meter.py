"""Base classes of meters, and parsers of the figures in responses.

A meter reads a copy of a response, and its result does not depend on how the bytes are cut. Nothing
here raises, whatever an upstream sends.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import isfinite
from typing import Any, TypeVar

import msgspec

from sidecar.plugin_api.guard import log_plugin_error
from sidecar.plugin_api.json.outline import BOM, Outline, outline
from sidecar.records import Usage

T = TypeVar("T")
MAX_EVENT_BYTES = 8 << 20
"""Of a larger event, only the outline is read."""
MAX_JSON_BYTES = 64 << 20
"""A larger JSON response is not read."""
MAX_TOKENS = 1_000_000_000
MAX_COST = 10**15
"""Nano-dollars: a million US dollars."""


def as_count(value: object) -> int | None:
    """Return a number as a count from 0 to `MAX_TOKENS`; None for any other value."""
    if type(value) is int:
        return value if 0 <= value <= MAX_TOKENS else min(max(value, 0), MAX_TOKENS)
    if not isinstance(value, float) or value != value:  # noqa: PLR0124 - NaN
        return None
    return int(min(max(value, 0), MAX_TOKENS))


def as_counts(*values: object) -> list[int | None]:
    """Return each number as `as_count`."""
    return [
        value if value is None or (type(value) is int and 0 <= value <= MAX_TOKENS)
        else as_count(value)
        for value in values
    ]  # fmt: skip


def as_cost(value: object, per_dollar: int = 1) -> int | None:
    """Return an amount of money in nano-dollars, from 0 to `MAX_COST`; None for any other value.

    Args:
        value: The amount.
        per_dollar: How many of its unit are one US dollar.
    """
    if isinstance(value, float):
        exact = Fraction(str(value)) if isfinite(value) else None
    else:
        exact = Fraction(value) if type(value) is int else None
    if exact is None:
        return None
    return min(max(round(exact * 10**9 / per_dollar), 0), MAX_COST)


def as_mapping(value: object) -> Mapping[str, object]:
    """Return the value if it is a JSON object, else {}."""
    return value if isinstance(value, dict) else {}


class ResponseFields(msgspec.Struct):
    """The fields of a JSON response that meters read; the rest is not decoded."""

    model: Any = None
    id: Any = None
    usage: Any = None
    service_tier: Any = None
    tool_usage: Any = None
    error: Any = None
    status: Any = None


_FIELDS_DECODER = msgspec.json.Decoder(ResponseFields)
_DOCUMENT_DECODER = msgspec.json.Decoder()
_SYNTAX_DECODER = msgspec.json.Decoder(msgspec.Raw)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)


def error_code_of(error: object) -> str | None:
    """Return the code, else the type or the status, of an `error` value; "error" if it has none.

    None if there is no error.
    """
    if not error:
        return None
    fields = as_mapping(error)
    word = fields.get("code") or fields.get("type") or fields.get("status")
    return str(word or "error")[:80]


def as_object(data: bytes) -> Mapping[str, object]:
    """Return a JSON object; {} for anything else, malformed JSON included."""
    try:
        value = msgspec.json.decode(data)
    except _UNREADABLE:
        return {}
    return as_mapping(value)


class BaseMeter:
    """The state of a meter (see `Meter`); a subclass sets it as it reads."""

    finished = False
    expects_end = False
    pending = False
    at_boundary = False
    unread = False
    model: str | None = None
    error: str | None = None
    _created: tuple[str, ...] = ()
    _usage: Usage | None = None

    @property
    def unfinished(self) -> bool:
        """True if the bytes so far cannot be the complete response."""
        return self.expects_end and not self.finished

    def feed(self, data: bytes) -> bool | None:
        """Read the next bytes. Return True only if they are one event, which reports no error."""

    def usage(self) -> Usage | None:
        """Return the usage so far."""
        return self._usage

    def created(self) -> tuple[str, ...]:
        """Return the ids of the objects that the response creates."""
        return self._created


class NoMeter(BaseMeter):
    """The meter of a response that reports no usage."""


class JsonMeter(BaseMeter):
    """A meter of one JSON response, which it collects and parses when it is read.

    Override `read_response`, or `read_bytes` if the response is no object.

        class AcmeMeter(JsonMeter):
            def read_response(self, answer):
                usage = as_mapping(answer.usage)
                self._usage = Usage(as_count(usage.get("in")), as_count(usage.get("out")))
    """

    _size = 0
    _size_read = 0
    _outline: Outline | None = None
    _is_decoded = True

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    @property
    def unfinished(self) -> bool:
        """True if the document began and is not complete."""
        if self._size_read != self._size:
            self._read()
        if not self._is_decoded:
            self._decode(b"".join(self._pieces).removeprefix(BOM), _SYNTAX_DECODER)
        return self._outline is not None and self._outline.unfinished

    def feed(self, data: bytes) -> None:
        """Keep a copy of the next bytes, up to `MAX_JSON_BYTES`."""
        self._size += len(data)
        if self._size <= MAX_JSON_BYTES:
            self._pieces.append(data)
        else:
            self._pieces.clear()
            self.unread = True

    def usage(self) -> Usage | None:
        """Return the usage so far; None if the response is too large."""
        if self._size_read != self._size:
            self._read()
        return self._usage

    def created(self) -> tuple[str, ...]:
        """Return the ids of the objects that the response creates."""
        if self._size_read != self._size:
            self._read()
        return self._created

    def read_response(self, answer: ResponseFields) -> None:
        """Set `_usage`, `model` and `_created` from the fields of the response."""

    def read_bytes(self, data: bytes) -> None:
        """Read the bytes of the response so far, which may be truncated."""
        self.read_response(self.response_fields(data))

    def response_fields(self, data: bytes) -> ResponseFields:
        """Return the fields of a JSON object, which may be truncated or malformed.

        Of a truncated object, only complete values; all None for anything else.
        """
        self._is_decoded = True
        try:
            return _FIELDS_DECODER.decode(data)
        except _UNREADABLE:
            fields = as_mapping(self._outline_of(data).value())
        return ResponseFields(
            **{name: fields.get(name) for name in ResponseFields.__struct_fields__}
        )

    def decoded(self, data: bytes, decoder: msgspec.json.Decoder[T]) -> T | None:
        """Return a complete response of the form that `decoder` reads; None for any other."""
        try:
            found = decoder.decode(data)
        except _UNREADABLE:
            return None
        self._is_decoded = True
        return found

    def document(self, data: bytes) -> object:
        """Return the decoded document; its outline if it is truncated or malformed."""
        return self._decode(data, _DOCUMENT_DECODER)

    def _decode(self, data: bytes, decoder: msgspec.json.Decoder[Any]) -> object:
        self._is_decoded = True
        try:
            found: object = decoder.decode(data)
        except _UNREADABLE:
            return self._outline_of(data).value()
        return found

    def _outline_of(self, data: bytes) -> Outline:
        if self._outline is None:
            self._outline = outline(data)
            self.unread = not self._outline.complete or self._outline.has_invalid_numbers
        return self._outline

    def _read(self) -> None:
        self._size_read = self._size
        if self._size > MAX_JSON_BYTES:
            self._outline, self._is_decoded = None, True
            return
        data = b"".join(self._pieces)
        self._pieces = [data]
        self._outline, self._is_decoded, self.unread = None, False, False
        try:
            self.read_bytes(data.removeprefix(BOM))
        except Exception as error:  # noqa: BLE001 - of a plugin
            meter = f"meter {type(self).__qualname__}"
            log_plugin_error(error, meter, "read_bytes", "usage not counted")
