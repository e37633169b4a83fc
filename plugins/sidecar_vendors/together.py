"""Together AI: OpenAI-shaped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from sidecar import Serving, Vendor, hookimpl
from sidecar_vendors.endpoints import CHAT, STORED


class Together(Vendor):
    """Together AI."""

    name = "together"
    title = "Together AI"
    base_url = "https://api.together.ai/v1"
    credential = "TOGETHER_API_KEY"
    serves: ClassVar[tuple[str, ...]] = ("openai",)
    dialects: ClassVar[Mapping[str, Serving]] = {
        "openai": Serving(
            CHAT | STORED | {"embeddings", "images", "transcriptions", "speech", "other"}
        ),
    }


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Together AI."""
    return [Together()]
