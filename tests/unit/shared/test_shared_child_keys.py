"""Child keys of several processes on one server: served by all of them, ended for all of them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from lease_rooms import NOON, snapshot
from ledger_checks import call
from manual_clock import HandClock
from real_redis import RealRedis, needs_redis, real_redis

from sidecar.child_keys import LIFETIME_SECONDS, ChildKeys, ChildOrder
from sidecar.config.model import Key
from sidecar.errors import ProxyError
from sidecar.records import Cost, Usage
from sidecar.shared.engine import Engine, open_engine

pytestmark = needs_redis
FILE = snapshot()
DIGEST = "ab" * 32
ORDER = ChildOrder(name="c-1", digest=DIGEST, key="a", models=["gpt-5*"], budgets=["$1/day"])
ANOTHER = ChildOrder(name="c-2", digest="cd" * 32, key="a")
_namespaces = itertools.count()


class Process(NamedTuple):
    engine: Engine
    keys: ChildKeys
    revoked: list[str]

    def key(self) -> Key | None:
        """The key that the secret of `ORDER` has here."""
        found = self.keys.add_to(FILE).by_digest.get(bytes.fromhex(DIGEST))
        return None if found is None else found[0]


class Fleet:
    """Two processes, and the clock of both and of the server."""

    def __init__(self, clock: HandClock, processes: list[Process]) -> None:
        self.clock = clock
        self.processes = processes

    async def sync(self) -> None:
        """Let each have what the other has sent."""
        for each in self.processes * 2:
            await each.engine.facts.sync()

    async def recovered(self) -> None:
        """Let each find that the server answers again."""
        async with asyncio.timeout(20):
            for each in self.processes:
                await asyncio.gather(
                    each.engine.beat(), return_exceptions=True
                )  # a dead connection
                while not each.engine.is_reached:
                    await asyncio.gather(each.engine.beat(), return_exceptions=True)


@pytest.fixture(scope="module")
def redis() -> Iterator[RealRedis]:
    with real_redis() as server:
        yield server


@asynccontextmanager
async def process(
    clock: HandClock, redis: RealRedis, namespace: str, state: Path
) -> AsyncIterator[Process]:
    def wall() -> float:
        return NOON + clock.now

    async with open_engine(redis.url, namespace, clock, wall) as engine:
        revoked: list[str] = []
        keys = ChildKeys(state, clock, wall, on_revoked=revoked.append)
        keys.restore()
        keys.share(engine.facts, state.name)
        yield Process(engine, keys, revoked)


@asynccontextmanager
async def fleet(redis: RealRedis, folder: Path) -> AsyncIterator[Fleet]:
    clock, namespace = HandClock(), f"c{next(_namespaces)}"
    async with AsyncExitStack() as stack:
        yield Fleet(clock, [
            await stack.enter_async_context(process(clock, redis, namespace, folder / name))
            for name in ("one", "two")
        ])  # fmt: skip


@pytest.fixture(autouse=True)
def states(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()


@pytest.fixture
async def both(redis: RealRedis, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with fleet(redis, tmp_path) as found:
        yield found


async def test_child_key_of_one_process_is_served_by_all_with_its_own_bounds(both: Fleet) -> None:
    one, two = both.processes
    one.keys.renew(ORDER, FILE)
    await both.sync()
    key = two.key()
    assert key is not None
    assert (key.name, key.child) == ("a", "c-1")
    assert key.models is not None
    assert [each.text for each in key.models] == ["gpt-5*"]
    assert key.child_allowance == one.keys.add_to(FILE).children["c-1"].child_allowance
    assert [each.at for each in two.keys] == ["one"]
    assert [each.at for each in one.keys] == [""]


async def test_child_key_of_another_process_lapses_without_its_heartbeats(both: Fleet) -> None:
    one, two = both.processes
    one.keys.renew(ORDER, FILE)
    both.clock.advance(LIFETIME_SECONDS - 1)
    one.keys.renew(ORDER, FILE)
    await both.sync()
    both.clock.advance(LIFETIME_SECONDS - 1)
    two.keys.sweep()
    assert two.key() is not None
    both.clock.advance(2)
    two.keys.sweep()
    assert two.key() is None


async def test_end_of_a_child_key_reaches_the_calls_of_all_processes(both: Fleet) -> None:
    one, two = both.processes
    one.keys.renew(ORDER, FILE)
    await both.sync()
    one.keys.close("c-1")
    await both.sync()
    assert two.key() is None
    [why] = two.keys.add_to(FILE).ended_runs.values()
    assert why.startswith("the run that this key was made for has ended")
    assert two.revoked == ["c-1"]
    one.keys.end("c-1")
    assert one.revoked == []


async def test_use_of_a_child_key_is_the_sum_of_all_processes_also_after_a_restart(
    both: Fleet, tmp_path: Path
) -> None:
    one, two = both.processes
    one.keys.renew(ORDER, FILE)
    await both.sync()
    taken = call(usage=Usage(10, 5), cost=Cost(7, 7, "p"))
    for each in (one, two, two):
        each.keys.count("c-1", taken)
    await both.sync()
    used = one.keys.totals("c-1")
    assert (used.calls, used.input_tokens, used.charged) == (3, 30, 21)
    one.keys.keep()
    again = ChildKeys(tmp_path / "one", both.clock, one.keys.wall)
    again.restore()
    again.share(one.engine.facts, "one")
    assert again.totals("c-1") == used
    two.engine.facts.publish("run", "x/c-1", "no totals", 100.0)
    await both.sync()
    assert again.totals("c-1") == used


async def test_child_key_of_another_process_outlives_no_restart_without_that_process(
    both: Fleet, tmp_path: Path
) -> None:
    one, two = both.processes
    one.keys.renew(ORDER, FILE)
    await both.sync()
    two.keys.keep()
    assert len(list(two.keys)) == 1
    alone = ChildKeys(tmp_path / "two", both.clock, two.keys.wall)
    alone.restore()
    assert list(alone) == []


async def test_child_key_ended_in_an_outage_ends_for_all_after_it(tmp_path: Path) -> None:
    with real_redis() as own:
        async with fleet(own, tmp_path) as both:
            one, two = both.processes
            one.keys.renew(ORDER, FILE)
            await both.sync()
            own.kill()
            one.keys.close("c-1")
            one.keys.renew(ANOTHER, FILE)
            assert two.key() is not None
            own.start()
            await both.recovered()
            await both.sync()
            assert two.key() is None
            assert [each.order.name for each in two.keys] == ["c-2"]


@pytest.mark.parametrize("is_over", [False, True])
async def test_ended_child_key_ends_again_when_the_server_has_it_from_a_process_that_was_cut_off(
    both: Fleet, *, is_over: bool
) -> None:
    one, two = both.processes
    one.keys.renew(ORDER, FILE)
    await both.sync()
    before = two.engine.facts.get("child", "c-1")
    assert before is not None
    one.keys.close("c-1")
    if is_over:
        one.keys.end("c-1")
    await both.sync()
    two.engine.facts.publish("child", "c-1", before.value, 100.0)
    await both.sync()
    assert [each.engine.facts.get("child", "c-1") for each in both.processes] == [None, None]


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"order":{"name":"c-3","digest":"12"},"parent":"a","group":"G","begun":1,"expires":1}',
        '{"order":{"name":"c-4","digest":"%s"},"parent":"a","group":"G","begun":1,"expires":1}'
        % ("12" * 32),
        '{"order":{"name":"c-3","digest":"%s"},"parent":"a","group":"G","begun":1,"expires":1,"at":"\\u001b[2J"}'
        % ("12" * 32),
    ],
)
async def test_fact_that_is_no_child_key_is_ignored(both: Fleet, text: str) -> None:
    one, two = both.processes
    one.engine.facts.publish("child", "c-3", text, 100.0)
    await both.sync()
    assert list(two.keys) == []


async def test_child_key_of_another_process_does_not_replace_one_of_this_process(
    both: Fleet,
) -> None:
    one, two = both.processes
    one.keys.renew(ORDER, FILE)
    two.keys.renew(ChildOrder(name="c-1", digest="cd" * 32, key="b"), FILE)
    await both.sync()
    assert [(each.at, each.parent) for each in (*one.keys, *two.keys)] == [("", "a"), ("", "b")]
    with pytest.raises(ProxyError, match="another run has the name"):
        two.keys.renew(ORDER, FILE)
