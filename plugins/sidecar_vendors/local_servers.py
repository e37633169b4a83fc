"""Ollama, llama.cpp, LM Studio and vLLM: local servers without a credential."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

from sidecar import Serving, Vendor, hookimpl
from sidecar_vendors.common import AUDIO, CHAT, CHAT_AND_RESPONSES, MESSAGES


class _Server(NamedTuple):
    """A server, its default port, and its endpoints in each dialect."""

    name: str
    title: str
    port: int
    openai: frozenset[str]
    anthropic: frozenset[str]


_SERVERS = (
    # docs.ollama.com/api/openai-compatibility: no responses/input_tokens, no count_tokens.
    _Server(
        "ollama", "Ollama", 11434, CHAT | AUDIO | {"responses", "embeddings", "images"}, MESSAGES
    ),
    # The routes in llama.cpp's server.cpp.
    _Server(
        "llamacpp", "llama.cpp", 8080,
        CHAT | {"responses", "input_tokens", "embeddings", "rerank", "transcriptions"},
        MESSAGES | {"count_tokens"},
    ),
    # lmstudio.ai/docs/developer/openai-compat
    _Server("lmstudio", "LM Studio", 1234, CHAT | {"responses", "embeddings"}, MESSAGES),
    # docs.vllm.ai, its page on online serving; what it has besides (score, pooling) is "other".
    _Server(
        "vllm", "vLLM", 8000,
        CHAT_AND_RESPONSES | {"embeddings", "rerank", "transcriptions", "other"},
        MESSAGES | {"count_tokens"},
    ),
)  # fmt: skip


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Return one vendor for each local server."""
    return [_vendor(each) for each in _SERVERS]


def _vendor(server: _Server) -> Vendor:
    class LocalServer(Vendor):
        name = server.name
        title = server.title
        base_url = f"http://127.0.0.1:{server.port}/v1"
        serves: ClassVar[tuple[str, ...]] = ("openai", "anthropic")
        dialects: ClassVar[Mapping[str, Serving]] = {
            "openai": Serving(server.openai),
            "anthropic": Serving(server.anthropic, strip="/v1"),
        }

    return LocalServer()
