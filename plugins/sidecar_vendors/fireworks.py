"""Fireworks AI: OpenAI's dialect, and Anthropic's messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from sidecar import (
    Classification,
    ErrorClass,
    QuotaKind,
    Serving,
    UpstreamResponse,
    Vendor,
    classify_by_status,
    hookimpl,
)
from sidecar_vendors.common import CHAT_AND_RESPONSES, MESSAGES, HeaderLimitedVendor, window


class Fireworks(HeaderLimitedVendor):
    """The API of Fireworks AI."""

    name = "fireworks"
    title = "Fireworks AI"
    base_url = "https://api.fireworks.ai/inference/v1"
    credential = "FIREWORKS_API_KEY"
    price_list = "fireworks"
    streams_usage = True
    serves = ("openai", "anthropic")
    dialects: ClassVar[Mapping[str, Serving]] = {
        "openai": Serving(CHAT_AND_RESPONSES | {"embeddings"}),
        "anthropic": Serving(MESSAGES, strip="/v1"),
    }
    # The documentation has the figures per second, recorded responses have them per minute.
    # Per model. Of all input and of uncached input, the one with less left counts.
    windows = (
        window(QuotaKind.REQUESTS, "x-ratelimit-{}-requests", seconds=None),
        window(QuotaKind.INPUT_TOKENS, "x-ratelimit-{}-tokens-prompt", seconds=None),
        window(QuotaKind.INPUT_TOKENS, "x-ratelimit-{}-tokens-cache-adjusted-prompt", seconds=None),
        window(QuotaKind.OUTPUT_TOKENS, "x-ratelimit-{}-tokens-generated", seconds=None),
    )

    def classify(self, answer: UpstreamResponse) -> Classification:
        """Classify 412, a suspended account, as an exhausted quota."""
        if answer.status == 412:
            return Classification(
                ErrorClass.QUOTA_EXHAUSTED, "412 account suspended", whole_credential=True
            )
        return classify_by_status(answer)


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Return this vendor."""
    return [Fireworks()]
