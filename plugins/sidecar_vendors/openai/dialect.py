"""The OpenAI dialect, and the vendor OpenAI.

Source: OpenAI's OpenAPI description (August 2026) and the requests of its SDKs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import ClassVar

import msgspec

from sidecar import (
    ABSENT,
    Classification,
    Dialect,
    Endpoint,
    ErrorClass,
    ErrorKind,
    Facts,
    LocalReply,
    Located,
    Meter,
    ModelEntry,
    NoMeter,
    ProxyError,
    Quota,
    Serving,
    SubscriptionWindow,
    UpstreamResponse,
    Vendor,
    as_object,
    hookimpl,
    number,
    peek,
    text,
    truth,
)
from sidecar_vendors.openai import limits
from sidecar_vendors.openai.answers import BatchMeter, EmbeddingsMeter, ImagesMeter, PagesMeter
from sidecar_vendors.openai.failed_events import failed_response
from sidecar_vendors.openai.paths import MODELS, locate
from sidecar_vendors.openai.streams import ChatMeter, EventsMeter, ResponsesMeter
from sidecar_vendors.openai.usage import AnswerMeter, TokensMeter
from sidecar_vendors.openai.usage_option import inject_usage_option, strip_injected_usage

_TYPES: Mapping[ErrorKind, tuple[str, str | None]] = {
    ErrorKind.BAD_REQUEST: ("invalid_request_error", None),
    ErrorKind.INVALID_KEY: ("invalid_request_error", "invalid_api_key"),
    ErrorKind.FORBIDDEN: ("permission_error", "forbidden"),
    ErrorKind.KEY_DISABLED: ("permission_error", "key_disabled"),
    ErrorKind.MODEL_NOT_ALLOWED: ("permission_error", "model_not_allowed"),
    ErrorKind.NOT_FOUND: ("invalid_request_error", "unknown_url"),
    ErrorKind.TOO_LARGE: ("invalid_request_error", "request_too_large"),
    ErrorKind.RATE_LIMITED: ("requests", "rate_limit_exceeded"),
    ErrorKind.BUDGET_SPENT: ("insufficient_quota", "insufficient_quota"),
    ErrorKind.UPSTREAM_UNREACHABLE: ("server_error", "upstream_unreachable"),
    ErrorKind.UPSTREAM_TIMEOUT: ("server_error", "upstream_timeout"),
    ErrorKind.UPSTREAM_INVALID: ("server_error", "upstream_invalid"),
    ErrorKind.CREDENTIAL_REJECTED: ("server_error", "upstream_credential_rejected"),
    ErrorKind.DRAINING: ("service_unavailable_error", "server_is_overloaded"),
    ErrorKind.OVERLOADED: ("service_unavailable_error", "server_is_overloaded"),
}

_METERS: Mapping[str, type[AnswerMeter]] = {
    "images": ImagesMeter,
    "embeddings": EmbeddingsMeter,
    "rerank": EmbeddingsMeter,
    "ocr": PagesMeter,
    "batches": BatchMeter,
}


_CODEX_ERROR_SECONDS = 20.0
"""Longer than the head of a stream takes: Codex does not show an error before the head."""
_STREAMS = frozenset({"chat", "completions", "responses"})


class _Body(msgspec.Struct):
    model: str | None = None
    stream: msgspec.Raw = ABSENT
    max_tokens: msgspec.Raw = ABSENT
    max_completion_tokens: msgspec.Raw = ABSENT
    max_output_tokens: msgspec.Raw = ABSENT
    previous_response_id: msgspec.Raw = ABSENT
    prompt_cache_key: msgspec.Raw = ABSENT


class OpenAIDialect(Dialect):
    """OpenAI's wire format, which many vendors share."""

    name = "openai"
    models_request = Located(MODELS, "/models")
    read_timeout_headers = ("x-stainless-read-timeout", "x-stainless-timeout")

    def locate(self, method: str, path: str) -> Located | None:
        """Accept paths under `/v1`, known paths without it, and doubled or foreign prefixes."""
        return locate(method, path)

    def read(self, endpoint: Endpoint, body: bytes) -> Facts:
        """Read `model`, `stream`, the output bound and the id of the conversation."""
        if not body:
            return Facts()
        try:
            found = peek(body, _Body)
        except ProxyError:
            if endpoint.optional_model:
                return Facts()  # routable; the vendor's own error is more exact
            raise
        bound = None
        for each in (found.max_output_tokens, found.max_completion_tokens, found.max_tokens):
            if each and (bound := number(each)) is not None:
                break
        # Most bodies have none of the last ones, and by position a struct is made faster.
        session, previous = found.prompt_cache_key, found.previous_response_id
        return Facts(
            (found.model,) if found.model else (),
            truth(found.stream),
            bound,
            text(session) if session else None,
            text(previous) if previous else None,
        )

    def meter(self, endpoint: Endpoint, content_type: str) -> Meter:
        """Return the meter for the type of the response, whatever was requested."""
        if content_type.startswith("text/event-stream"):
            if endpoint.name in {"chat", "completions"}:
                return ChatMeter()
            return ResponsesMeter() if endpoint.name == "responses" else EventsMeter()
        if "json" not in content_type:
            return NoMeter()
        return _METERS.get(endpoint.name, TokensMeter)()

    def ping(self, endpoint: Endpoint, query: str) -> bytes | None:
        """Return a comment, which OpenAI's SDKs, Codex and other agents skip."""
        return b": waiting\n\n" if endpoint.name in _STREAMS else None

    def error_timeout(self, headers: Mapping[str, str]) -> float | None:
        """Codex retries five times and shows why, but shows nothing while it waits."""
        return _CODEX_ERROR_SECONDS if headers.get("User-Agent", "").startswith("codex") else None

    def inject_usage_option(self, endpoint: Endpoint, body: bytes) -> bytes | None:
        """Set `stream_options`: streams of chat and completions report usage only with it."""
        return inject_usage_option(body) if endpoint.name in {"chat", "completions"} else None

    def strip_injected_usage(self, endpoint: Endpoint, event: bytes) -> bytes:
        """Remove `"usage":null`, and the chunk with the usage."""
        return strip_injected_usage(event)

    def error(self, reply: LocalReply, call_id: str) -> tuple[int, bytes]:
        """Return `{"error": {message, type, param, code}}`."""
        return reply.upstream_status or reply.kind.status, _error(reply)

    def error_event(self, endpoint: Endpoint, reply: LocalReply, call_id: str) -> bytes:
        """Return a data event with an `error`, at which the SDKs raise.

        In the responses API it is `response.failed`, whose message Codex shows.
        """
        if endpoint.name == "responses":
            return failed_response(reply, _error(reply), call_id)
        return b"data: " + _error(reply) + b"\n\n"

    def has_failed_end(self, endpoint: Endpoint) -> bool:
        """Return whether the event is `response.failed`. Without the end of the body, Codex shows
        the broken connection in place of its message."""
        return endpoint.name == "responses"

    def models(self, entries: list[ModelEntry]) -> bytes:
        """Return a list object; strict clients need `type` and `capabilities`."""
        return b'{"object":"list","data":[' + b",".join(map(_row, entries)) + b"]}"

    def list_models(self, body: bytes) -> list[ModelEntry]:
        """Return the rows of `data`, with their own bytes if they have OpenAI's shape."""
        found = rows(body, "data", "id")
        return [each if b'"object"' in (each.raw or b"") else ModelEntry(each.id) for each in found]


