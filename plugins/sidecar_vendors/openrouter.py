"""OpenRouter: many vendors behind OpenAI-shaped chat and Anthropic-shaped messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from sidecar import Serving, Vendor, hookimpl
from sidecar_vendors.endpoints import CHAT_AND_RESPONSES, MESSAGES


class OpenRouter(Vendor):
    """OpenRouter. Its 402 may mean a short hold, which its metadata tells."""

    name = "openrouter"
    title = "OpenRouter"
    base_url = "https://openrouter.ai/api/v1"
    credential = "OPENROUTER_API_KEY"
    serves: ClassVar[tuple[str, ...]] = ("openai", "anthropic")
    dialects: ClassVar[Mapping[str, Serving]] = {
        "openai": Serving(CHAT_AND_RESPONSES | {"embeddings", "other"}),
        "anthropic": Serving(MESSAGES, strip="/v1"),
    }


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """OpenRouter."""
    return [OpenRouter()]
