"""No room of a shared limit stays free while a call waits for it at any process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import NamedTuple

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from lease_rooms import Room, shared_room, snapshot
from property_tests import examples
from real_redis import needs_redis, redis_server

from sidecar.config.model import Urgency
from sidecar.scheduling.lease import Lease
from sidecar.scheduling.limiter import demand_of

NODES, SLOTS = 3, 2
LIMIT = "limits: {concurrency: 1}"
HEADROOM = "headroom: {background: 50%}"


class Waiting(NamedTuple):
    task: asyncio.Task[Lease]
    urgency: Urgency


class Progress(RuleBasedStateMachine):
    """Calls of two keys and every urgency come, end and leave; time passes in between."""

    url = limits = ""
    bound: frozenset[Urgency] = frozenset()
    """Urgencies whose calls may wait for headroom."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.waiting: list[Waiting] = []
        self.running: list[Lease] = []

    @initialize()
    def start(self) -> None:
        room = shared_room(snapshot(self.limits), self.url, NODES, steady=True)
        self.room: Room = self.runner.run(self.stack.enter_async_context(room))

    @rule(at=st.integers(0, NODES - 1), key=st.sampled_from("ab"), urgency=st.sampled_from(Urgency))
    def arrive(self, at: int, key: str, urgency: Urgency) -> None:
        task = self.runner.run(self.room.wait(key, urgency=urgency, at=at))
        self.arrived(task, urgency)

    def arrived(self, task: asyncio.Task[Lease], urgency: Urgency) -> None:
        self.waiting.append(Waiting(task, urgency))

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 99))
    def end(self, which: int) -> None:
        self.runner.run(self.room.end(self.running.pop(which % len(self.running))))

    @precondition(lambda self: self.waiting)
    @rule(which=st.integers(0, 99))
    def leave(self, which: int) -> None:
        self.waiting.pop(which % len(self.waiting)).task.cancel()
        self.runner.run(self.room.quiet())

    @rule(seconds=st.sampled_from([1, 5, 31]))
    def pass_time(self, seconds: int) -> None:
        self.runner.run(self.room.pass_time(seconds))

    @invariant()
    def no_room_is_left(self) -> None:
        self.collect()
        if self.has_room():  # a call asks again every two seconds
            self.runner.run(self.room.pass_time(2.1))
            self.collect()
        assert not self.has_room()

    def collect(self) -> None:
        """Note the calls that are admitted by now."""
        self.running += [each.task.result() for each in self.waiting if each.task.done()]
        self.waiting = [each for each in self.waiting if not each.task.done()]

    def has_room(self) -> bool:
        """Whether a call waits beside room for it."""
        return self.used() < SLOTS and any(each.urgency not in self.bound for each in self.waiting)

    def used(self) -> int:
        assert len(self.running) <= SLOTS
        return len(self.running)

    def teardown(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()


class MinuteProgress(Progress):
    """The same with calls a minute, which time alone makes room for."""

    def __init__(self) -> None:
        super().__init__()
        self.granted: list[float] = []

    def arrived(self, task: asyncio.Task[Lease], urgency: Urgency) -> None:
        super().arrived(task, urgency)
        task.add_done_callback(self.note_grant)

    def note_grant(self, task: asyncio.Task[Lease]) -> None:
        if not task.cancelled():  # it may have been granted a step of the clock before
            self.granted.append(self.room.clock.now)

    def used(self) -> int:
        return sum(at > self.room.clock.now - 60 for at in self.granted)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with redis_server() as url:
        yield url


async def ended(room: Room, running: Lease | None, asked: list[asyncio.Task[Lease]]) -> Lease:
    """End the call that runs; return the lease of the one that gets its slot."""
    assert running
    await room.end(running)
    [task] = [each for each in asked if each.done()]
    asked.remove(task)
    return task.result()


@needs_redis
async def test_no_two_processes_wait_for_each_other(server: str) -> None:
    """In each, a key that had no turn yet goes before an older call of the other key."""
    async with shared_room(snapshot(LIMIT), server, 2, steady=True) as room:
        running = await room.lease()
        asked = [await room.wait(key, at=at) for key in "aab" for at in (0, 1)]
        for _ in range(2):
            running = await ended(room, running, asked)
        await room.pass_time(3)  # each of them asks, and is denied
        for _ in range(4):
            running = await ended(room, running, asked)
        assert not asked


@needs_redis
async def test_oldest_call_has_its_turn_behind_another_call_of_its_process(server: str) -> None:
    async with shared_room(snapshot(LIMIT), server, 2, steady=True) as room:
        running = await room.lease()
        old = await room.wait("a", urgency=Urgency.BACKGROUND, at=0)
        asked = [await room.wait("b", at=0), old]
        await room.pass_time(31)
        asked += [await room.wait("b", urgency=Urgency.INTERACTIVE, at=1) for _ in range(12)]
        for _ in range(10):
            running = await ended(room, running, asked)
        assert old not in asked


@needs_redis
@pytest.mark.parametrize("own", [100, 800], ids=["at the engine", "in its process"])
async def test_turn_of_a_call_without_room_costs_few_questions(server: str, own: int) -> None:
    """The oldest call needs more than is left; others of its process would fit, and wait for it."""
    async with shared_room(snapshot("limits: {tpd: 1000}"), server, 2, steady=True) as room:
        running = [
            await room.lease(demand=demand_of(amount, 0), at=at)
            for at, amount in enumerate((own, 900 - own))
        ]
        old = await room.wait("a", demand_of(300, 0), Urgency.BACKGROUND, at=0)
        await room.pass_time(31)
        for _ in range(9):
            urgent = await room.wait("a", demand_of(1, 0), Urgency.INTERACTIVE, at=1)
            assert urgent.done()
        asked = [
            await room.wait("b", demand_of(1, 0), urgency, at=at)
            for urgency in (Urgency.INTERACTIVE, Urgency.NORMAL)
            for at in (0, 1)
        ]
        for _ in range(20):
            await room.pass_time(3)
        assert not old.done()
        assert sum(each.engine.denied for each in room.processes if each.engine) < 80
        for lease in running:
            assert lease
            lease.refund()
        await room.pass_time(2.1)  # the message may meet a question on its way
        assert all(each.done() for each in (old, *asked))


@needs_redis
async def test_old_call_asks_no_more_often_than_others(server: str) -> None:
    async with shared_room(snapshot(LIMIT), server, 2, steady=True) as room:
        assert await room.lease(at=1)
        await room.wait(urgency=Urgency.BACKGROUND, at=0)
        await room.wait(at=0)
        for _ in range(40):
            await room.pass_time(3)
        engine = room.processes[0].engine
        assert engine is not None
        assert 40 <= engine.denied <= 45


BACKGROUND = frozenset({Urgency.BACKGROUND})
MACHINES = {
    "concurrency": (Progress, f"limits: {{concurrency: {SLOTS}}}", frozenset()),
    "headroom": (Progress, f"limits: {{concurrency: {SLOTS}}}, {HEADROOM}", BACKGROUND),
    "rpm": (MinuteProgress, f"limits: {{rpm: {SLOTS}}}", frozenset()),
}


@needs_redis
@pytest.mark.hypothesis
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", MACHINES)
def test_no_room_is_left_while_a_call_waits_at_any_process(server: str, name: str) -> None:
    kind, limits, bound = MACHINES[name]
    machine = type("Machine", (kind,), {"url": server, "limits": limits, "bound": bound}).TestCase
    machine.settings = examples(15, stateful_step_count=40)
    machine().runTest()
