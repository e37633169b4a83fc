"""The Gemini dialect, and the vendor Google Gemini.

Source: Google's Python SDK google-genai 3.4.
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
    Facts,
    LocalReply,
    Located,
    Meter,
    ModelAt,
    ModelEntry,
    NoMeter,
    ProxyError,
    Serving,
    UpstreamResponse,
    Vendor,
    as_count,
    hookimpl,
    mapping,
    peek,
    text,
    truth,
)
from sidecar_vendors.gemini import limits
from sidecar_vendors.gemini.errors import error_body, status_of
from sidecar_vendors.gemini.usage import GenerateMeter, StreamMeter
from sidecar_vendors.openai.dialect import rows

_VERSION = re.compile(r"/+(v1(?:beta|alpha)?\d*)(?=/)")
_UPLOAD = re.compile(r"/+upload/(?:v1(?:beta|alpha)?\d*)/(\w+)")
_COLON = re.compile(r":|%3a", re.IGNORECASE)
_DEFAULT_VERSION = "v1beta"
_VERBS: Mapping[str, Endpoint] = {
    "generateContent": Endpoint("generate", ModelAt.PATH, counts=True),
    "streamGenerateContent": Endpoint("stream", ModelAt.PATH, counts=True),
    "countTokens": Endpoint("count_tokens", ModelAt.PATH, free=True),
    "embedContent": Endpoint("embeddings", ModelAt.PATH, counts=True),
    "batchEmbedContents": Endpoint("embeddings", ModelAt.PATH, counts=True),
    "predict": Endpoint("predict", ModelAt.PATH, starts_work=True),
    "predictLongRunning": Endpoint("predict", ModelAt.PATH, starts_work=True, creates="operation"),
    "batchGenerateContent": Endpoint("batches", ModelAt.PATH, starts_work=True, creates="batch"),
    "asyncBatchEmbedContent": Endpoint("batches", ModelAt.PATH, starts_work=True, creates="batch"),
}
_OTHER_VERB = Endpoint("other", ModelAt.PATH, starts_work=True)
MODELS = Endpoint("models", lists_models=True)
_MODEL = Endpoint("model", ModelAt.PATH)
_OPERATION = Endpoint("operations", owned="operation", free=True)
_UPLOADS = Endpoint("upload", creates="file", free=True)
# A request may name an agent in place of a model.
_INTERACTIONS = Endpoint("interactions", ModelAt.BODY, counts=True, creates="interaction",
                         optional_model=True, starts_work=True)  # fmt: skip
# The body names its model "models/NAME", which is checked but not renamed.
_CACHES = Endpoint("cached", ModelAt.EACH, creates="cache", optional_model=True, starts_work=True)
_POST = {"interactions": _INTERACTIONS, "cachedContents": _CACHES}
_OBJECTS = {
    "files": Endpoint("files", owned="file", free=True),
    "batches": Endpoint("batches", owned="batch", free=True),
    "operations": _OPERATION,
    "cachedContents": Endpoint("cached", owned="cache"),
    "interactions": Endpoint("interactions", owned="interaction", free=True),
}
_KNOWN = frozenset({"tunedModels", "fileSearchStores", "auth_tokens"})
# An unknown POST may start paid work, so without a model it needs a route for all models.
_OTHER = Endpoint("other", ModelAt.EACH, named=False, optional_model=True, starts_work=True)
_READ_OTHER = Endpoint("other", named=False)

_SSE = re.compile(r"(?:^|&)alt=sse(?:&|$)")
_CLI_TIMEOUT_SECONDS = 60.0
"""Gemini CLI retries after this time without a head, which it does not send in a header."""


class _Body(msgspec.Struct):
    generationConfig: msgspec.Raw = ABSENT  # noqa: N815 - Google's spelling
    generation_config: msgspec.Raw = ABSENT


class _Interaction(msgspec.Struct):
    model: str | None = None
    stream: msgspec.Raw = ABSENT
    previous_interaction_id: msgspec.Raw = ABSENT


class GeminiDialect(Dialect):
    """The wire format of Google's generateContent API, in any version."""

    name = "gemini"
    client_headers = frozenset({"x-goog-api-key", "x-goog-api-client"})
    url_headers = Dialect.url_headers | {"x-goog-upload-url", "x-goog-upload-control-url"}
    models_request = Located(MODELS, f"/{_DEFAULT_VERSION}/models")
    models_query = "pageSize=1000"
    total_timeout_headers = ("x-server-timeout",)  # for the whole stream, in the asynchronous SDK

    def locate(self, method: str, path: str) -> Located | None:
        """Accept `/{version}/models/{model}:{verb}` and others; add a missing version."""
        upload = _UPLOAD.match(path)
        if upload is not None:
            endpoint = _UPLOADS if upload[1] == "files" else _OTHER
            return Located(endpoint, "/" + path.lstrip("/"))
        version = _VERSION.match(path)
        rest = "/" + (path[version.end() :] if version else path).lstrip("/")
        own = f"/{version[1] if version else _DEFAULT_VERSION}{rest}"
        first, _, tail = rest[1:].partition("/")
        if first in {"models", "tunedModels"} and tail:
            return _model(method, own, first, tail)
        if first == "models":
            return Located(MODELS, own) if method in {"GET", "HEAD"} else None
        if method == "POST" and not tail and first in _POST:
            return Located(_POST[first], own)
        if first in _OBJECTS:
            name = _COLON.split(unquote(tail).partition("/")[0])[0]
            return Located(_OBJECTS[first], own, object_id=f"{first}/{name}" if name else None)
        if version is None and first not in _KNOWN:
            return None
        return Located(_OTHER if method == "POST" else _READ_OTHER, own)

    def read(self, endpoint: Endpoint, body: bytes) -> Facts:
        """Read the output bound; also the model for endpoints without one in the path."""
        streaming = endpoint.name == "stream"
        if not body:
            return Facts(streaming=streaming)
        try:
            if endpoint.model_at in {ModelAt.BODY, ModelAt.EACH}:
                return _named_in(body)
            found = peek(body, _Body)
        except ProxyError:
            return Facts(streaming=streaming)  # routable; Google's own error is more exact
        config = mapping(found.generationConfig) or mapping(found.generation_config)
        bound = as_count(config.get("maxOutputTokens", config.get("max_output_tokens")))
        return Facts(streaming=streaming, max_output=bound)

    def meter(self, endpoint: Endpoint, content_type: str) -> Meter:
        """Return the meter of a stream of events, which needs `alt=sse`, or of one JSON array."""
        if content_type.startswith("text/event-stream"):
            return StreamMeter()
        return GenerateMeter() if "json" in content_type else NoMeter()

    def error(self, reply: LocalReply, call_id: str) -> tuple[int, bytes]:
        """Return `{"error": {code, message, status, details}}`."""
        return status_of(reply), error_body(reply, call_id)

    def error_event(self, endpoint: Endpoint, reply: LocalReply, call_id: str) -> bytes:
        """Return an event with data only: `event:` lines and comments break Google's clients."""
        return b"data: " + error_body(reply, call_id) + b"\r\n\r\n"

    def ping(self, endpoint: Endpoint, query: str) -> bytes | None:
        """Return an empty event: comments and named events break Google's clients.

        None without `alt=sse`, because the stream is a JSON array then.
        """
        return b"\r\n\r\n" if endpoint.name == "stream" and _SSE.search(query) else None

    def read_timeout(self, headers: Mapping[str, str]) -> float | None:
        """Gemini CLI gives up after a minute; others send their timeout."""
        is_cli = headers.get("User-Agent", "").startswith("GeminiCLI")
        return _CLI_TIMEOUT_SECONDS if is_cli else super().read_timeout(headers)

    def models(self, entries: list[ModelEntry]) -> bytes:
        """Return all entries as one page."""
        return b'{"models":[' + b",".join(map(_row, entries)) + b"]}"

    def list_models(self, body: bytes) -> list[ModelEntry]:
        """Return the rows of `models`, with names without `models/`."""
        found = rows(body, "models", "name")
        return [ModelEntry(entry.id.removeprefix("models/"), entry.raw) for entry in found]


