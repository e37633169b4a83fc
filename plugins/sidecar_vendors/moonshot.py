"""Moonshot AI (Kimi): OpenAI's dialect, and Anthropic's messages under `/anthropic`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from msgspec import structs

from sidecar import (
    Classification,
    ErrorClass,
    QuotaKind,
    Serving,
    UpstreamResponse,
    Vendor,
    classify_by_status,
    error_text,
    hookimpl,
)
from sidecar_vendors.common import CHAT_AND_RESPONSES, MESSAGES, STORED, HeaderLimitedVendor, window

_BY_DAY = re.compile(r"\bTPD\b", re.ASCII)
_USED_UP = re.compile(r"balance|billing cycle|usage limit|quota", re.IGNORECASE)


class Moonshot(HeaderLimitedVendor):
    """The API of Moonshot AI. A spent balance is a 429 with a code of its own."""

    name = "moonshot"
    title = "Moonshot AI"
    base_url = "https://api.moonshot.ai/v1"
    credential = "MOONSHOT_API_KEY"
    price_list = "moonshotai"
    serves = ("openai", "anthropic")
    dialects: ClassVar[Mapping[str, Serving]] = {
        "openai": Serving(CHAT_AND_RESPONSES | STORED),
        "anthropic": Serving(MESSAGES, strip="/v1", add="/anthropic"),
    }
    # Requests by the minute (its help page, which gives no unit for the reset).
    windows = (window(QuotaKind.REQUESTS, "x-ratelimit-{}"),)
    codes: ClassVar[Mapping[str, ErrorClass]] = {
        "exceeded_current_quota_error": ErrorClass.QUOTA_EXHAUSTED,
        "engine_overloaded_error": ErrorClass.OVERLOADED,
        "rate_limit_reached_error": ErrorClass.RATE_LIMITED,
        "invalid_authentication_error": ErrorClass.AUTH_FAILED,
    }
    # "3 to 4 characters" a token (its introduction).
    bytes_per_token = 3.5

    def classify(self, answer: UpstreamResponse) -> Classification:
        """Classify a daily limit (TPD) and a spent balance or coding plan (403) as a quota.

        All limits are those of the account, over all models.
        """
        classification = classify_by_status(answer, self.codes)
        text = error_text(answer.body)
        if classification.error_class is ErrorClass.RATE_LIMITED:
            daily = _BY_DAY.search(text) is not None
            error_class = ErrorClass.QUOTA_EXHAUSTED if daily else ErrorClass.RATE_LIMITED
            return structs.replace(classification, error_class=error_class, whole_credential=True)
        if answer.status == 403 and _USED_UP.search(text):
            return Classification(
                ErrorClass.QUOTA_EXHAUSTED, classification.reason, whole_credential=True
            )
        return classification

    def family(self, model: str) -> str:
        """Return one family: all models share the account's limits (its introduction)."""
        return "all models"


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Return this vendor."""
    return [Moonshot()]
