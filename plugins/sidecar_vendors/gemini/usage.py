"""Meters of Gemini's responses, whose chunks have cumulative figures, so the last ones count.

`promptTokenCount` includes cached tokens. Thoughts and tool prompts are separate from the visible
output and the prompt, and are billed with them. Searches are billed by the query since Gemini 3,
and once for a prompt before. Source: ai.google.dev, "Grounding with Google Search".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Literal

from msgspec import UNSET, Struct, UnsetType, json, structs

from sidecar import JsonMeter, SseMeter, Usage, as_count, as_mapping, error_code_of, is_pending

_FIGURES = b'"usageMetadata"'
_ENDS = frozenset({"interaction.complete", "interaction.completed"})
_MAX_CANDIDATES = 128
_MODALITIES = {"AUDIO": "audio", "IMAGE": "image", "DOCUMENT": "image", "VIDEO": "video"}
_BY_MODALITY = (
    ("promptTokensDetails", "input_{}_tokens"),
    ("toolUsePromptTokensDetails", "input_{}_tokens"),
    ("cacheTokensDetails", "cache_{}_read_tokens"),
    ("candidatesTokensDetails", "output_{}_tokens"),
    # Those of an interaction.
    ("input_tokens_by_modality", "input_{}_tokens"),
    ("tool_use_tokens_by_modality", "input_{}_tokens"),
    ("cached_tokens_by_modality", "cache_{}_read_tokens"),
    ("output_tokens_by_modality", "output_{}_tokens"),
)
_PAID_BY_PROMPT = re.compile(r"gemini-(?:live-)?[12](?:\.|-|$)", re.ASCII)
"""Models whose searches have one price for each prompt, however many queries they make."""


def read_usage(usage: Mapping[str, object]) -> Usage | None:
    """Return the usage of a `usageMetadata` or an interaction's `usage`; None if it has none."""
    prompt = as_count(usage.get("promptTokenCount", usage.get("total_input_tokens")))
    answer = as_count(
        usage.get(
            "candidatesTokenCount",
            usage.get("responseTokenCount", usage.get("total_output_tokens")),
        )
    )
    thoughts = as_count(usage.get("thoughtsTokenCount", usage.get("total_thought_tokens")))
    tools = as_count(usage.get("toolUsePromptTokenCount", usage.get("total_tool_use_tokens")))
    total = as_count(usage.get("totalTokenCount", usage.get("total_tokens")))
    if prompt is None and answer is None:
        return None  # a total alone, as that of a new cache, has no price
    output = None if answer is None and thoughts is None else (answer or 0) + (thoughts or 0)
    if total is not None and prompt is not None and output is not None:
        # The visible output of some models includes the thoughts; the total is always right.
        output = max(0, total - prompt - (tools or 0))
    tier = usage.get("serviceTier", usage.get("service_tier"))
    return Usage(
        input_tokens=None if prompt is None else prompt + (tools or 0),
        output_tokens=output,
        cache_read_tokens=as_count(
            usage.get("cachedContentTokenCount", usage.get("total_cached_tokens"))
        ),
        reasoning_tokens=thoughts,
        units=_units(usage),
        service_tier=tier if isinstance(tier, str) else None,
        context_tokens=as_count(usage.get("initial_input_tokens")),
    )


def _units(usage: Mapping[str, object]) -> tuple[tuple[str, int], ...]:
    """Return the tokens of other media than text, which have their own prices.

    Documents count as images.
    """
    found: Counter[str] = Counter()
    for field, unit in _BY_MODALITY:
        rows = usage.get(field)
        for row in map(as_mapping, rows if isinstance(rows, list) else ()):
            modality = _MODALITIES.get(str(row.get("modality")).upper())
            if modality is not None:
                count = as_count(row.get("tokenCount", row.get("tokens")))
                found[unit.format(modality)] += count or 0
    return tuple((unit, count) for unit, count in found.items() if count)


def _queries(chunk: Mapping[str, object]) -> Iterator[str]:
    """Yield the search queries without empty ones; empty and repeated queries are not billed."""
    candidates = chunk.get("candidates")
    for candidate in map(as_mapping, candidates if isinstance(candidates, list) else ()):
        queries = as_mapping(candidate.get("groundingMetadata")).get("webSearchQueries")
        for query in queries if isinstance(queries, list) else ():
            if isinstance(query, str) and query:
                yield query


def _searches(usage: Mapping[str, object]) -> int:
    """Return the number of searches in the usage of an interaction."""
    rows = usage.get("grounding_tool_count")
    return sum(
        as_count(row.get("count")) or 0
        for row in map(as_mapping, rows if isinstance(rows, list) else ())
        if row.get("type") == "google_search"
    )


