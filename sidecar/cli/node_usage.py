"""The usage of all processes that share it, for `sidecar usage`: the running process has theirs."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path

from msgspec import structs

from sidecar.admin.api_types.usage import NodesUsage, UsageNode
from sidecar.cli.client import ProcessError, find_process
from sidecar.cli.options import fail, note
from sidecar.humanize import printable, when
from sidecar.ledger.reports.activity import today
from sidecar.ledger.reports.nodes import ALL_NODES, NOT_COVERED, NamedDays, covers, merged
from sidecar.ledger.reports.usage import Days, Dimension, UsageQuery
from sidecar.shared.usage import PUSH_SECONDS, this_host

READ_SECONDS = 30.0
"""Seconds to wait for the usage of all nodes."""
STALE_SECONDS = 12 * PUSH_SECONDS
MAX_STALE = 5
"""Nodes whose usage is old that are named; those that wrote last."""


@contextmanager
def over_nodes(
    own: sqlite3.Connection, state: Path, question: UsageQuery
) -> Iterator[tuple[sqlite3.Connection, UsageQuery]]:
    """Open what answers a question, with the question to ask there: the ledger of this node, or the
    usage of all nodes. Notes show which nodes are missing. Ends with status 2 for an unknown
    node."""
    wanted = question.where.get(Dimension.NODE, ())
    names_nodes = bool(wanted) or Dimension.NODE in question.by
    found = _ask(own, state, question)
    if not covers(question):
        if names_nodes:
            fail(f"{NOT_COVERED}; without --node, and --by without node, this node answers")
        if found is not None and found.is_shared:
            note(f"only the usage of this node: {NOT_COVERED}")
    if not (covers(question) and (names_nodes or (found is not None and found.is_shared))):
        yield own, question
        return
    if found is None:
        note("only the usage of this node: no process runs that could read that of others")
        found = NodesUsage(is_shared=False, nodes=[_this()], failure="", left_out=0, days={})
    if wanted:
        question = _narrowed(question, wanted, found)
    _note_nodes(found)
    assert isinstance(question.window, Days)  # noqa: S101 - as `covers` requires
    this = next(each.name for each in found.nodes if each.is_this)
    others = [NamedDays(name, days) for name, days in found.days.items()]
    with merged(own, this, others, question.window) as together:
        yield together, question


def _ask(own: sqlite3.Connection, state: Path, question: UsageQuery) -> NodesUsage | None:
    """Return the usage of other nodes; None without a process that answers."""
    first = last = today(own, time.time()) + timedelta(1)
    if isinstance(question.window, Days):
        last = question.window.last or last
        first = question.window.first or last
    with suppress(ProcessError):  # noted when the ledger was opened
        live = find_process(state)
        if live is not None:
            return live.get(
                "/api/usage/nodes", NodesUsage, timeout=READ_SECONDS,
                since=first.isoformat(), until=last.isoformat(),
            )  # fmt: skip
    return None


def _this() -> UsageNode:
    return UsageNode(name=this_host(), written=None, is_this=True)


def _narrowed(question: UsageQuery, wanted: Sequence[str], found: NodesUsage) -> UsageQuery:
    """Return the question about the nodes that are named. Ends with status 2 for an unknown one."""
    names = [each.name for each in found.nodes]
    for name in wanted:
        if name != ALL_NODES and not any(
            fnmatchcase(each, name.replace("[", "[[]")) for each in names
        ):
            why = f", as {found.failure}" if found.failure else ""
            fail(f'no node "{name}" is known{why}; there is: {printable(", ".join(names))}')
    where: dict[Dimension, Sequence[str]] = {
        each: names for each, names in question.where.items() if each is not Dimension.NODE
    }
    if ALL_NODES not in wanted:
        where[Dimension.NODE] = wanted
    return structs.replace(question, where=where)


def _note_nodes(found: NodesUsage) -> None:
    """Note the nodes that are missing, and those whose usage is old."""
    if found.failure:
        note(f"only the usage of this node: {found.failure}")
    if found.left_out:
        note(f"{found.left_out} nodes that wrote long ago are left out")
    now = time.time()
    old = [
        (each.written, each.name)
        for each in found.nodes
        if each.written is not None and now - each.written > STALE_SECONDS
    ]
    for written, name in sorted(old, reverse=True)[:MAX_STALE]:
        note(f"{printable(name)}: as of {when(written, now)}")
    if len(old) > MAX_STALE:
        note(f"{len(old) - MAX_STALE} more nodes wrote before that")
