"""Fireworks AI: OpenAI-shaped, and Anthropic-shaped messages beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from sidecar import Serving, Vendor, hookimpl
from sidecar_vendors.endpoints import CHAT_AND_RESPONSES, MESSAGES


class Fireworks(Vendor):
    """Fireworks AI."""

    name = "fireworks"
    title = "Fireworks AI"
    base_url = "https://api.fireworks.ai/inference/v1"
    credential = "FIREWORKS_API_KEY"
    serves: ClassVar[tuple[str, ...]] = ("openai", "anthropic")
    dialects: ClassVar[Mapping[str, Serving]] = {
        "openai": Serving(CHAT_AND_RESPONSES | {"embeddings"}),
        "anthropic": Serving(MESSAGES, strip="/v1"),
    }


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Fireworks AI."""
    return [Fireworks()]
