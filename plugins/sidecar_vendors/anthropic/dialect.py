"""The Anthropic dialect, and the vendor Anthropic.

Source: Anthropic's Python SDK 2.12.
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
    Classification,
    Dialect,
    Endpoint,
    ErrorClass,
    ErrorKind,
    Facts,
    LocalReply,
    Located,
    Meter,
    ModelAt,
    ModelEntry,
    NoMeter,
    ProxyError,
    Quota,
    Secret,
    Serving,
    SubscriptionWindow,
    UpstreamResponse,
    Usage,
    Vendor,
    hookimpl,
    mapping,
    number,
    peek,
    truth,
)
from sidecar_vendors.anthropic import limits
from sidecar_vendors.anthropic.batches import ResultsMeter
from sidecar_vendors.anthropic.models import as_row, in_shape
from sidecar_vendors.anthropic.usage import MessageMeter, MessagesMeter
from sidecar_vendors.openai.dialect import rows

_PREFIX = re.compile(r"/+(?:v1|anthropic)(?=/)")

MESSAGES = Endpoint("messages", ModelAt.BODY, counts=True)
COUNT_TOKENS = Endpoint("count_tokens", ModelAt.BODY, free=True)
BATCHES = Endpoint("batches", ModelAt.EACH, starts_work=True, creates="batch")
MODELS = Endpoint("models", lists_models=True)
_MODEL = Endpoint("model", ModelAt.PATH)
_COMPLETE = Endpoint("complete", ModelAt.BODY, counts=True)
_FILES = Endpoint("files", creates="file", free=True)
_FILE = Endpoint("files", owned="file", free=True)
_BATCH = Endpoint("batches", owned="batch", free=True)
_RESULTS = Endpoint("batch_results", owned="batch", free=True)
_BATCHES_MADE = Endpoint("batches", starts_work=True)  # those of the whole account
_OTHER = Endpoint("other", named=False)
# An unknown POST may start paid work, so without a model it needs a route for all models.
_OTHER_WORK = Endpoint("other", ModelAt.BODY, named=False, optional_model=True, starts_work=True)
_ORGANIZATION = Endpoint("organization", refused=True)

_TYPES: Mapping[ErrorKind, tuple[int, str]] = {
    ErrorKind.INVALID_KEY: (401, "authentication_error"),
    ErrorKind.FORBIDDEN: (403, "permission_error"),
    ErrorKind.KEY_DISABLED: (403, "permission_error"),
    ErrorKind.MODEL_NOT_ALLOWED: (403, "permission_error"),
    ErrorKind.NOT_FOUND: (404, "not_found_error"),
    ErrorKind.TOO_LARGE: (413, "request_too_large"),
    ErrorKind.RATE_LIMITED: (429, "rate_limit_error"),
    # Anthropic's clients do not retry a 402.
    ErrorKind.BUDGET_SPENT: (402, "billing_error"),
    ErrorKind.UPSTREAM_TIMEOUT: (504, "timeout_error"),
    ErrorKind.DRAINING: (529, "overloaded_error"),
    ErrorKind.OVERLOADED: (529, "overloaded_error"),
}


_NO_KEYS = {
    "sk-ant-oat": "is the login of a subscription (sk-ant-oat…), not an API key: it belongs to "
    "the program that signed in; write credential: caller, or make a key in the Anthropic console",
    "sk-ant-ort": "is the refresh token of a login (sk-ant-ort…), not an API key; make a key in "
    "the Anthropic console",
    "sk-ant-admin": "is an administration key (sk-ant-admin…), which serves no models; make an "
    "API key in the Anthropic console",
}


class _Body(msgspec.Struct):
    model: str | None = None
    stream: msgspec.Raw = ABSENT
    max_tokens: msgspec.Raw = ABSENT
    metadata: msgspec.Raw = ABSENT


class _Params(msgspec.Struct):
    model: str = ""


class _Item(msgspec.Struct):
    params: _Params = msgspec.field(default_factory=_Params)


class _Batch(msgspec.Struct):
    requests: list[_Item] = msgspec.field(default_factory=list)


class AnthropicDialect(Dialect):
    """The wire format of Anthropic's Messages API."""

    name = "anthropic"
    client_headers = frozenset({"anthropic-version"})
    request_id_header = "request-id"
    session_headers = ("x-claude-code-session-id", *Dialect.session_headers)
    read_timeout_headers = ("x-stainless-read-timeout", "x-stainless-timeout")
    probes = frozenset({"/api/hello"})
    models_request = Located(MODELS, "/v1/models")
    models_query = "limit=1000"
    models_headers = (("anthropic-version", "2023-06-01"),)

    def locate(self, method: str, path: str) -> Located | None:
        """Accept paths with `/v1`, without it, and with a doubled one."""
        rest, prefixed = _without_prefixes(path)
        own = f"/v1{rest}"
        parts = rest[1:].split("/")
        match parts:
            case ["messages"]:
                return Located(MESSAGES, own)
            case ["messages", "count_tokens"]:
                return Located(COUNT_TOKENS, own)
            case ["messages", "batches"]:
                return Located(BATCHES if method == "POST" else _BATCHES_MADE, own)
            case ["messages", "batches", batch, "results"]:
                return Located(_RESULTS, own, object_id=batch)
            case ["messages", "batches", batch, *_]:
                return Located(_BATCH, own, object_id=batch)
            case ["complete"]:
                return Located(_COMPLETE, own)
            case ["models"]:
                return Located(MODELS, own)
            case ["models", name] if method != "POST":
                return Located(_MODEL, own, unquote(name), (len(own) - len(name), len(own)))
            case ["files"]:
                return Located(_FILES, own)
            case ["files", file, *_]:
                return Located(_FILE, own, object_id=file)
            case ["organizations", *_]:
                return Located(_ORGANIZATION, own)
        if not prefixed or parts[0] in {"chat", "models"}:
            return None
        return Located(_OTHER_WORK if method == "POST" else _OTHER, own)

    def read(self, endpoint: Endpoint, body: bytes) -> Facts:
        """Read the model, the output bound and the conversation; of a batch, every model."""
        if endpoint.model_at is ModelAt.EACH:
            items = peek(body, _Batch).requests
            return Facts(tuple(dict.fromkeys(item.params.model for item in items)))
        if not body:
            return Facts()
        try:
            found = peek(body, _Body)
        except ProxyError:
            if endpoint.optional_model:
                return Facts()  # routable; the vendor's own error is more exact
            raise
        return Facts(
            models=(found.model,) if found.model else (),
            streaming=truth(found.stream),
            max_output=number(found.max_tokens),
            session=_session(mapping(found.metadata)),
        )

    def meter(self, endpoint: Endpoint, content_type: str) -> Meter:
        """Return the meter for the type of the response."""
        if endpoint is _RESULTS:
            return ResultsMeter()
        if content_type.startswith("text/event-stream"):
            # Streams of the old completions API have other events.
            return MessagesMeter() if endpoint.name == "messages" else NoMeter()
        return MessageMeter() if "json" in content_type else NoMeter()

    def error(self, reply: LocalReply, call_id: str) -> tuple[int, bytes]:
        """Return `{"type": "error", "error": {type, message}, "request_id"}`."""
        status, _ = _shape(reply)
        return status, _error(reply, call_id)

    def error_event(self, endpoint: Endpoint, reply: LocalReply, call_id: str) -> bytes:
        """Return an `error` event, at which the SDKs raise."""
        return b"event: error\ndata: " + _error(reply, call_id) + b"\n\n"

    def ping(self, endpoint: Endpoint, query: str) -> bytes | None:
        """Return the vendor's `ping` event, which may stand anywhere in a messages stream."""
        return b'event: ping\ndata: {"type": "ping"}\n\n' if endpoint is MESSAGES else None

    def models(self, entries: list[ModelEntry]) -> bytes:
        """Return all entries as one page."""
        ids: list[str | None] = [entry.id for entry in entries] or [None]
        ends = json.dumps({"has_more": False, "first_id": ids[0], "last_id": ids[-1]})
        return b'{"data":[' + b",".join(map(as_row, entries)) + b"]," + ends[1:].encode()

    def list_models(self, body: bytes) -> list[ModelEntry]:
        """Return the rows of `data` in Anthropic's shape.

        Some servers answer in OpenAI's shape; their name and date are kept.
        """
        return [in_shape(entry) for entry in rows(body, "data", "id")]


