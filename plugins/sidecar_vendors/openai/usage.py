"""Meters of OpenAI's JSON responses and streams.

Prompt tokens include cached tokens, completion tokens include reasoning. A vendor that counts
differently overrides `Vendor.normalize`. Source: OpenAI's OpenAPI description (August 2026).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Literal

import msgspec
from msgspec import Raw, Struct, structs

from sidecar import (
    JsonMeter,
    Part,
    ResponseFields,
    SseMeter,
    Usage,
    as_cost,
    as_count,
    as_counts,
    as_mapping,
    error_code_of,
    is_pending,
)

_TERMINAL = (b"response.completed", b"response.incomplete", b"response.failed")
_MAX_CHOICES = 128
_TICKS = 10**10
"""xAI's ticks in a US dollar."""
_CACHED_IN_ORDER = ("prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens")
"""The names of cached tokens outside of the details: DeepSeek, Moonshot, Mistral."""
_CACHED = frozenset(_CACHED_IN_ORDER)
_INPUT_UNITS = (("audio_tokens", "input_audio_tokens"), ("image_tokens", "input_image_tokens"))
_CACHED_UNITS = (
    ("audio_tokens", "cache_audio_read_tokens"), ("image_tokens", "cache_image_read_tokens"),
)  # fmt: skip
_OUTPUT_UNITS = (("audio_tokens", "output_audio_tokens"), ("image_tokens", "output_image_tokens"))
"""Fields of the details whose tokens have other prices, and their units."""
_XAI_TOOLS = "server_side_tool_usage_details"
_BESIDES = frozenset({
    "seconds", "prompt_audio_seconds", "server_tool_use_details", "server_tool_use", _XAI_TOOLS,
    "num_search_queries", "cost", "cost_in_usd_ticks", "context_details",
})  # fmt: skip
"""The fields beside tokens that are read: most vendors have none of them."""


def read_usage(
    usage: Mapping[str, object], tools: object = None, tier: object = None
) -> Usage | None:
    """Return the usage of any operation; None if the object has no figures.

    Args:
        usage: The `usage` object.
        tools: The `tool_usage` of a response, with the uses of server-side tools.
        tier: The `service_tier` of the response.
    """
    if not usage:
        return None
    read_in = as_mapping(
        usage.get("prompt_tokens_details") or usage.get("prompt_token_details")
        or usage.get("input_tokens_details") or usage.get("input_token_details")
    )  # fmt: skip
    read_out = as_mapping(
        usage.get("completion_tokens_details")
        or usage.get("output_tokens_details") or usage.get("output_token_details")
    )  # fmt: skip
    tokens_in, tokens_out, cached, written, reasoning = as_counts(
        usage.get("prompt_tokens", usage.get("input_tokens")),
        usage.get("completion_tokens", usage.get("output_tokens")),
        read_in.get("cached_tokens"),
        read_in.get("cache_write_tokens"),
        read_out.get("reasoning_tokens"),
    )
    if cached is None and not _CACHED.isdisjoint(usage):
        cached = _first_count(usage, *_CACHED_IN_ORDER)
    is_plain = tools is None and _BESIDES.isdisjoint(usage)
    found = Usage(
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        cache_read_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=reasoning,
        units=_units(read_in, read_out) if read_in or read_out else (),
        service_tier=tier if isinstance(tier, str) else None,
    )
    if not is_plain:
        found = _with_besides(found, usage, tools)
    if tokens_in is None and tokens_out is None and not _says_enough(found):
        return None
    return found


def _with_besides(found: Usage, usage: Mapping[str, object], tools: object) -> Usage:
    """Return the usage with what few vendors report beside tokens."""
    return structs.replace(
        found,
        units=found.units + _units_besides(usage, tools),
        reported_cost=_reported_cost(usage),
        context_tokens=as_count(as_mapping(usage.get("context_details")).get("input_tokens")),
    )


def _says_enough(usage: Usage) -> bool:
    """Return whether usage without tokens of input or output has another total with a price.

    Cached tokens alone, as in Cohere's native responses, are only a part of one.
    """
    return usage.reported_cost is not None or any(
        not name.endswith("_tokens") for name, _ in usage.units
    )


def _first_count(usage: Mapping[str, object], *names: str) -> int | None:
    counts = (as_count(usage.get(name)) for name in names)
    return next((count for count in counts if count is not None), None)


def _units(
    read_in: Mapping[str, object], read_out: Mapping[str, object]
) -> tuple[tuple[str, int], ...]:
    """Return the tokens at other prices, by the details."""
    if not (
        read_in.get("audio_tokens") or read_in.get("image_tokens")
        or read_in.get("cached_tokens_details")
        or read_out.get("audio_tokens") or read_out.get("image_tokens")
    ):  # fmt: skip
        return ()  # as in most calls
    found: list[tuple[str, int]] = []
    for place, fields in (
        (read_in, _INPUT_UNITS),
        (read_in.get("cached_tokens_details"), _CACHED_UNITS),
        (read_out, _OUTPUT_UNITS),
    ):
        if isinstance(place, dict):
            for field, unit in fields:
                if (figure := place.get(field)) and (count := as_count(figure)):
                    found.append((unit, count))
    return tuple(found)


