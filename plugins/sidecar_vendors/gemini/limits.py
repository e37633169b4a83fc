"""Errors of Google, whose details are the only place with its rate limits; there are no headers.

The limit on tokens by the minute counts input only, cached or not. Sidecar counts output too,
because token limits in the YAML file mean both.

Source: Google's pages on Gemini's rate limits, billing and errors (2026), and the definitions of
`google.rpc.QuotaFailure`, `google.rpc.RetryInfo` and `google.api.ErrorReason`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from msgspec import structs

from sidecar import (
    Classification,
    ErrorClass,
    UpstreamResponse,
    as_mapping,
    classify_by_status,
    duration,
    error_object,
    error_text,
)

_DEAD_KEY = re.compile(r"API_KEY_\w+|CONSUMER_(?:INVALID|SUSPENDED)|SERVICE_DISABLED")
_UNPAID = re.compile(r"credits are depleted|spending cap", re.IGNORECASE)
_NOT_SERVED = re.compile(r"billing|location is not supported", re.IGNORECASE)
_NO_QUOTA = re.compile(r"\blimit: 0(?![\d.])", re.ASCII)


def classify(answer: UpstreamResponse) -> Classification:
    """Classify a 400 for a wrong key, and the kinds of 429.

    A 429 is a limit by the minute or the day, spent money, or a model that the plan lacks.
    """
    classification = classify_by_status(answer)
    error = error_object(answer.body)
    details = _objects(error.get("details"))
    reasons = [str(detail.get("reason")) for detail in details]
    text = error_text(answer.body)
    if answer.status in {400, 403}:
        dead = next((each for each in reasons if _DEAD_KEY.fullmatch(each)), None)
        if dead is not None or "reported as leaked" in text:
            reason = f"{answer.status} {dead or 'leaked key'}"
            return Classification(ErrorClass.AUTH_FAILED, reason, whole_credential=True)
        if error.get("status") == "FAILED_PRECONDITION" and _NOT_SERVED.search(text):
            return Classification(
                ErrorClass.QUOTA_EXHAUSTED, classification.reason, whole_credential=True
            )
    if classification.error_class is ErrorClass.RATE_LIMITED:
        return _classify_429(classification, details, text)
    return classification


def _classify_429(
    classification: Classification, details: Sequence[Mapping[str, object]], text: str
) -> Classification:
    violations = [each for detail in details for each in _objects(detail.get("violations"))]
    daily = [name for each in violations if "PerDay" in (name := str(each.get("quotaId")))]
    if _NO_QUOTA.search(text) or any(each.get("quotaValue") == "0" for each in violations):
        return Classification(
            ErrorClass.QUOTA_EXHAUSTED, f"{classification.reason}: the model is not on the plan"
        )
    if daily:
        # It lasts until midnight in California, although `retryDelay` is a few seconds.
        whole = not any("PerModel" in name for name in daily)
        return Classification(
            ErrorClass.QUOTA_EXHAUSTED, f"{classification.reason}: daily quota", None, whole
        )
    if _UNPAID.search(text):
        return Classification(
            ErrorClass.QUOTA_EXHAUSTED, classification.reason, whole_credential=True
        )
    if classification.wait is not None:
        return classification
    delays = [duration(str(detail.get("retryDelay"))) for detail in details]
    return structs.replace(
        classification, wait=next((each for each in delays if each is not None), None)
    )


def _objects(value: object) -> list[Mapping[str, object]]:
    """Return the objects in a JSON list; [] for any other value."""
    return [as_mapping(each) for each in value] if isinstance(value, list) else []
