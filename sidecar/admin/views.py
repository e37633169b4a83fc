"""The answers about keys, groups and providers, from the configuration and its current state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from sidecar.admin.api_types.entities import (
    CredentialState,
    Fields,
    GroupInfo,
    KeyInfo,
    ProviderInfo,
    RouteFields,
    RouteState,
)
from sidecar.admin.api_types.limits import (
    LimitState,
    PauseMark,
    ProviderLimitState,
    UpstreamCooldown,
    UpstreamQuota,
)
from sidecar.admin.context import AdminContext
from sidecar.admin.introspect.limit_states import (
    limit_state,
    pause_mark,
    provider_limit,
    upstream_cooldown,
    upstream_quota,
)
from sidecar.config.loader import dump
from sidecar.config.model import Allowance, Group, Key, Provider, Route, Snapshot, status_of
from sidecar.config.yaml.writer import Value
from sidecar.routing.allowed_models import offered_models
from sidecar.scheduling.pauses import EVERYTHING, PauseTarget
from sidecar.scheduling.scheduler import Scheduler
from sidecar.scheduling.upstream_health import UpstreamHealth
from sidecar.scheduling.vendor_quota import quota_name

LimitsByScope = dict[tuple[str, ...], list[LimitState]]
"""By `("key", name)`, `("group", name)` or `("provider", name, credential)`."""


class WrittenBounds(NamedTuple):
    """The limits and budgets of a scope as the file writes them."""

    limits: Fields
    budget: list[str] | UnsetType


def key_info(context: AdminContext, key: Key, now: float) -> KeyInfo:
    """Return a key as a list shows it."""
    bounds = _bounds(key.allowance)
    previous = (each.until for each in key.hashes if each.until is not None)
    return KeyInfo(
        name=key.name,
        group=key.group.name,
        vendor=key.group.vendor.name,
        vendor_title=key.group.vendor.title,
        description=key.description,
        status=status_of(key, now),
        urgency=dump.urgency(key.urgency),
        created=_seconds(key.created),
        expires=_seconds(key.expires),
        previous_until=_seconds(next(previous, None)),
        models=offered_models(key),
        own_routes=key.own_routes,
        line=key.place.line,
        times=context.services.ledger.times_of_all(key.name),
        limits=bounds.limits,
        budget=bounds.budget,
        paused=_pauses(context.scheduler, ("key", key.name), ("group", key.group.name)),
    )


def keys_by_group(snapshot: Snapshot) -> dict[str, list[str]]:
    """Return the names of each group's keys."""
    found: dict[str, list[str]] = {}
    for each in snapshot.keys.values():
        found.setdefault(each.group.name, []).append(each.name)
    return found


def group_info(
    context: AdminContext, group: Group, keys: list[str], used: LimitsByScope, in_flight: int
) -> GroupInfo:
    """Return a group with the names of the keys that share it."""
    bounds = _bounds(group.allowance)
    return GroupInfo(
        name=group.name,
        vendor=group.vendor.name,
        vendor_title=group.vendor.title,
        description=group.description,
        multiplier=dump.amount(group.multiplier),
        providers=[_route(route) for route in group.routes],
        keys=keys,
        line=group.place.line,
        limits=bounds.limits,
        budget=bounds.budget,
        in_flight=in_flight,
        uses=used.get(("group", group.name), []),
        paused=_pauses(context.scheduler, ("group", group.name)),
    )


def provider_info(context: AdminContext, provider: Provider, used: LimitsByScope) -> ProviderInfo:
    """Return a provider: its address, its credentials, its health and its limits."""
    vault, name = context.services.vault, provider.name
    unavailable, bounds = vault.unavailable(provider), _bounds(provider.allowance)
    return ProviderInfo(
        name=name,
        vendor=provider.vendor.name,
        vendor_title=provider.vendor.title,
        serves=[provider.vendor.name, *provider.vendor.serves],
        base_url=provider.base_url,
        credentials=[
            CredentialState(reference=ref.name, why_not=vault.why_unusable(provider, ref))
            for ref in provider.credentials
        ],
        available=not unavailable,
        why_not=unavailable,
        free=provider.free,
        groups=[
            each.name
            for each in context.snapshot.groups.values()
            if any(route.provider.name == name for route in each.routes)
        ],
        line=provider.place.line,
        limits=bounds.limits,
        budget=bounds.budget,
        resting=_cooldowns(context, name),
        quotas=_quotas(context.scheduler, name),
        uses=_provider_limits(name, used),
        paused=_pauses(context.scheduler, ("provider", name)),
    )


