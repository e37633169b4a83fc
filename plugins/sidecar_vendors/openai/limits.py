"""How OpenAI, and those who took over its words, speak of limits.

Sources: OpenAI's guides to rate limits and to fine-tuning and its help centre's article on 429
errors, all of 2026; the messages are those that its API sends.
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
from sidecar_vendors.common import MINUTE, read_windows, told_by_refill, window

CODES: Mapping[str, ErrorClass] = MappingProxyType(
    # These 429s are about money, and do not pass with time.
    dict.fromkeys(
        ("insufficient_quota", "credit_balance_exhausted", "organization_spend_limit_exceeded",
         "project_spend_limit_exceeded", "organization_usage_limit_exceeded",
         "usage_limit_exceeded", "billing_hard_limit_reached", "billing_not_active"),
        ErrorClass.QUOTA_EXHAUSTED,
    )
    # The vendor has no room, whatever the caller's own limits are.
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


def judge_limits(answer: UpstreamResponse, codes: Mapping[str, ErrorClass]) -> Classification:
    """As the status and `codes` say, but a 429 over a day's limit is mostly not cured by seconds
    (a large one may give a call back in a few), and one over a request that is larger than the
    whole limit is not cured at all."""
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


def read_limits(headers: Mapping[str, str], now: float) -> tuple[Quota, ...]:
    """The project's own limit counts where it is tighter. All refill evenly, so that the figures
    tell a limit on requests by the day from one by the minute."""
    return tuple(map(told_by_refill, read_windows(headers, now, _WINDOWS)))


def shared_by(model: str) -> str:
    """The model whose limits a dated snapshot, or a fine-tuned model, draws from."""
    kind, _, rest = model.partition(":")
    base = rest.partition(":")[0] if kind == "ft" and rest else model
    return _SNAPSHOT.sub("", base)
