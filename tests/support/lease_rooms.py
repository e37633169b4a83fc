"""Processes that lease by one file and one clock: alone, or several on one Redis server.

In a room of several, each call goes to the next process. What a test expects is the same in both.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from manual_clock import HandClock
from real_redis import all_answered
from sample_candidates import candidate

from sidecar.config.limit_table import route_name
from sidecar.config.loader import load
from sidecar.config.model import Snapshot, Urgency
from sidecar.plugin_api.manager import discover
from sidecar.scheduling.admission import Admission
from sidecar.scheduling.fleet.leases import Leases, LocalLeases, SharedLeases
from sidecar.scheduling.lease import AdmissionOption, CallAt, Lease, Waiter
from sidecar.scheduling.limiter import Demand, demand_of
from sidecar.scheduling.limits import CallScopes, Limits
from sidecar.shared.engine import Engine, open_engine

if TYPE_CHECKING:
    from redis.asyncio import Redis

NOON = 1_800_014_400.0  # 2027-01-15 12:00 UTC
REGISTRY = discover()
FILE = """
timezone: {zone}
groups:
  G: {{vendor: openai{group}}}
keys:
  a: {{group: G, hash: "sha256:{one:064x}"{key}}}
  b: {{group: G, hash: "sha256:{two:064x}"}}
