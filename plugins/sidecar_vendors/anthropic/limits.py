"""Rate limits and errors of Anthropic.

Source: Anthropic's pages on rate limits, errors and pricing (October 2026). The headers of
subscriptions (`unified`) are not documented; they are read as Anthropic's own clients read them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from sidecar import (
    Classification,
    ErrorClass,
    Quota,
    QuotaKind,
    SubscriptionWindow,
    UpstreamResponse,
    Usage,
    as_mapping,
    classify_by_status,
    error_object,
    error_text,
    seconds_until,
    sent_at,
)
from sidecar_vendors.common import amount, read_windows, window

_WINDOWS = (
    window(QuotaKind.REQUESTS, "anthropic-ratelimit-requests-{}"),
    window(QuotaKind.TOKENS, "anthropic-ratelimit-tokens-{}"),
    window(QuotaKind.INPUT_TOKENS, "anthropic-ratelimit-input-tokens-{}"),
    window(QuotaKind.OUTPUT_TOKENS, "anthropic-ratelimit-output-tokens-{}"),
)
_UNIFIED = "anthropic-ratelimit-unified-"
_SUBSCRIPTION = ("5h", "7d")
_SPENT = re.compile(
    r"You have reached your (?:specified )?(?:workspace )?API usage limits"
    r"|Your credit balance is too low"
)
_SNAPSHOT = re.compile(r"(?:-\d{8}|-latest)+$", re.ASCII)
_SHARED = re.compile(r"claude-(?:opus-4|sonnet-4|fable-5)(?=-|$)")


def classify(answer: UpstreamResponse, codes: Mapping[str, ErrorClass]) -> Classification:
    """Classify by `codes` and status; a spend limit or an exhausted subscription is a quota."""
    classification = classify_by_status(answer, codes)
    if answer.status not in {400, 429}:
        return classification
    details = as_mapping(error_object(answer.body).get("details"))
    code = str(details.get("error_code"))
    if code.endswith("spend_limit_reached") or _SPENT.match(error_text(answer.body)):
        return Classification(
            ErrorClass.QUOTA_EXHAUSTED, f"{answer.status} spend limit reached", None, True
        )
    if answer.status == 429 and _is_rejected(answer.headers):
        claim = answer.headers.get(f"{_UNIFIED}representative-claim", "")
        sent = sent_at(answer.headers)
        wait = classification.wait
        if wait is None and sent is not None:
            wait = _subscription_reset(answer.headers, sent)
        # "seven_day_opus" is a limit of one class of models, "five_hour" and "seven_day" of all.
        whole = not claim.startswith("seven_day_")
        return Classification(
            ErrorClass.QUOTA_EXHAUSTED, "429 subscription used up", wait, whole, wait is not None
        )
    return classification


def read_quota(headers: Mapping[str, str], now: float) -> tuple[Quota, ...]:
    """Read `anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-*`.

    They are token buckets with resets in RFC 3339; `tokens` is the tightest limit in force, over
    input and output together. An exhausted subscription has no request left.

    `anthropic-priority-*` and `anthropic-fast-*` are ignored: a call beyond the bought capacity is
    served as an ordinary one, and only fast calls count against the limits of fast mode.
    """
    found = read_windows(headers, now, _WINDOWS)
    sent = sent_at(headers)
    since = now if sent is None else sent
    reset = _subscription_reset(headers, since) if _is_rejected(headers) else None
    if reset is None:
        return found
    others = tuple(quota for quota in found if quota.kind is not QuotaKind.REQUESTS)
    return (Quota(QuotaKind.REQUESTS, None, 0, reset, at_once=True), *others)


def read_subscription(headers: Mapping[str, str], now: float) -> tuple[SubscriptionWindow, ...]:
    """Read `anthropic-ratelimit-unified-{5h,7d}-{utilization,reset}`."""
    sent = sent_at(headers)
    since = now if sent is None else sent
    found = []
    for name in _SUBSCRIPTION:
        used = amount(headers.get(f"{_UNIFIED}{name}-utilization"))
        if used is not None:
            reset = seconds_until(headers.get(f"{_UNIFIED}{name}-reset", ""), since)
            found.append(SubscriptionWindow(name, used, reset))
    return tuple(found)


def family(model: str) -> str:
    """Return the class of models with a common limit: Opus 4, Sonnet 4, Fable 5.

    Every other model, later ones included, has its own limit, which its snapshots share.
    """
    name = _SNAPSHOT.sub("", model)
    shared = _SHARED.match(name)
    return name if shared is None else shared[0]


def rate_limited_tokens(usage: Usage) -> tuple[int, int]:
    """Return the tokens without cache reads, which count only for Haiku 3.5 and older (retired).

    Cache writes count, and so does output.
    """
    read = usage.cache_read_tokens or 0
    return max(0, (usage.input_tokens or 0) - read), usage.output_tokens or 0


def _is_rejected(headers: Mapping[str, str]) -> bool:
    """Return whether a subscription is exhausted, and calls are not billed as `overage` either."""
    overage = headers.get(f"{_UNIFIED}overage-status", "")
    return headers.get(f"{_UNIFIED}status") == "rejected" and not overage.startswith("allowed")


def _subscription_reset(headers: Mapping[str, str], since: float) -> float | None:
    """Return the seconds until the limit of a subscription resets; None if unknown."""
    return seconds_until(headers.get(f"{_UNIFIED}reset", ""), since)
