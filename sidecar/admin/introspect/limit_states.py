"""The state of limiters for the admin API: how much is used, what is left, when it is free.

Read-only. Durations are seconds, amounts are in the `unit` that is named, and None is unknown.
"""

from __future__ import annotations

import math

from msgspec import structs

from sidecar.admin.api_types.limits import (
    CooldownState,
    LimitState,
    NetworkState,
    PausedScope,
    PauseMark,
    PauseState,
    ProviderLimitState,
    QuotaState,
    UpstreamCooldown,
    UpstreamQuota,
)
from sidecar.config.model import Budget, Limit
from sidecar.records import NANODOLLARS
from sidecar.scheduling.cooldown import Cooldown, OfflineBreaker
from sidecar.scheduling.limiter import NEVER, Limiter, LimitUnit
from sidecar.scheduling.pauses import Pause, PauseTarget, describe_target, resume_command_for
from sidecar.scheduling.upstream_health import UpstreamHealth
from sidecar.scheduling.vendor_quota import VendorQuota
from sidecar.scheduling.windows import CountingLimiter

UNITS = {
    LimitUnit.CALLS: "calls",
    LimitUnit.TOKENS: "tokens",
    LimitUnit.INPUT: "input_tokens",
    LimitUnit.OUTPUT: "output_tokens",
    LimitUnit.MONEY: "usd",
    LimitUnit.TOKENS_UPPER_BOUND: "tokens",
    LimitUnit.OUTPUT_UPPER_BOUND: "output_tokens",
}


def limit_state(
    window: CountingLimiter,
    written: Limit | Budget,
    now: float,
    urgency: int = 0,
    *,
    known: bool = True,
) -> LimitState:
    """Return the state of a limit or a budget for a call of this urgency.

    Args:
        known: False where no process counts; then every figure but the limit is None.
    """
    left = max(0, window.remaining(now))  # first: it advances the window
    is_money = window.unit is LimitUnit.MONEY

    def figure(amount: int) -> float | None:
        return _amount(window, amount) if known else None

    return LimitState(
        scope=window.scope,
        kind=window.kind,
        models=written.models.text if isinstance(written, Limit) and written.models else None,
        unit=UNITS[window.unit],
        limit=_amount(window, window.limit),
        used=figure(window.settled if is_money else window.used),
        reserved=figure(window.reserved),
        left=figure(left),
        kept=figure(window.limit - window.ceiling(urgency, now)),
        reset=seconds_until(window.clears(now), now) if known and window.timed else None,
        line=written.place.short,
        waiting=queue_length(window),
    )


def provider_limit(state: LimitState, credential: str) -> ProviderLimitState:
    """Return the state with the credential that it counts."""
    return ProviderLimitState(**structs.asdict(state), credential=credential)


def quota_state(bucket: VendorQuota, now: float, kind: str) -> QuotaState:
    """Return what the vendor last reported of its quota of `kind`, less what was admitted since."""
    left = max(0, math.floor(bucket.remaining(now))) if bucket.is_known(now) else None
    full_at = bucket.available_at(bucket.limit, 0, now)
    return QuotaState(
        scope=bucket.scope,
        kind=kind,
        unit=UNITS[bucket.unit],
        limit=bucket.limit,
        used=None if left is None else bucket.limit - left,
        left=left,
        reset=None if left is None else seconds_until(full_at, now),
        waiting=queue_length(bucket),
    )


def upstream_quota(
    upstream: UpstreamHealth, bucket: VendorQuota, now: float, kind: str
) -> UpstreamQuota:
    """Return the state of a quota with the upstream that it belongs to."""
    state = quota_state(bucket, now, kind)
    return UpstreamQuota(
        **structs.asdict(state),
        provider=upstream.key.provider,
        credential=upstream.key.credential or None,
        family=upstream.key.family or None,
    )


def cooldown_state(cooldown: Cooldown, now: float, wall: float) -> CooldownState:
    """Return why an upstream cools down, and for how long."""
    seconds = max(0.0, cooldown.until - now)
    return CooldownState(
        scope=cooldown.scope,
        seconds=round(seconds, 3),
        until=wall + seconds,
        reason=cooldown.reason,
        verdict=cooldown.error_class.value,
        waiting=queue_length(cooldown),
    )


def upstream_cooldown(upstream: UpstreamHealth, now: float, wall: float) -> UpstreamCooldown:
    """Return the cooldown of an upstream with its names."""
    state = cooldown_state(upstream.cooldown, now, wall)
    return UpstreamCooldown(
        **structs.asdict(state),
        provider=upstream.key.provider,
        credential=upstream.key.credential or None,
        family=upstream.key.family or None,
    )


def pause_state(pause: Pause, waiting: int) -> PauseState:
    """Return a pause, and how many calls it keeps waiting."""
    return PauseState(
        scope=describe_target(pause.target),
        kind=pause.kind,
        name=pause.name,
        since=pause.since,
        by=_origin(pause),
        shared=bool(pause.fact),
        resume=resume_command_for(pause.target),
        waiting=waiting,
    )


def pause_mark(pause: Pause) -> PauseMark:
    """Return a pause as what it stops shows it."""
    return PauseMark(
        kind=pause.kind,
        name=pause.name,
        scope=describe_target(pause.target),
        since=pause.since,
        by=_origin(pause),
        shared=bool(pause.fact),
    )


def _origin(pause: Pause) -> str | None:
    return f"{pause.by}, in all processes" if pause.fact else pause.by or None


def paused_scope(target: PauseTarget) -> PausedScope:
    """Return what a pause covers, for messages."""
    kind, name = target
    scope, resume = describe_target(target), resume_command_for(target)
    return PausedScope(kind=kind, name=name, scope=scope, resume=resume)


def network_state(outage: OfflineBreaker | None, now: float) -> NetworkState:
    """Return whether the network is up: it is while there is no `outage`."""
    if outage is None:
        return NetworkState(up=True, seconds=None, waiting=0)
    seconds = round(max(0.0, outage.until - now), 3)
    return NetworkState(up=False, seconds=seconds, waiting=queue_length(outage))


def queue_length(limiter: Limiter) -> int:
    """Return how many calls wait at a limiter."""
    return 0 if limiter.queue is None else len(limiter.queue)


def seconds_until(opens: float, now: float) -> float | None:
    """Return the seconds until a limiter may admit a call; None when waiting alone cannot help."""
    return None if opens == NEVER else round(max(0.0, opens - now), 3)


def _amount(window: CountingLimiter, amount: int) -> float:
    return amount / NANODOLLARS if window.unit is LimitUnit.MONEY else amount
