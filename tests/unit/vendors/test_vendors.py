"""The bundled dialects and vendors: the contract, addresses, paths, errors, verdicts."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from sidecar import Endpoint, ErrorKind, Facts, LocalReply, Secret, UpstreamRequest, Usage
from sidecar.plugin_api.dialect import locate
from sidecar.plugin_api.manager import discover
from sidecar.testing import problems

REGISTRY = discover()


def test_bundled_plugins_keep_the_contract() -> None:
    assert problems(REGISTRY) == []


PATHS = [
    # dialect, method, what clients send, endpoint, what follows the base URL, model
    ("openai", "POST", "/v1/chat/completions", "chat", "/chat/completions", None),
    ("openai", "POST", "/chat/completions", "chat", "/chat/completions", None),
    ("openai", "POST", "//v1//chat/completions", "chat", "/chat/completions", None),
    ("openai", "POST", "/v1/v1/responses", "responses", "/responses", None),
    ("openai", "POST", "/openai/v1/embeddings", "embeddings", "/embeddings", None),
    ("openai", "POST", "/v1beta/openai/chat/completions", "chat", "/chat/completions", None),
    ("openai", "POST", "/v1/responses/input_tokens", "input_tokens", "/responses/input_tokens", None),
    ("openai", "GET", "/v1/responses/resp_1", "responses", "/responses/resp_1", None),
    ("openai", "GET", "/v1/models", "models", "/models", None),
    ("openai", "GET", "/v1/models/gpt%2F5", "model", "/models/gpt%2F5", "gpt/5"),
    ("openai", "DELETE", "/v1/files/file_1", "files", "/files/file_1", None),
    ("openai", "POST", "/v1/decisions", "other", "/decisions", None),
    ("openai", "GET", "/v1/organization/usage", "organization", "/organization/usage", None),
    ("anthropic", "POST", "/v1/messages", "messages", "/v1/messages", None),
    ("anthropic", "POST", "/messages", "messages", "/v1/messages", None),
    ("anthropic", "POST", "/v1/v1/messages", "messages", "/v1/messages", None),
    ("anthropic", "POST", "//v1/messages/count_tokens", "count_tokens", "/v1/messages/count_tokens", None),
    ("anthropic", "POST", "/v1/messages/batches", "batches", "/v1/messages/batches", None),
    ("anthropic", "GET", "/v1/messages/batches/b1/results", "batch_results", "/v1/messages/batches/b1/results", None),
    ("anthropic", "GET", "/v1/models/claude-x", "model", "/v1/models/claude-x", "claude-x"),
    ("anthropic", "GET", "/v1/organizations/o/x", "organization", "/v1/organizations/o/x", None),
    ("gemini", "POST", "/v1beta/models/g-3:generateContent", "generate", "/v1beta/models/g-3:generateContent", "g-3"),
    ("gemini", "POST", "/v1/models/g%2d3%3AstreamGenerateContent", "stream", "/v1/models/g%2d3%3AstreamGenerateContent", "g-3"),
    ("gemini", "POST", "/models/g-3:countTokens", "count_tokens", "/v1beta/models/g-3:countTokens", "g-3"),
    ("gemini", "POST", "/v1alpha/models/e:batchEmbedContents", "embeddings", "/v1alpha/models/e:batchEmbedContents", "e"),
    ("gemini", "GET", "/v1beta/models", "models", "/v1beta/models", None),
    ("gemini", "POST", "/upload/v1beta/files", "upload", "/upload/v1beta/files", None),
    ("gemini", "GET", "/v1beta/files/abc:download", "files", "/v1beta/files/abc:download", None),
    ("gemini", "POST", "/v1/interactions", "interactions", "/v1/interactions", None),
    ("openai", "GET", "/v1/models/ft:gpt-4o:acme::7p4l", "model", "/models/ft:gpt-4o:acme::7p4l", "ft:gpt-4o:acme::7p4l"),
    ("openai", "POST", "/v1/videos/video_1/remix", "videos", "/videos/video_1/remix", None),
    ("openai", "GET", "/v1/fine_tuning/jobs/ftjob_1", "fine_tuning", "/fine_tuning/jobs/ftjob_1", None),
    ("openai", "GET", "/v1/unheard/of", "other", "/unheard/of", None),
    ("openai", "POST", "/openai/deployments/my%20gpt/chat/completions", "chat", "/chat/completions", "my gpt"),
    ("openai", "POST", "/openai/deployments/ears/audio/transcriptions", "transcriptions", "/audio/transcriptions", "ears"),
    ("openai", "POST", "/openai/deployments/gpt/extensions/chat/completions", "other",
     "/deployments/gpt/extensions/chat/completions", "gpt"),
    ("openai", "GET", "/openai/deployments/gpt", "other", "/deployments/gpt", None),
    ("anthropic", "GET", "/v1/messages/batches", "batches", "/v1/messages/batches", None),
    ("anthropic", "GET", "/v1/models/m:1", "model", "/v1/models/m:1", "m:1"),
    ("anthropic", "POST", "/v1/unheard/of", "other", "/v1/unheard/of", None),
    ("anthropic", "POST", "/anthropic/v1/messages", "messages", "/v1/messages", None),
    ("gemini", "GET", "/v1beta/models/veo-3/operations/op1", "operations", "/v1beta/models/veo-3/operations/op1", None),
    ("gemini", "GET", "/v1beta/tunedModels/my:model", "model", "/v1beta/tunedModels/my:model", "my:model"),
    ("gemini", "POST", "/v1beta/models/veo-3:predictLongRunning", "predict", "/v1beta/models/veo-3:predictLongRunning", "veo-3"),
    ("gemini", "POST", "/v1beta/models/g-3:newVerb", "other", "/v1beta/models/g-3:newVerb", "g-3"),
    ("gemini", "POST", "/v1beta/cachedContents", "cached", "/v1beta/cachedContents", None),
    ("gemini", "DELETE", "/v1beta/cachedContents/c1", "cached", "/v1beta/cachedContents/c1", None),
    ("gemini", "POST", "//v1beta//models/g-3:generateContent", "generate", "/v1beta/models/g-3:generateContent", "g-3"),
    ("gemini", "POST", "/upload/v1beta/fileSearchStores/s:upload", "other", "/upload/v1beta/fileSearchStores/s:upload", None),
    ("gemini", "GET", "/v1beta/unheard/of", "other", "/v1beta/unheard/of", None),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "method", "path", "endpoint", "rest", "model"), PATHS)
def test_locate_returns_endpoint_path_and_model(
    dialect: str, method: str, path: str, endpoint: str, rest: str, model: str | None
) -> None:
    located = REGISTRY.dialects[dialect].locate(method, path)
    assert located is not None
    assert (located.endpoint.name, located.path, located.model) == (endpoint, rest, model)
    if located.model_span is not None:
        start, end = located.model_span
        assert "/" + located.path[start:end] in path


IDS = [
    ("openai", "/v1/responses/resp_1/cancel", "response", "resp_1"),
    ("openai", "/v1/videos/video_1/content", "video", "video_1"),
    ("openai", "/v1/fine_tuning/jobs/ftjob_1/events", "fine_tuning_job", "ftjob_1"),
    ("openai", "/v1/fine_tuning/jobs", "fine_tuning_job", None),
    ("openai", "/v1/files", "file", None),
    ("anthropic", "/v1/messages/batches/b_1/results", "batch", "b_1"),
    ("anthropic", "/v1/files/f_1/content", "file", "f_1"),
    ("gemini", "/v1beta/files/abc:download", "file", "files/abc"),
    ("gemini", "/v1beta/batches/b1:cancel", "batch", "batches/b1"),
    ("gemini", "/v1beta/models/veo/operations/o1", "operation", "models/veo/operations/o1"),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "path", "kind", "object_id"), IDS)
def test_locate_returns_kind_and_id_of_an_object(
    dialect: str, path: str, kind: str, object_id: str | None
) -> None:
    located = REGISTRY.dialects[dialect].locate("GET", path)
    assert located is not None
    assert (located.endpoint.owned, located.object_id) == (kind, object_id)


READ = [
    ("openai", "chat", "/v1/chat/completions",
     b'{"model":"m","stream":true,"max_completion_tokens":9,"max_tokens":5,"prompt_cache_key":"s"}',
     Facts(("m",), True, 9, "s")),
    ("openai", "responses", "/v1/responses",
     b'{"model":"m","max_output_tokens":7,"previous_response_id":"r"}', Facts(("m",), False, 7, None, "r")),
    ("openai", "wrong types", "/v1/chat/completions",
     b'{"model":"m","stream":"yes","max_tokens":-1,"prompt_cache_key":5}', Facts(("m",))),
    ("openai", "no model needed", "/v1/images/generations", b"\xef\xbb\xbf{}", Facts()),
    ("anthropic", "messages", "/v1/messages",
     b'{"model":"m","max_tokens":32,"metadata":{"user_id":"{\\"session_id\\":\\"s1\\"}"}}',
     Facts(("m",), False, 32, "s1")),
    ("anthropic", "a plain user", "/v1/messages",
     b'{"model":"m","metadata":{"user_id":"u"}}', Facts(("m",), session="u")),
    ("anthropic", "a batch", "/v1/messages/batches",
     b'{"requests":[{"params":{"model":"a"}},{"params":{"model":"b"}},{"params":{"model":"a"}}]}',
     Facts(("a", "b"))),
    ("gemini", "a bound", "/v1beta/models/g:generateContent",
     b'{"generationConfig":{"maxOutputTokens":64}}', Facts(max_output=64)),
    ("gemini", "another spelling", "/v1beta/models/g:streamGenerateContent",
     b'{"generation_config":{"max_output_tokens":64}}', Facts((), True, 64)),
    ("gemini", "no JSON at all", "/v1beta/models/g:streamGenerateContent", b"{", Facts((), True)),
    ("gemini", "an interaction", "/v1beta/interactions",
     b'{"model":"models/g","stream":true,"previous_interaction_id":"i"}', Facts(("g",), True, previous_id="i")),
    ("gemini", "an agent", "/v1beta/interactions", b'{"agent":"deep-research"}', Facts()),
    ("gemini", "a cache", "/v1beta/cachedContents", b'{"model":"models/g"}', Facts(("g",))),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "what", "path", "body", "facts"), READ)
def test_read_returns_the_facts_of_a_body(
    dialect: str, what: str, path: str, body: bytes, facts: Facts
) -> None:
    spoken = REGISTRY.dialects[dialect]
    located = spoken.locate("POST", path)
    assert located is not None
    assert spoken.read(located.endpoint, body) == facts


@pytest.mark.parametrize(
    ("path", "headers", "dialect"),
    [
        ("/v1/models", {}, "openai"),
        ("/v1/models", {"anthropic-version": "x"}, "anthropic"),
        ("/v1/models", {"x-goog-api-key": "x"}, "gemini"),
        ("/v1/models/m", {"x-goog-api-key": "x"}, "gemini"),
        ("/v1/messages", {}, "anthropic"),
        ("/v1/chat/completions", {"x-goog-api-key": "x"}, "openai"),
        ("/v1/models/g:generateContent", {}, "gemini"),
        ("/v1/files", {"anthropic-version": "x"}, "anthropic"),
    ],
)
def test_locate_decides_between_dialects_by_client_headers(
    path: str, headers: dict[str, str], dialect: str
) -> None:
    method = "GET" if "models" in path and ":" not in path else "POST"
    found = locate(list(REGISTRY.dialects.values()), method, path, headers)
    assert found is not None
    assert found[0].name == dialect


ADDRESSES = [
    ("openai", "openai", "/chat/completions", "https://api.openai.com/v1/chat/completions", "Authorization: Bearer sk"),
    ("anthropic", "anthropic", "/v1/messages", "https://api.anthropic.com/v1/messages", "x-api-key: sk"),
    ("anthropic", "openai", "/chat/completions", "https://api.anthropic.com/v1/chat/completions", "Authorization: Bearer sk"),
    ("gemini", "gemini", "/v1/models/g:generateContent", "https://generativelanguage.googleapis.com/v1/models/g:generateContent", "x-goog-api-key: sk"),
    ("gemini", "openai", "/chat/completions", "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions", "Authorization: Bearer sk"),
    ("deepseek", "anthropic", "/v1/messages", "https://api.deepseek.com/anthropic/v1/messages", "x-api-key: sk"),
    ("moonshot", "anthropic", "/v1/messages", "https://api.moonshot.ai/anthropic/v1/messages", "Authorization: Bearer sk"),
    ("zai", "openai", "/chat/completions", "https://api.z.ai/api/paas/v4/chat/completions", "Authorization: Bearer sk"),
    ("zai", "anthropic", "/v1/messages", "https://api.z.ai/api/anthropic/v1/messages", "Authorization: Bearer sk"),
    ("openrouter", "anthropic", "/v1/messages", "https://openrouter.ai/api/v1/messages", "Authorization: Bearer sk"),
    ("fireworks", "anthropic", "/v1/messages", "https://api.fireworks.ai/inference/v1/messages", "Authorization: Bearer sk"),
    ("ollama", "anthropic", "/v1/messages", "http://127.0.0.1:11434/v1/messages", "Authorization: Bearer sk"),
    ("groq", "openai", "/chat/completions", "https://api.groq.com/openai/v1/chat/completions", "Authorization: Bearer sk"),
]  # fmt: skip


def ask(
    vendor: str, dialect: str, path: str, base_url: str | None = None, **more: object
) -> UpstreamRequest:
    found = REGISTRY.vendors[vendor]
    located = REGISTRY.dialects[dialect].locate("POST", path)
    assert located is not None
    serving = found.dialects[dialect]
    assert serving.has(located.endpoint)
    fields: dict[str, object] = {
        "dialect": dialect, "serving": serving, "endpoint": located.endpoint, "method": "POST",
        "path": located.path, "query": "", "model": located.model,
        "base_url": serving.base(base_url or found.base_url or ""), "secret": Secret("sk"),
        "options": {},
    } | more  # fmt: skip
    return UpstreamRequest(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(("vendor", "dialect", "path", "url", "header"), ADDRESSES)
def test_prepare_returns_url_and_credential_header(
    vendor: str, dialect: str, path: str, url: str, header: str
) -> None:
    prepared = REGISTRY.vendors[vendor].prepare(ask(vendor, dialect, path))
    assert prepared.url == url
    assert [": ".join(pair) for pair in prepared.headers] == [header]


CHATTING = ("/v1/chat/completions", "/v1/completions", "/v1/models", "/v1/models/m")
SERVED = [
    ("llamacpp", "openai", (*CHATTING, "/v1/responses", "/v1/responses/input_tokens", "/v1/embeddings",
                            "/v1/rerank", "/v1/reranking", "/v1/audio/transcriptions",
                            "/v1/chat/completions/input_tokens"), ("/v1/responses/compact", "/v1/files")),
    ("llamacpp", "anthropic", ("/v1/messages", "/v1/messages/count_tokens"), ("/v1/messages/batches",)),
    ("ollama", "openai", (*CHATTING, "/v1/responses", "/v1/embeddings", "/v1/audio/transcriptions",
                          "/v1/audio/speech", "/v1/images/generations"),
     ("/v1/responses/input_tokens", "/v1/rerank")),
    ("ollama", "anthropic", ("/v1/messages",), ("/v1/messages/count_tokens",)),
    ("lmstudio", "openai", (*CHATTING, "/v1/responses", "/v1/embeddings"),
     ("/v1/responses/input_tokens", "/v1/audio/transcriptions")),
    ("lmstudio", "anthropic", ("/v1/messages",), ()),
    ("vllm", "openai", (*CHATTING, "/v1/responses", "/v1/embeddings", "/v1/rerank", "/v1/score",
                        "/v1/audio/translations", "/v1/decisions"), ("/v1/files",)),
    ("vllm", "anthropic", ("/v1/messages", "/v1/messages/count_tokens"), ()),
    ("deepseek", "openai", (*CHATTING, "/v1/responses"), ("/v1/responses/input_tokens", "/v1/embeddings")),
    ("mistral", "openai", (*CHATTING, "/v1/ocr", "/v1/fim/completions"), ("/v1/images/edits",)),
    ("together", "openai", (*CHATTING, "/v1/rerank", "/v1/embeddings"), ()),
    ("openai", "openai", ("/v1/multimodalembeddings", "/v1/rerank"), ()),
]  # fmt: skip


@pytest.mark.parametrize(("vendor", "dialect", "served", "missing"), SERVED)
def test_serving_has_the_endpoints_of_its_vendor(
    vendor: str, dialect: str, served: tuple[str, ...], missing: tuple[str, ...]
) -> None:
    serving = REGISTRY.vendors[vendor].dialects[dialect]
    for path in (*served, *missing):
        method = "GET" if path.startswith("/v1/models") else "POST"
        located = REGISTRY.dialects[dialect].locate(method, path)
        assert located is not None, path
        assert serving.has(located.endpoint) is (path in served), path


@pytest.mark.parametrize(
    "base_url", ["https://x.openai.azure.com", "https://x.openai.azure.com/openai/v1/"]
)
def test_azure_prepare_uses_the_v1_api(base_url: str) -> None:
    prepared = REGISTRY.vendors["azure"].prepare(
        ask("azure", "openai", "/chat/completions", base_url)
    )
    assert prepared.url == "https://x.openai.azure.com/openai/v1/chat/completions"
    assert prepared.headers == (("api-key", "sk"),)


def test_azure_prepare_with_a_dated_version_uses_deployments() -> None:
    classic = ask(
        "azure", "openai", "/chat/completions", "https://x.openai.azure.com",
        model="my gpt", query="a=1", options={"api_version": "2024-10-21"},
    )  # fmt: skip
    assert REGISTRY.vendors["azure"].prepare(classic).url == (
        "https://x.openai.azure.com/openai/deployments/my%20gpt/chat/completions?a=1&api-version=2024-10-21"
    )


def test_azure_prepare_follows_the_api_version_of_the_client() -> None:
    for path, place in (
        ("/chat/completions", "deployments/d1/chat/completions"),
        ("/files", "files"),
    ):
        classic = ask(
            "azure", "openai", path, "https://x.openai.azure.com",
            model="d1", query="api-version=2024-10-21",
        )  # fmt: skip
        assert REGISTRY.vendors["azure"].prepare(classic).url == (
            f"https://x.openai.azure.com/openai/{place}?api-version=2024-10-21"
        )
    preview = ask(
        "azure", "openai", "/chat/completions", "https://x.openai.azure.com",
        query="api-version=preview",
    )  # fmt: skip
    assert REGISTRY.vendors["azure"].prepare(preview).url == (
        "https://x.openai.azure.com/openai/v1/chat/completions?api-version=preview"
    )


@pytest.mark.parametrize(("endpoint", "output"), [("chat", 30), ("responses", 20)])
def test_xai_normalize_adds_reasoning_in_chat_only(endpoint: str, output: int) -> None:
    read = Usage(5, 20, reasoning_tokens=10)
    assert REGISTRY.vendors["xai"].normalize(read, Endpoint(endpoint)).output_tokens == output
    assert REGISTRY.vendors["openai"].normalize(read, Endpoint(endpoint)) == read


@pytest.mark.parametrize(
    ("dialect", "kind", "status", "word"),
    [
        ("openai", ErrorKind.INVALID_KEY, 401, '"invalid_api_key"'),
        ("openai", ErrorKind.BUDGET_SPENT, 402, '"insufficient_quota"'),
        ("openai", ErrorKind.UPSTREAM_UNREACHABLE, 502, '"upstream_unreachable"'),
        ("anthropic", ErrorKind.INVALID_KEY, 401, '"authentication_error"'),
        ("anthropic", ErrorKind.BUDGET_SPENT, 402, '"billing_error"'),
        ("anthropic", ErrorKind.TOO_LARGE, 413, '"request_too_large"'),
        ("anthropic", ErrorKind.UPSTREAM_TIMEOUT, 504, '"timeout_error"'),
        ("gemini", ErrorKind.INVALID_KEY, 401, '"UNAUTHENTICATED"'),
        ("gemini", ErrorKind.RATE_LIMITED, 429, '"retryDelay": "2s"'),
        ("gemini", ErrorKind.UPSTREAM_UNREACHABLE, 503, '"UNAVAILABLE"'),
        ("gemini", ErrorKind.UPSTREAM_TIMEOUT, 504, '"DEADLINE_EXCEEDED"'),
    ],
)
def test_error_has_the_shape_of_the_vendor(
    dialect: str, kind: ErrorKind, status: int, word: str
) -> None:
    found, body = REGISTRY.dialects[dialect].error(LocalReply(kind, "why", 1.2), "call_1")
    assert found == status
    assert word in body.decode()


@pytest.mark.parametrize("kind", ErrorKind)
@pytest.mark.parametrize(
    ("dialect", "name"),
    [("openai", "chat"), ("openai", "responses"), ("anthropic", "messages"), ("gemini", "stream")],
)
def test_error_event_ends_the_stream_for_the_meter(
    dialect: str, name: str, kind: ErrorKind
) -> None:
    spoken = REGISTRY.dialects[dialect]
    endpoint = Endpoint(name, counts=True)
    meter = spoken.meter(endpoint, "text/event-stream")
    meter.feed(spoken.error_event(endpoint, LocalReply(kind, "why"), "call_1"))
    assert meter.at_boundary
    assert meter.finished
    assert meter.error


def details(refusal: LocalReply) -> dict[str, dict[str, Any]]:
    """The details of an error in Gemini's shape, by the last word of their types."""
    _, body = REGISTRY.dialects["gemini"].error(refusal, "call_1")
    found = json.loads(body)["error"]["details"]
    return {each.pop("@type").rpartition(".")[2]: each for each in found}


