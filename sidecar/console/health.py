"""How things stand at this moment: how full each limit is, what a vendor says is left, what rests.

The scheduler's own figures, by the scopes that the pages show; asks nobody and changes nothing.
"""

from __future__ import annotations

from sidecar.config import Provider
from sidecar.console.views import View
from sidecar.gateviews import cooldown_view, limit_view, quota_view
from sidecar.holds import EVERYTHING, Held, in_words
from sidecar.pacing import per
from sidecar.scheduler import Scheduler

Uses = dict[tuple[str, ...], list[View]]


def uses(scheduler: Scheduler) -> Uses:
    """By scope (`("key", name)`, `("group", name)`, `("provider", name, credential)`): each limit
    and budget with what counts in it now."""
    now = scheduler.now()
    found: Uses = {}
    for name, window in scheduler.limits:
        view = limit_view(window, scheduler.limits.written(name), now)
        found.setdefault(name[:-2], []).append(view)
    return found


def provider(one: Provider, scheduler: Scheduler, wall: float, all_uses: Uses) -> View:
    """What rests after a no of its vendor, what the vendor's last headers say is left, and how full
    our own limits for it are."""
    now = scheduler.now()
    resting, quotas = [], []
    for account in scheduler.accounts:
        if account.provider != one.name:
            continue
        whose = {"credential": account.credential, "family": account.family}
        if account.cooldown.cooling:
            resting.append(whose | cooldown_view(account.cooldown, now, wall))
        quotas += [
            whose | quota_view(bucket, now, per(*limit))
            for limit, bucket in account.buckets.items()
            if bucket.known(now)
        ]
    own = [
        view | {"credential": scope[2]}
        for scope, views in all_uses.items()
        if scope[:2] == ("provider", one.name)
        for view in views
    ]
    return {"resting": resting, "quotas": quotas, "uses": own}


def paused(scheduler: Scheduler) -> list[str]:
    """Everything that a person paused, in words."""
    return [in_words(each.held) for each in scheduler.holds]


def pausing(scheduler: Scheduler, *mine: Held) -> list[View]:
    """What keeps calls waiting that are of any of these: their own holds, or that on everything."""
    return [
        {
            "kind": each.kind,
            "name": each.name,
            "scope": in_words(each.held),
            "since": each.since,
            "by": each.by or None,
        }
        for each in scheduler.holds
        if each.held in {*mine, EVERYTHING}
    ]
