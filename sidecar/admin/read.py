"""What the API shows: status, keys, groups, providers, models, and where a call would go.

Nothing here changes anything.
"""

from __future__ import annotations

import asyncio
import os
from functools import lru_cache
from typing import Any

from sidecar import __version__
from sidecar.admin import views
from sidecar.admin import views as health
from sidecar.admin.agent_setup import AGENTS, PROXY_NOTE, agent_lines, key_variable
from sidecar.admin.context import ApiRequest, Parts, find_group, find_key, find_provider
from sidecar.admin.introspect.dry_run import supposed
from sidecar.admin.introspect.explain import explain
from sidecar.config.editor import FieldPath, all_written
from sidecar.config.model import Group, Key, Provider
from sidecar.config.yaml.writer import Value
from sidecar.http.listeners import local_url

PARSE_SLICE = 100
"""Keys that are made into rows before anything else may run."""
KEY_VARIABLE = key_variable("SIDECAR_KEY")
"""What stands for a key in an agent's lines."""


async def status(parts: Parts, _: ApiRequest) -> views.View:
    """What is served where, and how the configuration stands."""
    standing = parts.configuration.status
    snapshot = parts.snapshot
    return {
        "version": __version__,
        "pid": os.getpid(),
        "started": parts.started,
        **parts.addresses,
        "config": {
            "file": str(parts.configuration.file.absolute()),
            "digest": standing.digest,
            "accepted_at": standing.accepted_at,
            "error": "\n".join(standing.problems) or None,
            "error_at": standing.refused_at,
            "stays": list(standing.stays),
        },
        "providers": [
            {
                "name": provider.name,
                "vendor": provider.vendor.name,
                "available": not parts.vault.unavailable(provider),
                "reason": parts.vault.unavailable(provider),
                "credentials": {
                    r.name: parts.vault.why_unusable(provider, r) for r in provider.credentials
                },
            }
            for provider in snapshot.providers.values()
        ],
        "keys": len(snapshot.keys),
        "prices": parts.prices.source,
        "in_flight": len(parts.live),
        **parts.outlook.board.standing(),
        "plugin_problems": list(parts.registry.problems),
        "ledger": {"healthy": parts.ledger.healthy, "failures": parts.ledger.failures},
    }


async def keys(parts: Parts, _: ApiRequest) -> views.View:
    """Every key, in the order of the file."""
    now = parts.wall()
    snapshot = parts.snapshot
    rows = []
    for count, one in enumerate(snapshot.keys.values()):
        if count % PARSE_SLICE == 0:
            await asyncio.sleep(0)  # calls go on between two handfuls
        rows.append(_key(parts, one, now))
    return {"digest": snapshot.digest, "keys": rows}


async def key_times(parts: Parts, _: ApiRequest) -> views.View:
    """When each key was seen, used and refused."""
    times = {name: parts.ledger.times(name) for name in parts.snapshot.keys}
    return {"keys": {name: views.times_view(each) for name, each in times.items()}}


async def key(parts: Parts, asked: ApiRequest) -> views.View:
    """One key: what is in force, what the file says of it, and its routes ready for editing."""
    snapshot = parts.snapshot
    one = find_key(snapshot, asked.query.get("name", ""))
    own, group = await _written(parts, ("keys", one.name), ("groups", one.group.name))
    of_group = views.entries(group.get("routes"), one.group.routes)
    return {
        "digest": snapshot.digest,
        "key": _key(parts, one, parts.wall()),
        "written": own,
        "inherited": {"urgency": group.get("urgency"), "models": group.get("models")},
        "routes": views.entries(own.get("routes"), one.routes) if one.own_routes else of_group,
        "group_routes": of_group,
        "providers": _fitting(parts, one.group.vendor.name),
        "uses": health.uses(parts.scheduler).get(("key", one.name), []),
        "in_flight": sum(1 for call in parts.live if call.key and call.key.name == one.name),
    }


async def groups(parts: Parts, _: ApiRequest) -> views.View:
    """Every group and provider, and the vendors that a new one may have."""
    snapshot = parts.snapshot
    uses, holders = health.uses(parts.scheduler), views.keys_by_group(snapshot)
    busy: dict[str, int] = {}
    for call in parts.live:
        if call.key is not None:
            busy[call.key.group.name] = busy.get(call.key.group.name, 0) + 1
    return {
        "digest": snapshot.digest,
        "groups": [
            views.group(one, holders.get(one.name, []))
            | {"in_flight": busy.get(one.name, 0), **_group(parts, one, uses)}
            for one in snapshot.groups.values()
        ],
        "providers": [_provider(parts, one, uses) for one in snapshot.providers.values()],
        "vendors": [
            {"name": vendor.name, "title": vendor.title}
            for vendor in sorted(parts.registry.vendors.values(), key=lambda each: each.title)
        ],
    }


async def group(parts: Parts, asked: ApiRequest) -> views.View:
    """One group: what is in force, what the file says of it, and its routes ready for editing."""
    snapshot = parts.snapshot
    one = find_group(snapshot, asked.query.get("name", ""))
    [fields] = await _written(parts, ("groups", one.name))
    return {
        "digest": snapshot.digest,
        "group": views.group(one, views.keys_by_group(snapshot).get(one.name, []))
        | _group(parts, one, health.uses(parts.scheduler)),
        "written": fields,
        "routes": views.entries(fields.get("routes"), one.routes),
        "providers": _fitting(parts, one.vendor.name),
    }


