"""The OpenAI dialect and OpenAI itself.

Paths and bodies follow OpenAI's published OpenAPI description and what its SDKs send.
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
from sidecar_vendors.openai.answers import EmbeddingsMeter, PagesMeter
from sidecar_vendors.openai.failed_events import failed_response
from sidecar_vendors.openai.paths import MODELS, locate
from sidecar_vendors.openai.stream_usage import inject_usage_option, strip_injected_usage
from sidecar_vendors.openai.usage import (
    AnswerMeter,
    BatchMeter,
    ChatMeter,
    EventsMeter,
    ImagesMeter,
    ResponsesMeter,
)

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


_CODEX_WAITS = 20.0
"""Seconds: longer than the head of its stream takes, since of an error before it shows nothing."""
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
    """OpenAI's API and what many others copied of it."""

    name: ClassVar[str] = "openai"
    models_request = Located(MODELS, "/models")
    read_timeout_headers = ("x-stainless-read-timeout", "x-stainless-timeout")

    def locate(self, method: str, path: str) -> Located | None:
        """Paths under `/v1`, under none for those that are known, and under what users make of a
        base URL: doubled, with `//`, with `/openai/v1`."""
        return locate(method, path)

    def read(self, endpoint: Endpoint, body: bytes) -> Facts:
        """`model`, `stream`, the bound on the output, and what names the conversation."""
        if not body:
            return Facts()
        try:
            found = peek(body, _Body)
        except ProxyError:
            if endpoint.optional_model:
                return Facts()  # it can be routed, and the vendor explains it better
            raise
        bounds = (found.max_output_tokens, found.max_completion_tokens, found.max_tokens)
        return Facts(
            models=(found.model,) if found.model else (),
            streaming=truth(found.stream),
            max_output=next((n for n in map(number, bounds) if n is not None), None),
            session=text(found.prompt_cache_key),
            previous_id=text(found.previous_response_id),
        )

    def meter(self, endpoint: Endpoint, content_type: str) -> Meter:
        """By what the answer is, not by what was asked."""
        if content_type.startswith("text/event-stream"):
            if endpoint.name in {"chat", "completions"}:
                return ChatMeter()
            return ResponsesMeter() if endpoint.name == "responses" else EventsMeter()
        if "json" not in content_type:
            return NoMeter()
        return _METERS.get(endpoint.name, AnswerMeter)()

    def ping(self, endpoint: Endpoint, query: str) -> bytes | None:
        """A comment, which its SDKs' parsers leave out, as do Codex and other agents."""
        return b": waiting\n\n" if endpoint.name in _STREAMS else None

    def error_timeout(self, headers: Mapping[str, str]) -> float | None:
        """Codex shows why it asks again, which it does five times, and else an empty screen."""
        return _CODEX_WAITS if headers.get("User-Agent", "").startswith("codex") else None

    def inject_usage_option(self, endpoint: Endpoint, body: bytes) -> bytes | None:
        """Streams of chat and completions report usage only where `stream_options` says so."""
        return inject_usage_option(body) if endpoint.name in {"chat", "completions"} else None

    def strip_injected_usage(self, endpoint: Endpoint, event: bytes) -> bytes:
        """Without `"usage":null`, and without the chunk of the figures."""
        return strip_injected_usage(event)

    def error(self, reply: LocalReply, call_id: str) -> tuple[int, bytes]:
        """`{"error": {message, type, param, code}}`."""
        return reply.upstream_status or reply.kind.status, _error(reply)

    def error_event(self, endpoint: Endpoint, reply: LocalReply, call_id: str) -> bytes:
        """A data event whose `error` makes the SDKs raise. In the responses API it is also the end
        of that response, which is where Codex looks for what to show."""
        if endpoint.name == "responses":
            return failed_response(reply, _error(reply), call_id)
        return b"data: " + _error(reply) + b"\n\n"

    def models(self, entries: list[ModelEntry]) -> bytes:
        """An OpenAI list; `type` and `capabilities` are there for stricter clients."""
        return b'{"object":"list","data":[' + b",".join(map(_row, entries)) + b"]}"

    def list_models(self, body: bytes) -> list[ModelEntry]:
        """The rows of `data`, each with its own bytes, unless they are in another shape."""
        found = rows(body, "data", "id")
        return [each if b'"object"' in (each.raw or b"") else ModelEntry(each.id) for each in found]


def rows(body: bytes, field: str, name: str) -> list[ModelEntry]:
    """The rows of a list in a JSON object, by their `name`, with the bytes they came in."""
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
    """OpenAI."""

    name = "openai"
    title = "OpenAI"
    base_url = "https://api.openai.com/v1"
    credential = "OPENAI_API_KEY"
    price_list = "openai"
    dialects: ClassVar[Mapping[str, Serving]] = {"openai": Serving()}
    codes: ClassVar[Mapping[str, ErrorClass]] = limits.CODES

    def classify(self, answer: UpstreamResponse) -> Classification:
        """Tells money, a day's limit and a request that is too large from throttling."""
        return limits.classify(answer, self.codes)

    def family(self, model: str) -> str:
        """Snapshots and fine-tuned models share the limits of their model. That some models share
        limits as well stands in no list, only in an account's own settings."""
        return limits.family(model)

    def read_quota(self, headers: Mapping[str, str], now: float) -> tuple[Quota, ...]:
        """`x-ratelimit-{limit,remaining,reset}-{requests,tokens,project-tokens}`."""
        return limits.read_quota(headers, now)


@hookimpl
def sidecar_dialects() -> list[Dialect]:
    """The OpenAI dialect."""
    return [OpenAIDialect()]


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """OpenAI."""
    return [OpenAI()]
