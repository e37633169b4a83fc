"""Read and write streams of OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

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
    ThinkingPart,
    TokenCounts,
    TranslationError,
)
from sidecar_transforms.translation.openai_chat.answers import (
    STOP_NAMES,
    completion_id,
    read_counts,
    read_stop,
    reasoning_text,
    write_counts,
)
from sidecar_transforms.translation.openai_chat.thinking import (
    THINKING_FIELDS,
    read_details,
    write_detail,
)
from sidecar_transforms.translation.openai_shared import read_error, write_error
from sidecar_transforms.translation.wire_format import (
    EventReader,
    EventWriter,
    as_dict,
    as_dicts,
    as_integer,
    as_text,
    read_json,
)


class ChunkReader(EventReader):
    """Read the chunks of one completion of `model`."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self._model = model
        self._begun_answer = False
        self._open = ""
        self._signature: Signature | None = None
        self._call: tuple[int, str] | None = None
        self._past: set[int] = set()
        self._refused = False

    def on_event(self, name: str, data: bytes) -> Iterable[AnswerEvent]:
        """Return what one chunk means."""
        if not data:
            return [KeptAlive()]
        if data.strip() == b"[DONE]":
            return [Finished()]
        body = read_json(data)
        if body.get("error"):
            return [Failed(read_error(200, body))]
        found: list[AnswerEvent] = []
        choices = as_dicts(body.get("choices"))
        if not self._begun_answer and (choices or body.get("id")):
            self._begun_answer = True
            made_by = as_text(body.get("model")) or self._model
            found.append(Started(as_text(body.get("id")), made_by))
        usage = as_dict(body.get("usage")) or as_dict(choices[0].get("usage") if choices else None)
        counts = read_counts(usage)
        if counts is not None:
            found.append(counts)
        if choices and (as_integer(choices[0].get("index")) or 0) == 0:
            self._choice(choices[0], found)
        return found

    def recognises(self, found: list[AnswerEvent], data: bytes) -> bool:
        """Accept the first chunk of Azure, which has no choice yet."""
        return bool(found) or b'"choices"' in data

    def _choice(self, choice: JsonObject, found: list[AnswerEvent]) -> None:
        delta = as_dict(choice.get("delta"))
        if not delta.keys().isdisjoint(THINKING_FIELDS):
            self._thinking(delta, found)
        refusal = as_text(delta.get("refusal"))
        text = as_text(delta.get("content")) or refusal
        if text:
            self._refused = self._refused or bool(refusal)
            self._switch("text", found)
            found.append(TextDelta(text))
        for call in as_dicts(delta.get("tool_calls")):
            self._tool_call(call, found)
        reason = as_text(choice.get("finish_reason"))
        if reason:
            self._switch("", found)
            called = self._call is not None
            found.append(read_stop(choice, called=called, refused=self._refused))

    def _thinking(self, delta: JsonObject, found: list[AnswerEvent]) -> None:
        details = read_details(delta, self._model)
        text = reasoning_text(delta)
        if not details and text:
            details = [ThinkingPart(text, Signature("openai_chat", "", self._model))]
        for part in details:
            self._switch("hidden_thinking" if part.hidden else "thinking", found)
            if part.signature is not None and (part.signature.value or self._signature is None):
                self._signature = part.signature
            if part.text:
                found.append(ThinkingDelta(part.text))

    def _switch(self, kind: str, found: list[AnswerEvent]) -> None:
        """End the open part, and begin one of this kind; "" begins none."""
        if self._open == kind and kind != "tool_call":
            return
        if self._open:
            if self._signature is not None:
                found.append(Signed(self._signature))
                self._signature = None
            found.append(PartEnded())
        self._open = kind
        if kind == "text":
            found.append(PartStarted("text"))
        elif kind == "thinking":
            found.append(PartStarted("thinking"))
        elif kind == "hidden_thinking":
            found.append(PartStarted("hidden_thinking"))

    def _tool_call(self, call: JsonObject, found: list[AnswerEvent]) -> None:
        function = as_dict(call.get("function"))
        index, ident = as_integer(call.get("index")) or 0, as_text(call.get("id"))
        name = as_text(function.get("name"))
        # Some servers send every call with index 0, and some repeat the id in each chunk.
        is_new = self._call is None or self._call[0] != index
        if is_new or (ident and name and self._call is not None and self._call[1] != ident):
            if is_new and index in self._past:
                raise TranslationError("its tool calls are interleaved")
            self._past.add(index)
            self._switch("tool_call", found)
            self._call = (index, ident)
            found.append(PartStarted("tool_call", ident or f"call_{index}", name))
        arguments = as_text(function.get("arguments"))
        if arguments:
            found.append(ArgumentsDelta(arguments))


class ChunkWriter(EventWriter):
    """Write one completion as chunks, in the order of OpenAI's own."""

    def __init__(self, *, usage: bool) -> None:
        self._usage = usage
        self._base: JsonObject = {}
        self._counts = TokenCounts()
        self._calls = -1
        self._details = -1
        self._hidden = False

    def write(self, event: AnswerEvent) -> bytes:
        """Return the chunks; the one with the usage waits for the end."""
        match event:
            case TextDelta(text=text):
                return self._delta({"content": text})
            case ArgumentsDelta(text=text):
                call = {"index": self._calls, "function": {"arguments": text}}
                return self._delta({"tool_calls": [call]})
            case ThinkingDelta(text=text):
                detail = write_detail(ThinkingPart(text), self._details)
                return self._delta({"reasoning_content": text, "reasoning_details": [detail]})
            case Signed(signature=signature):
                detail = write_detail(ThinkingPart("", signature, self._hidden), self._details)
                return self._delta({"reasoning_details": [detail]})
            case PartStarted():
                return self._start(event)
            case Started(id=ident, model=model):
                return self._begin(ident, model)
            case TokenCounts():
                self._counts = event
                return b""
            case Stopped(reason=reason):
                return self._delta({}, STOP_NAMES[reason])
            case _:
                return self._rest(event)

    def _rest(self, event: AnswerEvent) -> bytes:
        match event:
            case Finished():
                return self._end() + b"data: [DONE]\n\n"
            case Failed(failure=failure):
                return _data(write_error(failure)[1])
            case KeptAlive():
                return b": waiting\n\n"
            case _:
                return b""

    def _begin(self, ident: str, model: str) -> bytes:
        self._base = {
            "id": completion_id(ident), "object": "chat.completion.chunk", "created": 0,
            "model": model,
        }  # fmt: skip
        return self._delta({"role": "assistant", "content": "", "refusal": None})

    def _start(self, part: PartStarted) -> bytes:
        if part.kind == "tool_call":
            self._calls += 1
            function = {"name": part.name, "arguments": ""}
            call = {
                "index": self._calls, "id": part.id, "type": "function", "function": function,
            }  # fmt: skip
            return self._delta({"tool_calls": [call]})
        if part.kind != "text":
            self._details += 1
            self._hidden = part.kind == "hidden_thinking"
        return b""

    def _delta(self, delta: JsonObject, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        extra: JsonObject = {"usage": None} if self._usage else {}
        return _data({**self._base, "choices": [choice], **extra})

    def _end(self) -> bytes:
        if not self._usage:
            return b""
        return _data({**self._base, "choices": [], "usage": write_counts(self._counts)})


def _data(body: JsonObject) -> bytes:
    return b"data: " + msgspec.json.encode(body) + b"\n\n"
