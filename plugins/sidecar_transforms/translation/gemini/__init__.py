"""Google's generateContent API, as Gemini models have it.

Source: Google's Python SDK google-genai 3.6.
"""

from __future__ import annotations

import re
from typing import ClassVar
from urllib.parse import parse_qs, quote

from sidecar_transforms.translation.gemini import answers
from sidecar_transforms.translation.gemini.request_reader import read_request
from sidecar_transforms.translation.gemini.request_writer import write_request
from sidecar_transforms.translation.gemini.stream_reader import GenerateReader, read_answer
from sidecar_transforms.translation.gemini.stream_writer import GenerateWriter
from sidecar_transforms.translation.losses import Loss, LossLog
from sidecar_transforms.translation.model import Failure, JsonObject, ModelAnswer, ModelRequest
from sidecar_transforms.translation.wire_format import EventReader, EventWriter, WireFormat


class GeminiFormat(WireFormat):
    """The protocol "gemini"."""

    name = "gemini"
    max_tool_name = 64
    tool_name = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]*")
    has: ClassVar[frozenset[Loss]] = frozenset({
        Loss.TOP_K, Loss.SEED, Loss.PENALTIES, Loss.TEMPERATURE, Loss.TOP_P, Loss.STOP_SEQUENCES,
        Loss.TOOL_ERROR, Loss.TOOL_MEDIA, Loss.PREFILL, Loss.PART_ORDER, Loss.THINKING,
        Loss.EFFORT, Loss.THINKING_OFF, Loss.JSON_OBJECT, Loss.MAX_OUTPUT, Loss.SCHEMA,
    })  # fmt: skip
    lacks: ClassVar[frozenset[Loss]] = frozenset({
        Loss.STOP_SEQUENCES, Loss.CACHE_MARKS, Loss.CACHE_KEY, Loss.TOOL_MEDIA, Loss.PREFILL,
        Loss.THINKING, Loss.EFFORT, Loss.THINKING_OFF, Loss.SYSTEM_ORDER, Loss.MAX_OUTPUT,
        Loss.ARGUMENTS, Loss.USER, Loss.PARALLEL, Loss.STRICT, Loss.SCHEMA,
        Loss.VERBOSITY,
    })  # fmt: skip
    drops: ClassVar[frozenset[Loss]] = frozenset({
        Loss.FIELDS, Loss.SAFETY, Loss.IMAGE_DETAIL, Loss.TOOL_HINTS,
    })  # fmt: skip

    def path(self, model: str, *, streaming: bool) -> str:
        """Return the path with the model and the method."""
        name = quote(model.removeprefix("models/"), safe="")
        method = "streamGenerateContent?alt=sse" if streaming else "generateContent"
        return f"/v1beta/models/{name}:{method}"

    def streams_array(self, query: str) -> bool:
        """Return whether the client wants a JSON array: Google's way without `alt=sse`."""
        return parse_qs(query).get("alt") != ["sse"]

    def read_request(self, body: JsonObject, losses: LossLog) -> ModelRequest:
        """Return the request; also that in a request which counts tokens."""
        return read_request(body, losses)

    def write_request(self, request: ModelRequest, model: str, losses: LossLog) -> JsonObject:
        """Return the body, which names neither the model nor the stream."""
        return write_request(request, model, losses)

    def read_answer(self, body: JsonObject, model: str) -> ModelAnswer:
        """Return the first candidate; a blocked prompt is a refusal."""
        return read_answer(body, model)

    def write_answer(self, answer: ModelAnswer) -> JsonObject:
        """Return a response with one candidate."""
        return answers.write_answer(answer)

    def reader(self, model: str) -> EventReader:
        """Return a reader of a stream's responses."""
        return GenerateReader(model)

    def writer(self, *, stream_usage: bool) -> EventWriter:
        """Return a writer of server-sent events; the last one has the usage."""
        return GenerateWriter()

    def array_writer(self) -> EventWriter:
        """Return a writer of one JSON array."""
        return GenerateWriter(array=True)

    def read_error(self, status: int, body: JsonObject) -> Failure:
        """Return the failure by the error's reason, then its status."""
        return answers.read_error(status, body)

    def write_error(self, failure: Failure) -> tuple[int, JsonObject]:
        """Return `{"error": {code, message, status}}`."""
        return answers.write_error(failure)

    def write_count(self, tokens: int) -> JsonObject:
        """Return the answer of `countTokens`."""
        return {"totalTokens": tokens}
