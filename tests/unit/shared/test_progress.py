"""No slot of a shared limit stays free while a call waits for it at any process."""

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

NODES, SLOTS = 3, 2
LIMIT = "limits: {concurrency: 1}"
HEADROOM = "headroom: {background: 50%}"


class Waiting(NamedTuple):
    task: asyncio.Task[Lease]
    urgency: Urgency


class Progress(RuleBasedStateMachine):
    """Calls of two keys and every urgency come, end and leave; time passes in between."""

    url = more = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.waiting: list[Waiting] = []
        self.running: list[Lease] = []

    @initialize()
    def start(self) -> None:
        limits = f"limits: {{concurrency: {SLOTS}}}{self.more}"
        room = shared_room(snapshot(limits), self.url, NODES, steady=True)
        self.room: Room = self.runner.run(self.stack.enter_async_context(room))

    @rule(at=st.integers(0, NODES - 1), key=st.sampled_from("ab"), urgency=st.sampled_from(Urgency))
    def arrive(self, at: int, key: str, urgency: Urgency) -> None:
        task = self.runner.run(self.room.wait(key, urgency=urgency, at=at))
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
    def every_slot_is_used(self) -> None:
        self.running += [each.task.result() for each in self.waiting if each.task.done()]
        self.waiting = [each for each in self.waiting if not each.task.done()]
        assert len(self.running) <= SLOTS
        bound = {Urgency.BACKGROUND} if self.more else set()
        assert len(self.running) == SLOTS or all(each.urgency in bound for each in self.waiting)

    def teardown(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()


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


@needs_redis
@pytest.mark.hypothesis
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("more", ["", f", {HEADROOM}"], ids=["all", "headroom"])
def test_no_slot_is_free_while_a_call_waits_at_any_process(server: str, more: str) -> None:
    machine = type("Machine", (Progress,), {"url": server, "more": more}).TestCase
    machine.settings = examples(20, stateful_step_count=40)
    machine().runTest()
