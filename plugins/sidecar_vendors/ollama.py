"""A local Ollama: OpenAI-shaped, and Anthropic-shaped messages; no credential."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from sidecar import Serving, Vendor, hookimpl
from sidecar_vendors.endpoints import AUDIO, CHAT, MESSAGES


class Ollama(Vendor):
    """A local Ollama."""

    name = "ollama"
    title = "Ollama"
    base_url = "http://127.0.0.1:11434/v1"
    serves: ClassVar[tuple[str, ...]] = ("openai", "anthropic")
    dialects: ClassVar[Mapping[str, Serving]] = {
        # docs.ollama.com/api/openai-compatibility: no responses/input_tokens, no count_tokens.
        "openai": Serving(CHAT | AUDIO | {"responses", "embeddings", "images"}),
        "anthropic": Serving(MESSAGES, strip="/v1"),
    }


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Ollama."""
    return [Ollama()]
