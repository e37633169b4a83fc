"""Read streams of the Responses API."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

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
    events_of,
)
from sidecar_transforms.translation.model import (
    JsonObject,
    ModelAnswer,
    TranslationError,
)
from sidecar_transforms.translation.openai_responses.answers import (
    call_id,
    has_refusal,
    read_counts,
    read_item,
    read_stop,
)
from sidecar_transforms.translation.openai_responses.reasoning import read_reasoning
from sidecar_transforms.translation.openai_shared import read_error
from sidecar_transforms.translation.wire_format import (
    EventReader,
    as_dict,
    as_integer,
    as_text,
    read_json,
)


class ResponseReader(EventReader):
    """Read the events of one response of `model`."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self._model = model
        self._announced = False
        self._open = ""
        self._item: int | None = None
        self._shown = False
        self._called = self._refused = False

    def on_event(self, name: str, data: bytes) -> Iterable[AnswerEvent]:
        """Return what one event means; unknown events mean nothing."""
        if not data:
            return [KeptAlive()]
        if data.strip() == b"[DONE]":
            return []
        body = read_json(data)
        kind = as_text(body.get("type")) or name
        read = _EVENTS.get(kind)
        if read is None:
            return [KeptAlive()] if kind == "keepalive" else []
        found: list[AnswerEvent] = []
        read(self, body, found)
        return found

    def on_start(self, body: JsonObject, found: list[AnswerEvent]) -> None:
        """Begin the answer at the first event that has a response."""
        response = as_dict(body.get("response"))
        if not self._announced:
            self._announced = True
            made_by = as_text(response.get("model")) or self._model
            found.append(Started(as_text(response.get("id")), made_by))

    def on_item(self, body: JsonObject, found: list[AnswerEvent]) -> None:
        """Begin an item; only a call is a part at once."""
        item = as_dict(body.get("item"))
        self._item, self._shown = as_integer(body.get("output_index")), False
        self._close(found)
        if item.get("type") == "function_call":
            self._called = True
            self._open = "tool_call"
            found.append(PartStarted("tool_call", call_id(item), as_text(item.get("name"))))

    def on_text(self, body: JsonObject, found: list[AnswerEvent]) -> None:
        """Add text."""
        self._begin_part("text", body, found)
        found.append(TextDelta(as_text(body.get("delta"))))

    def on_refusal(self, body: JsonObject, found: list[AnswerEvent]) -> None:
        """Add the text of a refusal."""
        self._refused = True
        self.on_text(body, found)

    def on_part_end(self, body: JsonObject, found: list[AnswerEvent]) -> None:
        """End a text."""
        if self._open == "text":
            self._check(body)
            self._close(found)

    def on_arguments(self, body: JsonObject, found: list[AnswerEvent]) -> None:
        """Add to the arguments of a call."""
        self._check(body)
        text = as_text(body.get("delta"))
        if text:
            self._shown = True
            found.append(ArgumentsDelta(text))

    def on_thinking(self, body: JsonObject, found: list[AnswerEvent]) -> None:
        """Add thinking."""
        self._begin_part("thinking", body, found)
        found.append(ThinkingDelta(as_text(body.get("delta"))))

    def on_summary_part(self, body: JsonObject, found: list[AnswerEvent]) -> None:
        """Separate the parts of a summary."""
        if self._open == "thinking":
            self._check(body)
            found.append(ThinkingDelta("\n\n"))

    def on_item_end(self, body: JsonObject, found: list[AnswerEvent]) -> None:
        """End an item; what had no events of its own is taken from the whole item."""
        self._check(body)
        item = as_dict(body.get("item"))
        parts = read_item(item, self._model)
        self._refused = self._refused or has_refusal(item)
        arguments = as_text(item.get("arguments"))
        if self._open == "tool_call":
            if arguments and not self._shown:
                found.append(ArgumentsDelta(arguments))
        elif self._open == "thinking":
            signature = read_reasoning(item, self._model).signature
            if signature is not None:
                found.append(Signed(signature))
        elif not self._shown:
            self._called = self._called or item.get("type") == "function_call"
            found += list(events_of(ModelAnswer("", "", parts)))[1:-2]
        self._close(found)
        self._item, self._shown = None, False

    def on_end(self, body: JsonObject, found: list[AnswerEvent]) -> None:
        """End the answer."""
        self.on_start(body, found)
        self._close(found)
        response = as_dict(body.get("response"))
        counts = read_counts(as_dict(response.get("usage")))
        if counts is not None:
            found.append(counts)
        found.append(Stopped(read_stop(response, called=self._called, refused=self._refused)))
        found.append(Finished())

    def on_failure(self, body: JsonObject, found: list[AnswerEvent]) -> None:
        """End the answer with its error, which stands in one of three places."""
        failed = as_dict(body.get("response")) or body
        error = failed.get("error") or body
        found.append(Failed(read_error(200, {"error": error})))

    def _begin_part(self, kind: str, body: JsonObject, found: list[AnswerEvent]) -> None:
        self._check(body)
        if self._open != kind:
            self._close(found)
            self._open, self._shown = kind, True
            found.append(PartStarted("text" if kind == "text" else "thinking"))

    def _close(self, found: list[AnswerEvent]) -> None:
        if self._open:
            found.append(PartEnded())
        self._open = ""

    def _check(self, body: JsonObject) -> None:
        index = as_integer(body.get("output_index"))
        if index is not None and self._item is not None and index != self._item:
            raise TranslationError("its items are interleaved")


_EVENTS: Mapping[str, Callable[[ResponseReader, JsonObject, list[AnswerEvent]], None]] = {
    "response.created": ResponseReader.on_start,
    "response.in_progress": ResponseReader.on_start,
    "response.output_item.added": ResponseReader.on_item,
    "response.output_text.delta": ResponseReader.on_text,
    "response.refusal.delta": ResponseReader.on_refusal,
    "response.content_part.done": ResponseReader.on_part_end,
    "response.function_call_arguments.delta": ResponseReader.on_arguments,
    "response.reasoning_summary_part.added": ResponseReader.on_summary_part,
    "response.reasoning_summary_text.delta": ResponseReader.on_thinking,
    "response.reasoning_text.delta": ResponseReader.on_thinking,
    "response.output_item.done": ResponseReader.on_item_end,
    "response.completed": ResponseReader.on_end,
    "response.incomplete": ResponseReader.on_end,
    "response.failed": ResponseReader.on_failure,
    "error": ResponseReader.on_failure,
}
