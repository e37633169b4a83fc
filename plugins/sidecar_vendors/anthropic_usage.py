"""Reads Anthropic's usage figures.

`input_tokens` leaves out what was read from and written to caches, so the total is the sum of the
three. In a stream, `message_delta` repeats figures cumulatively over `message_start`: per field the
last one counts, and nothing is ever added up.
"""

from __future__ import annotations

from collections.abc import Mapping

from sidecar import (
    Glance,
    JsonMeter,
    SseMeter,
    Usage,
    as_count,
    as_mapping,
    error_word,
)


def read_usage(usage: Mapping[str, object]) -> Usage | None:
    """The normalised figures of a `usage` object; None when it holds none."""
    plain = as_count(usage.get("input_tokens"))
    output = as_count(usage.get("output_tokens"))
    if plain is None and output is None:
        return None
    read = as_count(usage.get("cache_read_input_tokens"))
    written = as_count(usage.get("cache_creation_input_tokens"))
    split = as_mapping(usage.get("cache_creation"))
    details = as_mapping(usage.get("output_tokens_details"))
    # Fast mode is served in any tier, at its own price.
    tier = "fast" if usage.get("speed") == "fast" else usage.get("service_tier")
    more_in, more_out = _compaction(usage.get("iterations"))
    total = None if plain is None else plain + (read or 0) + (written or 0) + more_in
    return Usage(
        input_tokens=total,
        output_tokens=None if output is None else output + more_out,
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=as_count(split.get("ephemeral_1h_input_tokens")),
        reasoning_tokens=as_count(details.get("thinking_tokens")),
        units=_tool_uses(as_mapping(usage.get("server_tool_use"))),
        service_tier=tier if isinstance(tier, str) else None,
    )


def _compaction(iterations: object) -> tuple[int, int]:
    """Input and output of compactions: the only iterations that the top level leaves out."""
    rows = map(as_mapping, iterations) if isinstance(iterations, list) else ()
    spent_in = spent_out = 0
    for row in rows:
        if row.get("type") == "compaction":
            spent_in += as_count(row.get("input_tokens")) or 0
            spent_out += as_count(row.get("output_tokens")) or 0
    return spent_in, spent_out


def _tool_uses(tools: Mapping[str, object]) -> tuple[tuple[str, int], ...]:
    names = (("web_searches", "web_search_requests"), ("web_fetches", "web_fetch_requests"))
    return tuple((unit, count) for unit, name in names if (count := as_count(tools.get(name))))


class MessageMeter(JsonMeter):
    """A message, a batch or a file as JSON."""

    def read_answer(self, answer: Glance) -> None:
        """`usage`, `model` and `id` stand at the top."""
        self._usage = read_usage(as_mapping(answer.usage))
        self.error = error_word(answer.error)
        if isinstance(answer.model, str):
            self.model = answer.model
        if isinstance(answer.id, str):
            self._created = (answer.id,)


class MessagesMeter(SseMeter):
    """A messages stream."""

    wanted = (b"message_start", b"message_delta", b"message_stop", b"event: error", b'"error"')

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[str, object] = {}

    def on_event(self, event: bytes, data: bytes) -> None:
        """By the event's name, as the SDKs go by it."""
        if event == b"message_stop":
            self.finished = self.is_complete(data)
        elif event == b"error":
            self.error = error_word(self.read_object(data).get("error") or "error")
            self.finished = True
        elif event in {b"message_start", b"message_delta"}:
            value = self.read_object(data)
            message = as_mapping(value.get("message"))
            if isinstance(model := message.get("model"), str):
                self.model = model
            reported = as_mapping(value.get("usage") or message.get("usage"))
            self._seen |= {name: each for name, each in reported.items() if each is not None}
            self._usage = read_usage(self._seen)
