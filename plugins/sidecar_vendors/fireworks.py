"""Fireworks AI: OpenAI-shaped, and Anthropic-shaped messages beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from sidecar import (
    Classification,
    ErrorClass,
    Quota,
    QuotaKind,
    Serving,
    UpstreamResponse,
    Vendor,
    classify_by_status,
    hookimpl,
)
from sidecar_vendors.common import CHAT_AND_RESPONSES, MESSAGES, read_windows, window

# Its documentation says that the figures are per second, recorded answers have them per minute.
_WINDOWS = (
    window(QuotaKind.REQUESTS, "x-ratelimit-{}-requests", seconds=None),
    window(QuotaKind.INPUT_TOKENS, "x-ratelimit-{}-tokens-prompt", seconds=None),
    window(QuotaKind.INPUT_TOKENS, "x-ratelimit-{}-tokens-cache-adjusted-prompt", seconds=None),
    window(QuotaKind.OUTPUT_TOKENS, "x-ratelimit-{}-tokens-generated", seconds=None),
)


class Fireworks(Vendor):
    """Fireworks AI."""

    name = "fireworks"
    title = "Fireworks AI"
    base_url = "https://api.fireworks.ai/inference/v1"
    credential = "FIREWORKS_API_KEY"
    price_list = "fireworks"
    streams_usage = True
    serves: ClassVar[tuple[str, ...]] = ("openai", "anthropic")
    dialects: ClassVar[Mapping[str, Serving]] = {
        "openai": Serving(CHAT_AND_RESPONSES | {"embeddings"}),
        "anthropic": Serving(MESSAGES, strip="/v1"),
    }

    def classify(self, answer: UpstreamResponse) -> Classification:
        """412 says that the account is suspended."""
        if answer.status == 412:
            return Classification(
                ErrorClass.QUOTA_EXHAUSTED, "412 account suspended", whole_credential=True
            )
        return classify_by_status(answer)

    def read_quota(self, headers: Mapping[str, str], now: float) -> tuple[Quota, ...]:
        """`x-ratelimit-{limit,remaining}-tokens-{prompt,cache-adjusted-prompt,generated}`, per
        model; of all input and of uncached input, the one with less left."""
        return read_windows(headers, now, _WINDOWS)


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Fireworks AI."""
    return [Fireworks()]
