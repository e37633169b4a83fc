"""The contract of a protocol in the translation: two readers, two writers, and errors."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import ClassVar, cast

import msgspec

from sidecar_transforms.translation.events import AnswerEvent
from sidecar_transforms.translation.losses import Loss, LossLog
from sidecar_transforms.translation.model import (
    Failure,
    JsonObject,
    ModelAnswer,
    ModelRequest,
    TranslationError,
)

MAX_EVENT_BYTES = 16 << 20
"""An answer with a larger event fails: it would take the memory of other calls."""
_EVENT_END = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class EventReader(ABC):
    """Read the server-sent events of one stream, however they are cut."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._begun = self._known = False

    def feed(self, data: bytes) -> Iterator[AnswerEvent]:
        """Yield the events that these bytes complete, those before an unreadable one included."""
        # The cut may be within a line end, so search from three bytes before it.
        start = max(0, len(self._rest) - 3)
        self._rest += data
        if not self._begun and len(self._rest) >= len(_BOM):
            self._begun, start = True, 0
            if self._rest.startswith(_BOM):
                del self._rest[: len(_BOM)]
        begun, whole = 0, []
        for end in _EVENT_END.finditer(self._rest, start):
            whole.append(bytes(self._rest[begun : end.start()]))
            begun = end.end()
        del self._rest[:begun]
        for raw in whole:
            yield from self._read(raw)
        if len(self._rest) > MAX_EVENT_BYTES:
            raise TranslationError("the provider sent an event of over 16 MiB")

    def end(self) -> list[AnswerEvent]:
        """Return the events of a last one that lacks its blank line."""
        rest = bytes(self._rest)
        self._rest.clear()
        return list(self._read(rest)) if rest.strip() else []

    def _read(self, raw: bytes) -> Iterable[AnswerEvent]:
        name, joined = _fields_of(raw)
        found = self.on_event(name, joined)
        if joined and not self._known:
            found = list(found)
            self._known = self.recognises(found, joined)
            if not self._known:
                raise TranslationError("its first event is none of this API")
        return found

    def recognises(self, found: list[AnswerEvent], data: bytes) -> bool:
        """Return whether the first event of a stream, with this meaning, is of the protocol."""
        return bool(found)

    @abstractmethod
    def on_event(self, name: str, data: bytes) -> Iterable[AnswerEvent]:
        """Return what one event means. `data` is b"" for a comment.

        Raises:
            TranslationError: The event cannot be translated.
        """


class EventWriter(ABC):
    """Write the events of one answer as a stream of the client's protocol."""

    @abstractmethod
    def write(self, event: AnswerEvent) -> bytes:
        """Return the bytes that this event adds to the stream; b"" if none.

        Only what the protocol sends later, such as the reason of the stop, is held back.
        """


def _fields_of(raw: bytes) -> tuple[str, bytes]:
    """Return the name and the data of an event."""
    if raw.startswith(b"data: ") and b"\n" not in raw and b"\r" not in raw:
        return "", raw[6:]  # as most events of most providers are
    name, data = b"", []
    for line in _LINE_END.split(raw):
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.strip()
    return name.decode("latin-1"), b"\n".join(data)


class WireFormat(ABC):
    """One protocol. An object serves every call, so it holds no state."""

    name: ClassVar[str]
    """The protocol's name for `translate_request`."""
    has: ClassVar[frozenset[Loss]]
    """Losses that a request of this protocol can suffer: it has the feature."""
    lacks: ClassVar[frozenset[Loss]]
    """Losses that a request to this protocol can suffer: it lacks the feature."""
    drops: ClassVar[frozenset[Loss]]
    """Losses that a request of this protocol suffers at every target."""
    max_tool_name: ClassVar[int] = 128
    """Characters of a tool's name. A longer name is replaced by a short one, and comes back."""
    tool_name: ClassVar[re.Pattern[str]] = re.compile(r"[a-zA-Z0-9_-]+")
    """What a tool's name must match. Another name is replaced in the same way."""

    headers: ClassVar[tuple[tuple[bytes, bytes], ...]] = ()
    """Header fields that every request of this protocol needs, besides the credential's."""

    @abstractmethod
    def path(self, model: str, *, streaming: bool) -> str:
        """Return the request's path below the provider's base URL, with its query."""

    @abstractmethod
    def read_request(self, body: JsonObject, losses: LossLog) -> ModelRequest:
        """Return the request, and record what the neutral form does not hold.

        Raises:
            TranslationError: It has something that no other protocol has.
        """

    def answering(self, request: ModelRequest) -> WireFormat:
        """Return the format of the answers to this request; they may depend on it."""
        return self

    @abstractmethod
    def write_request(self, request: ModelRequest, model: str, losses: LossLog) -> JsonObject:
        """Return the body of a request to this model, and record what it loses.

        Raises:
            TranslationError: It has something that this protocol lacks.
        """

    @abstractmethod
    def read_answer(self, body: JsonObject, model: str) -> ModelAnswer:
        """Return a whole answer of this model.

        Raises:
            TranslationError: It is no answer.
        """

    @abstractmethod
    def write_answer(self, answer: ModelAnswer) -> JsonObject:
        """Return the body of a whole answer."""

    @abstractmethod
    def reader(self, model: str) -> EventReader:
        """Return a reader for one stream of this model."""

    @abstractmethod
    def writer(self, *, stream_usage: bool) -> EventWriter:
        """Return a writer for one stream. `stream_usage`: the client wants its usage."""

    def streams_array(self, query: str) -> bool:
        """Return whether a stream to the client of this query is a JSON array, not events."""
        return False

    def array_writer(self) -> EventWriter:
        """Return a writer for one stream that is a JSON array.

        Raises:
            TranslationError: The protocol has no such stream.
        """
        raise TranslationError(f"{self.name} has no stream that is a JSON array")

    @abstractmethod
    def read_error(self, status: int, body: JsonObject) -> Failure:
        """Return the failure of an error response; `body` is {} if it is no JSON object."""

    @abstractmethod
    def write_error(self, failure: Failure) -> tuple[int, JsonObject]:
        """Return the status and the body of an error, which this protocol's clients act on."""

    def write_count(self, tokens: int) -> JsonObject:
        """Return the answer to a request that counts tokens.

        Raises:
            TranslationError: The protocol has no such request.
        """
        raise TranslationError(f"{self.name} has no request that counts tokens")


def read_json(data: bytes | bytearray) -> JsonObject:
    """Return the JSON object; raise `TranslationError` if it is none."""
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TranslationError(f"it is no JSON object: {error}") from None
    if not isinstance(found, dict):
        raise TranslationError("it is no JSON object")
    return cast("JsonObject", found)


def read_arguments(arguments: str) -> JsonObject:
    """Return a tool call's arguments as an object; malformed text stands in `arguments`."""
    if not arguments.strip():
        return {}
    try:
        return read_json(arguments.encode())
    except TranslationError:
        return {"arguments": arguments}


def as_dict(value: object) -> JsonObject:
    """Return the value if it is an object, else {}."""
    return value if isinstance(value, dict) else {}


def as_dicts(value: object) -> list[JsonObject]:
    """Return the objects of a list; [] if it is none."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def as_text(value: object) -> str:
    """Return the value if it is a string, else ""."""
    return value if isinstance(value, str) else ""


def as_integer(value: object) -> int | None:
    """Return the value if it is an integer, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def as_number(value: object) -> float | None:
    """Return the value if it is a number, else None."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
