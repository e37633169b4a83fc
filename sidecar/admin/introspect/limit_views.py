"""Gates as plain values, for whoever shows them: how much is used, what is left, when it is free.

Looks only. Durations are seconds, amounts are in the `unit` that is named, and null is not known.
"""

from __future__ import annotations

import math
from typing import Any

from sidecar.config.model import Budget, Limit
from sidecar.records import NANODOLLARS
from sidecar.scheduling.cooldown import Cooldown, OfflineBreaker
from sidecar.scheduling.limiter import NEVER, Limiter, LimitUnit
from sidecar.scheduling.pauses import Pause, PauseTarget, describe_target, resume_command_for
from sidecar.scheduling.vendor_quota import VendorQuota
from sidecar.scheduling.windows import CountingLimiter

View = dict[str, Any]
UNITS = {
    LimitUnit.CALLS: "calls",
    LimitUnit.TOKENS: "tokens",
    LimitUnit.INPUT: "input_tokens",
    LimitUnit.OUTPUT: "output_tokens",
    LimitUnit.MONEY: "usd",
    LimitUnit.TOKENS_UPPER_BOUND: "tokens",
    LimitUnit.OUTPUT_UPPER_BOUND: "output_tokens",
}


def limit_view(
    window: CountingLimiter,
    written: Limit | Budget,
    now: float,
    urgency: int = 0,
    *,
    known: bool = True,
) -> View:
    """A limit or a budget of the file, to a call of this urgency: `kept` is what headroom keeps it
    from using now, `reserved` what running calls may take by their estimates. It is part of what is
    used of a limit; what is used of a budget is spent. Where nothing is `known`, figures are null.
    """
    left = max(0, window.remaining(now))
    used = window.settled if window.unit is LimitUnit.MONEY else window.used
    models = written.models.text if isinstance(written, Limit) and written.models else None
    figures: View = dict.fromkeys(("used", "reserved", "left", "kept", "reset"))
    if known:
        figures = {
            "used": _amount(window, used),
            "reserved": _amount(window, window.reserved),
            "left": _amount(window, left),
            "kept": _amount(window, window.limit - window.ceiling(urgency, now)),
            "reset": span(window.clears(now), now) if window.timed else None,
        }
    return {
        "what": "limit",
        "scope": window.scope,
        "kind": window.kind,
        "models": models,
        "unit": UNITS[window.unit],
        "limit": _amount(window, window.limit),
        **figures,
        "line": written.place.short,
        "waiting": waiting_at(window),
    }


def quota_view(bucket: VendorQuota, now: float, kind: str) -> View:
    """What a vendor says is left of `kind`, less what was let through since; null when it did not
    speak of it lately."""
    left = max(0, math.floor(bucket.remaining(now))) if bucket.is_known(now) else None
    return {
        "what": "quota",
        "scope": bucket.scope,
        "kind": kind,
        "unit": UNITS[bucket.unit],
        "limit": bucket.limit,
        "used": None if left is None else bucket.limit - left,
        "left": left,
        "reset": None if left is None else span(bucket.available_at(bucket.limit, 0, now), now),
        "waiting": waiting_at(bucket),
    }


def cooldown_view(cooldown: Cooldown, now: float, wall: float) -> View:
    """Why an account is left alone, and for how long: 0 once the next call may try. `until` is
    seconds since the epoch."""
    seconds = max(0.0, cooldown.until - now)
    return {
        "what": "cooldown",
        "scope": cooldown.scope,
        "seconds": round(seconds, 3),
        "until": wall + seconds,
        "reason": cooldown.reason,
        "verdict": cooldown.error_class.value,
        "waiting": waiting_at(cooldown),
    }


def hold_view(paused: Pause, waiting: int) -> View:
    """What a person paused, since when (seconds since the epoch), from where (null: not known), and
    what lets it go on."""
    return {
        "what": "hold",
        "scope": describe_target(paused.target),
        "kind": paused.kind,
        "name": paused.name,
        "since": paused.since,
        "by": paused.by or None,
        "resume": resume_command_for(paused.target),
        "waiting": waiting,
    }


def outage_view(outage: OfflineBreaker | None, now: float) -> View:
    """Whether the network is there; `seconds` until the next call tries while it is not."""
    return {
        "what": "network",
        "up": outage is None,
        "seconds": None if outage is None else round(max(0.0, outage.until - now), 3),
        "waiting": 0 if outage is None else waiting_at(outage),
    }


def held_view(held: PauseTarget) -> View:
    """What is held, for messages."""
    return {
        "kind": held[0],
        "name": held[1],
        "scope": describe_target(held),
        "resume": resume_command_for(held),
    }


def waiting_at(limiter: Limiter) -> int:
    """How many calls wait here."""
    return 0 if limiter.queue is None else len(limiter.queue)


def span(opens: float, now: float) -> float | None:
    """Seconds until a gate may open: 0 at any moment, None never by itself."""
    return None if opens == NEVER else round(max(0.0, opens - now), 3)


def _amount(window: CountingLimiter, amount: int) -> float:
    return amount / NANODOLLARS if window.unit is LimitUnit.MONEY else amount