async def provider(parts: Parts, asked: ApiRequest) -> views.View:
    """One provider, and what the file says of it."""
    snapshot = parts.snapshot
    one = find_provider(snapshot, asked.query.get("name", ""))
    [fields] = await _written(parts, ("providers", one.name))
    return {
        "digest": snapshot.digest,
        "provider": _provider(parts, one, health.uses(parts.scheduler)),
        "written": fields,
    }


async def probe(parts: Parts, asked: ApiRequest) -> views.View:
    """Ask a provider for its models, now."""
    found = await parts.catalog.probe(find_provider(parts.snapshot, asked.query.get("name", "")))
    return {
        "status": found.status,
        "ms": round(found.seconds * 1000),
        "models": found.models,
        "why_not": found.why_not,
    }


async def pausing(parts: Parts, _: ApiRequest) -> views.View:
    """The names of all that can be paused, by its kind, and what is."""
    snapshot = parts.snapshot
    names = {
        "group": list(snapshot.groups),
        "provider": list(snapshot.providers),
        "key": list(snapshot.keys),
    }
    return {"names": names, "holds": parts.outlook.board.standing()["holds"]}


async def models(parts: Parts, asked: ApiRequest) -> views.View:
    """Every model that a key may use, and which keys; of one key, with `?key=`."""
    snapshot = parts.snapshot
    name = asked.query.get("key")
    chosen = list(snapshot.keys.values()) if name is None else [find_key(snapshot, name)]
    found: dict[str, dict[str, None]] = {}
    for one in chosen:
        await asyncio.sleep(0)  # calls go on between two keys
        for dialect in one.group.vendor.dialects:
            for entry in await parts.catalog.offered(one, parts.registry.dialects[dialect]):
                found.setdefault(entry.id, {})[one.name] = None
    return {"models": [{"id": model, "keys": list(who)} for model, who in found.items()]}


async def explained(parts: Parts, asked: ApiRequest) -> views.View:
    """What would become of a call of `?key=` for `?model=`, now."""
    one = find_key(parts.snapshot, asked.query.get("key", ""))
    call = supposed(one, asked.query)
    return explain(call, parts.registry.dialects, parts.usable, parts.outlook)


async def live(parts: Parts, _: ApiRequest) -> views.View:
    """What runs, what waits and behind what, what is used and what is shut."""
    return parts.outlook.board.show()


async def agents(parts: Parts, asked: ApiRequest) -> views.View:
    """The lines that point each agent or SDK here, those for the vendor's own dialect first."""
    base = local_url(str(parts.addresses["listen"][0]))
    vendor = parts.registry.vendors.get(asked.query.get("vendor", ""))
    dialects = [] if vendor is None else list(vendor.dialects)
    fitting = [each for name in dialects for each in AGENTS.values() if each.dialect == name]
    others = [each for each in AGENTS.values() if each.dialect not in dialects]
    return {
        "base": base,
        "key": KEY_VARIABLE,
        "note": PROXY_NOTE,
        "agents": [
            {
                "name": each.name,
                "fits": each.dialect in dialects,
                "lines": agent_lines(each, base, KEY_VARIABLE),
            }
            for each in (*fitting, *others)
        ],
    }


def _key(parts: Parts, one: Key, now: float) -> views.View:
    holds = health.pausing(parts.scheduler, ("key", one.name), ("group", one.group.name))
    return views.key(one, parts.ledger.times(one.name), now) | {"paused": holds}


def _group(parts: Parts, one: Group, uses: health.Uses) -> views.View:
    holds = health.pausing(parts.scheduler, ("group", one.name))
    return {"uses": uses.get(("group", one.name), []), "paused": holds}


def _provider(parts: Parts, one: Provider, uses: health.Uses) -> views.View:
    holds = health.pausing(parts.scheduler, ("provider", one.name))
    return (
        views.provider(one, parts.snapshot, parts.vault)
        | health.provider_health(one, parts.scheduler, parts.wall(), uses)
        | {"paused": holds}
    )


def _fitting(parts: Parts, vendor: str) -> list[dict[str, Any]]:
    """The providers that a route of a group of that vendor may name: those of the file, and the
    vendors' own, which need no entry."""
    found = {one.name: one.vendor for one in parts.snapshot.providers.values()}
    for each in parts.registry.vendors.values():
        if each.base_url is not None or each.local_server is not None:
            found.setdefault(each.name, each)
    return [
        {"name": name, "title": each.title}
        for name, each in found.items()
        if vendor == each.name or vendor in each.serves
    ]


async def _written(parts: Parts, *paths: FieldPath) -> list[dict[str, Any]]:
    """What the file says of each, as far as it says anything."""
    found = await asyncio.to_thread(_all_written, parts.configuration.text, *paths)
    return [dict(each) if isinstance(each, dict) else {} for each in found]


@lru_cache(maxsize=4)
def _all_written(text: bytes, *paths: FieldPath) -> list[Value | None]:
    """A page that is open asks every few seconds, and a large file takes long to read."""
    return all_written(text, *paths)