def rows(body: bytes, field: str, name: str) -> list[ModelEntry]:
    """Return the rows of the list `field` in a JSON object, by their `name`, with their bytes."""
    try:
        table = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        found = msgspec.json.decode(table[field], type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, RecursionError):
        return []
    pairs = ((as_object(bytes(row)).get(name), bytes(row)) for row in found)
    return [ModelEntry(each, raw) for each, raw in pairs if isinstance(each, str)]


def _row(entry: ModelEntry) -> bytes:
    if entry.raw is not None:
        return entry.raw
    row = {
        "id": entry.id, "object": "model", "created": 0, "owned_by": "sidecar",
        "type": "base", "capabilities": {},
    }  # fmt: skip
    return json.dumps(row).encode()


def _error(reply: LocalReply) -> bytes:
    usual = "server_error" if reply.kind.status >= 500 else "invalid_request_error"
    kind, code = _TYPES.get(reply.kind, (usual, reply.kind.name.lower()))
    error = {"message": reply.message, "type": kind, "param": None, "code": code}
    return json.dumps({"error": error}).encode()


class OpenAI(Vendor):
    """The API of OpenAI."""

    name = "openai"
    title = "OpenAI"
    base_url = "https://api.openai.com/v1"
    other_base_paths = ("/backend-api/codex",)
    credential = "OPENAI_API_KEY"
    price_list = "openai"
    dialects: ClassVar[Mapping[str, Serving]] = {"openai": Serving()}
    codes: ClassVar[Mapping[str, ErrorClass]] = limits.CODES

    def classify(self, answer: UpstreamResponse) -> Classification:
        """Classify money, daily limits and requests that are too large apart from rate limits."""
        return limits.classify(answer, self.codes)

    def family(self, model: str) -> str:
        """Return the model of a snapshot or a fine-tuned model, which share its limits.

        Which other models share limits is published only in an account's settings.
        """
        return limits.family(model)

    def read_quota(self, headers: Mapping[str, str], now: float) -> tuple[Quota, ...]:
        """Read `x-ratelimit-{limit,remaining,reset}-{requests,tokens,project-tokens}`."""
        return limits.read_quota(headers, now)

    def read_subscription(
        self, headers: Mapping[str, str], now: float
    ) -> tuple[SubscriptionWindow, ...]:
        """Read the windows of a ChatGPT login."""
        return limits.read_subscription(headers, now)


@hookimpl
def sidecar_dialects() -> list[Dialect]:
    """Return this dialect."""
    return [OpenAIDialect()]


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Return this vendor."""
    return [OpenAI()]
