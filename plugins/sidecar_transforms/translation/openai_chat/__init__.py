"""OpenAI's chat completions, which many providers and local servers have.

Source: OpenAI's Python SDK 3.54.
"""

from __future__ import annotations

from typing import ClassVar

from sidecar_transforms.translation.losses import Loss, LossLog
from sidecar_transforms.translation.model import Failure, JsonObject, ModelAnswer, ModelRequest
from sidecar_transforms.translation.openai_chat import answers
from sidecar_transforms.translation.openai_chat.request_reader import read_request
from sidecar_transforms.translation.openai_chat.request_writer import write_request
from sidecar_transforms.translation.openai_chat.streams import ChunkReader, ChunkWriter
from sidecar_transforms.translation.openai_shared import read_error, write_error
from sidecar_transforms.translation.wire_format import EventReader, EventWriter, WireFormat


class OpenAIChatFormat(WireFormat):
    """The protocol "openai_chat"."""

    name = "openai_chat"
    max_tool_name = 64
    has: ClassVar[frozenset[Loss]] = frozenset({
        Loss.TOP_K, Loss.SEED, Loss.PENALTIES, Loss.TEMPERATURE, Loss.TOP_P, Loss.STOP_SEQUENCES,
        Loss.CACHE_MARKS, Loss.CACHE_KEY, Loss.TOOL_MEDIA, Loss.THINKING, Loss.EFFORT,
        Loss.SYSTEM_ORDER, Loss.JSON_OBJECT, Loss.MAX_OUTPUT, Loss.ARGUMENTS, Loss.USER,
        Loss.PREFILL, Loss.THINKING_OFF, Loss.PARALLEL, Loss.STRICT, Loss.SCHEMA, Loss.VERBOSITY,
    })  # fmt: skip
    lacks: ClassVar[frozenset[Loss]] = frozenset({
        Loss.TOP_K, Loss.TEMPERATURE, Loss.TOP_P, Loss.STOP_SEQUENCES, Loss.CACHE_MARKS,
        Loss.TOOL_ERROR, Loss.TOOL_MEDIA, Loss.PART_ORDER, Loss.PREFILL, Loss.THINKING, Loss.EFFORT,
        Loss.THINKING_OFF, Loss.USER, Loss.VERBOSITY,
    })  # fmt: skip
    drops: ClassVar[frozenset[Loss]] = frozenset({Loss.FIELDS, Loss.IMAGE_DETAIL})

    def path(self, model: str, *, streaming: bool) -> str:
        """Return the one path of chat completions."""
        return "/chat/completions"

    def read_request(self, body: JsonObject, losses: LossLog) -> ModelRequest:
        """Return the request."""
        return read_request(body, losses)

    def write_request(self, request: ModelRequest, model: str, losses: LossLog) -> JsonObject:
        """Return the body; a stream always asks for its usage."""
        return write_request(request, model, losses)

    def read_answer(self, body: JsonObject, model: str) -> ModelAnswer:
        """Return the first choice of a completion."""
        return answers.read_answer(body, model)

    def write_answer(self, answer: ModelAnswer) -> JsonObject:
        """Return a completion with one choice."""
        return answers.write_answer(answer)

    def reader(self, model: str) -> EventReader:
        """Return a reader of a completion's chunks."""
        return ChunkReader(model)

    def writer(self, *, stream_usage: bool) -> EventWriter:
        """Return a writer, with a chunk of usage if the client asked for it."""
        return ChunkWriter(usage=stream_usage)

    def read_error(self, status: int, body: JsonObject) -> Failure:
        """Return the failure by the error's code, then its type, then the status."""
        return read_error(status, body)

    def write_error(self, failure: Failure) -> tuple[int, JsonObject]:
        """Return `{"error": {message, type, param, code}}`."""
        return write_error(failure)
