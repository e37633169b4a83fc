"""Meters of OpenAI's JSON responses, and what they read: the `usage` object.

Prompt tokens include cached tokens, completion tokens include reasoning. A vendor that counts
differently overrides `Vendor.normalize`. Source: OpenAI's OpenAPI description (August 2026).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from math import isfinite
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, ValidationError, convert, structs

from sidecar import (
    JsonMeter,
    ResponseFields,
    Usage,
    as_cost,
    as_count,
    as_counts,
    as_mapping,
    error_code_of,
    is_pending,
)

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
_INPUT_DETAILS = (
    "prompt_tokens_details", "prompt_token_details", "input_tokens_details", "input_token_details",
)  # fmt: skip
_OUTPUT_DETAILS = (
    "completion_tokens_details", "output_tokens_details", "output_token_details",
)  # fmt: skip
_Count = Annotated[int, Meta(ge=0, le=10**9)]
"""A count that `as_count` returns as it is."""
_NoCount = Literal[0] | None


class _Input(Struct, gc=False):
    """Details of the input without tokens at other prices."""

    cached_tokens: _Count | None = None
    cache_write_tokens: _Count | None = None
    audio_tokens: _NoCount = None
    image_tokens: _NoCount = None
    cached_tokens_details: None = None


class _Output(Struct, gc=False):
    """Details of the output without tokens at other prices."""

    reasoning_tokens: _Count | None = None
    audio_tokens: _NoCount = None
    image_tokens: _NoCount = None


class _Besides(Struct, gc=False):
    """The fields beside tokens that are read: most vendors have none of them."""

    seconds: UnsetType = UNSET
    prompt_audio_seconds: UnsetType = UNSET
    server_tool_use_details: UnsetType = UNSET
    server_tool_use: UnsetType = UNSET
    server_side_tool_usage_details: UnsetType = UNSET
    num_search_queries: UnsetType = UNSET
    cost: UnsetType = UNSET
    cost_in_usd_ticks: UnsetType = UNSET
    context_details: UnsetType = UNSET


_BESIDES = frozenset(_Besides.__struct_fields__)


class UsualUsage(_Besides, gc=False):
    """The usual usage of a chat, of a response or of embeddings: counts of tokens. Usage of another
    form is read field by field."""

    prompt_tokens: _Count | None = None
    input_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    output_tokens: _Count | None = None
    prompt_tokens_details: _Input | None = None
    input_tokens_details: _Input | None = None
    completion_tokens_details: _Output | None = None
    output_tokens_details: _Output | None = None
    prompt_cache_hit_tokens: _Count | None = None
    cached_tokens: _Count | None = None
    num_cached_tokens: _Count | None = None
    prompt_token_details: UnsetType = UNSET
    input_token_details: UnsetType = UNSET
    output_token_details: UnsetType = UNSET


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


class _UsualAnswer(Struct, gc=False):
    """A complete answer of the usual form, without an error."""

    model: str | None = None
    id: str | None = None
    usage: UsualUsage | None = None
    service_tier: str | None = None
    tool_usage: None = None
    error: None = None
    status: Literal["completed"] | None = None


_USUAL = msgspec.json.Decoder(_UsualAnswer)


class TokensMeter(AnswerMeter):
    """A meter of a JSON response that mostly has the usual form: one with counts of tokens."""

    def read_bytes(self, data: bytes) -> None:
        """Read what `read_response` reads."""
        answer = self.decoded(data, _USUAL)
        if answer is None:
            super().read_bytes(data)
            return
        usage = answer.usage
        self._usage = None if usage is None else usual_usage(usage, answer.service_tier)
        self.pending, self.error = False, None
        if answer.model is not None:
            self.model = answer.model
        if answer.id is not None:
            self._created = (answer.id,)


def usual_usage(found: UsualUsage, tier: str | None) -> Usage | None:
    """Return the usage of the usual form; None if it has no figures."""
    tokens_in, tokens_out = found.prompt_tokens, found.completion_tokens
    if tokens_in is None:
        tokens_in = found.input_tokens
    if tokens_out is None:
        tokens_out = found.output_tokens
    if tokens_in is None and tokens_out is None:
        return None
    read_in = found.prompt_tokens_details or found.input_tokens_details
    read_out = found.completion_tokens_details or found.output_tokens_details
    cached = written = reasoning = None
    if read_in is not None:
        cached, written = read_in.cached_tokens, read_in.cache_write_tokens
    if read_out is not None:
        reasoning = read_out.reasoning_tokens
    if cached is None:
        cached = found.prompt_cache_hit_tokens
        if cached is None:
            cached = found.num_cached_tokens if found.cached_tokens is None else found.cached_tokens
    return Usage(tokens_in, tokens_out, cached, written, None, reasoning, (), tier)


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
    if tools is None:
        with suppress(ValidationError):
            usual = convert(usage, UsualUsage)
            return usual_usage(usual, tier if isinstance(tier, str) else None)
    return _read_any(usage, tools, tier)


def _read_any(usage: Mapping[str, object], tools: object, tier: object) -> Usage | None:
    """Return the usage of any form, with what few vendors report."""
    read_in = as_mapping(_first(usage, *_INPUT_DETAILS))
    read_out = as_mapping(_first(usage, *_OUTPUT_DETAILS))
    tokens_in, tokens_out, cached, written, reasoning = as_counts(
        _first(usage, "prompt_tokens", "input_tokens"),
        _first(usage, "completion_tokens", "output_tokens"),
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


def _first(usage: Mapping[str, object], *names: str) -> object:
    """Return the first value that is not null; None without one."""
    return next((value for value in map(usage.get, names) if value is not None), None)


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
