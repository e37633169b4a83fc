"""Limits over four processes whose links and server fail: never beyond the documented bound, no
call counted twice or lost, no waiting call forgotten."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

import pytest
from bad_link import bad_link
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from lease_rooms import Room, shared_room, snapshot
from property_tests import examples
from real_redis import RealRedis, needs_redis, real_redis

import sidecar.shared.server
from sidecar.errors import ProxyError
from sidecar.scheduling.lease import Lease
from sidecar.scheduling.limiter import demand_of
from sidecar.shared.engine import Engine

NODES, RPM, SLOTS, DEAD_SECONDS = 4, 8, 4, 15
LIMITS = f"limits: {{rpm: {RPM}, concurrency: {SLOTS}}}, budget: $1/day"
MONEY = 1000
nodes = st.integers(0, NODES - 1)
which = st.integers(0, 99)


@dataclass(eq=False)
class Running:
    lease: Lease
    node: int
    at: float
    slot_is_free: bool = False


class FaultyLimits(RuleBasedStateMachine):
    """Each process has its own link. One at most is killed: its link is cut for ever.

    No precondition asks for what depends on how fast the machine is, such as the running calls.
    """

    server: RealRedis
    refuses: bool

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.running: list[Running] = []
        self.waiting: list[tuple[int, asyncio.Task[Lease]]] = []
        self.calls: list[float] = []
        self.parted: dict[int, float] = {}
        self.killed: int | None = None
        self.is_frozen = False
        self.costs: list[tuple[int, int]] = []

    @initialize()
    def start(self) -> None:
        self.runner.run(self.open())

    async def open(self) -> None:
        enter = self.stack.enter_async_context
        self.links = [await enter(bad_link(self.server.path, f"link{at}")) for at in range(NODES)]
        self.room: Room = await enter(
            shared_room(
                snapshot(LIMITS), self.server.url, NODES, refuses=self.refuses,
                by=[each.url for each in self.links],
            )
        )  # fmt: skip
        await self.beat()

    @rule(at=nodes)
    def ask(self, at: int) -> None:
        if at != self.killed:
            self.runner.run(self.lease(at))

    async def lease(self, at: int) -> None:
        try:
            lease = await self.room.lease(demand=demand_of(1, 0, MONEY), at=at)
        except ProxyError:
            assert self.refuses
        else:
            if lease is not None:
                self.granted(at, lease)

    def granted(self, at: int, lease: Lease) -> None:
        self.calls.append(self.room.clock.now)
        self.running.append(Running(lease, at, self.room.clock.now))

    @rule(at=nodes)
    def wait_for_room(self, at: int) -> None:
        if at != self.killed and len(self.waiting) < 4:
            waits = self.runner.run(self.room.wait(demand=demand_of(1, 0, MONEY), at=at))
            self.waiting.append((at, waits))

    @rule(which=which, cost=st.integers(0, 2 * MONEY))
    def settle(self, which: int, cost: int) -> None:
        running = [each for each in self.running if each.node != self.killed]
        if not running:
            return
        one = running[which % len(running)]
        self.running.remove(one)
        self.runner.run(self.room.end(one.lease, demand_of(1, 0, cost)))
        self.costs.append((one.node, cost))

    @rule(at=nodes, fault=st.sampled_from(["down", "requests", "answers"]))
    def part(self, at: int, fault: str) -> None:
        link = self.links[at]
        link.is_down = fault == "down"
        link.loses_requests, link.loses_answers = fault == "requests", fault == "answers"
        if fault == "down":
            link.cut()
        self.parted.setdefault(at, self.room.clock.now)

    @precondition(lambda self: self.parted)
    @rule()
    def mend(self) -> None:
        self.runner.run(self.mend_all())

    async def mend_all(self) -> None:
        for at, link in enumerate(self.links):
            if at != self.killed:
                link.mend()
                if self.parted.pop(at, None) is not None:
                    link.cut()
        await self.recover()

    @precondition(lambda self: self.killed is None)
    @rule(at=nodes)
    def kill(self, at: int) -> None:
        self.part(at, "down")
        self.killed = at
        for each in self.waiting:
            if each[0] == at:
                each[1].cancel()
        self.waiting = [each for each in self.waiting if each[0] != at]

    @precondition(lambda self: not self.is_frozen)
    @rule()
    def freeze(self) -> None:
        self.server.send(signal.SIGSTOP)
        self.is_frozen = True

    @precondition(lambda self: self.is_frozen)
    @rule()
    def thaw(self) -> None:
        self.runner.run(self.thawed())

    async def thawed(self) -> None:
        self.server.send(signal.SIGCONT)
        self.is_frozen = False
        await self.recover()

    @precondition(lambda self: not self.is_frozen)
    @rule()
    def restart(self) -> None:
        self.server.kill()
        self.server.start()
        self.runner.run(self.restarted())

    async def restarted(self) -> None:
        from redis.exceptions import ConnectionError as NotReady

        async with asyncio.timeout(30):
            while True:
                with suppress(NotReady):  # it still loads its data, or the connection is old
                    await self.room.redis.ping()
                    break
                await asyncio.sleep(0.01)
        await self.recover()

    @rule(seconds=st.sampled_from([1, 5, 9, 16, 61]))
    def pass_time(self, seconds: int) -> None:
        self.runner.run(self.passed(seconds))

    async def passed(self, seconds: float) -> None:
        while seconds > 0:
            self.room.clock.advance(min(seconds, 3))
            seconds -= 3
            await self.beat()
            for one in self.running:
                since = self.parted.get(one.node)
                if since is not None and self.room.clock.now - since >= DEAD_SECONDS - 3:
                    one.slot_is_free = True
        await self.room.quiet()

    async def beat(self) -> None:
        await asyncio.gather(
            *(engine.beat() for engine in self.engines if engine.is_reached), return_exceptions=True
        )

    async def recover(self) -> None:
        """Until each process that can reach the server does so."""
        async with asyncio.timeout(30):
            for at, engine in enumerate(self.engines):
                while not self.is_frozen and at not in self.parted and not engine.is_reached:
                    await asyncio.gather(engine.beat(), return_exceptions=True)
        await self.room.quiet()

    @property
    def engines(self) -> list[Engine]:
        return [each.engine for each in self.room.processes if each.engine is not None]

    @invariant()
    def no_limit_is_exceeded(self) -> None:
        if not hasattr(self, "room"):
            return
        for at, task in [each for each in self.waiting if each[1].done()]:
            self.waiting.remove((at, task))
            if not task.cancelled() and task.exception() is None:
                self.granted(at, task.result())
            else:
                assert self.refuses
        since = self.room.clock.now - 60
        calls = sum(at > since for at in self.calls)
        slots = sum(not each.slot_is_free for each in self.running)
        times = 1 if self.refuses else 2
        assert calls <= times * RPM
        assert slots <= times * SLOTS

    def teardown(self) -> None:
        try:
            if hasattr(self, "room"):
                self.runner.run(self.end())
        finally:
            self.server.send(signal.SIGCONT)
            self.runner.run(self.stack.aclose())
            self.runner.close()

    async def end(self) -> None:
        """Repair everything and end all calls: then no waiting call is left, and every count is
        what was spent."""
        if self.is_frozen:
            await self.thawed()
        await self.mend_all()
        for _ in range(20):
            for one in [each for each in self.running if each.node != self.killed]:
                await self.room.end(one.lease, demand_of(1, 0, MONEY))
                self.costs.append((one.node, MONEY))
                self.running.remove(one)
            self.no_limit_is_exceeded()
            if not self.waiting and all(one.node == self.killed for one in self.running):
                break
            await self.passed(9)
        assert not self.waiting
        await self.passed(18)
        await self.recover()  # on a busy machine, an operation may have timed out meanwhile
        # A killed process may not have sent a call, or its end; then its estimate counts.
        least = sum(cost for at, cost in self.costs if at != self.killed)
        perhaps = [cost for at, cost in self.costs if at == self.killed]
        most = least + sum(max(cost, MONEY) for cost in perhaps) + MONEY * len(self.running)
        redis, base = self.room.redis, self.engines[0]._base
        for name in await redis.keys(f"{base}:h:group*"):
            found = await redis.hgetall(name)  # type: ignore[misc]
            if "concurrency" in name:
                assert found.get("s", "0") == "0"
            if "budget" in name:
                assert found.get("r", "0") == "0"
                assert least <= int(found.get("s", 0)) <= most


@needs_redis
@pytest.mark.hypothesis
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("refuses", [False, True])
def test_limits_hold_while_links_and_the_server_fail(
    monkeypatch: pytest.MonkeyPatch, *, refuses: bool
) -> None:
    monkeypatch.setattr(sidecar.shared.server, "TIMEOUT_SECONDS", 0.15)  # it passes in real time
    with real_redis("--appendonly", "yes", "--appendfsync", "always") as server:
        machine = type("Machine", (FaultyLimits,), {"server": server, "refuses": refuses})
        run_state_machine_as_test(machine, settings=examples(3, stateful_step_count=15))
