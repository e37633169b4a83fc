"""OpenAI's Responses API, which Codex speaks.

Source: OpenAI's Python SDK 3.57.
"""

from __future__ import annotations

from typing import ClassVar

from sidecar_transforms.translation.events import events_of
from sidecar_transforms.translation.losses import Loss, LossLog
from sidecar_transforms.translation.model import Failure, JsonObject, ModelAnswer, ModelRequest
from sidecar_transforms.translation.openai_responses.answers import read_answer
from sidecar_transforms.translation.openai_responses.request_reader import read_request
from sidecar_transforms.translation.openai_responses.request_writer import write_request
from sidecar_transforms.translation.openai_responses.stream_reader import ResponseReader
from sidecar_transforms.translation.openai_responses.stream_writer import ResponseWriter
from sidecar_transforms.translation.openai_shared import read_error, write_error
from sidecar_transforms.translation.wire_format import EventReader, EventWriter, WireFormat


class OpenAIResponsesFormat(WireFormat):
    """The protocol "openai_responses"; its answers repeat fields of the request."""

    name = "openai_responses"
    max_tool_name = 64
    has: ClassVar[frozenset[Loss]] = frozenset({
        Loss.TEMPERATURE, Loss.TOP_P, Loss.CACHE_MARKS, Loss.CACHE_KEY, Loss.TOOL_MEDIA,
        Loss.PREFILL, Loss.PART_ORDER, Loss.THINKING, Loss.EFFORT, Loss.SYSTEM_ORDER,
        Loss.THINKING_OFF, Loss.JSON_OBJECT, Loss.MAX_OUTPUT, Loss.ARGUMENTS, Loss.USER,
        Loss.VERBOSITY, Loss.PARALLEL, Loss.STRICT, Loss.SCHEMA,
    })  # fmt: skip
    lacks: ClassVar[frozenset[Loss]] = frozenset({
        Loss.TOP_K, Loss.SEED, Loss.PENALTIES, Loss.STOP_SEQUENCES, Loss.TEMPERATURE, Loss.TOP_P,
        Loss.CACHE_MARKS, Loss.TOOL_ERROR, Loss.PREFILL, Loss.THINKING, Loss.EFFORT,
        Loss.THINKING_OFF, Loss.MAX_OUTPUT, Loss.VERBOSITY,
    })  # fmt: skip
    drops: ClassVar[frozenset[Loss]] = frozenset({
        Loss.FIELDS, Loss.IMAGE_DETAIL, Loss.SERVER_TOOLS, Loss.GRAMMAR,
    })  # fmt: skip

    def __init__(self, echo: JsonObject | None = None) -> None:
        self._echo: JsonObject = echo or {}

    def path(self, model: str, *, streaming: bool) -> str:
        """Return the one path of responses."""
        return "/responses"

    def read_request(self, body: JsonObject, losses: LossLog) -> ModelRequest:
        """Return the request."""
        return read_request(body, losses)

    def answering(self, request: ModelRequest) -> WireFormat:
        """Return the format that repeats fields of this request, and has its tools' shapes."""
        return OpenAIResponsesFormat(request.echo)

    def write_request(self, request: ModelRequest, model: str, losses: LossLog) -> JsonObject:
        """Return the body, of which the provider keeps nothing."""
        return write_request(request, model, losses)

    def read_answer(self, body: JsonObject, model: str) -> ModelAnswer:
        """Return the answer of a response."""
        return read_answer(body, model)

    def write_answer(self, answer: ModelAnswer) -> JsonObject:
        """Return the response with which a stream of this answer ends."""
        writer = ResponseWriter(self._echo, streams=False)
        for event in events_of(answer):
            writer.write(event)
        return writer.response

    def reader(self, model: str) -> EventReader:
        """Return a reader of a response's events."""
        return ResponseReader(model)

    def writer(self, *, stream_usage: bool) -> EventWriter:
        """Return a writer; its streams always have their usage."""
        return ResponseWriter(self._echo)

    def read_error(self, status: int, body: JsonObject) -> Failure:
        """Return the failure by the error's code, then its type, then the status."""
        return read_error(status, body)

    def write_error(self, failure: Failure) -> tuple[int, JsonObject]:
        """Return `{"error": {message, type, param, code}}`."""
        return write_error(failure)

    def write_count(self, tokens: int) -> JsonObject:
        """Return the answer of `input_tokens`."""
        return {"object": "response.input_tokens", "input_tokens": tokens}
