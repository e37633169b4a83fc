"""A local LM Studio: OpenAI-shaped, and Anthropic-shaped messages; no credential."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from sidecar import Serving, Vendor, hookimpl
from sidecar_vendors.endpoints import CHAT, MESSAGES


class LMStudio(Vendor):
    """A local LM Studio."""

    name = "lmstudio"
    title = "LM Studio"
    base_url = "http://127.0.0.1:1234/v1"
    serves: ClassVar[tuple[str, ...]] = ("openai", "anthropic")
    dialects: ClassVar[Mapping[str, Serving]] = {
        # lmstudio.ai/docs/developer/openai-compat
        "openai": Serving(CHAT | {"responses", "embeddings"}),
        "anthropic": Serving(MESSAGES, strip="/v1"),
    }


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """LM Studio."""
    return [LMStudio()]