class _Chunks:
    """The state after the chunks so far."""

    def __init__(self) -> None:
        self._reported: Usage | None = None
        self._queries: set[str] = set()
        self._searches = 0
        self.model: str | None = None
        self.error: str | None = None
        self.finished = False
        self.created: tuple[str, ...] = ()
        self._ended: dict[int, bool] = {}

    @property
    def usage(self) -> Usage | None:
        """The last figures, with the number of all searches."""
        usage, searches = self._reported, max(len(self._queries), self._searches)
        if usage is None or not searches:
            return usage
        if _PAID_BY_PROMPT.match((self.model or "").removeprefix("models/")):
            searches = 1
        return structs.replace(usage, units=(*usage.units, ("web_searches", searches)))

    def take(self, chunk: Mapping[str, object]) -> None:
        interaction = as_mapping(chunk.get("interaction"))
        reported = as_mapping(
            chunk.get("usageMetadata")
            or chunk.get("usage")
            or interaction.get("usage")
            or as_mapping(chunk.get("metadata")).get("total_usage")
        )
        tier = chunk.get("service_tier", interaction.get("service_tier"))
        if reported and isinstance(tier, str):
            reported = {"service_tier": tier, **reported}
        self._reported = read_usage(reported) or self._reported
        self._queries.update(_queries(chunk))
        self._searches = _searches(reported) or self._searches
        model = chunk.get("modelVersion", chunk.get("model", interaction.get("model")))
        self.model = model if isinstance(model, str) else self.model
        if isinstance(created := interaction.get("id"), str):
            self.created = (created,)
        self.error = error_code_of(chunk.get("error")) or self.error

    def note_end(self, chunk: Mapping[str, object], event: str = "") -> None:
        """Note whether a complete chunk ends the response, with or without candidates."""
        rows = chunk.get("candidates")
        rows = rows[:_MAX_CANDIDATES] if isinstance(rows, list) else []
        for row in map(as_mapping, rows):
            index = min(as_count(row.get("index")) or 0, _MAX_CANDIDATES)
            self._ended[index] = bool(row.get("finishReason")) or self._ended.get(index, False)
        if rows:
            self.finished = all(self._ended.values())
        blocked = as_mapping(chunk.get("promptFeedback")).get("blockReason")
        last = event in _ENDS or chunk.get("event_type") in _ENDS
        self.finished = self.finished or self.error is not None or bool(blocked) or last


class GenerateMeter(JsonMeter):
    """A meter of one response, or of the array of chunks of a stream without `alt=sse`."""

    def read_bytes(self, data: bytes) -> None:
        """Read an object or a list of them; of a truncated list, its last figures."""
        chunks = _Chunks()
        value = self.document(data)
        for chunk in value if isinstance(value, list) else [value]:
            chunks.take(as_mapping(chunk))
        self._usage, self.model, self.error = chunks.usage, chunks.model, chunks.error
        top = as_mapping(value)
        self.pending = is_pending(top.get("status"))
        name = top.get("name") or as_mapping(top.get("file")).get("name") or top.get("id")
        if isinstance(name, str):
            self._created = (name,)


class _Candidate(Struct, gc=False):
    index: Literal[0] = 0
    finishReason: UnsetType = UNSET  # noqa: N815 - of the vendor
    groundingMetadata: None = None  # noqa: N815


class _Chunk(Struct, gc=False):
    """A chunk without an end, an error or searches, as most are. It may have the figures so far.
    Even an empty error would be parsed."""

    candidates: tuple[_Candidate, ...] = ()
    error: UnsetType = UNSET
    promptFeedback: None = None  # noqa: N815
    event_type: UnsetType = UNSET
    interaction: None = None
    type: None = None
    response: None = None


class StreamMeter(SseMeter):
    """A meter of a stream of events. It has no end marker: a finish reason is the end."""

    wanted = (
        b'"finishReason"', b'"error"', b'"blockReason"', b'"event_type"', b"interaction.complete",
        b'"index":1', b'"index": 1', b'"webSearchQueries"',
    )  # fmt: skip
    repeated = _FIGURES
    ordinary = json.Decoder(_Chunk)

    def __init__(self) -> None:
        super().__init__()
        self._chunks = _Chunks()

    def on_event(self, event: bytes, data: bytes) -> None:
        """Read the cumulative figures."""
        chunks = self._chunks
        chunk = self.read_object(data)
        chunks.take(chunk)
        if self.is_complete(data):
            chunks.note_end(chunk, event.decode("latin-1"))
        self._usage, self.model, self.error = chunks.usage, chunks.model, chunks.error
        self._created = chunks.created
        self.finished = chunks.finished
