"""Reads usage off a copy of an answer's bytes: the same result however they are cut.

Bytes that cannot hold what is looked for are never decoded. Nothing here raises on what an
upstream sends, and giving up reading never holds the bytes themselves up.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import isfinite
from typing import Any

import msgspec

from sidecar.plugin_api.guard import plugin_guard
from sidecar.plugin_api.json_outline import BOM, Outline, outline
from sidecar.records import Usage

MAX_EVENT_BYTES = 8 << 20
"""Bytes of one event beyond which only its outline is read."""
MAX_JSON_BYTES = 64 << 20
"""Bytes of one JSON answer beyond which it is not read."""
MAX_TOKENS = 1_000_000_000
MAX_COST = 10**15
"""A million dollars, in nano-dollars."""


def as_count(value: object) -> int | None:
    """A figure as a count, at most a thousand million; None for what is none."""
    if type(value) is int:
        return value if 0 <= value <= MAX_TOKENS else min(max(value, 0), MAX_TOKENS)
    if not isinstance(value, float) or value != value:  # noqa: PLR0124 - NaN
        return None
    return int(min(max(value, 0), MAX_TOKENS))


def as_cost(value: object, per_dollar: int = 1) -> int | None:
    """An amount of money in nano-dollars, at most a million dollars; None for what is none.
    `per_dollar` is how many of the amount make a US dollar."""
    if isinstance(value, float):
        exact = Fraction(str(value)) if isfinite(value) else None
    else:
        exact = Fraction(value) if type(value) is int else None
    if exact is None:
        return None
    return min(max(round(exact * 10**9 / per_dollar), 0), MAX_COST)


def as_mapping(value: object) -> Mapping[str, object]:
    """The value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


class ResponseFields(msgspec.Struct):
    """The fields of an answer that meters look at; the rest of it is never built."""

    model: Any = None
    id: Any = None
    usage: Any = None
    service_tier: Any = None
    tool_usage: Any = None
    error: Any = None
    status: Any = None


_GLANCE = msgspec.json.Decoder(ResponseFields)
_DOCUMENT = msgspec.json.Decoder()
_CHECK = msgspec.json.Decoder(msgspec.Raw)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)


def error_code_of(error: object) -> str | None:
    """The shortest word of an `error` member for what went wrong: its code, its type, its status;
    None when there is no error."""
    if not error:
        return None
    fields = as_mapping(error)
    word = fields.get("code") or fields.get("type") or fields.get("status")
    return str(word or "error")[:80]


def as_object(data: bytes) -> Mapping[str, object]:
    """A JSON object, or an empty one for anything else, even if that is nearly one."""
    try:
        value = msgspec.json.decode(data)
    except _UNREADABLE:
        return {}
    return as_mapping(value)


class BaseMeter:
    """What every meter keeps; a subclass fills it as it reads."""

    def __init__(self) -> None:
        self.finished = False
        self.expects_end = False
        self.pending = False
        self.at_boundary = False
        self.unread = False
        self.model: str | None = None
        self.error: str | None = None
        self._created: tuple[str, ...] = ()
        self._usage: Usage | None = None

    @property
    def unfinished(self) -> bool:
        """What came so far cannot be all."""
        return self.expects_end and not self.finished

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""

    def usage(self) -> Usage | None:
        """What was reported so far."""
        return self._usage

    def created(self) -> tuple[str, ...]:
        """The ids of what the answer says was created."""
        return self._created


class NoMeter(BaseMeter):
    """For answers that report nothing."""


class JsonMeter(BaseMeter):
    """Collects one JSON answer and reads it when asked; subclasses give `read_answer`, or
    `read_bytes` where the answer is no object."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._size_read = 0
        self._outline: Outline | None = None
        self._looked = True
        super().__init__()

    @property
    def unfinished(self) -> bool:
        """A document began and did not come to its end."""
        self._read()
        if not self._looked:
            self._look(b"".join(self._pieces).removeprefix(BOM), _CHECK)
        return self._outline is not None and self._outline.unfinished

    def feed(self, data: bytes) -> None:
        """Keep a copy, up to a cap."""
        self._size += len(data)
        if self._size <= MAX_JSON_BYTES:
            self._pieces.append(data)
        else:
            self._pieces.clear()
            self.unread = True

    def usage(self) -> Usage | None:
        """What the answer says as far as it came; None when it was too large."""
        self._read()
        return self._usage

    def created(self) -> tuple[str, ...]:
        """The ids in the answer."""
        self._read()
        return self._created

    def read_response(self, answer: ResponseFields) -> None:
        """Take usage, `model` and ids from what matters of the answer."""

    def read_bytes(self, data: bytes) -> None:
        """Read what has come of the answer."""
        self.read_response(self.response_fields(data))

    def response_fields(self, data: bytes) -> ResponseFields:
        """What matters of a JSON object, which may be cut, or not quite JSON; nothing of anything
        else."""
        found = self._look(data, _GLANCE)
        if isinstance(found, ResponseFields):
            return found
        fields = as_mapping(found)
        return ResponseFields(
            **{name: fields.get(name) for name in ResponseFields.__struct_fields__}
        )

    def document(self, data: bytes) -> object:
        """The whole document, or its outline where it is cut, or not quite JSON."""
        return self._look(data, _DOCUMENT)

    def _look(self, data: bytes, decoder: msgspec.json.Decoder[Any]) -> object:
        self._looked = True
        try:
            found: object = decoder.decode(data)
        except _UNREADABLE:
            if self._outline is None:
                self._outline = outline(data)
                self.unread = not self._outline.complete or self._outline.has_invalid_numbers
            return self._outline.value()
        return found

    def _read(self) -> None:
        if self._size_read == self._size:
            return
        self._size_read = self._size
        if self._size > MAX_JSON_BYTES:
            self._outline, self._looked = None, True
            return
        data = b"".join(self._pieces)
        self._pieces = [data]
        self._outline, self._looked, self.unread = None, False, False
        with plugin_guard(f"meter {type(self).__qualname__}", "read_bytes", "usage not counted"):
            self.read_bytes(data.removeprefix(BOM))
