"""Write answers of the Responses API, as a stream or as the response at its end."""

from __future__ import annotations

from collections.abc import Mapping

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
from sidecar_transforms.translation.model import Failure, JsonObject, StopReason, TokenCounts
from sidecar_transforms.translation.openai_responses.answers import write_counts
from sidecar_transforms.translation.openai_responses.items import OpenItem, open_item
from sidecar_transforms.translation.openai_responses.tools import ToolShape, shapes_of
from sidecar_transforms.translation.openai_shared import write_error
from sidecar_transforms.translation.wire_format import EventWriter, as_dict, as_text

_INCOMPLETE: Mapping[StopReason, str] = {
    "length": "max_output_tokens", "context_full": "max_output_tokens",
    "refusal": "content_filter",
}  # fmt: skip
_SHOWN_CODES = frozenset({"rate_limit_exceeded", "invalid_prompt", "context_length_exceeded"})
"""Codes at which Codex acts, and still shows the message. It shows its own for some others."""


class ResponseWriter(EventWriter):
    """Write one response as a stream, with the events and indices of OpenAI's own.

    With `streams` false only the response is made: each text stands in four events of a stream.

    Attributes:
        response: The response as it is now; whole after the last event.
    """

    def __init__(self, echo: JsonObject, *, streams: bool = True) -> None:
        self._streams = streams
        self._shapes = shapes_of(echo.get("tools"))
        self._sequence = -1
        self._begun = False
        self._open: OpenItem | None = None
        self._ended = False
        self._output: list[JsonObject] = []
        self._stop: StopReason = "end"
        text = {"format": {"type": "text"}, **as_dict(echo.get("text"))}
        self.response: JsonObject = {
            "id": "", "object": "response", "created_at": 0, "status": "in_progress",
            "background": False, "error": None, "incomplete_details": None, "instructions": None,
            "max_output_tokens": None, "metadata": {}, "model": "", "output": [],
            "parallel_tool_calls": True, "previous_response_id": None, "prompt_cache_key": None,
            "reasoning": {"effort": None, "summary": None}, "safety_identifier": None,
            "store": False, "temperature": None, "tool_choice": "auto", "tools": [],
            "top_p": None, "truncation": "disabled", "usage": None, "user": None, **echo,
            "text": text,
        }  # fmt: skip

    def write(self, event: AnswerEvent) -> bytes:
        """Return the events; the end of an item waits for the next event, which decides on it."""
        match event:
            case TextDelta(text=text) | ArgumentsDelta(text=text) | ThinkingDelta(text=text):
                return b"" if self._open is None else self._events(self._open.add(text))
            case Signed(signature=signature):
                if self._open is not None:
                    self._open.signature = signature
                return b""
            case PartStarted():
                return self._begin() + self._end_item("completed") + self._start(event)
            case PartEnded():
                self._ended = True
                return b""
            case Started(id=ident, model=model):
                self.response |= {"id": response_id(ident), "model": model}
                return self._begin()
            case TokenCounts():
                self.response["usage"] = write_counts(event)
                return b""
            case Stopped(reason=reason):
                self._stop = reason
                return self._end_item("incomplete" if reason in _INCOMPLETE else "completed")
            case _:
                return self._rest(event)

    def _rest(self, event: AnswerEvent) -> bytes:
        match event:
            case Finished():
                return self._begin() + self._end()
            case Failed(failure=failure):
                return self._begin() + self._end_item("completed") + self._fail(failure)
            case KeptAlive() if self._begun:
                return self._event("keepalive")
            case KeptAlive():
                return b": waiting\n\n"  # SDKs take `response.created` first, and nothing else
            case _:
                return b""

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        self.response["id"] = self.response["id"] or response_id("")
        shown = {**self.response, "usage": None}
        return self._event("response.created", response=shown) + self._event(
            "response.in_progress", response=shown
        )

    def _start(self, part: PartStarted) -> bytes:
        place = len(self._output)
        base = as_text(self.response["id"]).removeprefix("resp_")
        shape = self._shapes.get(part.name, ToolShape())
        self._open = open_item(part, shape, place, f"{base}_{place}")
        return self._events(self._open.begin())

    def _end_item(self, status: str) -> bytes:
        if self._open is None or not self._ended:
            return b""
        found = self._events(self._open.end(status))
        self._output.append(self._open.item)
        self._open, self._ended = None, False
        return found

    def _end(self) -> bytes:
        reason = _INCOMPLETE.get(self._stop)
        self.response["output"] = self._output
        self.response["usage"] = self.response["usage"] or write_counts(TokenCounts())
        self.response["status"] = "completed" if reason is None else "incomplete"
        if reason is None:
            return self._event("response.completed", response=self.response)
        self.response["incomplete_details"] = {"reason": reason}
        return self._event("response.incomplete", response=self.response)

    def _fail(self, failure: Failure) -> bytes:
        """Return the end, at whose `error` the SDKs raise; Codex shows that of the response."""
        error = as_dict(write_error(failure)[1]["error"])
        code = failure.code if failure.code in _SHOWN_CODES else error["code"]
        if code not in _SHOWN_CODES:
            code = "invalid_prompt" if failure.kind == "invalid_request" else "server_error"
        shown = {"code": code, "message": failure.message}
        self.response |= {"status": "failed", "error": shown, "output": self._output}
        return self._event("response.failed", response=self.response, error=error)

    def _events(self, found: list[tuple[str, JsonObject]]) -> bytes:
        return b"".join([self._event(name, **fields) for name, fields in found])

    def _event(self, name: str, /, **fields: object) -> bytes:
        if not self._streams:
            return b""
        self._sequence += 1
        body = {"type": name, "sequence_number": self._sequence, **fields}
        return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(body))


def response_id(ident: str) -> str:
    """Return an answer's id with the prefix of responses."""
    bare = ident.removeprefix("chatcmpl-").removeprefix("msg_")
    return bare if bare.startswith("resp_") else f"resp_{bare}"
