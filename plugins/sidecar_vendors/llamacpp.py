"""A local llama.cpp server: OpenAI-shaped, and Anthropic-shaped messages; no credential."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from sidecar import Serving, Vendor, hookimpl
from sidecar_vendors.endpoints import CHAT, MESSAGES


class LlamaCpp(Vendor):
    """A local llama.cpp server."""

    name = "llamacpp"
    title = "llama.cpp"
    base_url = "http://127.0.0.1:8080/v1"
    serves: ClassVar[tuple[str, ...]] = ("openai", "anthropic")
    dialects: ClassVar[Mapping[str, Serving]] = {
        # The routes in its server.cpp.
        "openai": Serving(
            CHAT | {"responses", "input_tokens", "embeddings", "rerank", "transcriptions"}
        ),
        "anthropic": Serving(MESSAGES | {"count_tokens"}, strip="/v1"),
    }


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """llama.cpp."""
    return [LlamaCpp()]
