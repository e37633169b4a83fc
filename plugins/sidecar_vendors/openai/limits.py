"""Rate limits and errors of OpenAI, which some other vendors share.

Source: OpenAI's guides to rate limits and fine-tuning, and its help article on 429 errors (2026).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from msgspec import structs

from sidecar import (
    Classification,
    ErrorClass,
    Quota,
    QuotaKind,
    UpstreamResponse,
    classify_by_status,
    error_text,
)
from sidecar_vendors.common import MINUTE, read_windows, window, with_window_from_refill

CODES: Mapping[str, ErrorClass] = MappingProxyType(
    # These 429s are about money: waiting does not help.
    dict.fromkeys(
        ("insufficient_quota", "credit_balance_exhausted", "organization_spend_limit_exceeded",
         "project_spend_limit_exceeded", "organization_usage_limit_exceeded",
         "usage_limit_exceeded", "billing_hard_limit_reached", "billing_not_active"),
        ErrorClass.QUOTA_EXHAUSTED,
    )
    # The vendor is out of capacity, whatever the caller's limits are.
    | dict.fromkeys(
        ("flex_unavailable", "server_is_overloaded", "server_overloaded"), ErrorClass.OVERLOADED
    )
    | {"slow_down": ErrorClass.RATE_LIMITED}
)  # fmt: skip
_WINDOWS = (
    window(QuotaKind.REQUESTS, "x-ratelimit-{}-requests"),
    window(QuotaKind.TOKENS, "x-ratelimit-{}-tokens"),
    window(QuotaKind.TOKENS, "x-ratelimit-{}-project-tokens"),
)
_BY_DAY = re.compile(r"\bper day\b|\b[RT]PD\b", re.ASCII)
_SNAPSHOT = re.compile(r"(?:-\d{4}-\d\d-\d\d|-\d{4})+$", re.ASCII)


def classify(answer: UpstreamResponse, codes: Mapping[str, ErrorClass]) -> Classification:
    """Classify by `codes` and status, with two kinds of 429 apart.

    A daily limit is a quota, unless the wait is at most a minute, as with large limits. A request
    larger than the whole limit is a client error.
    """
    classification = classify_by_status(answer, codes)
    if classification.error_class is not ErrorClass.RATE_LIMITED:
        return classification
    text = error_text(answer.body)
    if text.startswith("Request too large"):
        return Classification(
            ErrorClass.CLIENT_ERROR, f"{classification.reason}: larger than the limit"
        )
    if _BY_DAY.search(text) and (classification.wait is None or classification.wait > MINUTE):
        return structs.replace(classification, error_class=ErrorClass.QUOTA_EXHAUSTED)
    return classification


def read_quota(headers: Mapping[str, str], now: float) -> tuple[Quota, ...]:
    """Return the quotas; of the organization's and the project's tokens, the tighter one.

    All refill evenly, so the figures show whether requests are limited by the day or the minute.
    """
    return tuple(map(with_window_from_refill, read_windows(headers, now, _WINDOWS)))


def family(model: str) -> str:
    """Return the model whose limits a dated snapshot or a fine-tuned model shares."""
    kind, _, rest = model.partition(":")
    base = rest.partition(":")[0] if kind == "ft" and rest else model
    return _SNAPSHOT.sub("", base)