def _units_besides(usage: Mapping[str, object], tools: object) -> tuple[tuple[str, int], ...]:
    """Return what else has a price: seconds of audio and searches."""
    return _counted(
        ("audio_seconds", _seconds(usage)),
        ("web_searches", _web_searches(usage, tools)),
        ("social_searches", as_mapping(usage.get(_XAI_TOOLS)).get("x_search_calls")),
    )


def _counted(*figures: tuple[str, object]) -> tuple[tuple[str, int], ...]:
    return tuple(
        [(name, count) for name, figure in figures if figure and (count := as_count(figure))]
    )


def _seconds(usage: Mapping[str, object]) -> int | float | None:
    """Return the length of the audio in seconds, rounded."""
    for name in ("seconds", "prompt_audio_seconds"):
        figure = usage.get(name)
        if type(figure) is int or (isinstance(figure, float) and isfinite(figure)):
            return round(figure)
    return None


def _web_searches(usage: Mapping[str, object], tools: object) -> int | None:
    """Return the number of web searches, which OpenAI reports beside the usage, others in it."""
    places = (
        (as_mapping(as_mapping(tools).get("web_search")), "num_requests"),
        (as_mapping(usage.get("server_tool_use_details")), "web_search_requests"),
        (as_mapping(usage.get("server_tool_use")), "web_search_requests"),
        (as_mapping(usage.get(_XAI_TOOLS)), "web_search_calls"),
        (usage, "num_search_queries"),
    )
    counts = (as_count(place.get(name)) for place, name in places)
    return next((count for count in counts if count is not None), None)


def _reported_cost(usage: Mapping[str, object]) -> int | None:
    """Return the cost that OpenRouter reports in dollars, or xAI in ticks; None if none.

    With a key of the caller's own at the vendor behind OpenRouter, `cost` is only the fee.
    """
    if "cost_in_usd_ticks" in usage:
        return as_cost(usage["cost_in_usd_ticks"], _TICKS)
    cost = as_cost(usage.get("cost"))
    if cost is None or usage.get("is_byok") is not True:
        return cost
    behind = as_cost(as_mapping(usage.get("cost_details")).get("upstream_inference_cost"))
    return None if behind is None else cost + behind


class AnswerMeter(JsonMeter):
    """A meter of a JSON response of any endpoint."""

    def read_response(self, answer: ResponseFields) -> None:
        """Read `usage`, `model`, `service_tier` and `id` of the top level."""
        self._usage = read_usage(as_mapping(answer.usage), answer.tool_usage, answer.service_tier)
        self.pending = answer.status is not None and is_pending(answer.status)
        # Some vendors send an error with the status 200.
        self.error = error_code_of(answer.error) if answer.error else None
        if isinstance(answer.model, str):
            self.model = answer.model
        if isinstance(answer.id, str):
            self._created = (answer.id,)


class BatchMeter(AnswerMeter):
    """A meter of a batch. Its `usage` is the sum of its requests, whose sizes are unknown."""

    def read_response(self, answer: ResponseFields) -> None:
        """Read the usage in the service tier of batches."""
        super().read_response(answer)
        if self._usage is not None:
            usage = structs.replace(self._usage, service_tier="batch")
            part = Part("batch", None, structs.replace(usage, reasoning_tokens=None), largest=0)
            self._usage = structs.replace(usage, parts=(part,))


class ImagesMeter(AnswerMeter):
    """A meter of images. It counts them, because few vendors report their number."""

    def read_bytes(self, data: bytes) -> None:
        """Read the usage, and count the images in `data`."""
        super().read_bytes(data)
        try:
            images = len(msgspec.json.decode(data, type=_Images).data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            rows = as_mapping(self.document(data)).get("data")
            images = len(rows) if isinstance(rows, list) and not self.unfinished else 0
        if images:
            usage = self._usage or Usage()
            self._usage = structs.replace(usage, units=(*usage.units, ("images", images)))


class _Images(Struct):
    data: list[Raw]


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
    error: Literal[""] = ""  # a chunk with null is parsed
    x_groq: None = None


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
        choices = chunk.get("choices")
        rows = [as_mapping(row) for row in choices] if isinstance(choices, list) else []
        groq = as_mapping(chunk.get("x_groq"))
        self.error = error_code_of(chunk.get("error") or groq.get("error")) or self.error
        if self.is_complete(data):
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
        if rows or self.error:
            self.finished = bool(self.error) or all(self._ended.values())

    def _take(self, reported: Mapping[str, object], tier: object) -> None:
        self._seen |= {name: figure for name, figure in reported.items() if figure is not None}
        self._usage = read_usage(self._seen, None, tier) or self._usage


class ResponsesMeter(SseMeter):
    """A meter of a responses stream, whose last event has the whole response."""

    wanted = (b"response.created", *_TERMINAL, b'"error"', b"event: error")

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
