"""DeepSeek: OpenAI's chat and responses, and Anthropic's messages under `/anthropic`."""

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
    """The API of DeepSeek."""

    name = "deepseek"
    title = "DeepSeek"
    base_url = "https://api.deepseek.com/v1"
    other_base_paths = ("",)
    credential = "DEEPSEEK_API_KEY"
    price_list = "deepseek"
    serves = ("openai", "anthropic")
    dialects: ClassVar[Mapping[str, Serving]] = {
        # Responses since July 2026, for Codex (api-docs.deepseek.com/guides/responses_api).
        "openai": Serving(CHAT | {"responses"}),
        "anthropic": Serving(
            MESSAGES, strip="/v1", add="/anthropic", header="x-api-key", scheme=""
        ),
    }
    # "1 English character ≈ 0.3 token" (its page on token usage).
    bytes_per_token = 3.3

    def classify(self, answer: UpstreamResponse) -> Classification:
        """Classify a 400 for an unknown model.

        A 429 is a limit on concurrent calls of one model, for which there are no headers.
        """
        classification = classify_by_status(answer)
        if answer.status == 400 and "Model Not Exist" in error_text(answer.body):
            return Classification(ErrorClass.MODEL_NOT_FOUND, "400 no such model")
        return classification


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Return this vendor."""
    return [DeepSeek()]
