"""DeepSeek: OpenAI-shaped chat and responses, Anthropic-shaped messages below `/anthropic`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from sidecar import (
    Classification,
    ErrorClass,
    Serving,
    UpstreamResponse,
    Vendor,
    classify_by_status,
    error_text,
    hookimpl,
)
from sidecar_vendors.common import CHAT, MESSAGES


class DeepSeek(Vendor):
    """DeepSeek."""

    name = "deepseek"
    title = "DeepSeek"
    base_url = "https://api.deepseek.com/v1"
    other_base_paths: ClassVar[tuple[str, ...]] = ("",)
    credential = "DEEPSEEK_API_KEY"
    price_list = "deepseek"
    serves: ClassVar[tuple[str, ...]] = ("openai", "anthropic")
    dialects: ClassVar[Mapping[str, Serving]] = {
        # Responses since July 2026, for Codex (api-docs.deepseek.com/guides/responses_api).
        "openai": Serving(CHAT | {"responses"}),
        "anthropic": Serving(
            MESSAGES, strip="/v1", add="/anthropic", header="x-api-key", scheme=""
        ),
    }
    # "1 English character ≈ 0.3 token" (its page on token usage).
    bytes_per_token: ClassVar[float] = 3.3

    def classify(self, answer: UpstreamResponse) -> Classification:
        """An unknown model is a 400 here. A 429 is about concurrent calls of one model; nothing
        tells how many are left."""
        classification = classify_by_status(answer)
        if answer.status == 400 and "Model Not Exist" in error_text(answer.body):
            return Classification(ErrorClass.MODEL_NOT_FOUND, "400 no such model")
        return classification


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """DeepSeek."""
    return [DeepSeek()]
