"""Meters of OpenAI's streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from sidecar import SseMeter, as_count, as_mapping, error_code_of
from sidecar_vendors.common import without_nulls
from sidecar_vendors.openai.usage import read_usage

_TERMINAL = (b"response.completed", b"response.incomplete", b"response.failed")
_MAX_CHOICES = 128


class _ToolCall(Struct, gc=False):
    index: Literal[0] = 0


class _Delta(Struct, gc=False):
    tool_calls: tuple[_ToolCall, ...] | None = None


class _Choice(Struct, gc=False):
    index: Literal[0] = 0
    delta: _Delta | None = None
    finish_reason: None = None
    usage: None = None


class _Chunk(Struct, gc=False):
    """A chunk without usage, end or error, as most are."""

    choices: tuple[_Choice, ...] = ()
    usage: None = None
    error: UnsetType = UNSET  # a chunk with null is parsed
    x_groq: None = None
    type: None = None
    response: None = None


class ChatMeter(SseMeter):
    """A meter of a chat or completions stream, which ends with `[DONE]` or a finish reason."""

    # Every chunk has "finish_reason":null, and many have "usage":null; they are not parsed. With a
    # second choice (or tool call), the finish reason of the first is not the end.
    wanted = (
        b'"usage":{', b'"usage": {', b"[DONE]", b'"finish_reason":"', b'"finish_reason": "',
        b'"error"', b'"index":1', b'"index": 1',
    )  # fmt: skip
    ordinary = msgspec.json.Decoder(_Chunk)

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[str, object] = {}
        self._ended: dict[int, bool] = {}

    def on_event(self, event: bytes, data: bytes) -> None:
        """Read the latest usage: some vendors repeat it in every chunk."""
        if data.strip() == b"[DONE]":
            self.finished = True
            return
        chunk = self.read_object(data)
        choices, groq = chunk.get("choices"), as_mapping(chunk.get("x_groq"))
        rows = list(map(as_mapping, choices)) if isinstance(choices, list) else []
        if error := chunk.get("error") or groq.get("error"):
            self.error = error_code_of(error)
        if (rows or self.error) and self.is_complete(data):
            self._note_ends(rows)
        if isinstance(model := chunk.get("model"), str) and model:
            self.model = model
        for place in (chunk, groq, *rows):
            if reported := as_mapping(place.get("usage")):
                self._take(reported, chunk.get("service_tier"))
                break

    def _note_ends(self, rows: list[Mapping[str, object]]) -> None:
        """Note finished choices, which are the end for the few servers without [DONE]."""
        for row in rows[:_MAX_CHOICES]:
            index = min(as_count(row.get("index")) or 0, _MAX_CHOICES)
            self._ended[index] = bool(row.get("finish_reason")) or self._ended.get(index, False)
        self.finished = bool(self.error) or all(self._ended.values())

    def _take(self, reported: Mapping[str, object], tier: object) -> None:
        self._seen |= without_nulls(reported)
        self._usage = read_usage(self._seen, None, tier) or self._usage


class _TextDelta(Struct, gc=False):
    type: Literal["response.output_text.delta"]
    response: None = None
    error: None = None


class ResponsesMeter(SseMeter):
    """A meter of a responses stream, whose last event has the whole response."""

    wanted = (b"response.created", *_TERMINAL, b'"error"', b"event: error")
    ordinary = msgspec.json.Decoder(_TextDelta)
    ordinary_start = b"event: response.output_text.delta\ndata: "

    def on_event(self, event: bytes, data: bytes) -> None:
        """Read `response.usage` of the terminal event, which is final."""
        head = data[:400]
        terminal = event in _TERMINAL or any(name in head for name in _TERMINAL)
        if not terminal and b"response.created" not in head and b'"error"' not in head:
            return
        value = self.read_object(data)
        kind = value.get("type") or event.decode("latin-1")
        response = as_mapping(value.get("response"))
        if kind == "error":
            self.error = error_code_of(value.get("error") or {"code": value.get("code") or "error"})
            self.finished = True
        if isinstance(created := response.get("id"), str):
            self._created = (created,)
        if isinstance(model := response.get("model"), str):
            self.model = model
        ends = event in _TERMINAL or (isinstance(kind, str) and kind.encode() in _TERMINAL)
        if ends and self.is_complete(data):
            self.finished = True
            self.error = error_code_of(response.get("error"))
            reported = as_mapping(response.get("usage"))
            tools, tier = response.get("tool_usage"), response.get("service_tier")
            self._usage = read_usage(reported, tools, tier)


class EventsMeter(SseMeter):
    """A meter of any other stream: images and audio have `usage` in their last event."""

    wanted = (b'"usage"', b'"error"')
    expects_end = False

    def on_event(self, event: bytes, data: bytes) -> None:
        """Read the latest usage. Mistral wraps events in a further `data`."""
        outer = self.read_object(data)
        value = as_mapping(outer.get("data")) or outer
        self._usage = read_usage(as_mapping(value.get("usage"))) or self._usage
        self.error = error_code_of(value.get("error")) or self.error
        if isinstance(model := value.get("model"), str) and model:
            self.model = model
