"""Usage of the nodes that share: what this one writes on the server, and what it shows of others.

This node's own usage is read from its ledger, always; only that of others comes from the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from msgspec import Struct, field

from sidecar.admin.api_types.usage import NodesUsage, UsageNode
from sidecar.admin.context import AdminContext, ApiError
from sidecar.ledger.ledger import Ledger
from sidecar.ledger.reader import NoLedger, open_to_read
from sidecar.ledger.reports.activity import today
from sidecar.ledger.reports.nodes import NOT_COVERED, NamedDays, covers, days_as_text, node_of
from sidecar.ledger.reports.usage import Days, Dimension, UsageQuery
from sidecar.shared.server import EngineError
from sidecar.shared.usage import KEPT_DAYS, FoundNodes, OwnDays, ReadOwn, display_names, this_host


class ShownNodes(Struct, frozen=True):
    """The nodes of an answer: `days` are those of the others, None to read this node's ledger
    alone; `this` is this node's name."""

    days: Sequence[NamedDays] | None = None
    this: str = ""
    window: Days = field(default_factory=Days)
    nodes: list[UsageNode] = []
    only_this: str = ""


THIS_NODE = ShownNodes()


def own_days(ledger: Ledger, state: Path, wall: Callable[[], float]) -> ReadOwn:
    """Return what reads the last days of this node from its ledger."""

    def read(days: int) -> OwnDays | None:
        with open_to_read(state) as books:
            since = today(books, wall()) - timedelta(days - 1)
            return OwnDays(node_of(books), days_as_text(books, since))

    async def read_own(days: int) -> OwnDays | None:
        await ledger.flush()
        try:
            return await asyncio.to_thread(read, days)
        except NoLedger:
            return None

    return read_own


async def read_nodes(context: AdminContext, since: date, until: date) -> NodesUsage:
    """Return the usage of other nodes, both days included; a failure is part of the answer."""
    engine = context.scheduler.engine
    if engine is None:
        return NodesUsage(is_shared=False, nodes=[_this()], failure="", left_out=0, days={})
    own = await asyncio.to_thread(_own_id, context.state)
    found, failure = FoundNodes(), engine.failure
    if engine.is_reached:
        try:
            until = min(until, since + timedelta(KEPT_DAYS))
            found = await engine.usage.read_others(own, since, until)
        except EngineError as error:
            failure = str(error)
    names = display_names({own: this_host()} | {each.id: each.host for each in found.nodes})
    return NodesUsage(
        is_shared=True,
        nodes=[
            _this(names[own]),
            *(UsageNode(name=names[e.id], written=e.written, is_this=False) for e in found.nodes),
        ],
        failure=failure and f"the server of shared state {failure}",
        left_out=found.left_out,
        days={names[each.id]: dict(each.days) for each in found.nodes},
    )


async def shown_nodes(context: AdminContext, question: UsageQuery, days: int) -> ShownNodes:
    """Return the nodes that a question about the last days is answered by: all that share, where
    their usage can answer it. Raises `ApiError` (400)."""
    names_nodes = Dimension.NODE in question.by or Dimension.NODE in question.where
    if context.scheduler.engine is None and not names_nodes:
        return THIS_NODE
    if names_nodes and not covers(question):
        why = f"only the usage of this node can be shown: {NOT_COVERED}"
        raise ApiError(400, "bad_request", why)
    now = datetime.fromtimestamp(context.services.wall(), UTC).date()
    first, last = now - timedelta(days), now + timedelta(1)  # a day more, for every time zone
    if not covers(question):
        others = await read_nodes(context, first, first - timedelta(1))
        return ShownNodes(nodes=others.nodes, only_this=NOT_COVERED)
    found = await read_nodes(context, first, last)
    return ShownNodes(
        [NamedDays(name, each) for name, each in found.days.items()],
        next(each.name for each in found.nodes if each.is_this),
        Days(first, last),
        found.nodes if found.is_shared else [],
        found.failure,
    )


def _own_id(state: Path) -> str:
    try:
        with open_to_read(state) as books:
            return node_of(books)
    except NoLedger:
        return ""


def _this(name: str = "") -> UsageNode:
    return UsageNode(name=name or this_host(), written=None, is_this=True)
