"""Mistral AI: OpenAI's dialect, with usage in every stream."""

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
from sidecar_vendors.common import (
    CHAT_AND_RESPONSES,
    MONTH,
    STORED,
    HeaderLimitedVendor,
    read_windows,
    window,
)


class Mistral(HeaderLimitedVendor):
    """The API of Mistral AI."""

    name = "mistral"
    title = "Mistral"
    base_url = "https://api.mistral.ai/v1"
    credential = "MISTRAL_API_KEY"
    price_list = "mistral"
    streams_usage = True
    serves = ("openai",)
    dialects: ClassVar[Mapping[str, Serving]] = {
        "openai": Serving(
            CHAT_AND_RESPONSES
            | STORED
            | {"embeddings", "moderations", "ocr", "transcriptions", "speech", "other"}
        ),
    }
    # Fixed windows: recorded resets are the rest of a minute, however much was used. The last three
    # are the older names.
    windows = (
        window(QuotaKind.REQUESTS, "x-ratelimit-{}-req-minute", at_once=True),
        window(QuotaKind.TOKENS, "x-ratelimit-{}-tokens-minute", at_once=True),
        window(QuotaKind.TOKENS, "x-ratelimit-{}-tokens-month", MONTH, at_once=True),
        window(QuotaKind.TOKENS, "ratelimitbysize-{}", at_once=True),
        window(QuotaKind.TOKENS, "x-ratelimitbysize-{}-minute", at_once=True),
        window(QuotaKind.TOKENS, "x-ratelimitbysize-{}-month", MONTH, at_once=True),
    )

    codes: ClassVar[Mapping[str, ErrorClass]] = {
        "3505": ErrorClass.OVERLOADED,
        "service_tier_capacity_exceeded": ErrorClass.OVERLOADED,
        "1500": ErrorClass.MODEL_NOT_FOUND,
        "invalid_model": ErrorClass.MODEL_NOT_FOUND,
        "unknown_model": ErrorClass.MODEL_NOT_FOUND,
    }

    def classify(self, answer: UpstreamResponse) -> Classification:
        """Classify an exhausted month as a quota, and so a limit of 0 requests.

        A limit of 0 requests means that the plan lacks the model.
        """
        classification = classify_by_status(answer, self.codes)
        if classification.error_class is not ErrorClass.RATE_LIMITED:
            return classification
        if answer.headers.get("x-ratelimit-limit-req-minute") == "0":
            return Classification(ErrorClass.QUOTA_EXHAUSTED, "429 the model is not on the plan")
        if any(
            quota.window == MONTH and quota.remaining == 0
            for quota in read_windows(answer.headers, 0.0, self.windows)
        ):
            return Classification(
                ErrorClass.QUOTA_EXHAUSTED, "429 the month's tokens are used up", None, True
            )
        return classification


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Return this vendor."""
    return [Mistral()]
