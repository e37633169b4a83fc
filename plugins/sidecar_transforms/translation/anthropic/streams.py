"""Read and write streams of Anthropic's Messages API."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from sidecar_transforms.translation.anthropic.answers import (
    STOP_NAMES,
    STOPS,
    message_id,
    read_counts,
    read_error,
    write_counts,
    write_error,
)
from sidecar_transforms.translation.events import (
    AnswerEvent,
    ArgumentsDelta,
    Failed,
    Finished,
    KeptAlive,
    PartEnded,
    PartStarted,
    Signed,
    Started,
    Stopped,
    TextDelta,
    ThinkingDelta,
)
from sidecar_transforms.translation.model import (
    JsonObject,
    Signature,
    TokenCounts,
    TranslationError,
)
from sidecar_transforms.translation.signatures import wrap_signature
from sidecar_transforms.translation.wire_format import (
    EventReader,
    EventWriter,
    as_dict,
    as_text,
    read_json,
)


class MessageReader(EventReader):
    """Read the events of one message of `model`."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self._model = model
        self._counts: TokenCounts | None = None

    def on_event(self, name: str, data: bytes) -> Iterable[AnswerEvent]:
        """Return what one event means; unknown events mean nothing."""
        if not data:
            return [KeptAlive()]
        body = read_json(data)
        match body.get("type"):
            case "content_block_delta":
                return self._delta(as_dict(body.get("delta")))
            case "content_block_start":
                return self._start(as_dict(body.get("content_block")))
            case "content_block_stop":
                return [PartEnded()]
            case "message_start":
                message = as_dict(body.get("message"))
                model = as_text(message.get("model")) or self._model
                return [Started(as_text(message.get("id")), model), *self._usage(message)]
            case "message_delta":
                return self._message_delta(body)
            case "message_stop":
                return [Finished()]
            case "ping":
                return [KeptAlive()]
            case "error":
                return [Failed(read_error(200, body))]
            case _:
                return []

    def _usage(self, holder: JsonObject) -> list[AnswerEvent]:
        self._counts = read_counts(as_dict(holder.get("usage")), self._counts)
        return [] if self._counts is None else [self._counts]

    def _start(self, block: JsonObject) -> list[AnswerEvent]:
        match block.get("type"):
            case "text":
                text = as_text(block.get("text"))
                return [PartStarted("text"), *([TextDelta(text)] if text else [])]
            case "tool_use":
                found = PartStarted(
                    "tool_call", as_text(block.get("id")), as_text(block.get("name"))
                )
                given = as_dict(block.get("input"))
                return [found, *([_whole_arguments(given)] if given else [])]
            case "thinking":
                return [PartStarted("thinking")]
            case "redacted_thinking":
                signature = Signature("anthropic", as_text(block.get("data")), self._model)
                return [PartStarted("hidden_thinking"), Signed(signature)]
            case kind:
                raise TranslationError(f"it has the unknown content block `{kind}`")

    def _delta(self, delta: JsonObject) -> list[AnswerEvent]:
        match delta.get("type"):
            case "text_delta":
                return [TextDelta(as_text(delta.get("text")))]
            case "input_json_delta":
                text = as_text(delta.get("partial_json"))
                return [ArgumentsDelta(text)] if text else []
            case "thinking_delta":
                return [ThinkingDelta(as_text(delta.get("thinking")))]
            case "signature_delta":
                value = as_text(delta.get("signature"))
                return [Signed(Signature("anthropic", value, self._model))]
            case _:
                return []  # citations, which no translated request asks for

    def _message_delta(self, body: JsonObject) -> list[AnswerEvent]:
        delta = as_dict(body.get("delta"))
        found = self._usage(body)
        reason = as_text(delta.get("stop_reason"))
        if reason:
            sequence = as_text(delta.get("stop_sequence")) or None
            found.append(Stopped(STOPS.get(reason, "end"), sequence))
        return found


