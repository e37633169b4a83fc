"""Usage on the shared server: each node writes its own days, and every node reads those of others.

    {NAMESPACE}:usage        sorted set of nodes, by when they last wrote
    {NAMESPACE}:usage:NODE   hash: its machine (`host`), the time (`written`), the sums of each day

A day is written whole, by its own node alone, and replaces what was there: to write it twice, or
again after a restart, changes nothing. No call waits for any of this, and a failure here is no
outage of limits.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import NamedTuple, TypeVar

from sidecar.humanize import printable
from sidecar.shared.server import EngineError, Server

T = TypeVar("T")
LOG = logging.getLogger("sidecar.shared")
PUSH_SECONDS = 5.0
WHOLE_SECONDS = 600.0
"""Seconds after which all days are compared, and not only the latest."""
LAST_PUSH_SECONDS = 2.0
"""Seconds for which usage is still written when the process ends."""
RECENT_DAYS = 2
"""Days that a call may still be added to, with those of calls that last over midnight."""
KEPT_DAYS = 400
KEPT_SECONDS = KEPT_DAYS * 86_400
MAX_NODES = 1000
"""Nodes that are read, those that wrote last."""
SENT_CHARS = 1 << 18
"""Text that one command sends, about."""
MAX_WRITTEN_SECONDS = 4e9
"""The latest time that is shown, in seconds since the epoch: others are not what a node writes."""
DAYS_AT_ONCE = 31
NODES_AT_ONCE = 20


class OwnDays(NamedTuple):
    """The days of this node: its lasting name, and each day (ISO date) with its sums as text."""

    node: str
    days: Mapping[str, str]


class NodeDays(NamedTuple):
    """The days of one node. `id` is its lasting name, `written` when it last wrote, in seconds
    since the epoch by the server's clock."""

    id: str
    host: str
    written: float
    days: Mapping[str, str]


class FoundNodes(NamedTuple):
    """The days of other nodes; `left_out` counts nodes that are too many to be read."""

    nodes: Sequence[NodeDays] = ()
    left_out: int = 0


ReadOwn = Callable[[int], Awaitable[OwnDays | None]]
"""Returns the last days of this node, as many as asked for; None without a readable ledger."""


async def _nothing(_: int) -> OwnDays | None:
    return None


