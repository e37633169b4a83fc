"""Groq: OpenAI's dialect, with usage in `x_groq` too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from sidecar import (
    Classification,
    ErrorClass,
    QuotaKind,
    Serving,
    UpstreamResponse,
    Usage,
    Vendor,
    hookimpl,
    retry_after,
)
from sidecar_vendors.common import CHAT_AND_RESPONSES, DAY, STORED, HeaderLimitedVendor, window
from sidecar_vendors.openai.limits import classify


class Groq(HeaderLimitedVendor):
    """The API of Groq."""

    name = "groq"
    title = "Groq"
    base_url = "https://api.groq.com/openai/v1"
    credential = "GROQ_API_KEY"
    price_list = "groq"
    streams_usage = True
    serves = ("openai",)
    dialects: ClassVar[Mapping[str, Serving]] = {
        "openai": Serving(CHAT_AND_RESPONSES | STORED | {"transcriptions", "speech"}),
    }
    # Requests by the day, tokens by the minute (console.groq.com/docs/rate-limits).
    windows = (
        window(QuotaKind.REQUESTS, "x-ratelimit-{}-requests", DAY),
        window(QuotaKind.TOKENS, "x-ratelimit-{}-tokens"),
    )

    codes: ClassVar[Mapping[str, ErrorClass]] = {
        "blocked_api_access": ErrorClass.QUOTA_EXHAUSTED,  # its page on spend limits
        "organization_restricted": ErrorClass.AUTH_FAILED,
        "model_decommissioned": ErrorClass.MODEL_NOT_FOUND,
    }

    def classify(self, answer: UpstreamResponse) -> Classification:
        """Classify 498, no capacity in the flex tier, as overloaded; the rest as OpenAI does."""
        if answer.status == 498:
            wait = retry_after(answer.headers)
            return Classification(ErrorClass.OVERLOADED, "498 capacity exceeded", wait)
        return classify(answer, self.codes)

    def rate_limited_tokens(self, usage: Usage) -> tuple[int, int]:
        """Leave out cached tokens (console.groq.com/docs/rate-limits)."""
        read = usage.cache_read_tokens or 0
        return max(0, (usage.input_tokens or 0) - read), usage.output_tokens or 0


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Return this vendor."""
    return [Groq()]
