"""Translate a request to another protocol, and the answer back.

translated = translate_request("anthropic", "openai_chat", body, model="gpt-5.5")
...                                   # send translated.body to translated.path
answer = ResponseTranslator(translated.context, status=200, content_type="text/event-stream")
for piece in pieces:
    send(answer.feed(piece))
send(answer.end(complete=True))
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

import msgspec

from sidecar_transforms.translation.events import (
    AnswerCollector,
    AnswerEvent,
    ArgumentsDelta,
    Failed,
    Finished,
    PartEnded,
    PartStarted,
    Signed,
    Stopped,
    TextDelta,
    ThinkingDelta,
    events_of,
)
from sidecar_transforms.translation.formats import format_named
from sidecar_transforms.translation.losses import Loss, LossLog
from sidecar_transforms.translation.model import (
    AnswerFailed,
    Failure,
    JsonObject,
    ModelAnswer,
    ModelRequest,
    ToolCallPart,
    TranslationError,
)
from sidecar_transforms.translation.wire_format import (
    EventReader,
    EventWriter,
    WireFormat,
    read_json,
)

_NOT_IN_NAMES = re.compile(r"^(?![a-zA-Z_])|[^a-zA-Z0-9_-]")
"""Matches characters that some protocol rejects in the name of a tool."""
_CUT = Failure("server", "The provider's answer broke off before its end.", "upstream_cut")
MAX_ANSWER_BYTES = 16 << 20
"""A longer answer in JSON fails: models write less, and to translate it takes many times the
memory."""


@dataclass(frozen=True, slots=True)
class TranslationContext:
    """The facts of a request that its answer's translation needs."""

    source: WireFormat
    target: WireFormat
    model: str
    streaming: bool
    stream_usage: bool
    tool_names: Mapping[str, str] = field(default_factory=dict)
    array: bool = False


@dataclass(frozen=True, slots=True)
class Translated:
    """A translated request.

    Attributes:
        body: What is sent to the provider.
        path: Where, below the provider's base URL, as the target's dialect has it.
        notes: The codes of what was lost (see `Loss`).
        context: For `ResponseTranslator` and `translate_error`.
        headers: Header fields that the target's protocol needs, besides the credential's.
    """

    body: bytes
    path: str
    notes: tuple[str, ...]
    context: TranslationContext
    headers: tuple[tuple[bytes, bytes], ...] = ()


def lost_between(source: str, target: str) -> frozenset[Loss]:
    """Return what a request from one protocol to another can lose."""
    reader = format_named(source)
    return (reader.has & format_named(target).lacks) | reader.drops


def translate_request(
    source: str,
    target: str,
    body: bytes,
    *,
    model: str,
    streaming: bool | None = None,
    query: str = "",
) -> Translated:
    """Return the request in the target's protocol.

    Args:
        source: The client's protocol, such as "anthropic".
        target: The provider's protocol.
        body: The client's body, after content decoding.
        model: The name of the model at the provider.
        streaming: Whether the client wants a stream, if its body does not contain it.
        query: The client's raw query; Gemini's names the form of the stream.
    Raises:
        TranslationError: The request cannot be translated.
    """
    reader, writer = format_named(source), format_named(target)
    try:
        losses = LossLog()
        request = reader.read_request(read_json(body), losses)
        if streaming is not None:
            request.streaming = streaming
        names = _replace_tool_names(request, writer)
        sent = msgspec.json.encode(writer.write_request(request, model, losses))
    except TranslationError as error:
        raise TranslationError(f"This request cannot go to {target}: {error}.") from None
    except RecursionError:
        raise TranslationError("This request is nested too deeply to be translated.") from None
    path = writer.path(model, streaming=request.streaming)
    context = TranslationContext(
        reader.answering(request), writer, model, request.streaming, request.stream_usage, names,
        array=reader.streams_array(query),
    )  # fmt: skip
    return Translated(sent, path, losses.codes(), context, writer.headers)


def translate_error(context: TranslationContext, status: int, body: bytes) -> tuple[int, bytes]:
    """Return the status and the body of a provider's error in the client's shape.

    The status may differ, so that the client's SDK retries what can be retried, and nothing else.
    """
    failure = context.target.read_error(status, _object_or_empty(body))
    status, found = context.source.write_error(failure)
    return status, msgspec.json.encode(found)


def _replace_tool_names(request: ModelRequest, target: WireFormat) -> Mapping[str, str]:
    """Replace names of tools that the target rejects. Return the own one of each.

    A new name follows from the own one, so that earlier calls in the conversation match.
    """
    most = target.max_tool_name
    rejected = {
        tool.name
        for tool in request.tools
        if tool.name and (len(tool.name) > most or not target.tool_name.fullmatch(tool.name))
    }
    if not rejected:
        return {}
    short = {
        name: f"{_NOT_IN_NAMES.sub('_', name)[: most - 9]}_{_digest(name)}" for name in rejected
    }
    for tool in request.tools:
        tool.name = short.get(tool.name, tool.name)
    for turn in request.turns:
        for part in turn.parts:
            if isinstance(part, ToolCallPart):
                part.name = short.get(part.name, part.name)
    choice = request.tool_choice
    request.tool_choice = msgspec.structs.replace(
        choice,
        name=short.get(choice.name, choice.name),
        allowed=choice.allowed and tuple(short.get(name, name) for name in choice.allowed),
    )
    return {new: old for old, new in short.items()}


def _digest(name: str) -> str:
    return hashlib.blake2s(name.encode(), digest_size=4).hexdigest()