def limits_by_scope(scheduler: Scheduler) -> LimitsByScope:
    """Return the state of every limit and budget by its scope."""
    now = scheduler.now()
    found: LimitsByScope = {}
    for limit_id, window, written in scheduler.limits:
        state = limit_state(window, written, now)
        found.setdefault(limit_id[:-2], []).append(state)
    return found


def route_fields(routes: Value | None, in_force: Sequence[Route]) -> list[RouteFields]:
    """Return the entries of a list of routes as the file writes them, in the order in which they
    are tried.

    Args:
        routes: The list in the file; without one, the list is the vendor's own provider.
        in_force: The routes that it became, in the order of the list.
    """
    entries = routes if isinstance(routes, list) else [one.provider.name for one in in_force]
    priorities = [one.priority for one in in_force]
    order = sorted(range(len(entries)), key=priorities.__getitem__)
    return [
        _route_fields(
            entries[index],
            beside=n > 0 and priorities[index] == priorities[order[n - 1]],
        )
        for n, index in enumerate(order)
    ]


def _route_fields(entry: Value, *, beside: bool) -> RouteFields:
    name, options = _name_and_options(entry)
    translate = str(options.get("translate", "false")).lower()
    enabled = str(options.get("enabled", "true")).lower()
    return msgspec.convert(
        {
            "provider": name,
            "enabled": enabled not in {"false", "no", "off"},
            "models": _listed(options.get("models", [])),
            "as": options.get("as"),
            "limits": options.get("limits") or {},
            "max_input": options.get("max_input"),
            "priced_as": options.get("priced_as"),
            "retry": options.get("retry"),
            "translate": translate in {"true", "yes", "on"},
            "redact": _listed(options.get("redact", [])),
            "transforms": options.get("transforms") or {},
            "weight": options.get("weight"),
            "beside": beside,
        },
        RouteFields,
    )


def _listed(value: Value) -> Value:
    return [value] if isinstance(value, str) else value


def _name_and_options(entry: Value) -> tuple[str, Mapping[str, Value]]:
    if isinstance(entry, Mapping) and entry:
        name, options = next(iter(entry.items()))
        return name, options if isinstance(options, Mapping) else {}
    return str(entry), {}


def _route(route: Route) -> RouteState:
    return RouteState(
        provider=route.provider.name,
        enabled=route.enabled,
        models=dump.patterns(route.models),
    )


def _bounds(allowance: Allowance) -> WrittenBounds:
    return WrittenBounds(
        dict(dump.limits(allowance.limits)),
        [f"${dump.amount(each.amount)}/{each.period}" for each in allowance.budgets] or UNSET,
    )


def _pauses(scheduler: Scheduler, *targets: PauseTarget) -> list[PauseMark]:
    """Return the pauses of any of these targets, and the one of everything."""
    return [pause_mark(each) for each in scheduler.pauses if each.target in {*targets, EVERYTHING}]


def _upstreams(scheduler: Scheduler, provider: str) -> Iterator[UpstreamHealth]:
    return (each for each in scheduler.upstreams if each.key.provider == provider)


def _cooldowns(context: AdminContext, provider: str) -> list[UpstreamCooldown]:
    now, wall = context.scheduler.now(), context.services.wall()
    return [
        upstream_cooldown(each, now, wall)
        for each in _upstreams(context.scheduler, provider)
        if each.cooldown.is_active
    ]


def _quotas(scheduler: Scheduler, provider: str) -> list[UpstreamQuota]:
    now = scheduler.now()
    return [
        upstream_quota(each, bucket, now, quota_name(*limit))
        for each in _upstreams(scheduler, provider)
        for limit, bucket in each.quotas.items()
        if bucket.is_known(now)
    ]


def _provider_limits(provider: str, used: LimitsByScope) -> list[ProviderLimitState]:
    return [
        provider_limit(state, scope[2])
        for scope, states in used.items()
        if scope[:2] == ("provider", provider)
        for state in states
    ]


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
