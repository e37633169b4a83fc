"""Write streams of Google's generateContent API."""

from __future__ import annotations

import msgspec

from sidecar_transforms.translation.events import (
    AnswerEvent,
    ArgumentsDelta,
    Failed,
    Finished,
    PartEnded,
    PartStarted,
    Signed,
    Started,
    Stopped,
    TextDelta,
    ThinkingDelta,
)
from sidecar_transforms.translation.gemini.answers import (
    function_call,
    stop_name,
    thought_parts,
    write_counts,
    write_error,
)
from sidecar_transforms.translation.gemini.thoughts import Carrier
from sidecar_transforms.translation.model import (
    JsonObject,
    Signature,
    ThinkingPart,
    TokenCounts,
)
from sidecar_transforms.translation.wire_format import EventWriter


class GenerateWriter(EventWriter):
    """Write one answer as responses: server-sent events, or the items of one JSON array."""

    def __init__(self, *, array: bool = False) -> None:
        self._array = array
        self._begun = False
        self._base: JsonObject = {}
        self._counts = TokenCounts()
        self._stop = Stopped("end")
        self._carrier = Carrier()
        self._part = PartStarted("text")
        self._pieces: list[str] = []
        self._signature: Signature | None = None

    def write(self, event: AnswerEvent) -> bytes:
        """Return the responses. A function call is whole, and the last one has stop and usage.

        Google's SDK for Python rejects comments, so that nothing keeps a silent stream alive.
        """
        match event:
            case TextDelta(text=text):
                return self._response([self._carrier.sign({"text": text})])
            case ThinkingDelta(text=text):
                self._pieces.append(text)
                return self._response([{"text": text, "thought": True}])
            case ArgumentsDelta(text=text):
                self._pieces.append(text)
            case Signed(signature=signature):
                self._signature = signature
            case PartStarted():
                self._part, self._pieces, self._signature = event, [], None
            case PartEnded():
                return self._end_part()
            case Started(id=ident, model=model):
                self._base = {"modelVersion": model, "responseId": ident}
            case TokenCounts():
                self._counts = event
            case Stopped():
                self._stop = event
            case Finished():
                return self._end()
            case Failed(failure=failure):
                return self._frame(write_error(failure)[1]) + (b"]" if self._array else b"")
            case _:
                pass
        return b""

    def _end_part(self) -> bytes:
        whole, part = "".join(self._pieces), self._part
        if part.kind == "tool_call":
            call = function_call(part.id, part.name, whole)
            return self._response([self._carrier.sign(call)])
        if part.kind == "text":
            return b""
        thought = ThinkingPart(whole, self._signature, part.kind == "hidden_thinking")
        parts = thought_parts(thought, self._carrier, "")
        return self._response(parts) if parts else b""

    def _end(self) -> bytes:
        # A content without a part would be no valid turn for Google's SDK.
        parts = self._carrier.rest() or [{"text": ""}]
        last = self._response(parts, finishReason=stop_name(self._stop.reason))
        return last + (b"]" if self._array else b"")

    def _response(self, parts: list[JsonObject], **more: str) -> bytes:
        candidate = {"content": {"parts": parts, "role": "model"}, **more, "index": 0}
        body: JsonObject = {"candidates": [candidate], **self._base}
        if more:
            body["usageMetadata"] = write_counts(self._counts)
        return self._frame(body)

    def _frame(self, body: JsonObject) -> bytes:
        data = msgspec.json.encode(body)
        if not self._array:
            return b"data: " + data + b"\r\n\r\n"
        begin = b",\r\n" if self._begun else b"["
        self._begun = True
        return begin + data
