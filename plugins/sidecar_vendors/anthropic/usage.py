"""Meters of Anthropic's messages.

`input_tokens` leaves out cache reads and writes, so the total is the sum of the three. In a stream,
the figures of `message_delta` replace those of `message_start`; nothing is added up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec
from msgspec import structs

from sidecar import JsonMeter, ResponseFields, SseMeter, Usage, as_count, as_mapping, error_code_of
from sidecar_vendors.anthropic.iterations import read_figures, served_by, with_iterations
from sidecar_vendors.common import without_nulls


def read_usage(usage: Mapping[str, object], model: str | None = None) -> Usage | None:
    """Return the usage of a `usage` object; None if it has no figures.

    `model` is the one that the response names; iterations of another model are parts of their own.
    """
    figures = read_figures(usage)
    if as_count(usage.get("input_tokens")) is None and figures.output_tokens is None:
        return None
    details = as_mapping(usage.get("output_tokens_details"))
    # Fast mode is served in any tier, at its own price.
    tier = "fast" if usage.get("speed") == "fast" else usage.get("service_tier")
    whole = structs.replace(
        figures,
        reasoning_tokens=as_count(details.get("thinking_tokens")),
        units=_tool_uses(as_mapping(usage.get("server_tool_use"))),
        service_tier=tier if isinstance(tier, str) else None,
    )
    return with_iterations(whole, usage.get("iterations"), model)


def _tool_uses(tools: Mapping[str, object]) -> tuple[tuple[str, int], ...]:
    names = (("web_searches", "web_search_requests"), ("web_fetches", "web_fetch_requests"))
    return tuple((unit, count) for unit, name in names if (count := as_count(tools.get(name))))


class MessageMeter(JsonMeter):
    """A meter of a message, a batch or a file as JSON."""

    def read_response(self, answer: ResponseFields) -> None:
        """Read `usage`, `model` and `id` of the top level."""
        reported = as_mapping(answer.usage)
        if isinstance(answer.model, str):
            self.model = served_by(reported.get("iterations")) or answer.model
        self._usage = read_usage(reported, self.model)
        self.error = error_code_of(answer.error)
        if isinstance(answer.id, str):
            self._created = (answer.id,)


class _Delta(msgspec.Struct, gc=False):
    type: Literal["content_block_delta"]
    response: None = None
    error: None = None


class MessagesMeter(SseMeter):
    """A meter of a messages stream."""

    ordinary = msgspec.json.Decoder(_Delta)
    ordinary_start = b"event: content_block_delta\ndata: "
    wanted = (b"message_start", b"message_delta", b"message_stop", b"event: error", b'"error"')

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[str, object] = {}
        self._is_read = True

    def usage(self) -> Usage | None:
        """Return the usage by the figures so far, which are read once, when they are needed."""
        super().usage()
        if not self._is_read:
            self._is_read, self._usage = True, read_usage(self._seen, self.model)
        return self._usage

    def on_event(self, event: bytes, data: bytes) -> None:
        """Read an event by its name, as the SDKs do."""
        if event == b"message_stop":
            self.finished = self.is_complete(data)
        elif event == b"error":
            self.error = error_code_of(self.read_object(data).get("error") or "error")
            self.finished = True
        elif event in {b"message_start", b"message_delta"}:
            value = self.read_object(data)
            message = as_mapping(value.get("message"))
            if isinstance(model := message.get("model"), str):
                self.model = model
            reported = as_mapping(value.get("usage") or message.get("usage"))
            self._seen |= without_nulls(reported)
            self.model = served_by(self._seen.get("iterations")) or self.model
            self._is_read = False
