"""The API's answers about the process, keys, groups, providers, models, and routing. Read-only."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from functools import lru_cache

from sidecar import __version__
from sidecar.admin import views
from sidecar.admin.api_types.config import (
    FileState,
    LedgerState,
    ProcessStatus,
    ProviderSummary,
)
from sidecar.admin.api_types.entities import (
    AgentLines,
    AgentList,
    GroupList,
    GroupPage,
    InheritedFields,
    KeyList,
    KeyPage,
    KeyTimesList,
    ModelUse,
    ModelUses,
    NamedTitle,
    ProbeResult,
    ProviderPage,
)
from sidecar.admin.api_types.limits import PauseChoices, SharedNode
from sidecar.admin.api_types.live import Explanation, LiveState
from sidecar.admin.context import AdminContext, ApiRequest
from sidecar.admin.introspect.dry_run import HypotheticalCall
from sidecar.admin.introspect.explain import explain
from sidecar.agents.shells import PROXY_NOTE, agent_lines, key_variable
from sidecar.agents.table import AGENTS
from sidecar.config.editor import FieldPath, all_written
from sidecar.config.lookup import find_group, find_key, find_provider
from sidecar.config.model import Provider
from sidecar.config.schema.addresses import local_url
from sidecar.config.yaml.writer import Value

KEYS_PER_SLICE = 100
"""Keys that are listed before other tasks run."""
KEY_VARIABLE = key_variable("SIDECAR_KEY")
"""Stands for a key in an agent's lines."""


async def status(context: AdminContext, _: ApiRequest) -> ProcessStatus:
    """Return what the process serves where, and the status of its parts."""
    board, addresses = context.outlook.board, context.addresses
    engine = context.services.scheduler.engine
    return ProcessStatus(
        version=__version__,
        pid=os.getpid(),
        started=context.started,
        listen=addresses.listen,
        admin=addresses.admin,
        console=addresses.console,
        config=_file_state(context),
        providers=[_summary(context, each) for each in context.snapshot.providers.values()],
        keys=len(context.snapshot.keys),
        prices=context.services.prices.source,
        in_flight=len(context.services.live),
        waiting=board.queued,
        holds=board.pauses(),
        network=board.network(),
        shared=board.shared(),
        nodes=[SharedNode(**each._asdict()) for each in await engine.living()] if engine else [],
        subscriptions=board.subscriptions(),
        plugin_problems=list(context.services.registry.problems),
        ledger=LedgerState(
            healthy=context.services.ledger.healthy, failures=context.services.ledger.failures
        ),
    )


async def keys(context: AdminContext, _: ApiRequest) -> KeyList:
    """Return every key, in the order of the file."""
    now = context.services.wall()
    snapshot = context.snapshot
    rows = []
    for count, one in enumerate(snapshot.keys.values()):
        if count % KEYS_PER_SLICE == 0:
            await asyncio.sleep(0)  # let calls proceed
        rows.append(views.key_info(context, one, now))
    return KeyList(digest=snapshot.digest, keys=rows)


async def key_times(context: AdminContext, _: ApiRequest) -> KeyTimesList:
    """Return when each key was seen, used and refused."""
    return KeyTimesList(
        keys={name: context.services.ledger.times_of_all(name) for name in context.snapshot.keys}
    )


async def key(context: AdminContext, asked: ApiRequest) -> KeyPage:
    """Return one key: what is in force, what the file says, and its routes ready for editing."""
    snapshot = context.snapshot
    one = find_key(snapshot, asked.query.get("name", ""))
    own, group = await _written(context, ("keys", one.name), ("groups", one.group.name))
    of_group = views.route_fields(group.get("routes"), one.group.routes)
    own_routes = own.get("routes")
    return KeyPage(
        digest=snapshot.digest,
        key=views.key_info(context, one, context.services.wall()),
        written=dict(own),
        inherited=InheritedFields(urgency=group.get("urgency"), models=group.get("models")),
        routes=views.route_fields(own_routes, one.routes) if one.own_routes else of_group,
        group_routes=of_group,
        providers=_providers_of(context, one.group.vendor.name),
        uses=views.limits_by_scope(context.scheduler).get(("key", one.name), []),
        in_flight=sum(
            1 for call in context.services.live if call.key and call.key.name == one.name
        ),
    )


async def groups(context: AdminContext, _: ApiRequest) -> GroupList:
    """Return every group and provider, and the vendors that a new one may have."""
    snapshot = context.snapshot
    used, members = views.limits_by_scope(context.scheduler), views.keys_by_group(snapshot)
    running = _calls_by_group(context)
    return GroupList(
        digest=snapshot.digest,
        groups=[
            views.group_info(context, one, members.get(one.name, []), used, running[one.name])
            for one in snapshot.groups.values()
        ],
        providers=[views.provider_info(context, one, used) for one in snapshot.providers.values()],
        vendors=[
            NamedTitle(name=vendor.name, title=vendor.title)
            for vendor in sorted(
                context.services.registry.vendors.values(), key=lambda each: each.title
            )
        ],
    )


async def group(context: AdminContext, asked: ApiRequest) -> GroupPage:
    """Return one group: what is in force, what the file says, and its routes ready for editing."""
    snapshot = context.snapshot
    one = find_group(snapshot, asked.query.get("name", ""))
    [fields] = await _written(context, ("groups", one.name))
    members = views.keys_by_group(snapshot).get(one.name, [])
    used, running = views.limits_by_scope(context.scheduler), _calls_by_group(context)
    return GroupPage(
        digest=snapshot.digest,
        group=views.group_info(context, one, members, used, running[one.name]),
        written=dict(fields),
        routes=views.route_fields(fields.get("routes"), one.routes),
        providers=_providers_of(context, one.vendor.name),
    )


