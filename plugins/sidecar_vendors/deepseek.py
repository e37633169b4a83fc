"""DeepSeek: OpenAI-shaped chat, Anthropic-shaped messages below `/anthropic`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from sidecar import Serving, Vendor, hookimpl
from sidecar_vendors.endpoints import CHAT, MESSAGES


class DeepSeek(Vendor):
    """DeepSeek."""

    name = "deepseek"
    title = "DeepSeek"
    base_url = "https://api.deepseek.com/v1"
    credential = "DEEPSEEK_API_KEY"
    price_list = "deepseek"
    serves: ClassVar[tuple[str, ...]] = ("openai", "anthropic")
    dialects: ClassVar[Mapping[str, Serving]] = {
        "openai": Serving(CHAT),
        "anthropic": Serving(
            MESSAGES, strip="/v1", add="/anthropic", header="x-api-key", scheme=""
        ),
    }


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """DeepSeek."""
    return [DeepSeek()]
