"""The nouns of the configuration and their current state as JSON objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sidecar.admin.introspect.limit_views import cooldown_view, limit_view, quota_view
from sidecar.config.credentials import Vault
from sidecar.config.loader import dump
from sidecar.config.model import Group, Key, Provider, Route, Snapshot, status_of
from sidecar.config.yaml.writer import Value
from sidecar.records import KeyTimes
from sidecar.routing.candidates import offered_models
from sidecar.scheduling.pauses import EVERYTHING, PauseTarget, describe_target
from sidecar.scheduling.scheduler import Scheduler
from sidecar.scheduling.vendor_quota import quota_name

View = dict[str, Any]


def key(one: Key, times: KeyTimes, now: float) -> View:
    """A key as a list shows it."""
    ends = next((each.until for each in one.hashes if each.until is not None), None)
    return {
        "name": one.name,
        "group": one.group.name,
        "vendor": one.group.vendor.name,
        "vendor_title": one.group.vendor.title,
        "description": one.description,
        "status": status_of(one, now),
        "urgency": dump.urgency(one.urgency),
        "created": _seconds(one.created),
        "expires": _seconds(one.expires),
        "previous_until": _seconds(ends),
        "models": offered_models(one),
        "own_routes": one.own_routes,
        "line": one.place.line,
        "times": times_view(times),
        **dump.bounds(one.allowance, headroom=False),
    }


def times_view(times: KeyTimes) -> View:
    """When a key was seen, used and refused, and by which program."""
    return {
        "last_seen": times.last_seen,
        "last_used": times.last_used,
        "last_refused": times.last_refused,
        "program": times.program,
    }


def keys_by_group(snapshot: Snapshot) -> dict[str, list[str]]:
    """The names of the keys that share each group."""
    found: dict[str, list[str]] = {}
    for each in snapshot.keys.values():
        found.setdefault(each.group.name, []).append(each.name)
    return found


def group(one: Group, keys: list[str]) -> View:
    """A group, with the keys that share it."""
    return {
        "name": one.name,
        "vendor": one.vendor.name,
        "vendor_title": one.vendor.title,
        "description": one.description,
        "multiplier": dump.amount(one.multiplier),
        "providers": [_brief(route) for route in one.routes],
        "keys": keys,
        "line": one.place.line,
        **dump.bounds(one.allowance, headroom=False),
    }


def provider(one: Provider, snapshot: Snapshot, vault: Vault) -> View:
    """A provider: where it is, where its credentials come from, and whether it can be used."""
    uses = [
        each.name
        for each in snapshot.groups.values()
        if any(route.provider.name == one.name for route in each.routes)
    ]
    return {
        "name": one.name,
        "vendor": one.vendor.name,
        "vendor_title": one.vendor.title,
        "serves": [one.vendor.name, *one.vendor.serves],
        "base_url": one.base_url,
        "credentials": [
            {"reference": ref.name, "why_not": vault.why_unusable(one, ref)}
            for ref in one.credentials
        ],
        "available": not vault.unavailable(one),
        "why_not": vault.unavailable(one),
        "free": one.free,
        "groups": uses,
        "line": one.place.line,
        **dump.bounds(one.allowance, headroom=False),
    }


def entries(routes: Value | None, in_force: Sequence[Route]) -> list[View]:
    """A list of routes as it is written, each entry with the same fields, in the order in which
    they are tried; `in_force` is what it came to. A list that nobody wrote is its vendor's own
    provider. `beside` is whether an entry shares its place with the one above."""
    names = routes if isinstance(routes, list) else [one.provider.name for one in in_force]
    found = [_entry(each) for each in names]
    places = [one.priority for one in in_force]
    order = sorted(range(len(found)), key=places.__getitem__)
    return [
        found[index] | {"beside": n > 0 and places[index] == places[order[n - 1]]}
        for n, index in enumerate(order)
    ]


def _entry(value: Value) -> View:
    name, options = _taken_apart(value)
    models = options.get("models", [])
    enabled = str(options.get("enabled", "true")).lower()
    return {
        "provider": name,
        "enabled": enabled not in {"false", "no", "off"},
        "models": [models] if isinstance(models, str) else models,
        "as": options.get("as"),
        "limits": options.get("limits") or {},
        "max_input": options.get("max_input"),
        "priced_as": options.get("priced_as"),
        "retry": options.get("retry"),
        "weight": options.get("weight"),
    }


def _taken_apart(value: Value) -> tuple[str, Mapping[str, Value]]:
    if isinstance(value, Mapping) and value:
        name, options = next(iter(value.items()))
        return name, options if isinstance(options, Mapping) else {}
    return str(value), {}


def _brief(route: Route) -> View:
    return {
        "provider": route.provider.name,
        "enabled": route.enabled,
        "models": dump.patterns(route.models),
    }


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


Uses = dict[tuple[str, ...], list[View]]


def uses(scheduler: Scheduler) -> Uses:
    """By scope (`("key", name)`, `("group", name)`, `("provider", name, credential)`): each limit
    and budget with what counts in it now."""
    now = scheduler.now()
    found: Uses = {}
    for limit_id, window, written in scheduler.limits:
        view = limit_view(window, written, now)
        found.setdefault(limit_id[:-2], []).append(view)
    return found


def provider_health(one: Provider, scheduler: Scheduler, wall: float, all_uses: Uses) -> View:
    """What rests after a no of its vendor, what the vendor's last headers say is left, and how full
    our own limits for it are."""
    now = scheduler.now()
    resting, quotas = [], []
    for health in scheduler.upstreams:
        if health.key.provider != one.name:
            continue
        whose = {"credential": health.key.credential, "family": health.key.family}
        if health.cooldown.is_active:
            resting.append(whose | cooldown_view(health.cooldown, now, wall))
        quotas += [
            whose | quota_view(bucket, now, quota_name(*limit))
            for limit, bucket in health.quotas.items()
            if bucket.is_known(now)
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
    return [describe_target(each.target) for each in scheduler.pauses]


def pausing(scheduler: Scheduler, *mine: PauseTarget) -> list[View]:
    """What keeps calls waiting that are of any of these: their own holds, or that on everything."""
    return [
        {
            "kind": each.kind,
            "name": each.name,
            "scope": describe_target(each.target),
            "since": each.since,
            "by": each.by or None,
        }
        for each in scheduler.pauses
        if each.target in {*mine, EVERYTHING}
    ]
