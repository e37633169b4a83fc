"""Parse `usage.iterations` of Anthropic: the requests that it makes within one call.

The top-level figures leave out a compaction and an advisor. Of the executor's own requests
(`message`, `fallback_message`) they are the sum, or, of input and cache reads, those of the first
one. So each figure of the executor is the larger of the top-level one and the sum of its requests.

Source: platform.claude.com, advisor tool, "Usage and billing": "Use `usage.iterations` for a full
per-iteration breakdown when building cost-tracking logic".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import structs

from sidecar import Part, Usage, as_count, as_mapping

MAX_PARTS = 64
"""Requests of one call with parts of their own; the usage of further ones has no price."""
MAX_NAME = 256
_APART = frozenset({"compaction", "advisor_message"})
_FIGURES = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
)


def read_figures(row: Mapping[str, object]) -> Usage:
    """Return the tokens of a usage object, or of one row of its iterations."""
    plain = as_count(row.get("input_tokens"))
    read = as_count(row.get("cache_read_input_tokens"))
    written = as_count(row.get("cache_creation_input_tokens"))
    split = as_mapping(row.get("cache_creation"))
    return Usage(
        input_tokens=None if plain is None else plain + (read or 0) + (written or 0),
        output_tokens=as_count(row.get("output_tokens")),
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=as_count(split.get("ephemeral_1h_input_tokens")),
    )


def with_iterations(whole: Usage, iterations: object, model: str | None) -> Usage:
    """Return the usage of all requests of a call, as parts where there is more than one.

    Args:
        whole: The top-level usage, which is that of the executor.
        iterations: The value of `usage.iterations`.
        model: The model that the response names.
    """
    rows = iterations if isinstance(iterations, list) else []
    parts = [part for row in rows if (part := _part(as_mapping(row), whole, model)) is not None]
    own = [part for part in parts if part.kind not in _APART]
    if len(own) == len(parts) and all(part.model is None for part in own) and len(own) < 2:
        return whole
    rest = structs.replace(_rest(whole, own), units=whole.units, service_tier=whole.service_tier)
    if own and rest == Usage(units=whole.units, service_tier=whole.service_tier):
        # Units other than tokens, such as searches, belong to the first request.
        at = parts.index(own[0])
        first = structs.replace(own[0].usage, units=whole.units)
        parts[at] = structs.replace(own[0], usage=first)
    else:
        parts.insert(0, Part("message", None, rest))
    return structs.replace(whole, **_sums(parts), parts=tuple(_bounded(parts)))


def served_by(iterations: object) -> str | None:
    """Return the model that replaced one that declined; None if there was none."""
    rows = map(as_mapping, iterations if isinstance(iterations, list) else ())
    names = (row.get("model") for row in rows if row.get("type") == "fallback_message")
    return next((name for name in names if isinstance(name, str)), None)


def _part(row: Mapping[str, object], whole: Usage, model: str | None) -> Part | None:
    figures = read_figures(row)
    if figures == Usage():
        return None
    kind, named = row.get("type"), row.get("model")
    kind = kind[:MAX_NAME] if isinstance(kind, str) else "message"
    other = named if isinstance(named, str) and not _is_same(named, model) else None
    # Priority and fast mode are those of the executor; in a batch, every request has its tier.
    tier = whole.service_tier if kind != "advisor_message" or _is_batch(whole) else None
    return Part(kind, other and other[:MAX_NAME], structs.replace(figures, service_tier=tier))


def _is_batch(whole: Usage) -> bool:
    return whole.service_tier == "batch"


def _is_same(name: str, model: str | None) -> bool:
    """Return whether both name one model; either may be an alias without its date."""
    if model is None:
        return False
    short, long = sorted((name, model), key=len)
    return long == short or (long.startswith(f"{short}-") and long[len(short) + 1 :].isdigit())


def _sums(parts: Sequence[Part]) -> dict[str, Any]:
    return {name: _sum(getattr(part.usage, name) for part in parts) for name in _FIGURES}


def _sum(figures: Iterator[int | None]) -> int | None:
    known = [each for each in figures if each is not None]
    return sum(known) if known else None


def _rest(whole: Usage, own: Sequence[Part]) -> Usage:
    """Return the executor's top-level usage beyond its requests; an empty one if there is none."""
    summed = _sums(own)
    left = {name: (getattr(whole, name) or 0) - (summed[name] or 0) for name in _FIGURES}
    kept: dict[str, Any] = {
        name: max(count, 0) for name, count in left.items() if getattr(whole, name) is not None
    }
    return Usage(**kept) if any(kept.values()) or not own else Usage()


def _bounded(parts: Sequence[Part]) -> Iterator[Part]:
    yield from parts[:MAX_PARTS]
    if len(parts) > MAX_PARTS:
        yield Part("further", "", Usage(**_sums(parts[MAX_PARTS:])))
