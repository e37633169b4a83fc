"""Read answers of Google's generateContent API, whole and as a stream."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from sidecar_transforms.translation.events import (
    AnswerCollector,
    AnswerEvent,
    ArgumentsDelta,
    Failed,
    KeptAlive,
    PartEnded,
    PartStarted,
    Signed,
    Started,
    Stopped,
    TextDelta,
    ThinkingDelta,
)
from sidecar_transforms.translation.gemini.answers import STOPS, read_counts, read_error
from sidecar_transforms.translation.model import (
    AnswerFailed,
    Failure,
    JsonObject,
    ModelAnswer,
    Signature,
    TranslationError,
)
from sidecar_transforms.translation.wire_format import (
    EventReader,
    as_dict,
    as_dicts,
    as_text,
    read_json,
)

_FIELDS = frozenset({
    "candidates", "promptFeedback", "usageMetadata", "modelVersion", "responseId",
})  # fmt: skip
"""The fields of a response; it has at least one."""


class GenerateReader(EventReader):
    """Read the responses of one stream of `model`."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self._model = model
        self._id: str | None = None
        self._open = ""
        self._calls = 0
        self._stop: AnswerEvent | None = None

    def end(self) -> list[AnswerEvent]:
        """Return the rest. The stop waits for it, as a stream has no other sign of its end."""
        found = super().end()
        self._switch("", found)
        if self._stop is not None:
            found.append(self._stop)
        return found

    def _read(self, raw: bytes) -> Iterable[AnswerEvent]:
        if raw.lstrip().startswith(b"{"):
            return self.on_event("", raw)  # an error in the middle may come without `data:`
        return super()._read(raw)

    def on_event(self, name: str, data: bytes) -> Iterable[AnswerEvent]:
        """Return what one response means."""
        return self.on_response(read_json(data)) if data else [KeptAlive()]

    def on_response(self, body: JsonObject) -> list[AnswerEvent]:
        """Return what one response means."""
        if body.get("error"):
            return [Failed(read_error(200, body))]
        found: list[AnswerEvent] = []
        if self._id is None and not _FIELDS & body.keys():
            return found
        if self._id is None:
            self._id = as_text(body.get("responseId"))
            found.append(Started(self._id, as_text(body.get("modelVersion")) or self._model))
        counts = read_counts(as_dict(body.get("usageMetadata")))
        if counts is not None:
            found.append(counts)
        if as_dict(body.get("promptFeedback")).get("blockReason"):
            self._stop = Stopped("refusal")
        for candidate in as_dicts(body.get("candidates"))[:1]:
            for part in as_dicts(as_dict(candidate.get("content")).get("parts")):
                self._part(part, found)
            reason = as_text(candidate.get("finishReason"))
            if reason and reason != "FINISH_REASON_UNSPECIFIED":
                self._stop = self._stopped(reason, as_text(candidate.get("finishMessage")))
        return found

    def _stopped(self, reason: str, message: str) -> AnswerEvent:
        stop = STOPS.get(reason)
        if stop is None:
            text = f"The model stopped with {reason}. {message}".strip()
            return Failed(Failure("server", text, reason))
        return Stopped("tool_calls" if stop == "end" and self._calls else stop)

    def _part(self, part: JsonObject, found: list[AnswerEvent]) -> None:
        text, signature = as_text(part.get("text")), as_text(part.get("thoughtSignature"))
        if part.get("thought"):
            if text or signature:
                self._switch("thinking", found)
            if text:
                found.append(ThinkingDelta(text))
            if signature:
                found.append(self._signed(signature))
                self._switch("", found)
            return
        if signature:
            self._switch("", found)
            found += [PartStarted("thinking"), self._signed(signature), PartEnded()]
        if isinstance(part.get("functionCall"), dict):
            self._call(as_dict(part["functionCall"]), found)
        elif text:
            self._switch("text", found)
            found.append(TextDelta(text))
        elif set(part) - {"text", "thoughtSignature", "thought"}:
            raise TranslationError(f"it has the unknown part `{next(iter(part))}`")

    def _signed(self, value: str) -> Signed:
        return Signed(Signature("gemini", value, self._model))

    def _call(self, call: JsonObject, found: list[AnswerEvent]) -> None:
        self._switch("", found)
        name = as_text(call.get("name"))
        arguments = msgspec.json.encode(as_dict(call.get("args"))).decode()
        ident = as_text(call.get("id")) or self._new_id(name, arguments)
        self._calls += 1
        found += [PartStarted("tool_call", ident, name), ArgumentsDelta(arguments), PartEnded()]

    def _new_id(self, name: str, arguments: str) -> str:
        """Return an id which is the same however often this answer is read."""
        seed = f"{self._id}|{self._calls}|{name}|{arguments}".encode(errors="surrogatepass")
        return f"call_{hashlib.blake2s(seed, digest_size=12).hexdigest()}"

    def _switch(self, kind: str, found: list[AnswerEvent]) -> None:
        """End the open part, and begin one of this kind; "" begins none."""
        if self._open == kind:
            return
        if self._open:
            found.append(PartEnded())
        self._open = kind
        if kind == "text":
            found.append(PartStarted("text"))
        elif kind == "thinking":
            found.append(PartStarted("thinking"))


def read_answer(body: JsonObject, model: str) -> ModelAnswer:
    """Return the first candidate; a blocked prompt is a refusal without a text."""
    reader, collector = GenerateReader(model), AnswerCollector()
    if not as_dicts(body.get("candidates")) and not as_dict(body.get("promptFeedback")):
        raise TranslationError("it has no `candidates`")
    for event in (*reader.on_response(body), *reader.end()):
        if isinstance(event, Failed):
            raise AnswerFailed(event.failure)
        collector.add(event)
    return collector.answer
