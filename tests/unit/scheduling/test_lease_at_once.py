"""A lease at once is the lease that the general way gives, and leaves the same state behind."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manual_clock import HandClock, turns

from sidecar.config.loader import load
from sidecar.config.model import Snapshot, Urgency
from sidecar.http.body_memory import BodyMemory, HeldBody
from sidecar.http.headers import RequestFields
from sidecar.plugin_api.dialect import Facts
from sidecar.plugin_api.error_class import Classification, ErrorClass
from sidecar.plugin_api.manager import Registry, discover
from sidecar.plugin_api.vendor import Quota, QuotaKind
from sidecar.pricing import price_list
from sidecar.pricing.prices import Prices
from sidecar.records import Cost, Usage
from sidecar.routing.call import Call
from sidecar.routing.candidates import Candidate, plan_candidates
from sidecar.scheduling.estimates.tokens import (
    DEFAULT_OUTPUT_TOKENS,
    LEARN_SECONDS,
    MIN_SAMPLES,
)
from sidecar.scheduling.lease import Lease, Sources
from sidecar.scheduling.limiter import LimitUnit, demand_of
from sidecar.scheduling.scheduler import Scheduler
from sidecar.scheduling.vendor_quota import VendorQuota, take_all

PRICED, UNPRICED = "gpt-4o", "a model without a price"
YAML = """
providers:
  one: {plugin: openai, credential: none, limits: {rpm: 12, concurrency: 4}}
  two: {plugin: openai, base_url: "https://two.example/v1", credential: none}
groups:
  G: {vendor: openai, routes: [one, two]}
  H: {vendor: openai, routes: [two]}
keys:
  plain: {group: H, hash: "sha256:1111111111111111111111111111111111111111111111111111111111111111"}
  both: {group: G, hash: "sha256:2222222222222222222222222222222222222222222222222222222222222222"}
  tokens:
    {group: G, limits: {tpm: 9000}, headroom: {background: 50%},
     hash: "sha256:3333333333333333333333333333333333333333333333333333333333333333"}
  budget:
    {group: G, budget: $1/day,
     hash: "sha256:4444444444444444444444444444444444444444444444444444444444444444"}