def _object_or_empty(body: bytes) -> JsonObject:
    try:
        return read_json(body)
    except TranslationError:
        return {}


def _writer(context: TranslationContext) -> EventWriter:
    if context.array:
        return context.source.array_writer()
    return context.source.writer(stream_usage=context.stream_usage)


def _rest_of(reader: EventReader) -> Callable[[], list[AnswerEvent]]:
    """Return a reading of the last event, which was cut if it is unreadable."""

    def read() -> list[AnswerEvent]:
        try:
            return reader.end()
        except TranslationError:
            return []

    return read


def _unreadable(error: TranslationError) -> Failure:
    return Failure("server", f"The provider's answer is unreadable: {error}.")


class ResponseTranslator:
    """Translate one answer with a status below 400.

    What is returned does not depend on how the answer is cut into pieces. `feed` and `end` raise
    `TranslationError` if the answer is none of the target's, and nothing was returned before. Later
    it becomes an error in the client's shape.

    Attributes:
        content_type: The type of what is returned.
        status: The client's status. After `end`, that of the failure if a JSON answer failed.
        failed: The answer ended with an error in the client's shape.
    """

    def __init__(self, context: TranslationContext, *, status: int, content_type: str) -> None:
        self._context = context
        self._reader = (
            context.target.reader(context.model)
            if content_type.lower().startswith("text/event-stream")
            else None
        )
        self._writer = _writer(context) if context.streaming else None
        self._collector = AnswerCollector()
        self._whole = bytearray()
        self._stopped = self._ended = self._open = self._begun = False
        self.failed = False
        self.status = status
        self.content_type = (
            "text/event-stream; charset=utf-8"
            if context.streaming and not context.array
            else "application/json"
        )

    def feed(self, data: bytes) -> bytes:
        """Return what these bytes add to the client's answer; b"" for a JSON answer until `end`."""
        if self._reader is not None:
            return self._take(partial(self._reader.feed, data))
        self._whole += data
        if len(self._whole) > MAX_ANSWER_BYTES:
            raise TranslationError(f"it is larger than {MAX_ANSWER_BYTES >> 20} MiB")
        return b""

    def end(self, complete: bool) -> bytes:  # noqa: FBT001
        """Return the rest of the client's answer.

        An answer that broke off ends with an error, so that no client takes it for a whole one.

        Args:
            complete: The provider's answer ended properly, as far as HTTP shows.
        """
        if self._reader is None and self._writer is None:
            return self._answer_of_json()
        if self._reader is None:
            out = self._take(self._events_of_json)
        else:
            out = self._take(_rest_of(self._reader))
        if not self._ended:
            out += self._write(self._last(complete=complete))
        if self._writer is None and not self.failed:
            answer = self._context.source.write_answer(self._collector.answer)
            return msgspec.json.encode(answer)
        return out

    def _take(self, read: Callable[[], Iterable[AnswerEvent]]) -> bytes:
        if self._ended:
            return b""
        written = []
        try:
            for event in read():
                written.append(self._write(event))  # noqa: PERF401 - kept if the next one fails
        except TranslationError as error:
            if not self._begun:
                raise
            written.append(self._write(Failed(_unreadable(error))))
        return b"".join(written)

    def _last(self, *, complete: bool) -> AnswerEvent:
        if complete and self._stopped:
            return Finished()
        if complete and not self._begun:
            raise TranslationError("it has no end")
        return Failed(_CUT)

    def _answer_of_json(self) -> bytes:
        """Return the JSON answer to a JSON answer, which needs no events."""
        context, found = self._context, self._read_json()
        if isinstance(found, Failure):
            self.failed = True
            self.status, body = context.source.write_error(found)
            return msgspec.json.encode(body)
        for part in found.parts:
            if isinstance(part, ToolCallPart):
                part.name = context.tool_names.get(part.name, part.name)
        return msgspec.json.encode(context.source.write_answer(found))

    def _events_of_json(self) -> Iterable[AnswerEvent]:
        found = self._read_json()
        return [Failed(found)] if isinstance(found, Failure) else events_of(found)

    def _read_json(self) -> ModelAnswer | Failure:
        body = read_json(self._whole)
        self._whole = bytearray()
        if body.get("error"):
            return self._context.target.read_error(self.status, body)
        try:
            return self._context.target.read_answer(body, self._context.model)
        except AnswerFailed as failed:
            return failed.failure

    def _write(self, event: AnswerEvent) -> bytes:
        if self._ended:
            return b""
        self._note(event)
        if self._writer is not None:
            written = self._writer.write(event)
            self._begun = self._begun or bool(written)
            return written
        self._collector.add(event)
        if isinstance(event, Failed):
            self.status, body = self._context.source.write_error(event.failure)
            return msgspec.json.encode(body)
        return b""

    def _note(self, event: AnswerEvent) -> None:
        """Follow the order of the events, and give a tool the client's name of it.

        Raises:
            TranslationError: The event is out of order.
        """
        match event:
            case TextDelta() | ArgumentsDelta() | ThinkingDelta() | Signed():
                if not self._open:
                    raise TranslationError("its events are out of order")
            case PartStarted() | PartEnded() if self._open is isinstance(event, PartStarted):
                raise TranslationError("its events are out of order")
            case PartStarted(name=name):
                self._open = True
                event.name = self._context.tool_names.get(name, name)
            case PartEnded():
                self._open = False
            case Stopped():
                self._stopped = True
            case Finished() | Failed():
                self._ended, self.failed = True, isinstance(event, Failed)
            case _:
                pass
