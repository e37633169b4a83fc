"""Groq: OpenAI-shaped, with usage in `x_groq` as well."""

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
    Usage,
    Vendor,
    hookimpl,
    retry_after,
)
from sidecar_vendors.common import CHAT_AND_RESPONSES, DAY, STORED, read_windows, window
from sidecar_vendors.openai.limits import classify

_WINDOWS = (
    window(QuotaKind.REQUESTS, "x-ratelimit-{}-requests", DAY),
    window(QuotaKind.TOKENS, "x-ratelimit-{}-tokens"),
)


class Groq(Vendor):
    """Groq."""

    name = "groq"
    title = "Groq"
    base_url = "https://api.groq.com/openai/v1"
    credential = "GROQ_API_KEY"
    price_list = "groq"
    streams_usage = True
    serves: ClassVar[tuple[str, ...]] = ("openai",)
    dialects: ClassVar[Mapping[str, Serving]] = {
        "openai": Serving(CHAT_AND_RESPONSES | STORED | {"transcriptions", "speech"}),
    }

    codes: ClassVar[Mapping[str, ErrorClass]] = {
        "blocked_api_access": ErrorClass.QUOTA_EXHAUSTED,  # its page on spend limits
        "organization_restricted": ErrorClass.AUTH_FAILED,
        "model_decommissioned": ErrorClass.MODEL_NOT_FOUND,
    }

    def classify(self, answer: UpstreamResponse) -> Classification:
        """498 says that the flex tier has no room; the rest is worded as OpenAI's."""
        if answer.status == 498:
            wait = retry_after(answer.headers)
            return Classification(ErrorClass.OVERLOADED, "498 capacity exceeded", wait)
        return classify(answer, self.codes)

    def rate_limited_tokens(self, usage: Usage) -> tuple[int, int]:
        """Cached tokens do not count towards limits (its page on rate limits)."""
        read = usage.cache_read_tokens or 0
        return max(0, (usage.input_tokens or 0) - read), usage.output_tokens or 0

    def read_quota(self, headers: Mapping[str, str], now: float) -> tuple[Quota, ...]:
        """As OpenAI's, but requests are always those of a day, and tokens those of a minute."""
        return read_windows(headers, now, _WINDOWS)


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Groq."""
    return [Groq()]
