"""The operations of OpenAI's API by path.

Source: OpenAI's OpenAPI description (August 2026). An operation has a row of its own if it is
routed, counted or allowed differently.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import unquote

from sidecar import Endpoint, Located, ModelAt

_PREFIX = re.compile(r"/+(?:v1beta/openai|openai|v1)(?=/)")
# The class AzureOpenAI of OpenAI's SDKs puts the model into the path.
_DEPLOYMENT = re.compile(r"/deployments/([^/]+)(?=/)")

CHAT = Endpoint("chat", ModelAt.BODY, counts=True)
# Without a model, the vendor picks one.
RESPONSES = Endpoint(
    "responses", ModelAt.BODY, optional_model=True, starts_work=True, counts=True,
    creates="response",
)  # fmt: skip
EMBEDDINGS = Endpoint("embeddings", ModelAt.BODY, counts=True)
_RERANK = Endpoint("rerank", ModelAt.BODY, counts=True)
_IMAGES = Endpoint("images", ModelAt.BODY, optional_model=True, starts_work=True, counts=True)
_TRANSCRIPTIONS = Endpoint("transcriptions", ModelAt.FORM, counts=True)
# Stored objects, by the first segment of their paths. A POST under one of `_WORKING` may start
# paid work.
_KEPT = {
    "responses": "response",
    "files": "file",
    "uploads": "upload",
    "batches": "batch",
    "conversations": "conversation",
    "containers": "container",
}
_WORKING = {
    "videos": "video",
    "vector_stores": "vector_store",
    "fine_tuning": "fine_tuning_job",
    "evals": "eval",
    "assistants": "assistant",
    "threads": "thread",
    "agents": "agent",
    "skills": "skill",
}
_OWNED = {
    name: Endpoint(name, owned=kind, free=name in _KEPT)
    for name, kind in (_KEPT | _WORKING).items()
}
_WORK = {
    name: Endpoint(name, ModelAt.BODY, optional_model=True, starts_work=True,
                   owned=kind, creates=kind)
    for name, kind in _WORKING.items()
}  # fmt: skip
_POST: Mapping[str, Endpoint] = {
    "/chat/completions": CHAT,
    "/completions": Endpoint("completions", ModelAt.BODY, counts=True),
    "/responses": RESPONSES,
    "/responses/compact": Endpoint("compact", ModelAt.BODY, counts=True),
    "/responses/input_tokens": Endpoint("input_tokens", ModelAt.BODY, free=True),
    "/embeddings": EMBEDDINGS,
    # Of others that speak its dialect.
    "/multimodalembeddings": EMBEDDINGS,
    "/contextualizedembeddings": EMBEDDINGS,
    "/rerank": _RERANK,
    "/reranking": _RERANK,
    "/chat/completions/input_tokens": Endpoint("input_tokens", ModelAt.BODY, free=True),
    "/ocr": Endpoint("ocr", ModelAt.BODY, counts=True),
    "/moderations": Endpoint("moderations", ModelAt.BODY, optional_model=True, free=True),
    "/images/generations": _IMAGES,
    "/images/edits": _IMAGES,
    "/images/variations": _IMAGES,
    "/audio/speech": Endpoint("speech", ModelAt.BODY, counts=True),
    "/audio/transcriptions": _TRANSCRIPTIONS,
    "/audio/translations": _TRANSCRIPTIONS,
    "/files": Endpoint("files", creates="file", free=True),
    "/uploads": Endpoint("uploads", creates="upload", free=True),
    "/batches": Endpoint("batches", starts_work=True, creates="batch"),
    "/containers": Endpoint("containers", starts_work=True, creates="container"),
    "/conversations": Endpoint("conversations", creates="conversation", free=True),
}
MODELS = Endpoint("models", lists_models=True)
_MODEL = Endpoint("model", ModelAt.PATH)
# An unknown POST may start paid work, so without a model it needs a route for all models.
_OTHER = Endpoint("other", ModelAt.BODY, named=False, optional_model=True, starts_work=True)
_READ_OTHER = Endpoint("other", named=False)
_ORGANIZATION = Endpoint("organization", refused=True)


def locate(method: str, path: str) -> Located | None:
    """Return the operation, and the path after the client's version prefixes."""
    rest, prefixed = _without_prefixes(path)
    deployment = _DEPLOYMENT.match(rest) if method == "POST" else None
    if deployment is not None and prefixed:
        return _deployed(rest, deployment)
    endpoint = _POST.get(rest) if method == "POST" else None
    if endpoint is not None:
        return Located(endpoint, rest)
    first, _, tail = rest[1:].partition("/")
    if first in {"organization", "organizations"} and prefixed:
        return Located(_ORGANIZATION, rest)
    if first == "models":
        return _model(method, rest, tail)
    if first in _OWNED:
        return _kept(method, rest, first, tail)
    if not prefixed:
        return None
    return Located(_OTHER if method == "POST" else _READ_OTHER, rest)


def _without_prefixes(path: str) -> tuple[str, bool]:
    prefixed = False
    while match := _PREFIX.match(path):
        path, prefixed = path[match.end() :], True
    return "/" + path.lstrip("/"), prefixed


def _deployed(rest: str, deployment: re.Match[str]) -> Located:
    """Return the operation after a deployment, with the deployment as its model.

    An unknown operation keeps the deployment in its path.
    """
    endpoint, name = _POST.get(rest[deployment.end() :]), unquote(deployment[1])
    if endpoint is None:
        at_path = replace(_OTHER, model_at=ModelAt.PATH)
        return Located(at_path, rest, name, deployment.span(1))
    return Located(endpoint, rest[deployment.end() :], name)


def _kept(method: str, rest: str, first: str, tail: str) -> Located:
    segments = tail.split("/")
    if first == "fine_tuning":
        segments = segments[1:] or [""]  # behind `jobs`
    works = method == "POST" and first in _WORK and segments[-1] != "cancel"
    return Located((_WORK if works else _OWNED)[first], rest, object_id=segments[0] or None)


def _model(method: str, rest: str, tail: str) -> Located | None:
    if method == "POST":
        return None  # `models/NAME:verb` is Gemini's
    if not tail:
        return Located(MODELS, rest) if method in {"GET", "HEAD"} else None
    start = len(rest) - len(tail)
    return Located(_MODEL, rest, unquote(tail), (start, len(rest)))