@pytest.mark.parametrize(
    ("refusal", "delay"),
    [
        (LocalReply(ErrorKind.RATE_LIMITED, "why", 6.2), "7s"),
        (LocalReply(ErrorKind.OVERLOADED, "why", 0.3), "1s"),
        # What is final must be longer than the five minutes that Google's clients would wait.
        (LocalReply(ErrorKind.BUDGET_SPENT, "why", final=True, opens_in=40_000.5), "40001s"),
        (LocalReply(ErrorKind.BUDGET_SPENT, "why", final=True), "86400s"),
        (LocalReply(ErrorKind.RATE_LIMITED, "why", final=True), "86400s"),
        (LocalReply(ErrorKind.UPSTREAM_UNREACHABLE, "why", final=True), "86400s"),
        (LocalReply(ErrorKind.UNAVAILABLE, "why"), "86400s"),
        (LocalReply(ErrorKind.UPSTREAM_UNREACHABLE, "why"), None),
        (LocalReply(ErrorKind.INVALID_KEY, "why"), None),
    ],
    ids=lambda each: each.kind.name if isinstance(each, LocalReply) else str(each),
)
def test_gemini_error_has_the_retry_delay(refusal: LocalReply, delay: str | None) -> None:
    found = details(refusal)
    assert found.get("RetryInfo") == (None if delay is None else {"retryDelay": delay})
    assert found["ErrorInfo"] == {
        "reason": refusal.kind.name, "domain": "sidecar", "metadata": {"call": "call_1"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("refusal", "code", "message"),
    [
        # Codex has sentences of its own for a vendor's codes, and shows ours for any other.
        (LocalReply(ErrorKind.BUDGET_SPENT, "why", final=True), "budget_spent", "why"),
        (LocalReply(ErrorKind.OVERLOADED, "why"), "overloaded", "why"),
        (LocalReply(ErrorKind.DRAINING, "why"), "draining", "why"),
        (LocalReply(ErrorKind.UPSTREAM_UNREACHABLE, "why"), "upstream_unreachable", "why"),
        # It reads the delay out of this one.
        (
            LocalReply(ErrorKind.RATE_LIMITED, "why", 6.2),
            "rate_limit_exceeded",
            "why; try again in 7s",
        ),
        (
            LocalReply(ErrorKind.OVERLOADED, "why", 6.2),
            "rate_limit_exceeded",
            "why; try again in 7s",
        ),
    ],
    ids=lambda each: each.kind.name if isinstance(each, LocalReply) else None,
)
def test_responses_error_event_is_response_failed(
    refusal: LocalReply, code: str, message: str
) -> None:
    event = REGISTRY.dialects["openai"].error_event(Endpoint("responses"), refusal, "call_1")
    name, data = event.decode().splitlines()[:2]
    assert name == "event: response.failed"
    found = json.loads(data.removeprefix("data: "))
    assert found["type"] == "response.failed"
    assert found["response"]["status"] == "failed"
    assert found["response"]["error"] == {"code": code, "message": message}
    # The vendor's SDKs raise at this one.
    assert found["error"]["message"] == "why"


def test_entry_points_name_every_bundled_plugin() -> None:
    sources = list(REGISTRY.sources.values())
    assert (len(sources), len(set(sources))) == (18, 15)  # the four local servers are one
    assert all(re.search(r"sidecar_vendors\.\w+$", source) for source in sources)
