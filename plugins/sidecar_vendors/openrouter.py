"""OpenRouter: many vendors behind OpenAI's dialect and Anthropic's messages."""

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
    as_count,
    as_mapping,
    classify_by_status,
    error_object,
    error_text,
    hookimpl,
    retry_after,
    seconds_until,
    sent_at,
)
from sidecar_vendors.common import CHAT_AND_RESPONSES, MESSAGES, HeaderLimitedVendor, window

_FREE = "free models"
_IN_FLIGHT = "openrouter_in_flight_budget"
_BUDGETS = frozenset(
    {"openrouter_guardrail_budget", "openrouter_workspace_budget", "openrouter_key_limit"}
)


class OpenRouter(HeaderLimitedVendor):
    """The API of OpenRouter."""

    name = "openrouter"
    title = "OpenRouter"
    base_url = "https://openrouter.ai/api/v1"
    credential = "OPENROUTER_API_KEY"
    price_list = "openrouter"
    streams_usage = True
    reports_cost = True
    serves = ("openai", "anthropic")
    dialects: ClassVar[Mapping[str, Serving]] = {
        "openai": Serving(CHAT_AND_RESPONSES | {"embeddings", "rerank", "other"}),
        "anthropic": Serving(MESSAGES, strip="/v1"),
    }
    # Its own limits, by the minute or the day; resets are milliseconds since the epoch.
    windows = (window(QuotaKind.REQUESTS, "x-ratelimit-{}", seconds=None, at_once=True),)
    codes: ClassVar[Mapping[str, ErrorClass]] = {
        "provider_overloaded": ErrorClass.OVERLOADED,
        "provider_unavailable": ErrorClass.OVERLOADED,
    }

    def classify(self, answer: UpstreamResponse) -> Classification:
        """Classify by `metadata.limit_source` of the error.

        A 402 may be a short reservation of calls in flight; a 403 a spent budget, or moderation of
        the prompt. A 429 is a limit of one model, except that of the free models.
        """
        classification = classify_by_status(answer, self.codes)
        metadata = as_mapping(error_object(answer.body).get("metadata"))
        text = error_text(answer.body)
        match answer.status:
            case 400 if "not a valid model" in text:
                return Classification(ErrorClass.MODEL_NOT_FOUND, "400 no such model")
            case 402:
                return _classify_402(answer, classification, metadata)
            case 403 if str(metadata.get("limit_source")) in _BUDGETS or "limit exceeded" in text:
                return Classification(
                    ErrorClass.QUOTA_EXHAUSTED, "403 budget spent", whole_credential=True
                )
            case 403:
                return Classification(ErrorClass.CLIENT_ERROR, "403 moderation")
            case 429 if "free-models-per-day" in text:
                return Classification(
                    ErrorClass.QUOTA_EXHAUSTED,
                    "429 free-models-per-day",
                    _wait_in_metadata(answer, metadata),
                )
        if (
            classification.error_class in {ErrorClass.RATE_LIMITED, ErrorClass.OVERLOADED}
            and classification.wait is None
        ):
            wait = _wait_in_metadata(answer, metadata)
            return Classification(classification.error_class, classification.reason, wait)
        return classification

    def classify_event(self, error: str) -> ErrorClass:
        """Classify by the HTTP status that is the code; 403 is moderation of the prompt."""
        return ErrorClass.CLIENT_ERROR if error == "403" else super().classify_event(error)

    def family(self, model: str) -> str:
        """Return one family for all free variants, which share the account's limit."""
        return _FREE if model.endswith(":free") else model


def _classify_402(
    answer: UpstreamResponse, classification: Classification, metadata: Mapping[str, object]
) -> Classification:
    if metadata.get("reason") == "weight_exceeds_budget":
        # Smaller calls may still pass.
        return Classification(ErrorClass.QUOTA_EXHAUSTED, "402 larger than the budget")
    wait = retry_after(answer.headers)
    if metadata.get("limit_source") == _IN_FLIGHT or wait:
        return Classification(ErrorClass.RATE_LIMITED, "402 held for running calls", wait, True)
    return classification


def _wait_in_metadata(answer: UpstreamResponse, metadata: Mapping[str, object]) -> float | None:
    """Return the wait in the error: seconds, or the headers that it repeats; None if none."""
    seconds = as_count(metadata.get("retry_after_seconds"))
    if seconds is not None:
        return float(seconds)
    reset = as_mapping(metadata.get("headers")).get("X-RateLimit-Reset")
    sent = sent_at(answer.headers)
    return None if sent is None else seconds_until(str(reset), sent)


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """Return this vendor."""
    return [OpenRouter()]
