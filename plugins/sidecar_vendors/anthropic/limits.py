"""How Anthropic speaks of limits: its headers, its errors, which models share, what counts.

Sources: Anthropic's pages on rate limits, errors and pricing (October 2026). The headers of
subscriptions (`unified`) stand in no documentation; they are read as its own clients read them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from sidecar import (
    Classification,
    ErrorClass,
    Quota,
    QuotaKind,
    UpstreamResponse,
    Usage,
    as_mapping,
    classify_by_status,
    error_object,
    error_text,
    seconds_until,
    sent_at,
)
from sidecar_vendors.common import read_windows, window

_WINDOWS = (
    window(QuotaKind.REQUESTS, "anthropic-ratelimit-requests-{}"),
    window(QuotaKind.TOKENS, "anthropic-ratelimit-tokens-{}"),
    window(QuotaKind.INPUT_TOKENS, "anthropic-ratelimit-input-tokens-{}"),
    window(QuotaKind.OUTPUT_TOKENS, "anthropic-ratelimit-output-tokens-{}"),
)
_UNIFIED = "anthropic-ratelimit-unified-"
_SPENT = re.compile(
    r"You have reached your (?:specified )?(?:workspace )?API usage limits"
    r"|Your credit balance is too low"
)
_SNAPSHOT = re.compile(r"(?:-\d{8}|-latest)+$", re.ASCII)
_SHARED = re.compile(r"claude-(?:opus-4|sonnet-4|fable-5)(?=-|$)")


def classify(answer: UpstreamResponse, codes: Mapping[str, ErrorClass]) -> Classification:
    """Also tells a reached spend limit, and the used-up hours or days of a subscription, which no
    waiting of seconds cures, from throttling."""
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
            wait = _lifted(answer.headers, sent)
        # "seven_day_opus" is about one class of models, "five_hour" and "seven_day" about all.
        whole = not claim.startswith("seven_day_")
        return Classification(ErrorClass.QUOTA_EXHAUSTED, "429 subscription used up", wait, whole)
    return classification


def read_quota(headers: Mapping[str, str], now: float) -> tuple[Quota, ...]:
    """`anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-*`: token buckets that
    refill all the time, with resets in RFC 3339; `tokens` is the tightest limit in force, over
    input and output together. A subscription that is used up has no request left.

    `anthropic-priority-*` and `anthropic-fast-*` are not read: a call beyond the bought capacity
    is served as an ordinary one, and only fast calls count against the limits of fast mode.
    """
    found = read_windows(headers, now, _WINDOWS)
    sent = sent_at(headers)
    reset = _lifted(headers, now if sent is None else sent) if _is_rejected(headers) else None
    if reset is None:
        return found
    others = tuple(quota for quota in found if quota.kind is not QuotaKind.REQUESTS)
    return (Quota(QuotaKind.REQUESTS, None, 0, reset, at_once=True), *others)


def family(model: str) -> str:
    """The class of models with one common limit: all of Opus 4, of Sonnet 4, of Fable 5; every
    other model, later ones included, has a limit of its own, whatever its snapshot."""
    name = _SNAPSHOT.sub("", model)
    shared = _SHARED.match(name)
    return name if shared is None else shared[0]


def rate_limited_tokens(usage: Usage) -> tuple[int, int]:
    """Input that was read from the cache does not count (only Haiku 3.5 and older, all retired
    here, counted it); what is written to it does, and so does output as it is produced."""
    read = usage.cache_read_tokens or 0
    return max(0, (usage.input_tokens or 0) - read), usage.output_tokens or 0


def _is_rejected(headers: Mapping[str, str]) -> bool:
    """Whether a subscription's limits refuse calls: with `overage`, they go on, for money."""
    overage = headers.get(f"{_UNIFIED}overage-status", "")
    return headers.get(f"{_UNIFIED}status") == "rejected" and not overage.startswith("allowed")


def _lifted(headers: Mapping[str, str], since: float) -> float | None:
    """Seconds until a subscription's limit is lifted."""
    return seconds_until(headers.get(f"{_UNIFIED}reset", ""), since)
