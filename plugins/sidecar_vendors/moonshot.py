"""Moonshot AI (Kimi): OpenAI-shaped chat, and Anthropic-shaped messages below `/anthropic`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from msgspec import structs

from sidecar import (
    Classification,
    ErrorClass,
    Quota,
    QuotaKind,
    Serving,
    UpstreamResponse,
    Vendor,
    classify_by_status,
    error_text,
    hookimpl,
)
from sidecar_vendors.common import CHAT_AND_RESPONSES, MESSAGES, STORED, read_windows, window

_WINDOWS = (window(QuotaKind.REQUESTS, "x-ratelimit-{}"),)
_BY_DAY = re.compile(r"\bTPD\b", re.ASCII)
_USED_UP = re.compile(r"balance|billing cycle|usage limit|quota", re.IGNORECASE)


class Moonshot(Vendor):
    """Moonshot AI. A spent balance comes as a 429 with a code of its own."""

    name = "moonshot"
    title = "Moonshot AI"
    base_url = "https://api.moonshot.ai/v1"
    credential = "MOONSHOT_API_KEY"
    price_list = "moonshotai"
    serves: ClassVar[tuple[str, ...]] = ("openai", "anthropic")
    dialects: ClassVar[Mapping[str, Serving]] = {
        "openai": Serving(CHAT_AND_RESPONSES | STORED),
        "anthropic": Serving(MESSAGES, strip="/v1", add="/anthropic"),
    }
    codes: ClassVar[Mapping[str, ErrorClass]] = {
        "exceeded_current_quota_error": ErrorClass.QUOTA_EXHAUSTED,
        "engine_overloaded_error": ErrorClass.OVERLOADED,
        "rate_limit_reached_error": ErrorClass.RATE_LIMITED,
        "invalid_authentication_error": ErrorClass.AUTH_FAILED,
    }
    # "3 to 4 characters" to a token (its introduction).
    bytes_per_token: ClassVar[float] = 3.5

    def classify(self, answer: UpstreamResponse) -> Classification:
        """Its limits are the account's, over all models: on concurrent calls, requests and tokens
        by the minute, and tokens by the day (TPD), which seconds do not bring back. A 403 may be
        about money, or a coding plan's allowance."""
        classification = classify_by_status(answer, self.codes)
        text = error_text(answer.body)
        if classification.error_class is ErrorClass.RATE_LIMITED:
            verdict = (
                ErrorClass.QUOTA_EXHAUSTED if _BY_DAY.search(text) else ErrorClass.RATE_LIMITED
            )
            return structs.replace(classification, error_class=verdict, whole_credential=True)
        if answer.status == 403 and _USED_UP.search(text):
            return Classification(
                ErrorClass.QUOTA_EXHAUSTED, classification.reason, whole_credential=True
            )
        return classification

    def family(self, model: str) -> str:
        """All models share the account's limits (its introduction)."""
        return "all models"

    def read_quota(self, headers: Mapping[str, str], now: float) -> tuple[Quota, ...]:
        """`X-RateLimit-{Limit,Remaining,Reset}`: requests by the minute, as its help has it; the
        unit of the reset is not told, so that it is known by its size."""
        return read_windows(headers, now, _WINDOWS)


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Moonshot AI."""
    return [Moonshot()]