class Anthropic(Vendor):
    """The API of Anthropic, which also serves OpenAI's chat."""

    name = "anthropic"
    title = "Anthropic"
    base_url = "https://api.anthropic.com"
    credential = "ANTHROPIC_API_KEY"
    price_list = "anthropic"
    serves = ("openai",)
    dialects: ClassVar[Mapping[str, Serving]] = {
        "anthropic": Serving(header="x-api-key", scheme=""),
        "openai": Serving(frozenset({"chat", "models", "model"}), add="/v1"),
    }
    codes: ClassVar[Mapping[str, ErrorClass]] = {"billing_error": ErrorClass.QUOTA_EXHAUSTED}
    # Its newer tokenizer yields about 30 % more tokens than the older one (its pricing page).
    bytes_per_token = 3.0

    def credential_problem(self, secret: Secret) -> str:
        """Recognize logins and administration keys, which the vendor rejects with a bare 401."""
        text = secret.reveal()
        found = (what for start, what in _NO_KEYS.items() if text.startswith(start))
        return next(found, "")

    def classify(self, answer: UpstreamResponse) -> Classification:
        """Classify spend limits and exhausted subscriptions apart from rate limits."""
        return limits.classify(answer, self.codes)

    def family(self, model: str) -> str:
        """Return the class of models that shares its limits."""
        return limits.family(model)

    def rate_limited_tokens(self, usage: Usage) -> tuple[int, int]:
        """Leave out tokens that were read from the cache."""
        return limits.rate_limited_tokens(usage)

    def read_quota(self, headers: Mapping[str, str], now: float) -> tuple[Quota, ...]:
        """Read `anthropic-ratelimit-*`, with resets in RFC 3339 or epoch seconds."""
        return limits.read_quota(headers, now)

    def read_subscription(
        self, headers: Mapping[str, str], now: float
    ) -> tuple[SubscriptionWindow, ...]:
        """Read the windows of five hours and seven days."""
        return limits.read_subscription(headers, now)


