"""The OpenAI dialect and OpenAI itself.

Paths and bodies follow OpenAI's published OpenAPI description and what its SDKs send.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import unquote

import msgspec

from sidecar import (
    ABSENT,
    Dialect,
    Endpoint,
    Facts,
    Kind,
    Located,
    Meter,
    ModelAt,
    ModelEntry,
    NoMeter,
    Quota,
    QuotaKind,
    Refusal,
    Serving,
    Vendor,
    as_object,
    hookimpl,
    number,
    peek,
    text,
    truth,
)
from sidecar_vendors.openai_usage import (
    AnswerMeter,
    ChatMeter,
    EventsMeter,
    ResponsesMeter,
)

_PREFIX = re.compile(r"/+(?:v1beta/openai|openai|v1)(?=/)")
_OBJECT = re.compile(rb"[ \t\r\n]*\{")

CHAT = Endpoint("chat", ModelAt.BODY, counts=True)
RESPONSES = Endpoint(
    "responses", ModelAt.BODY, counts=True, creates="response", optional_model=True
)
_POST: Mapping[str, Endpoint] = {
    "/chat/completions": CHAT,
    "/completions": Endpoint("completions", ModelAt.BODY, counts=True),
    "/responses": RESPONSES,
    "/responses/compact": Endpoint("compact", ModelAt.BODY, counts=True),
    "/responses/input_tokens": Endpoint("input_tokens", ModelAt.BODY),
    "/embeddings": Endpoint("embeddings", ModelAt.BODY, counts=True),
    "/moderations": Endpoint("moderations", ModelAt.BODY, optional_model=True),
    "/images/generations": Endpoint("images", ModelAt.BODY, optional_model=True, counts=True),
    "/images/edits": Endpoint("images", ModelAt.FORM, optional_model=True, counts=True),
    "/images/variations": Endpoint("images", ModelAt.FORM, optional_model=True, counts=True),
    "/audio/speech": Endpoint("speech", ModelAt.BODY),
    "/audio/transcriptions": Endpoint("transcriptions", ModelAt.FORM, counts=True),
    "/audio/translations": Endpoint("transcriptions", ModelAt.FORM, counts=True),
    "/videos": Endpoint(
        "videos", ModelAt.FORM, optional_model=True, starts_work=True, creates="video"
    ),
    "/files": Endpoint("files", creates="file"),
    "/uploads": Endpoint("uploads", creates="upload"),
    "/batches": Endpoint("batches", starts_work=True, creates="batch"),
    "/fine_tuning/jobs": Endpoint(
        "fine_tuning", ModelAt.BODY, optional_model=True, starts_work=True
    ),
    "/conversations": Endpoint("conversations", creates="conversation"),
}
_OBJECTS = {
    "responses": "response",
    "files": "file",
    "uploads": "upload",
    "batches": "batch",
    "videos": "video",
    "conversations": "conversation",
}
MODELS = Endpoint("models", lists_models=True)
_MODEL = Endpoint("model", ModelAt.PATH)
# What nobody knows may be paid work: without a model in it, only a key of all models may start it.
_OTHER = Endpoint("other", ModelAt.BODY, named=False, optional_model=True, starts_work=True)
_READ_OTHER = Endpoint("other", named=False)
_ORGANIZATION = Endpoint("organization", refused=True)

_TYPES: Mapping[Kind, tuple[str, str | None]] = {
    Kind.BAD_REQUEST: ("invalid_request_error", None),
    Kind.INVALID_KEY: ("invalid_request_error", "invalid_api_key"),
    Kind.FORBIDDEN: ("permission_error", "forbidden"),
    Kind.KEY_DISABLED: ("permission_error", "key_disabled"),
    Kind.MODEL_NOT_ALLOWED: ("permission_error", "model_not_allowed"),
    Kind.NOT_FOUND: ("invalid_request_error", "unknown_url"),
    Kind.TOO_LARGE: ("invalid_request_error", "request_too_large"),
    Kind.RATE_LIMITED: ("requests", "rate_limit_exceeded"),
    Kind.BUDGET_SPENT: ("insufficient_quota", "insufficient_quota"),
    Kind.UPSTREAM_UNREACHABLE: ("server_error", "upstream_unreachable"),
    Kind.UPSTREAM_TIMEOUT: ("server_error", "upstream_timeout"),
    Kind.UPSTREAM_INVALID: ("server_error", "upstream_invalid"),
    Kind.CREDENTIAL_REJECTED: ("server_error", "upstream_credential_rejected"),
    Kind.DRAINING: ("service_unavailable_error", "server_is_overloaded"),
}


_WINDOWS: Mapping[str, float | None] = {"requests": 60.0, "tokens": 60.0}
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


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

    def locate(self, method: str, path: str) -> Located | None:
        """Paths under `/v1`, under none for those that are known, and under what users make of a
        base URL: doubled, with `//`, with `/openai/v1`."""
        rest, prefixed = _without_prefixes(path)
        endpoint = _POST.get(rest) if method == "POST" else None
        if endpoint is not None:
            return Located(endpoint, rest)
        first, _, tail = rest[1:].partition("/")
        if first in {"organization", "organizations"} and prefixed:
            return Located(_ORGANIZATION, rest)
        if first == "models":
            return _model(method, rest, tail)
        kind = _OBJECTS.get(first)
        if kind is not None:
            object_id = tail.partition("/")[0] or None
            endpoint = Endpoint(first, owned=kind, counts=False)
            return Located(endpoint, rest, object_id=object_id)
        if not prefixed:
            return None
        return Located(_OTHER if method == "POST" else _READ_OTHER, rest)

    def read(self, endpoint: Endpoint, body: bytes) -> Facts:
        """`model`, `stream`, the bound on the output, and what names the conversation."""
        if not body or (not endpoint.named and not _OBJECT.match(body)):
            return Facts()
        found = peek(body, _Body)
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
        return AnswerMeter() if "json" in content_type else NoMeter()

    def error(self, refusal: Refusal, call_id: str) -> tuple[int, bytes]:
        """`{"error": {message, type, param, code}}`."""
        return refusal.kind.status, _error(refusal)

    def error_event(self, endpoint: Endpoint, refusal: Refusal, call_id: str) -> bytes:
        """A data event whose `error` makes the SDKs raise; the responses API names it too."""
        if endpoint.name != "responses":
            return b"data: " + _error(refusal) + b"\n\n"
        nested = {"type": "error", "error": json.loads(_error(refusal))["error"]}
        return b"event: error\ndata: " + json.dumps(nested).encode() + b"\n\n"

    def models(self, entries: list[ModelEntry]) -> bytes:
        """An OpenAI list; `type` and `capabilities` are there for stricter clients."""
        return b'{"object":"list","data":[' + b",".join(map(_row, entries)) + b"]}"

    def list_models(self, body: bytes) -> list[ModelEntry]:
        """The rows of `data`, each with its own bytes."""
        return rows(body, "data", "id")


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


def _error(refusal: Refusal) -> bytes:
    kind, code = _TYPES.get(refusal.kind, ("server_error", refusal.kind.name.lower()))
    error = {"message": refusal.message, "type": kind, "param": None, "code": code}
    return json.dumps({"error": error}).encode()


def read_ratelimit(
    headers: Mapping[str, str], windows: Mapping[str, float | None] = _WINDOWS
) -> tuple[Quota, ...]:
    """`x-ratelimit-*` headers; resets are durations (`6m0s`, `12ms`) or plain seconds."""
    found = []
    for name, window in windows.items():
        limit = _whole(headers.get(f"x-ratelimit-limit-{name}"))
        left = _whole(headers.get(f"x-ratelimit-remaining-{name}"))
        if limit is not None or left is not None:
            reset = _duration(headers.get(f"x-ratelimit-reset-{name}", ""))
            found.append(Quota(QuotaKind(name), limit, left, reset, window))
    return tuple(found)


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def _duration(text: str) -> float | None:
    """A Go duration, or seconds, as seconds."""
    if re.fullmatch(r"\d{1,9}(\.\d+)?", text):
        return float(text)
    if not re.fullmatch(r"(?:\d{1,9}(?:\.\d+)?(?:ms|h|m|s))+", text):
        return None
    return sum(float(n) * _UNITS[unit] for n, unit in re.findall(r"([\d.]+)(ms|h|m|s)", text))


def _without_prefixes(path: str) -> tuple[str, bool]:
    prefixed = False
    while match := _PREFIX.match(path):
        path, prefixed = path[match.end() :], True
    return "/" + path.lstrip("/"), prefixed


def _model(method: str, rest: str, tail: str) -> Located | None:
    if ":" in tail or "%3a" in tail.lower():
        return None  # `models/NAME:verb` is Gemini's
    if not tail:
        return Located(MODELS, rest) if method in {"GET", "HEAD"} else None
    start = len(rest) - len(tail)
    return Located(_MODEL, rest, unquote(tail), (start, len(rest)))


class OpenAI(Vendor):
    """OpenAI."""

    name = "openai"
    title = "OpenAI"
    base_url = "https://api.openai.com/v1"
    credential = "OPENAI_API_KEY"
    dialects: ClassVar[Mapping[str, Serving]] = {"openai": Serving()}
    # help.openai.com: these 429s are about money, and do not pass with time.
    spent: ClassVar[frozenset[str]] = frozenset({
        "insufficient_quota", "credit_balance_exhausted", "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded", "organization_usage_limit_exceeded",
        "billing_hard_limit_reached",
    })  # fmt: skip

    def read_quota(self, headers: Mapping[str, str], now: float) -> tuple[Quota, ...]:
        """`x-ratelimit-{limit,remaining,reset}-{requests,tokens}`."""
        return read_ratelimit(headers)


@hookimpl
def sidecar_dialects() -> list[Dialect]:
    """The OpenAI dialect."""
    return [OpenAIDialect()]


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """OpenAI."""
    return [OpenAI()]
