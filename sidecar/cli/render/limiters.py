"""Limiters as text: limits, cooldowns, pauses and the network."""

from __future__ import annotations

from sidecar import humanize
from sidecar.admin.api_types.limits import (
    CooldownState,
    LimitState,
    NetworkState,
    PauseState,
    QuotaState,
    SubscriptionState,
)


def limit_text(limit: LimitState | QuotaState) -> str:
    """Return what a limit or a quota allows: `60 rpm for gpt-5*`, `$10.00 a day`."""
    models = f" for {limit.models}" if isinstance(limit, LimitState) and limit.models else ""
    if limit.unit == "usd":
        return f"{humanize.amount(limit.limit, 'usd')} a {limit.kind.partition('/')[2]}{models}"
    kind = limit.kind.replace("_", " ")
    return f"{humanize.amount(limit.limit, limit.unit)} {kind}{models}"


def limit_notes(limit: LimitState | QuotaState) -> str:
    """Return what is reserved, kept by headroom, and how many calls wait."""
    parts = []
    if isinstance(limit, LimitState):
        if limit.reserved and limit.unit == "usd":
            amount = humanize.amount(limit.reserved, limit.unit)
            parts.append(f"{amount} reserved by running calls")
        if limit.kept:
            parts.append(f"{humanize.amount(limit.kept, limit.unit)} kept for more urgent calls")
    if limit.waiting:
        parts.append(f"{limit.waiting} wait here")
    return ", ".join(parts)


def cooldown_text(cooldown: CooldownState) -> str:
    """Return why an upstream cools down, and for how long."""
    seconds = cooldown.seconds
    until = f"for {humanize.span(seconds)} more" if seconds else "until the next call got through"
    return f"{cooldown.scope} is left alone {until}: {cooldown.reason or cooldown.verdict}"


def subscription_text(window: SubscriptionState) -> str:
    """Return how much of a subscription's window is used, and when it begins anew."""
    reset = f", begins anew in {humanize.span(window.reset)}" if window.reset else ""
    return f"{window.provider}: {window.used:.0%} of its {window.window} used{reset}"


def network_text(network: NetworkState) -> str:
    """Return whether the network is up, and when the next call tries it."""
    if network.up:
        return "the network is there"
    next_try = f"the next one tries in {humanize.span(network.seconds)}"
    return f"the network is gone; calls to remote providers wait, {next_try}"


def pause_text(pause: PauseState, now: float) -> str:
    """Return what is paused, since when and from where, and what resumes it."""
    waiting = f", {humanize.plural(pause.waiting, 'call')} waiting" if pause.waiting else ""
    by = f" by {pause.by}" if pause.by else ""
    return f"{pause.scope}, {humanize.ago(pause.since, now)}{by}{waiting} ({pause.resume})"
