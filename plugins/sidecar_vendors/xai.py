"""xAI: OpenAI-shaped, with errors and arithmetic of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from msgspec import structs

from sidecar import (
    Classification,
    Endpoint,
    ErrorClass,
    Quota,
    QuotaKind,
    Serving,
    UpstreamResponse,
    Usage,
    Vendor,
    classify_by_status,
    error_text,
    hookimpl,
)
from sidecar_vendors.common import CHAT_AND_RESPONSES, STORED, read_windows, window

_ALIAS = re.compile(r"(?:-\d{4}|-latest)+$", re.ASCII)
_UNPAID = re.compile("(?:used all available|have any) credits|spending limit")
_WINDOWS = (
    # By the second or by the minute: its page on rate limits speaks of both.
    window(QuotaKind.REQUESTS, "x-ratelimit-{}-requests", seconds=None),
    window(QuotaKind.TOKENS, "x-ratelimit-{}-tokens"),
)


class XAI(Vendor):
    """xAI. A wrong key is a 400, a blocked one a 403, and spent credits are a 429."""

    name = "xai"
    title = "xAI"
    base_url = "https://api.x.ai/v1"
    credential = "XAI_API_KEY"
    price_list = "x-ai"
    reports_cost = True
    serves: ClassVar[tuple[str, ...]] = ("openai",)
    dialects: ClassVar[Mapping[str, Serving]] = {
        "openai": Serving(CHAT_AND_RESPONSES | STORED | {"images", "videos", "other"}),
    }

    def classify(self, answer: UpstreamResponse) -> Classification:
        """By the words of the error, which is a plain text here, and has no code."""
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
        """A model's aliases, by date or `latest`, are the same model."""
        return _ALIAS.sub("", model)

    def normalize(self, usage: Usage, endpoint: Endpoint) -> Usage:
        """Chat counts reasoning beside the completion; elsewhere it is part of the output."""
        if endpoint.name != "chat" or usage.output_tokens is None or not usage.reasoning_tokens:
            return usage
        return structs.replace(usage, output_tokens=usage.output_tokens + usage.reasoning_tokens)

    def read_quota(self, headers: Mapping[str, str], now: float) -> tuple[Quota, ...]:
        """As OpenAI's, for each model; cached and reasoning tokens count as well."""
        return read_windows(headers, now, _WINDOWS)


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """xAI."""
    return [XAI()]