"""
KEYS = ("plain", "both", "tokens", "budget")


@cache
def registry() -> Registry:
    return discover()


@cache
def snapshot() -> Snapshot:
    return load(YAML.encode(), file="routes.yaml", registry=registry())


class World:
    """A scheduler with a clock of its own; calls of it get leases `at_once` where that is possible,
    else only in the general way."""

    def __init__(self, state: Path, *, at_once: bool) -> None:
        self.clock = HandClock()
        self.at_once = at_once
        sources = Sources(self.clock, lambda: 1e9 + self.clock(), lambda: 0.5, self.clock.call_at)
        self.scheduler = Scheduler(
            sources, Prices(price_list.load(), sources.wall), lambda _: None, state
        )
        self.scheduler.reconcile(snapshot())
        self.bodies = BodyMemory(1 << 40, Path(), self.clock)
        self.running: list[tuple[Lease, Call]] = []
        self.tasks: list[tuple[asyncio.Task[Lease], Call]] = []
        self.shortcuts = 0

    def call(
        self, key: str, size: int = 400, urgency: Urgency = Urgency.NORMAL, *, model: str = PRICED,
        is_free: bool = False,
    ) -> tuple[Call, Sequence[Candidate]]:  # fmt: skip
        dialect = registry().dialects["openai"]
        located = dialect.locate("POST", "/v1/chat/completions")
        assert located is not None
        held = HeldBody(self.bodies)
        held.keep(bytes(size), bytes(size))
        call = Call(
            snapshot(), snapshot().keys[key], dialect, located, located.endpoint, "POST", "",
            RequestFields(()), held, Facts((model,), max_output=None), model, True, is_free, "",
            urgency=urgency,
        )  # fmt: skip
        plan = plan_candidates(
            call.key, dialect, call.endpoint, (model,), lambda _: ((), ""), lambda: 0.5
        )
        return call, plan.candidates

    async def arrive(self, call: Call, candidates: Sequence[Candidate]) -> None:
        lease = self.scheduler.lease_at_once(call, candidates) if self.at_once else None
        if lease is not None:
            self.shortcuts += 1
        else:
            waiter = self.scheduler.new_waiter(call, candidates)
            lease = await self.scheduler.try_lease(waiter)
            if lease is None:
                waits = self.scheduler.wait(waiter, 40.0)
                self.tasks.append((asyncio.get_running_loop().create_task(waits), call))
        if lease is not None:
            self.running.append((lease, call))

    async def settle_down(self) -> None:
        await turns()
        for task, call in [each for each in self.tasks if each[0].done()]:
            self.tasks.remove((task, call))
            if task.exception() is None:
                self.running.append((task.result(), call))

    def state(self) -> tuple[Any, ...]:
        """Everything that later calls depend on."""
        scheduler = self.scheduler
        return (
            [
                (each.key, each.has_answered, each.cooldown.until, each.cooldown.at_rest,
                 [(q.level, q.pending, q.updated_at, q.refilled_at) for q in each.quotas.values()])
                for each in scheduler.upstreams
            ],
            [(each.limit_id, each.window.used) for each in scheduler.limits],
            [
                (lease.candidate.provider.name, lease.option.demand, lease.option.by_size,
                 [limiter.name for limiter in lease.option.limiters],
                 {limiter.name for limiter, _ in lease.taken})
                for lease, _ in self.running
            ],
            scheduler.granted, scheduler.retries_remaining, dict(scheduler.waits),
            [each.key for each in scheduler.waiting], list(scheduler.pricing.unpriced),
        )  # fmt: skip


class Head(NamedTuple):
    fields: dict[str, str]


def report(requests: int, tokens: int) -> dict[str, str]:
    return {
        "x-ratelimit-limit-requests": "100", "x-ratelimit-remaining-requests": f"{requests}",
        "x-ratelimit-reset-requests": "6s", "x-ratelimit-limit-tokens": "20000",
        "x-ratelimit-remaining-tokens": f"{tokens}", "x-ratelimit-reset-tokens": "9s",
    }  # fmt: skip


NUMBERS = st.integers(0, 99)
STEPS = st.one_of(
    st.tuples(
        st.just("arrive"), st.sampled_from(KEYS), st.integers(0, 20_000),
        st.sampled_from(list(Urgency)), st.sampled_from([PRICED, UNPRICED]), st.booleans(),
    ),
    st.tuples(st.just("answer"), NUMBERS, st.integers(0, 100), st.integers(0, 20_000)),
    st.tuples(st.just("settle"), NUMBERS, st.integers(0, 6000), st.integers(0, 3000)),
    st.tuples(st.just("fail"), NUMBERS),
    st.tuples(st.just("pass"), st.sampled_from([0.05, 1.0, 7.0, 61.0])),
    st.tuples(st.just("pause"), st.sampled_from([("provider", "one"), ("key", "both")])),
)  # fmt: skip


async def take(world: World, step: tuple[Any, ...]) -> None:
    scheduler, running = world.scheduler, world.running
    match step:
        case "arrive", key, size, urgency, model, is_free:
            await world.arrive(*world.call(key, size, urgency, model=model, is_free=is_free))
        case "pass", seconds:
            world.clock.advance(seconds)
        case "pause", target:
            _ = scheduler.pauses.pause(target) or scheduler.pauses.resume(target)
        case "answer", number, requests, tokens if running:
            lease, _ = running[number % len(running)]
            head = Head(report(requests, tokens))
            scheduler.record_answer(lease, head, "k", ok=True, final=True)
        case "settle", number, read, written if running:
            lease, call = running.pop(number % len(running))
            usage = Usage(input_tokens=read, output_tokens=written)
            scheduler.settle(lease, call, usage, None, complete=True)
        case "fail", number if running:
            lease, _ = running.pop(number % len(running))
            scheduler.record_failure(
                lease.candidate, Classification(ErrorClass.RATE_LIMITED, "too many")
            )
            lease.refund(sent=True)
    await world.settle_down()


def play(scenario: Callable[[World, World], Any]) -> None:
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        for name in ("a", "b"):
            (Path(folder) / name).mkdir()

        async def both() -> None:
            fast = World(Path(folder) / "a", at_once=True)
            slow = World(Path(folder) / "b", at_once=False)
            await scenario(fast, slow)
            for task, _ in fast.tasks + slow.tasks:
                task.cancel()
            await turns()

        runner.run(both())


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=50))
def test_lease_at_once_leaves_the_state_that_the_general_way_leaves(
    steps: list[tuple[Any, ...]],
) -> None:
    async def scenario(fast: World, slow: World) -> None:
        for step in steps:
            await take(fast, step)
            await take(slow, step)
            assert fast.state() == slow.state(), step

    play(scenario)


@pytest.mark.parametrize(("key", "expected"), [("plain", 1), ("both", 1), ("budget", 0)])
def test_warm_call_gets_its_lease_at_once(key: str, expected: int) -> None:
    """But for one with several candidates and a budget, whose models are checked for a price."""

    async def scenario(fast: World, _: World) -> None:
        await fast.arrive(*fast.call(key))
        assert fast.shortcuts == expected
        assert len(fast.running) == 1

    play(scenario)


def test_call_of_an_earlier_configuration_gets_no_lease_at_once() -> None:
    async def scenario(fast: World, _: World) -> None:
        call = fast.call("plain")
        fast.scheduler.reconcile(load(YAML.encode(), file="routes.yaml", registry=registry()))
        assert fast.scheduler.lease_at_once(*call) is None
        assert fast.scheduler.granted == 0

    play(scenario)


def test_no_call_passes_one_that_waits_for_more_room() -> None:
    async def scenario(fast: World, _: World) -> None:
        await fast.arrive(*fast.call("tokens", 400))
        await fast.arrive(*fast.call("tokens", 20_000))
        await fast.settle_down()
        small = fast.call("tokens", 400)
        assert [each.key for each in fast.scheduler.waiting] == ["tokens"]
        assert fast.scheduler.lease_at_once(*small) is None
        fast.tasks[0][0].cancel()
        await turns()
        assert fast.scheduler.lease_at_once(*small) is not None

    play(scenario)


def test_quota_that_counts_a_call_already_does_not_settle_it_again() -> None:
    async def scenario(fast: World, _: World) -> None:
        for tokens in (15_000, 14_000):  # the first response names the quotas
            await take(fast, ("arrive", "plain", 400, Urgency.NORMAL, PRICED, False))
            await take(fast, ("answer", 0, 90, tokens))
            await take(fast, ("settle", 0, 3000, 500))
            fast.clock.advance(1.0)
        quotas = [quota for each in fast.scheduler.upstreams for quota in each.quotas.values()]
        assert [(quota.level, quota.pending) for quota in quotas] == [(90.0, 0), (14_000.0, 0)]

    play(scenario)


@pytest.mark.parametrize("key", ["plain", "tokens"])
def test_amounts_of_a_demand_are_in_one_order(key: str) -> None:
    async def scenario(fast: World, _: World) -> None:
        await fast.arrive(*fast.call(key, 4000))
        ((lease, call),) = fast.running
        expected = lease.option.demand
        read, most = expected[LimitUnit.INPUT], expected[LimitUnit.OUTPUT_UPPER_BOUND]
        assert 0 < read < most
        assert expected == demand_of(read, most)
        usage = Usage(input_tokens=3000, output_tokens=500)
        used = fast.scheduler.settle(lease, call, usage, Cost(7, 9, ""), complete=True)
        assert used == demand_of(3000, 500, 9)

    play(scenario)


REPORTS = st.lists(
    st.tuples(st.integers(1, 10**6), st.integers(0, 10**6), st.floats(0, 100), st.booleans()),
    min_size=2, max_size=2,
)  # fmt: skip


@given(REPORTS, st.lists(st.tuples(st.integers(0, 2 * 10**5), st.floats(0, 50)), max_size=20))
def test_demands_are_taken_from_all_quotas_or_from_none(
    reports: list[tuple[int, int, float, bool]], calls: list[tuple[int, float]]
) -> None:
    def new() -> list[VendorQuota]:
        found = []
        kinds = (QuotaKind.REQUESTS, QuotaKind.TOKENS)
        for kind, (limit, left, reset, at_once) in zip(kinds, reports, strict=True):
            quota = VendorQuota("p", "", kind)
            quota.observe(Quota(kind, limit, left, reset, 60.0, at_once=at_once), None, 0.0)
            found.append(quota)
        return found

    at_once, one_by_one, now = new(), new(), 0.0
    for tokens, seconds in calls:
        now += seconds
        demand = demand_of(tokens, 0)
        taken: list[tuple[Any, Any]] = []
        if take_all(at_once, demand, now, taken):
            assert all(each.allows(demand[each.unit], 0, now) for each in one_by_one)
            for each in one_by_one:
                each.acquire(demand[each.unit], 0, now)
            amounts = [amount for _, amount in taken]
            assert amounts == [demand[LimitUnit.CALLS], demand[LimitUnit.TOKENS_UPPER_BOUND]]
        else:
            assert not taken
        for mine, other in zip(at_once, one_by_one, strict=True):
            assert (mine.level, mine.pending) == (other.level, other.pending)
            assert mine.remaining(now) == other.remaining(now)


def test_estimates_follow_the_ends_of_calls_within_a_moment() -> None:
    async def scenario(fast: World, _: World) -> None:
        async def expected() -> int:
            await take(fast, ("arrive", "plain", 400, Urgency.NORMAL, PRICED, False))
            most = fast.running[0][0].option.demand[LimitUnit.OUTPUT_UPPER_BOUND]
            await take(fast, ("settle", 0, 100, 70))
            return most

        before = [await expected() for _ in range(MIN_SAMPLES)]
        fast.clock.advance(LEARN_SECONDS)
        assert (set(before), await expected()) == ({DEFAULT_OUTPUT_TOKENS}, 70)

    play(scenario)
