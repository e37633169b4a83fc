"""A vLLM server: OpenAI-shaped, and Anthropic-shaped messages; no credential by default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from sidecar import Serving, Vendor, hookimpl
from sidecar_vendors.endpoints import CHAT_AND_RESPONSES, MESSAGES


class VLLM(Vendor):
    """A vLLM server."""

    name = "vllm"
    title = "vLLM"
    base_url = "http://127.0.0.1:8000/v1"
    serves: ClassVar[tuple[str, ...]] = ("openai", "anthropic")
    dialects: ClassVar[Mapping[str, Serving]] = {
        # docs.vllm.ai, its page on online serving; what it has besides (score, pooling, decisions)
        # is "other".
        "openai": Serving(CHAT_AND_RESPONSES | {"embeddings", "rerank", "transcriptions", "other"}),
        "anthropic": Serving(MESSAGES | {"count_tokens"}, strip="/v1"),
    }


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """vLLM."""
    return [VLLM()]