def _model(method: str, own: str, first: str, tail: str) -> Located:
    if tail.split("/")[1:2] == ["operations"]:
        return Located(_OPERATION, own, object_id=f"{first}/{unquote(tail)}")
    start = len(own) - len(tail)
    # Only a POST has a verb; names of models may contain colons.
    colon = _COLON.search(tail) if method == "POST" else None
    end = len(own) if colon is None else start + colon.start()
    endpoint = _MODEL if colon is None else _VERBS.get(tail[colon.end() :], _OTHER_VERB)
    return Located(endpoint, own, unquote(own[start:end]), (start, end))


def _named_in(body: bytes) -> Facts:
    asked = peek(body, _Interaction)
    model = (asked.model or "").removeprefix("models/")
    return Facts(
        models=(model,) if model else (),
        streaming=truth(asked.stream),
        previous_id=text(asked.previous_interaction_id),
    )


class Gemini(Vendor):
    """Google's Gemini API, which also serves OpenAI's chat."""

    name = "gemini"
    title = "Google Gemini"
    base_url = "https://generativelanguage.googleapis.com"
    credential = "GEMINI_API_KEY"
    other_credentials = ("GOOGLE_API_KEY",)
    price_list = "google"
    serves = ("openai",)
    dialects: ClassVar[Mapping[str, Serving]] = {
        "gemini": Serving(header="x-goog-api-key", scheme=""),
        "openai": Serving(
            frozenset({"chat", "embeddings", "models", "model", "images"}), add="/v1beta/openai"
        ),
    }

    def classify(self, answer: UpstreamResponse) -> Classification:
        """Classify by the details of the error; a wrong key is a 400."""
        return limits.classify(answer)

    def family(self, model: str) -> str:
        """Return the model without `models/`; each model has its own limits, per project."""
        return model.rpartition("models/")[2]


def _row(entry: ModelEntry) -> bytes:
    if entry.raw is not None:
        return entry.raw
    row = {
        "name": f"models/{entry.id}",
        "displayName": entry.id,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
    }
    return json.dumps(row).encode()


@hookimpl
def sidecar_dialects() -> list[Dialect]:
    """Return this dialect."""
    return [GeminiDialect()]


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Return this vendor."""
    return [Gemini()]
