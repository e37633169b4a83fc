"""Child keys in the admin API. Only commands, over the unix socket, make and end them."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import msgspec

from sidecar.admin.api_types.entities import ChildKeyInfo, ChildKeyList
from sidecar.admin.context import AdminContext, ApiRequest
from sidecar.child_keys import ChildOrder, parent_of
from sidecar.errors import ErrorKind, LocalReply, ProxyError
from sidecar.scheduling.pauses import COMMANDS
from sidecar.shared.server import EngineError

LAST_CALLS_SECONDS = 2.0
"""Seconds that the calls of an ended agent have to be counted: its connections are closed."""
LAST_FACTS_SECONDS = 0.5
"""Seconds that the server of shared state has to send what other processes counted."""
_POLL_SECONDS = 0.02


async def listed(context: AdminContext, _: ApiRequest) -> ChildKeyList:
    """Return every child key, the oldest first."""
    return ChildKeyList(children=child_key_infos(context))


async def renew(context: AdminContext, asked: ApiRequest) -> ChildKeyInfo:
    """Create the child key of a run, or note its heartbeat."""
    _only_for_commands(asked)
    try:
        order = msgspec.json.decode(asked.body, type=ChildOrder)
    except msgspec.MsgspecError as error:
        why = f"this is no order of a child key: {error}"
        raise ProxyError(ErrorKind.BAD_REQUEST, why) from None
    context.services.child_keys.renew(order, context.snapshot)
    return _info(context, order.name)


async def end(context: AdminContext, asked: ApiRequest) -> ChildKeyInfo:
    """End a child key and its calls; return what its calls took."""
    _only_for_commands(asked)
    name = asked.names[0]
    keys, live = context.services.child_keys, context.services.live
    keys.close(name)  # an agent that still calls must not outlive its run
    if not await _counted(context, name):
        live.end_child(LocalReply(ErrorKind.KEY_DISABLED, "its run has ended"), name)
        await _counted(context, name)
    await _counted_elsewhere(context)
    info = _info(context, name)
    keys.end(name)
    return info


async def _counted(context: AdminContext, name: str) -> bool:
    """Wait until no call of the child key is in flight; return whether that came in time."""
    try:
        async with asyncio.timeout(LAST_CALLS_SECONDS):
            while _is_used(context, name):  # noqa: ASYNC110 - calls end in many ways
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        return False
    return True


async def _counted_elsewhere(context: AdminContext) -> None:
    """Have what other processes have counted so far, if the server answers in time."""
    engine = context.services.scheduler.engine
    if engine is None or not engine.is_reached:
        return
    with suppress(EngineError, TimeoutError):
        async with asyncio.timeout(LAST_FACTS_SECONDS):
            await engine.facts.sync()


def _is_used(context: AdminContext, name: str) -> bool:
    return any(call.key and call.key.child == name for call in context.services.live)


def child_key_infos(context: AdminContext) -> list[ChildKeyInfo]:
    """Return every child key as a list shows it."""
    return [_info(context, each.order.name) for each in context.services.child_keys]


def _info(context: AdminContext, name: str) -> ChildKeyInfo:
    keys = context.services.child_keys
    child = keys.get(name)
    order = child.order
    parent = parent_of(order, context.snapshot)
    routes = [each for each in parent.routes if each.enabled] if parent else []
    return ChildKeyInfo(
        name=order.name,
        parent=child.parent,
        group=child.group,
        agent=order.agent,
        begun=child.begun,
        expires=child.expires,
        models=order.models,
        budget=order.budgets,
        urgency=order.urgency,
        takes_login=any(each.provider.takes_login for each in routes),
        totals=keys.totals(name),
        at=child.at,
    )


def _only_for_commands(asked: ApiRequest) -> None:
    if asked.by != COMMANDS:
        raise ProxyError(ErrorKind.FORBIDDEN, "child keys are made with: sidecar run AGENT")