def _shape(reply: LocalReply) -> tuple[int, str]:
    status = reply.kind.status
    default = "invalid_request_error" if status < 500 else "api_error"
    status, kind = _TYPES.get(reply.kind, (status, default))
    return reply.upstream_status or status, kind


def _error(reply: LocalReply, call_id: str) -> bytes:
    _, kind = _shape(reply)
    error = {"type": kind, "message": reply.message}
    return json.dumps({"type": "error", "error": error, "request_id": call_id}).encode()


def _session(metadata: Mapping[str, object]) -> str | None:
    """Return `metadata.user_id`, or the `session_id` in the JSON that some agents put there."""
    user = metadata.get("user_id")
    if not isinstance(user, str):
        return None
    try:
        inner = msgspec.json.decode(user)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return user[:256]
    session = inner.get("session_id") if isinstance(inner, dict) else None
    return session if isinstance(session, str) else user[:256]


def _without_prefixes(path: str) -> tuple[str, bool]:
    prefixed = False
    while match := _PREFIX.match(path):
        path, prefixed = path[match.end() :], True
    return "/" + path.lstrip("/"), prefixed


@hookimpl
def sidecar_dialects() -> list[Dialect]:
    """Return this dialect."""
    return [AnthropicDialect()]


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Return this vendor."""
    return [Anthropic()]
