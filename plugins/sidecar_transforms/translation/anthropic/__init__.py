"""Anthropic's Messages API.

Source: Anthropic's Python SDK 2.12.
"""

from __future__ import annotations

from typing import ClassVar

from sidecar_transforms.translation.anthropic import answers
from sidecar_transforms.translation.anthropic.request_reader import read_request
from sidecar_transforms.translation.anthropic.request_writer import write_request
from sidecar_transforms.translation.anthropic.streams import MessageReader, MessageWriter
from sidecar_transforms.translation.losses import Loss, LossLog
from sidecar_transforms.translation.model import Failure, JsonObject, ModelAnswer, ModelRequest
from sidecar_transforms.translation.wire_format import EventReader, EventWriter, WireFormat


class AnthropicFormat(WireFormat):
    """The protocol "anthropic"."""

    name = "anthropic"
    headers = ((b"anthropic-version", b"2023-06-01"),)
    has: ClassVar[frozenset[Loss]] = frozenset({
        Loss.TOP_K, Loss.TEMPERATURE, Loss.TOP_P, Loss.STOP_SEQUENCES, Loss.CACHE_MARKS,
        Loss.TOOL_ERROR, Loss.TOOL_MEDIA, Loss.PART_ORDER, Loss.PREFILL, Loss.THINKING, Loss.EFFORT,
        Loss.THINKING_OFF, Loss.SYSTEM_ORDER, Loss.USER, Loss.MAX_OUTPUT, Loss.PARALLEL,
        Loss.STRICT, Loss.SCHEMA,
    })  # fmt: skip
    lacks: ClassVar[frozenset[Loss]] = frozenset({
        Loss.SEED, Loss.PENALTIES, Loss.TOP_K, Loss.TEMPERATURE, Loss.TOP_P, Loss.THINKING,
        Loss.EFFORT, Loss.SYSTEM_ORDER, Loss.JSON_OBJECT, Loss.MAX_OUTPUT, Loss.ARGUMENTS,
        Loss.CACHE_KEY, Loss.VERBOSITY,
    })  # fmt: skip
    drops: ClassVar[frozenset[Loss]] = frozenset({Loss.FIELDS, Loss.TOOL_HINTS, Loss.CITATIONS})

    def path(self, model: str, *, streaming: bool) -> str:
        """Return the one path of messages."""
        return "/v1/messages"

    def read_request(self, body: JsonObject, losses: LossLog) -> ModelRequest:
        """Return the request."""
        return read_request(body, losses)

    def write_request(self, request: ModelRequest, model: str, losses: LossLog) -> JsonObject:
        """Return the body, with a bound on the output, which Anthropic requires."""
        return write_request(request, model, losses)

    def read_answer(self, body: JsonObject, model: str) -> ModelAnswer:
        """Return the answer of a message."""
        return answers.read_answer(body, model)

    def write_answer(self, answer: ModelAnswer) -> JsonObject:
        """Return a message."""
        return answers.write_answer(answer)

    def reader(self, model: str) -> EventReader:
        """Return a reader of a message's events."""
        return MessageReader(model)

    def writer(self, *, stream_usage: bool) -> EventWriter:
        """Return a writer; its streams always have their usage."""
        return MessageWriter()

    def read_error(self, status: int, body: JsonObject) -> Failure:
        """Return the failure by the error's type, then by the status."""
        return answers.read_error(status, body)

    def write_error(self, failure: Failure) -> tuple[int, JsonObject]:
        """Return `{"type": "error", "error": {type, message}}`."""
        return answers.write_error(failure)

    def write_count(self, tokens: int) -> JsonObject:
        """Return the answer of `count_tokens`."""
        return {"input_tokens": tokens}
