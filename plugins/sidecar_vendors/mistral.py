"""Mistral AI: OpenAI-shaped chat, usage in every stream without asking."""

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
from sidecar_vendors.common import CHAT_AND_RESPONSES, MONTH, STORED, read_windows, window

# Its gateway counts in fixed windows: recorded resets are the rest of a minute, however much of it
# was used. The last three are the older names.
_WINDOWS = (
    window(QuotaKind.REQUESTS, "x-ratelimit-{}-req-minute", at_once=True),
    window(QuotaKind.TOKENS, "x-ratelimit-{}-tokens-minute", at_once=True),
    window(QuotaKind.TOKENS, "x-ratelimit-{}-tokens-month", MONTH, at_once=True),
    window(QuotaKind.TOKENS, "ratelimitbysize-{}", at_once=True),
    window(QuotaKind.TOKENS, "x-ratelimitbysize-{}-minute", at_once=True),
    window(QuotaKind.TOKENS, "x-ratelimitbysize-{}-month", MONTH, at_once=True),
)


class Mistral(Vendor):
    """Mistral AI."""

    name = "mistral"
    title = "Mistral"
    base_url = "https://api.mistral.ai/v1"
    credential = "MISTRAL_API_KEY"
    price_list = "mistral"
    streams_usage = True
    serves: ClassVar[tuple[str, ...]] = ("openai",)
    dialects: ClassVar[Mapping[str, Serving]] = {
        "openai": Serving(
            CHAT_AND_RESPONSES
            | STORED
            | {"embeddings", "moderations", "ocr", "transcriptions", "speech", "other"}
        ),
    }

    codes: ClassVar[Mapping[str, ErrorClass]] = {
        "3505": ErrorClass.OVERLOADED,
        "service_tier_capacity_exceeded": ErrorClass.OVERLOADED,
        "1500": ErrorClass.MODEL_NOT_FOUND,
        "invalid_model": ErrorClass.MODEL_NOT_FOUND,
        "unknown_model": ErrorClass.MODEL_NOT_FOUND,
    }

    def classify(self, answer: UpstreamResponse) -> Classification:
        """A limit of no requests at all means that the plan does not have the model; a month's
        tokens are used up for long."""
        classification = classify_by_status(answer, self.codes)
        if classification.error_class is not ErrorClass.RATE_LIMITED:
            return classification
        if answer.headers.get("x-ratelimit-limit-req-minute") == "0":
            return Classification(ErrorClass.QUOTA_EXHAUSTED, "429 the model is not on the plan")
        if any(
            quota.window == MONTH and quota.remaining == 0
            for quota in read_windows(answer.headers, 0.0, _WINDOWS)
        ):
            return Classification(
                ErrorClass.QUOTA_EXHAUSTED, "429 the month's tokens are used up", None, True
            )
        return classification

    def read_quota(self, headers: Mapping[str, str], now: float) -> tuple[Quota, ...]:
        """`x-ratelimit-{limit,remaining,reset}-{req-minute,tokens-minute,tokens-month}`."""
        return read_windows(headers, now, _WINDOWS)


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Mistral."""
    return [Mistral()]
