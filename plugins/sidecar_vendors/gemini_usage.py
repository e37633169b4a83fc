"""Reads Gemini's usage figures: cumulative on every chunk, so the last ones count.

`promptTokenCount` includes what was cached; thoughts and tool prompts stand apart from the visible
answer and the prompt, and are billed with them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from sidecar import JsonMeter, SseMeter, Usage, as_count, as_mapping, error_word

_FIGURES = b'"usageMetadata"'
_ENDS = frozenset({"interaction.complete", "interaction.completed"})
_MOST_CANDIDATES = 128
_MODALITIES = {"AUDIO": "audio", "IMAGE": "image", "DOCUMENT": "image", "VIDEO": "video"}
_BY_MODALITY = (
    ("promptTokensDetails", "input_{}_tokens"),
    ("toolUsePromptTokensDetails", "input_{}_tokens"),
    ("cacheTokensDetails", "cache_{}_read_tokens"),
    ("candidatesTokensDetails", "output_{}_tokens"),
)


def read_usage(usage: Mapping[str, object]) -> Usage | None:
    """The normalised figures of a `usageMetadata` (or an interaction's `usage`)."""
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
    if prompt is None and answer is None and total is None:
        return None
    output = None if answer is None and thoughts is None else (answer or 0) + (thoughts or 0)
    if total is not None and prompt is not None and output is not None:
        # Some models' visible count holds the thoughts already: the total cannot be wrong.
        output = max(0, total - prompt - (tools or 0))
    tier = usage.get("serviceTier")
    return Usage(
        input_tokens=None if prompt is None else prompt + (tools or 0),
        output_tokens=output,
        cache_read_tokens=as_count(
            usage.get("cachedContentTokenCount", usage.get("total_cached_tokens"))
        ),
        reasoning_tokens=thoughts,
        units=_units(usage),
        service_tier=tier if isinstance(tier, str) else None,
    )


def _units(usage: Mapping[str, object]) -> tuple[tuple[str, int], ...]:
    """Tokens of what is not text, which has its own prices. Documents are read as images."""
    found: Counter[str] = Counter()
    for field, unit in _BY_MODALITY:
        rows = usage.get(field)
        for row in map(as_mapping, rows if isinstance(rows, list) else ()):
            modality = _MODALITIES.get(str(row.get("modality")))
            if modality is not None:
                found[unit.format(modality)] += as_count(row.get("tokenCount")) or 0
    return tuple((unit, count) for unit, count in found.items() if count)


class _Chunks:
    """What chunks say, one after the other."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.model: str | None = None
        self.error: str | None = None
        self.finished = False
        self.created: tuple[str, ...] = ()
        self._ended: dict[int, bool] = {}

    def take(self, chunk: Mapping[str, object]) -> None:
        interaction = as_mapping(chunk.get("interaction"))
        reported = as_mapping(
            chunk.get("usageMetadata") or chunk.get("usage") or interaction.get("usage")
        )
        self.usage = read_usage(reported) or self.usage
        model = chunk.get("modelVersion", chunk.get("model", interaction.get("model")))
        self.model = model if isinstance(model, str) else self.model
        if isinstance(created := interaction.get("id"), str):
            self.created = (created,)
        self.error = error_word(chunk.get("error")) or self.error

    def note_end(self, chunk: Mapping[str, object], event: str = "") -> None:
        """Whether a whole chunk ends the answer: with its last candidate, or without any."""
        rows = chunk.get("candidates")
        rows = rows[:_MOST_CANDIDATES] if isinstance(rows, list) else []
        for row in map(as_mapping, rows):
            index = min(as_count(row.get("index")) or 0, _MOST_CANDIDATES)
            self._ended[index] = bool(row.get("finishReason")) or self._ended.get(index, False)
        if rows:
            self.finished = all(self._ended.values())
        blocked = as_mapping(chunk.get("promptFeedback")).get("blockReason")
        last = event in _ENDS or chunk.get("event_type") in _ENDS
        self.finished = self.finished or self.error is not None or bool(blocked) or last


class GenerateMeter(JsonMeter):
    """One answer, or the array of chunks that a stream without `alt=sse` is."""

    def read_bytes(self, data: bytes) -> None:
        """An object or a list of them; of a list that was cut, the last figures in it."""
        chunks = _Chunks()
        value = self.document(data)
        for chunk in value if isinstance(value, list) else [value]:
            chunks.take(as_mapping(chunk))
        self._usage, self.model, self.error = chunks.usage, chunks.model, chunks.error
        top = as_mapping(value)
        name = top.get("name") or as_mapping(top.get("file")).get("name") or top.get("id")
        if isinstance(name, str):
            self._created = (name,)


class StreamMeter(SseMeter):
    """Data-only events, without an end marker: a finish reason is the end of the answer."""

    wanted = (
        b'"finishReason"', b'"error"', b'"blockReason"', b'"event_type"', b"interaction.complete",
        b'"index":1', b'"index": 1',
    )  # fmt: skip
    repeated = _FIGURES

    def __init__(self) -> None:
        super().__init__()
        self._chunks = _Chunks()

    def on_event(self, event: bytes, data: bytes) -> None:
        """The figures are cumulative: the latest count."""
        chunks = self._chunks
        chunk = self.read_object(data)
        chunks.take(chunk)
        if self.is_complete(data):
            chunks.note_end(chunk, event.decode("latin-1"))
        self._usage, self.model, self.error = chunks.usage, chunks.model, chunks.error
        self._created = chunks.created
        self.finished = chunks.finished
