"""xAI: OpenAI's dialect, with its own errors and its own sum of output tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from msgspec import structs

from sidecar import (
    Classification,
    Endpoint,
    ErrorClass,
    QuotaKind,
    Serving,
    UpstreamResponse,
    Usage,
    Vendor,
    classify_by_status,
    error_text,
    hookimpl,
)
from sidecar_vendors.common import CHAT_AND_RESPONSES, STORED, HeaderLimitedVendor, window

_ALIAS = re.compile(r"(?:-\d{4}|-latest)+$", re.ASCII)
_UNPAID = re.compile("(?:used all available|have any) credits|spending limit")


class XAI(HeaderLimitedVendor):
    """The API of xAI. A wrong key is a 400, a blocked key a 403, spent credits are a 429."""

    name = "xai"
    title = "xAI"
    base_url = "https://api.x.ai/v1"
    credential = "XAI_API_KEY"
    price_list = "x-ai"
    reports_cost = True
    serves = ("openai",)
    dialects: ClassVar[Mapping[str, Serving]] = {
        "openai": Serving(CHAT_AND_RESPONSES | STORED | {"images", "videos", "other"}),
    }
    # For each model; cached and reasoning tokens count.
    windows = (
        # Requests by the second or by the minute: its page on rate limits has both.
        window(QuotaKind.REQUESTS, "x-ratelimit-{}-requests", seconds=None),
        window(QuotaKind.TOKENS, "x-ratelimit-{}-tokens"),
    )

    def classify(self, answer: UpstreamResponse) -> Classification:
        """Classify by the text of the error, which has no code."""
        text = error_text(answer.body)
        match answer.status:
            case 400 if "Incorrect API key" in text:
                return Classification(
                    ErrorClass.AUTH_FAILED, "400 incorrect key", whole_credential=True
                )
            case 400 if "Model not found" in text:
                return Classification(ErrorClass.MODEL_NOT_FOUND, "400 no such model")
            case (403 | 429) as status if _UNPAID.search(text):
                return Classification(
                    ErrorClass.QUOTA_EXHAUSTED, f"{status} credits used up", whole_credential=True
                )
            case 403 if "blocked" in text or "disabled" in text:
                return Classification(
                    ErrorClass.AUTH_FAILED, "403 blocked key", whole_credential=True
                )
        return classify_by_status(answer)

    def family(self, model: str) -> str:
        """Return the model without its date or `latest`, which are aliases."""
        return _ALIAS.sub("", model)

    def normalize(self, usage: Usage, endpoint: Endpoint) -> Usage:
        """Add reasoning to the output of chat; elsewhere it is part of the output already."""
        if endpoint.name != "chat" or usage.output_tokens is None or not usage.reasoning_tokens:
            return usage
        return structs.replace(usage, output_tokens=usage.output_tokens + usage.reasoning_tokens)


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Return this vendor."""
    return [XAI()]