class SharedUsage:
    """The usage of a namespace, as one node writes and reads it.

    Args:
        server_time: Returns seconds since the epoch by the server's clock.
        is_reached: Returns whether the server works.

    Attributes:
        read_own: Returns the days of this node.
        pushed_at: When this node last wrote, by the server's clock; 0 for never.
        failure: The reason that it cannot write; "" while it can.
    """

    def __init__(
        self, server: Server, namespace: str, server_time: Callable[[], float],
        is_reached: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._server = server
        self._key = f"{{{namespace}}}:usage"
        self._server_time = server_time
        self._is_reached = is_reached
        self._node = ""
        self._pushed: dict[str, bytes] = {}
        self._pushing = asyncio.Lock()
        self.read_own: ReadOwn = _nothing
        self.pushed_at = 0.0
        self.failure = ""

    async def keep_pushed(self) -> None:
        """Write what changed, for ever."""
        turns = 0
        while True:
            if self._is_reached():
                await self._try_push(whole=turns % int(WHOLE_SECONDS / PUSH_SECONDS) == 0)
                turns += 1
            await asyncio.sleep(PUSH_SECONDS)

    async def push_last(self) -> None:
        """Write what changed once more, for as long as `LAST_PUSH_SECONDS`."""
        try:
            async with asyncio.timeout(LAST_PUSH_SECONDS):
                await self._try_push(whole=False)
        except TimeoutError:
            LOG.info("the last usage is not on the server of shared state; the next start sends it")

    async def push(self, *, whole: bool = False) -> None:
        """Write the days that changed: the latest, or any. Raises `EngineError`."""
        async with self._pushing:  # one of two at once would not see that the server had nothing
            await self._push(whole=whole)

    async def _push(self, *, whole: bool) -> None:
        whole = whole or not self._pushed
        own = await self.read_own(KEPT_DAYS if whole else RECENT_DAYS)
        if own is None:
            return
        if own.node != self._node:  # this process is new, or another ledger replaced a broken one
            self._node, self._pushed, whole = own.node, {}, True
            own = await self.read_own(KEPT_DAYS) or own
        if await self._write(own, whole=whole):
            self._pushed.clear()  # the server had nothing of this node: it is new, or lost its data
            await self._write(await self.read_own(KEPT_DAYS) or own, whole=True)
        self.pushed_at = self._server_time()

    async def read_others(self, own: str, since: date, until: date) -> FoundNodes:
        """Return the days of all nodes but `own`, both ends included. Raises `EngineError`."""
        from_ = str(_midnight(since) - 86_400)  # a node's zone may be a day behind
        newest = ("ZREVRANGEBYSCORE", self._key, "+inf", from_, "LIMIT", "0", str(MAX_NODES))
        found, number = await self._server.send([newest, ("ZCOUNT", self._key, from_, "+inf")])
        names = [each for each in found if each != own]
        fields = [day.isoformat() for day in _days(since, until)]
        nodes: list[NodeDays] = []
        for some in _batches(names, NODES_AT_ONCE):
            nodes += await self._read(some, fields)
        return FoundNodes(nodes, max(0, number - MAX_NODES))

    async def _read(self, names: Sequence[str], fields: Sequence[str]) -> list[NodeDays]:
        keys = [f"{self._key}:{name}" for name in names]
        days: list[dict[str, str]] = [{} for _ in names]
        for part in _batches(fields, DAYS_AT_ONCE):
            answers = await self._server.send(("HMGET", key, *part) for key in keys)
            for each, texts in zip(days, answers, strict=True):
                each |= {d: text for d, text in zip(part, texts, strict=True) if text is not None}
        heads = await self._server.send(("HMGET", key, "host", "written") for key in keys)
        return [
            NodeDays(name, printable(host), _seconds(written), each)
            for name, (host, written), each in zip(names, heads, days, strict=True)
            if host is not None  # else it has just expired
        ]

    async def _try_push(self, *, whole: bool) -> None:
        try:
            await self.push(whole=whole)
        except EngineError as error:
            if not self.failure:
                LOG.warning("usage is not shared: the server of shared state %s", error)
            self.failure = str(error)
            for day in sorted(self._pushed)[-2:]:  # a replica that took over may lack the latest
                del self._pushed[day]
        else:
            self.failure = ""

    async def _write(self, own: OwnDays, *, whole: bool) -> bool:
        """Write the days that changed, and the time. Returns whether the server had nothing of
        this node. Raises `EngineError`."""
        key, now = f"{self._key}:{own.node}", self._server_time()
        digests = {day: _digest(text) for day, text in own.days.items()}
        changed = [day for day, digest in digests.items() if self._pushed.get(day) != digest]
        for part in _parts(changed, own.days):
            words = [word for day in part for word in (day, own.days[day])]
            await self._server.send([("HSET", key, *words)])
            self._pushed |= {day: digests[day] for day in part}
        if whole:
            await self._drop_others(key, own.days)
        is_new, *_ = await self._server.send([
            ("HSET", key, "host", this_host(), "written", f"{now:.3f}"),
            ("EXPIRE", key, str(KEPT_SECONDS)),
            ("ZADD", self._key, f"{now:.3f}", own.node),
            ("ZREMRANGEBYSCORE", self._key, "-inf", f"({now - KEPT_SECONDS:.3f}"),
            ("EXPIRE", self._key, str(KEPT_SECONDS)),
        ])  # fmt: skip
        return bool(is_new)

    async def _drop_others(self, key: str, days: Mapping[str, str]) -> None:
        """Delete days that are no longer kept, or that the ledger does not have."""
        [fields] = await self._server.send([("HKEYS", key)])
        gone = [each for each in fields if each not in {"host", "written", *days}]
        if gone:
            await self._server.send([("HDEL", key, *gone)])
        for day in gone:
            self._pushed.pop(day, None)


def this_host() -> str:
    """Return the name of this machine, as nodes are shown."""
    return socket.gethostname().replace(" ", "-")


def display_names(hosts: Mapping[str, str]) -> dict[str, str]:
    """Return the name that each node is shown by, for the machine of each: the machine's, with the
    beginning of the node's lasting name where a machine has several nodes."""
    counts = Counter(hosts.values())
    return {
        node: host if counts[host] == 1 else f"{host}-{node[:4]}" for node, host in hosts.items()
    }


def _seconds(text: str | None) -> float:
    """Return a time that a node wrote; 0 for a text that no node writes."""
    try:
        found = float(text or 0)
    except ValueError:
        return 0.0
    return found if 0 <= found <= MAX_WRITTEN_SECONDS else 0.0


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _parts(days: Iterable[str], texts: Mapping[str, str]) -> Iterator[list[str]]:
    """Yield the days in parts that are sent at once."""
    part: list[str] = []
    size = 0
    for day in days:
        if part and size + len(texts[day]) > SENT_CHARS:
            yield part
            part, size = [], 0
        part.append(day)
        size += len(texts[day])
    if part:
        yield part


def _batches(of: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (of[at : at + size] for at in range(0, len(of), size))


def _days(first: date, last: date) -> Iterator[date]:
    return (first + timedelta(passed) for passed in range((last - first).days + 1))


def _midnight(day: date) -> int:
    return (day - date(1970, 1, 1)).days * 86_400