"""
ONE_CALL = demand_of(10, 0)
MAX_ROUNDS = 5000
"""Rounds of messages after which the processes would go on for ever; mostly ten are enough."""
_namespaces = itertools.count()


def snapshot(group: str = "", key: str = "", zone: str = "UTC") -> Snapshot:
    text = FILE.format(
        group=group and f", {group}", key=key and f", {key}", zone=zone, one=1, two=2
    )
    return load(text.encode(), file="routes.yaml", registry=REGISTRY)


class Process(NamedTuple):
    admission: Admission
    limits: Limits
    leases: Leases
    engine: Engine | None

    def call(self, file: Snapshot, key: str, demand: Demand, urgency: Urgency) -> Waiter:
        """A call that asks for a lease here."""
        windows = tuple(self.limits.windows(scopes(file, key), "gpt-5"))
        options = [AdmissionOption(candidate("p"), self.leases.with_gates(windows), demand)]
        return self.admission.new_waiter(key, 1.0, urgency, options, lambda: options)


def open_process(
    of: Snapshot, clock: Callable[[], float], wall: Callable[[], float], call_at: CallAt,
    engine: Engine | None, *, refuses: bool = False,
) -> Process:  # fmt: skip
    """A process with the limits of a file, alone or on an engine."""
    admission, limits = Admission(clock, call_at), Limits(wall, _drop)
    limits.reconcile(of)
    leases: Leases = LocalLeases(admission)
    if engine is not None:
        leases = SharedLeases(admission, limits, engine, clock, refuses=refuses)
    return Process(admission, limits, leases, engine)


class Room:
    """Processes of one file; `clock` is the one of all of them and of the server, which a test
    asks by `redis`. `receive` waits for all that the server sends now."""

    redis: Redis
    receive: Callable[[], None] | None = None

    def __init__(self, of: Snapshot, *, refuses: bool = False) -> None:
        self.refuses = refuses
        self.clock = HandClock()
        self.processes: list[Process] = []
        self.file = of
        self._turns: Iterator[Process] = iter(())
        self._tasks: list[asyncio.Task[Lease]] = []

    def wall(self) -> float:
        return NOON + self.clock.now

    def add(self, engine: Engine | None = None) -> Process:
        """Another process."""
        process = open_process(
            self.file, self.clock, self.wall, self.clock.call_at, engine, refuses=self.refuses
        )
        self.processes.append(process)
        self._turns = itertools.cycle(self.processes)
        return process

    def reconcile(self, of: Snapshot) -> None:
        self.file = of
        for each in self.processes:
            each.limits.reconcile(of)
            each.leases.reconcile()

    def call(
        self, key: str = "a", demand: Demand = ONE_CALL, urgency: Urgency = Urgency.NORMAL,
        at: int | None = None,
    ) -> tuple[Process, Waiter]:  # fmt: skip
        """A call at the next process, or at that one."""
        process = next(self._turns) if at is None else self.processes[at]
        return process, process.call(self.file, key, demand, urgency)

    def scopes(self, key: str) -> CallScopes:
        return scopes(self.file, key)

    async def lease(
        self, key: str = "a", demand: Demand = ONE_CALL, urgency: Urgency = Urgency.NORMAL,
        at: int | None = None,
    ) -> Lease | None:  # fmt: skip
        """A lease, if there is room now."""
        process, waiter = self.call(key, demand, urgency, at)
        try:
            return await process.leases.try_lease(waiter)
        finally:
            if isinstance(process.leases, SharedLeases):
                process.leases._leave_queues()

    async def wait(
        self, key: str = "a", demand: Demand = ONE_CALL, urgency: Urgency = Urgency.NORMAL,
        at: int | None = None, max_wait: float = 100_000.0,
    ) -> asyncio.Task[Lease]:  # fmt: skip
        """A call that waits by now, if there is no room."""
        process, waiter = self.call(key, demand, urgency, at)
        task = asyncio.create_task(process.leases.acquire(waiter, max_wait))
        self._tasks.append(task)
        await self.quiet()
        self.clock.advance(0.002)  # no two calls arrive in one millisecond
        return task

    async def end(self, lease: Lease, used: Demand | None = None) -> None:
        """End a lease by what it took, or by its estimate."""
        lease.settle(lease.option.demand if used is None else used)
        await self.quiet()

    async def pass_time(self, seconds: float, *dead: int) -> None:
        """Let time pass, in which all processes live but those that are `dead`."""
        engines = [each.engine for at, each in enumerate(self.processes) if at not in dead]
        while seconds > 0:
            step = min(seconds, 3.0 if dead else 10.0)
            seconds -= step
            self.clock.advance(step)
            for engine in engines:
                if engine is not None:
                    await engine.beat()
        await self.quiet()

    async def quiet(self) -> None:
        """Wait until no message is on its way between the processes and the server."""
        if self.processes[0].engine is None:
            for _ in range(5):
                await asyncio.sleep(0)
            return
        calm = 0
        for _ in range(MAX_ROUNDS):
            if calm == 6:
                return
            if self.receive is None:
                await asyncio.sleep(0.003)
            else:
                self.receive()
                for _ in range(10):
                    await asyncio.sleep(0)
            calm = 0 if any(map(_is_busy, self.processes)) else calm + 1
        raise AssertionError("the processes never stop to ask the server")

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _is_busy(process: Process) -> bool:
    leases, engine = process.leases, process.engine
    assert isinstance(leases, SharedLeases)
    assert engine is not None
    return bool(leases._asking or (engine.is_reached and engine._unsent))


def scopes(file: Snapshot, key: str) -> CallScopes:
    found = file.keys[key]
    [route] = found.routes
    child = next(iter(file.children), "")
    return CallScopes(key, route_name(found, route), "G", "openai", "", child=child)


def _drop(_: object) -> None:
    return


@asynccontextmanager
async def local_room(of: Snapshot) -> AsyncIterator[Room]:
    """A room of one process."""
    room = Room(of)
    room.add()
    yield room
    await room.close()


@asynccontextmanager
async def shared_room(
    of: Snapshot, server: str, number: int = 3, *, refuses: bool = False, by: Sequence[str] = (),
    steady: bool = False,
) -> AsyncIterator[Room]:  # fmt: skip
    """A room of several processes on one server, in a namespace of its own; the last ones reach it
    `by` other addresses. A `steady` server, on a socket, is never stopped."""
    from redis.asyncio import Redis

    room, namespace = Room(of, refuses=refuses), f"n{next(_namespaces)}"
    async with AsyncExitStack() as stack:
        if "," not in server and "+" not in server:
            client = Redis.from_url(server, decode_responses=True)
            room.redis = await stack.enter_async_context(client)
        if steady:
            room.receive = stack.enter_context(all_answered(server))
        for address in (*[server] * (number - len(by)), *by):
            opened = open_engine(address, namespace, room.clock, room.wall)
            room.add(await stack.enter_async_context(opened))
        await room.quiet()
        yield room
        await room.close()