def _whole_arguments(given: JsonObject) -> ArgumentsDelta:
    return ArgumentsDelta(msgspec.json.encode(given).decode())


class MessageWriter(EventWriter):
    """Write one message as a stream, with the events and indices of Anthropic's own."""

    def __init__(self) -> None:
        self._index = 0
        self._begun: Started | None = None
        self._opened = False
        self._counts = TokenCounts()
        self._stop = Stopped("end")
        self._hidden = False
        self._pinged = False

    def write(self, event: AnswerEvent) -> bytes:
        """Return the events; `message_delta` waits for the end, when all figures are known."""
        match event:
            case TextDelta(text=text):
                return self._delta({"type": "text_delta", "text": text})
            case ArgumentsDelta(text=text):
                return self._delta({"type": "input_json_delta", "partial_json": text})
            case ThinkingDelta(text=text):
                return self._delta({"type": "thinking_delta", "thinking": text})
            case Signed(signature=signature):
                return self._sign(wrap_signature(signature, "anthropic"))
            case PartStarted():
                return self._message_start() + self._start(event)
            case PartEnded():
                return self._end_part()
            case Started():
                self._begun = event
                return b""
            case TokenCounts():
                self._counts = event
                # The figures of the input stand in the first event where they come first.
                return self._message_start()
            case Stopped():
                self._stop = event
                return b""
            case _:
                return self._rest(event)

    def _rest(self, event: AnswerEvent) -> bytes:
        match event:
            case Finished():
                return self._message_start() + self._end()
            case Failed(failure=failure):
                return _event("error", write_error(failure)[1])
            case KeptAlive():
                return _event("ping", {"type": "ping"})
            case _:
                return b""

    def _message_start(self) -> bytes:
        if self._opened:
            return b""
        self._opened = True
        begun = self._begun or Started("", "")
        message: JsonObject = {
            "id": message_id(begun.id), "type": "message", "role": "assistant",
            "model": begun.model, "content": [], "stop_reason": None, "stop_sequence": None,
            "usage": write_counts(self._counts),
        }  # fmt: skip
        return _event("message_start", {"type": "message_start", "message": message})

    def _start(self, part: PartStarted) -> bytes:
        self._hidden = part.kind == "hidden_thinking"
        if self._hidden:
            return b""
        block: JsonObject
        if part.kind == "text":
            block = {"type": "text", "text": ""}
        elif part.kind == "tool_call":
            block = {"type": "tool_use", "id": part.id, "name": part.name, "input": {}}
        else:
            block = {"type": "thinking", "thinking": "", "signature": ""}
        return self._block_start(block)

    def _block_start(self, block: JsonObject) -> bytes:
        body = {"type": "content_block_start", "index": self._index, "content_block": block}
        start = _event("content_block_start", body)
        if self._pinged:
            return start
        self._pinged = True
        return start + _event("ping", {"type": "ping"})

    def _delta(self, delta: JsonObject) -> bytes:
        body = {"type": "content_block_delta", "index": self._index, "delta": delta}
        return _event("content_block_delta", body)

    def _sign(self, value: str) -> bytes:
        if self._hidden:  # its data stands in the start of the block
            return self._block_start({"type": "redacted_thinking", "data": value})
        return self._delta({"type": "signature_delta", "signature": value})

    def _end_part(self) -> bytes:
        body = {"type": "content_block_stop", "index": self._index}
        self._index += 1
        return _event("content_block_stop", body)

    def _end(self) -> bytes:
        delta = {"stop_reason": STOP_NAMES[self._stop.reason], "stop_sequence": self._stop.sequence}
        usage = write_counts(self._counts)
        usage.pop("cache_creation", None)
        return _event(
            "message_delta", {"type": "message_delta", "delta": delta, "usage": usage}
        ) + _event("message_stop", {"type": "message_stop"})


def _event(name: str, body: JsonObject) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(body))