async def provider(context: AdminContext, asked: ApiRequest) -> ProviderPage:
    """Return one provider, and what the file says of it."""
    snapshot = context.snapshot
    one = find_provider(snapshot, asked.query.get("name", ""))
    [fields] = await _written(context, ("providers", one.name))
    return ProviderPage(
        digest=snapshot.digest,
        provider=views.provider_info(context, one, views.limits_by_scope(context.scheduler)),
        written=dict(fields),
    )


async def probe(context: AdminContext, asked: ApiRequest) -> ProbeResult:
    """Ask a provider for its models now."""
    one = find_provider(context.snapshot, asked.query.get("name", ""))
    found = await context.services.model_list.probe(one)
    return ProbeResult(
        status=found.status,
        ms=round(found.seconds * 1000),
        models=found.models,
        why_not=found.why_not,
    )


async def pause_choices(context: AdminContext, _: ApiRequest) -> PauseChoices:
    """Return the names of everything that can be paused, and the pauses."""
    snapshot = context.snapshot
    names = {
        "group": list(snapshot.groups),
        "provider": list(snapshot.providers),
        "key": list(snapshot.keys),
    }
    return PauseChoices(names=names, holds=context.outlook.board.pauses())


async def models(context: AdminContext, asked: ApiRequest) -> ModelUses:
    """Return every model that a key may use, and which keys; with `?key=`, those of one key."""
    snapshot = context.snapshot
    name = asked.query.get("key")
    chosen = list(snapshot.keys.values()) if name is None else [find_key(snapshot, name)]
    found: dict[str, dict[str, None]] = {}
    for one in chosen:
        await asyncio.sleep(0)  # let calls proceed
        for dialect in one.group.vendor.dialects:
            for entry in await context.services.model_list.offered(
                one, context.services.registry.dialects[dialect]
            ):
                found.setdefault(entry.id, {})[one.name] = None
    return ModelUses(
        models=[ModelUse(id=model, keys=list(users)) for model, users in found.items()]
    )


async def explained(context: AdminContext, asked: ApiRequest) -> Explanation:
    """Return what would become of a call of `?key=` for `?model=` now."""
    one = find_key(context.snapshot, asked.query.get("key", ""))
    call = HypotheticalCall.from_query(one, asked.query)
    return explain(
        call, context.services.registry.dialects, context.services.vault.usable, context.outlook
    )


async def live(context: AdminContext, _: ApiRequest) -> LiveState:
    """Return the calls in flight, the queues, and the state of every limiter."""
    return context.outlook.board.show()


async def agents(context: AdminContext, asked: ApiRequest) -> AgentList:
    """Return the lines that point each agent or SDK here; those that speak the dialects of
    `?vendor=` first."""
    base = local_url(context.addresses.listen[0])
    vendor = context.services.registry.vendors.get(asked.query.get("vendor", ""))
    dialects = [] if vendor is None else list(vendor.dialects)
    fitting = [each for name in dialects for each in AGENTS.values() if each.dialect == name]
    others = [each for each in AGENTS.values() if each.dialect not in dialects]
    return AgentList(
        base=base,
        key=KEY_VARIABLE,
        note=PROXY_NOTE,
        agents=[
            AgentLines(
                name=each.name,
                fits=each.dialect in dialects,
                lines=agent_lines(each, base, KEY_VARIABLE),
            )
            for each in (*fitting, *others)
        ],
    )


def _file_state(context: AdminContext) -> FileState:
    standing = context.services.configuration.status
    return FileState(
        file=str(context.services.configuration.file.absolute()),
        digest=standing.digest,
        accepted_at=standing.accepted_at,
        error="\n".join(standing.problems) or None,
        error_at=standing.refused_at,
        stays=list(standing.stays),
    )


def _summary(context: AdminContext, one: Provider) -> ProviderSummary:
    unavailable = context.services.vault.unavailable(one)
    return ProviderSummary(
        name=one.name,
        vendor=one.vendor.name,
        available=not unavailable,
        reason=unavailable,
        credentials={
            ref.name: context.services.vault.why_unusable(one, ref) for ref in one.credentials
        },
    )


def _calls_by_group(context: AdminContext) -> Counter[str]:
    return Counter(call.key.group.name for call in context.services.live if call.key is not None)


def _providers_of(context: AdminContext, vendor: str) -> list[NamedTitle]:
    """Return the providers that a route of a group of that vendor may name: those of the file, and
    the vendors' own, which need no entry. Those that `translate` connects are the last."""
    found = {one.name: one.vendor for one in context.snapshot.providers.values()}
    for each in context.services.registry.vendors.values():
        if each.base_url is not None or each.local_server is not None:
            found.setdefault(each.name, each)
    registry = context.services.registry
    translate, of_group = registry.transforms.get("translate"), registry.vendors[vendor]
    native, translated = [], []
    for name, each in found.items():
        if vendor == each.name or vendor in each.serves:
            native.append(NamedTitle(name=name, title=each.title))
        elif translate is not None and translate.connects(of_group, each):
            translated.append(NamedTitle(name=name, title=each.title, translate=True))
    return native + translated


async def _written(context: AdminContext, *paths: FieldPath) -> list[dict[str, Value]]:
    """Return the fields that the file has at each path."""
    found = await asyncio.to_thread(_all_written, context.services.configuration.text, *paths)
    return [dict(each) if isinstance(each, dict) else {} for each in found]


@lru_cache(maxsize=4)
def _all_written(text: bytes, *paths: FieldPath) -> list[Value | None]:
    """Cached, because an open page asks every few seconds, and a large file takes long to read."""
    return all_written(text, *paths)
