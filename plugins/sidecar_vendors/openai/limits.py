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
    SubscriptionWindow,
    UpstreamResponse,
    as_count,
    classify_by_status,
    error_object,
    error_text,
    seconds_until,
    sent_at,
)
from sidecar_vendors.common import MINUTE, amount, read_windows, window, with_window_from_refill

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
    error = error_object(answer.body)
    if answer.status == 429 and error.get("type") == "usage_limit_reached":
        wait = _subscription_reset(error, answer.headers)
        reason = "429 subscription used up"
        return Classification(ErrorClass.QUOTA_EXHAUSTED, reason, wait, True, wait is not None)
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


def read_subscription(headers: Mapping[str, str], now: float) -> tuple[SubscriptionWindow, ...]:
    """Read `x-codex-{primary,secondary}-{used-percent,window-minutes,reset-at}`.

    Source: Codex' own client; they are not documented.
    """
    sent = sent_at(headers)
    since = now if sent is None else sent
    found = []
    for which in ("primary", "secondary"):
        start = f"x-codex-{which}-"
        percent = amount(headers.get(f"{start}used-percent"))
        minutes = amount(headers.get(f"{start}window-minutes"))
        if percent is not None and minutes:
            reset = headers.get(f"{start}reset-at") or headers.get(f"{start}reset-after-seconds")
            name = _length(round(minutes))
            found.append(SubscriptionWindow(name, percent / 100, seconds_until(reset or "", since)))
    return tuple(found)


def _subscription_reset(error: Mapping[str, object], headers: Mapping[str, str]) -> float | None:
    """Return the seconds until an exhausted subscription serves again; None if unknown."""
    seconds = as_count(error.get("resets_in_seconds"))
    if seconds is not None:
        return float(seconds)
    at, sent = error.get("resets_at"), sent_at(headers)
    return seconds_until(str(at), sent) if isinstance(at, int) and sent is not None else None


def _length(minutes: int) -> str:
    """Return a window's length as people write it: 5h, 7d."""
    for size, unit in ((1440, "d"), (60, "h")):
        if minutes % size == 0:
            return f"{minutes // size}{unit}"
    return f"{minutes}m"


def family(model: str) -> str:
    """Return the model whose limits a dated snapshot or a fine-tuned model shares."""
    kind, _, rest = model.partition(":")
    base = rest.partition(":")[0] if kind == "ft" and rest else model
    return _SNAPSHOT.sub("", base)
