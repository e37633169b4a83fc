"""OpenRouter: many vendors behind OpenAI-shaped chat and Anthropic-shaped messages."""

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
from sidecar_vendors.common import CHAT_AND_RESPONSES, MESSAGES, read_windows, window

_FREE = "free models"
_IN_FLIGHT = "openrouter_in_flight_budget"
_BUDGETS = frozenset(
    {"openrouter_guardrail_budget", "openrouter_workspace_budget", "openrouter_key_limit"}
)
_WINDOWS = (window(QuotaKind.REQUESTS, "x-ratelimit-{}", seconds=None, at_once=True),)


class OpenRouter(Vendor):
    """OpenRouter."""

    name = "openrouter"
    title = "OpenRouter"
    base_url = "https://openrouter.ai/api/v1"
    credential = "OPENROUTER_API_KEY"
    price_list = "openrouter"
    streams_usage = True
    reports_cost = True
    serves: ClassVar[tuple[str, ...]] = ("openai", "anthropic")
    dialects: ClassVar[Mapping[str, Serving]] = {
        "openai": Serving(CHAT_AND_RESPONSES | {"embeddings", "rerank", "other"}),
        "anthropic": Serving(MESSAGES, strip="/v1"),
    }
    codes: ClassVar[Mapping[str, ErrorClass]] = {
        "provider_overloaded": ErrorClass.OVERLOADED,
        "provider_unavailable": ErrorClass.OVERLOADED,
    }

    def classify(self, answer: UpstreamResponse) -> Classification:
        """By `metadata.limit_source`: a 402 may be a short hold for calls that still run, a 403 a
        budget or the prompt (moderation). A 429 is one model's, but that of the free ones."""
        classification = classify_by_status(answer, self.codes)
        metadata = as_mapping(error_object(answer.body).get("metadata"))
        text = error_text(answer.body)
        match answer.status:
            case 400 if "not a valid model" in text:
                return Classification(ErrorClass.MODEL_NOT_FOUND, "400 no such model")
            case 402:
                return _judge_money(answer, classification, metadata)
            case 403 if str(metadata.get("limit_source")) in _BUDGETS or "limit exceeded" in text:
                return Classification(
                    ErrorClass.QUOTA_EXHAUSTED, "403 budget spent", whole_credential=True
                )
            case 403:
                return Classification(ErrorClass.CLIENT_ERROR, "403 moderation")
            case 429 if "free-models-per-day" in text:
                return Classification(
                    ErrorClass.QUOTA_EXHAUSTED, "429 free-models-per-day", _told(answer, metadata)
                )
        if (
            classification.error_class in {ErrorClass.RATE_LIMITED, ErrorClass.OVERLOADED}
            and classification.wait is None
        ):
            wait = _told(answer, metadata)
            return Classification(classification.error_class, classification.reason, wait)
        return classification

    def classify_event(self, error: str) -> ErrorClass:
        """Codes are HTTP statuses here; a 403 is about the prompt."""
        return ErrorClass.CLIENT_ERROR if error == "403" else super().classify_event(error)

    def family(self, model: str) -> str:
        """The free variants share one limit, of an account; every other model has its own."""
        return _FREE if model.endswith(":free") else model

    def read_quota(self, headers: Mapping[str, str], now: float) -> tuple[Quota, ...]:
        """`X-RateLimit-*` of its own limits, by the minute or the day; resets are milliseconds
        since the epoch."""
        return read_windows(headers, now, _WINDOWS)


def _judge_money(
    answer: UpstreamResponse, classification: Classification, metadata: Mapping[str, object]
) -> Classification:
    if metadata.get("reason") == "weight_exceeds_budget":
        # Smaller calls may still pass.
        return Classification(ErrorClass.QUOTA_EXHAUSTED, "402 larger than the budget")
    wait = retry_after(answer.headers)
    if metadata.get("limit_source") == _IN_FLIGHT or wait:
        return Classification(ErrorClass.RATE_LIMITED, "402 held for running calls", wait, True)
    return classification


def _told(answer: UpstreamResponse, metadata: Mapping[str, object]) -> float | None:
    """The wait that stands in the error: as seconds, or in the headers that it repeats."""
    seconds = as_count(metadata.get("retry_after_seconds"))
    if seconds is not None:
        return float(seconds)
    reset = as_mapping(metadata.get("headers")).get("X-RateLimit-Reset")
    sent = sent_at(answer.headers)
    return None if sent is None else seconds_until(str(reset), sent)


@hookimpl
def sidecar_vendors() -> list[Vendor]:
    """OpenRouter."""
    return [OpenRouter()]
