"""Moonshot AI (Kimi): OpenAI-shaped chat, and Anthropic-shaped messages below `/anthropic`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from sidecar import Serving, Vendor, hookimpl
from sidecar_vendors.endpoints import CHAT_AND_RESPONSES, MESSAGES, STORED


class Moonshot(Vendor):
    """Moonshot AI. A spent balance comes as a 429 with a code of its own."""

    name = "moonshot"
    title = "Moonshot AI"
    base_url = "https://api.moonshot.ai/v1"
    credential = "MOONSHOT_API_KEY"
    serves: ClassVar[tuple[str, ...]] = ("openai", "anthropic")
    dialects: ClassVar[Mapping[str, Serving]] = {
        "openai": Serving(CHAT_AND_RESPONSES | STORED),
        "anthropic": Serving(MESSAGES, strip="/v1", add="/anthropic"),
    }
    spent: ClassVar[frozenset[str]] = frozenset({"exceeded_current_quota_error"})


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Moonshot AI."""
    return [Moonshot()]
