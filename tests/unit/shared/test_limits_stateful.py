"""Limits over several clients of one server never admit more than a plain model of them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from lease_rooms import Room, shared_room, snapshot
from property_tests import examples
from real_redis import needs_redis, redis_server

from sidecar.scheduling.lease import Lease
from sidecar.scheduling.limiter import demand_of

LIMITS = "limits: {rpm: 6, tpm: 1000, concurrency: 4, tpd: 4000}, budget: $0.000005/day"
BUDGET = 5000
NODES = 3
nodes = st.integers(0, NODES - 1)
tokens = st.integers(1, 400)
money = st.integers(1, 1500)


@dataclass
class Running:
    lease: Lease
    at: float
    tokens: int
    money: int


class SharedLimits(RuleBasedStateMachine):
    """The model keeps every call with its time, and adds up what counts at each question."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.running: list[Running] = []
        self.calls: list[float] = []
        self.used: list[tuple[float, int]] = []
        self.day = self.spent = 0

    @initialize()
    def start(self) -> None:
        room = shared_room(snapshot(LIMITS), self.url, NODES, steady=True)
        self.room: Room = self.runner.run(self.stack.enter_async_context(room))

    @rule(at=nodes, amount=tokens, cost=money)
    def ask(self, at: int, amount: int, cost: int) -> None:
        fits = self.fits(amount, cost)
        lease = self.runner.run(self.room.lease(demand=demand_of(amount, 0, cost), at=at))
        assert (lease is not None) == fits
        if lease is not None:
            now = self.room.clock.now
            self.calls.append(now)
            self.running.append(Running(lease, now, amount, cost))

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 99), amount=tokens, cost=money)
    def settle(self, which: int, amount: int, cost: int) -> None:
        one = self.running.pop(which % len(self.running))
        self.runner.run(self.room.end(one.lease, demand_of(amount, 0, cost)))
        self.used.append((one.at, min(amount, one.tokens)))
        if amount > one.tokens:
            self.used.append((self.room.clock.now, amount - one.tokens))
        self.day += amount
        self.spent += cost

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 99))
    def refund(self, which: int) -> None:
        one = self.running.pop(which % len(self.running))
        one.lease.refund()
        self.runner.run(self.room.quiet())
        self.calls.remove(one.at)

    @rule(seconds=st.sampled_from([1, 7, 29, 31, 61]))
    def wait(self, seconds: int) -> None:
        self.runner.run(self.room.pass_time(seconds))

    def fits(self, amount: int, cost: int) -> bool:
        since = self.room.clock.now - 60
        calls = sum(at > since for at in self.calls)
        held = [(one.at, one.tokens) for one in self.running]
        minute = sum(number for at, number in self.used + held if at > since)
        day = self.day + sum(one.tokens for one in self.running)
        reserved = sum(one.money for one in self.running)
        return (
            calls < 6
            and (not minute or minute + amount <= 1000)
            and len(self.running) < 4
            and (not day or day + amount <= 4000)
            and self.spent < BUDGET
            and (not reserved or self.spent + reserved + cost <= BUDGET)
        )

    def teardown(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()


@needs_redis
@pytest.mark.hypothesis
@pytest.mark.timeout(1800)
def test_limits_over_several_clients_are_those_of_the_model() -> None:
    with redis_server() as url:
        machine = type("Machine", (SharedLimits,), {"url": url}).TestCase
        machine.settings = examples(12, stateful_step_count=40)
        machine().runTest()
