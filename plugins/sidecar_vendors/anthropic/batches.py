"""The meter of the results of Anthropic's batches: one message a line, with its usage."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import structs

from sidecar import BaseMeter, Part, Usage, as_mapping, as_object
from sidecar_vendors.anthropic.usage import read_usage

LONG_CONTEXT_TOKENS = 200_000
"""Requests with more input have another price (Anthropic's pricing of long contexts)."""
MAX_LINE_BYTES = 32 << 20
MAX_MODELS = 32
"""Models that are counted separately; the usage of further ones has no price."""
_ADDED = (
    "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens",
    "cache_write_1h_tokens", "reasoning_tokens",
)  # fmt: skip


class ResultsMeter(BaseMeter):
    """A meter of JSON lines. A batch may use several models, so its usage has parts.

    A part is a model with short or with long contexts.
    """

    def __init__(self) -> None:
        super().__init__()
        self._tail = bytearray()
        self._parts: dict[tuple[str, str, bool], Part] = {}
        self._reasoning: int | None = None
        self._skips = False

    def feed(self, data: bytes) -> None:
        """Read the next lines. After a line that is too long, the usage is not final."""
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._tail += line
            self._line()
        self._tail += rest
        if len(self._tail) > MAX_LINE_BYTES:
            self.pending, self._skips = True, True
            self._tail.clear()

    def usage(self) -> Usage | None:
        """Return the usage of all successful requests, also of a last line without its end."""
        if self._tail:
            self._line()
        parts = tuple(self._parts.values())
        if not parts:
            return None
        whole = Usage()
        for part in parts:
            whole = _plus(whole, part.usage)
        return structs.replace(
            whole, reasoning_tokens=self._reasoning, service_tier="batch", parts=parts
        )

    def _line(self) -> None:
        line, skips = bytes(self._tail), self._skips
        self._tail.clear()
        self._skips = False
        if skips or not line.strip():
            return
        message = as_mapping(as_mapping(as_object(line).get("result")).get("message"))
        named = message.get("model")
        model = named if isinstance(named, str) else ""
        usage = read_usage({**as_mapping(message.get("usage")), "service_tier": "batch"}, model)
        if usage is not None:
            self._count(usage, model)

    def _count(self, usage: Usage, model: str) -> None:
        if usage.reasoning_tokens is not None:
            self._reasoning = (self._reasoning or 0) + usage.reasoning_tokens
        own = structs.replace(usage, reasoning_tokens=None, parts=())
        for part in usage.parts or (Part("message", None, own),):
            name = model if part.model is None else part.model
            size = part.usage.input_tokens or 0
            if len(self._parts) >= MAX_MODELS:
                name = ""
            key = (part.kind, name, size > LONG_CONTEXT_TOKENS)
            before = self._parts.get(key, Part(part.kind, name, Usage(service_tier="batch"), 0))
            largest = max(before.largest or 0, size)
            self._parts[key] = Part(part.kind, name, _plus(before.usage, part.usage), largest)


def _plus(one: Usage, other: Usage) -> Usage:
    figures: Mapping[str, int | None] = {
        name: _sum(getattr(one, name), getattr(other, name)) for name in _ADDED
    }
    units = dict(one.units)
    for name, count in other.units:
        units[name] = units.get(name, 0) + count
    return structs.replace(one, **figures, units=tuple(units.items()))


def _sum(one: int | None, other: int | None) -> int | None:
    return one if other is None else (one or 0) + other
