"""Usage of several nodes on a real server: each ledger counts once, whatever happens between."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ledger_checks import Wall, call, snapshot, used
from real_redis import RealRedis, needs_redis, real_redis

from sidecar.admin.introspect.nodes import own_days
from sidecar.ledger.call_rows import MAX_COST
from sidecar.ledger.database import DAY_SECONDS
from sidecar.ledger.ledger import Ledger
from sidecar.ledger.reader import open_to_read
from sidecar.ledger.reports.nodes import FOLDED, MAX_DAY_ROWS, NamedDays, merged
from sidecar.ledger.reports.sums import Sums, total
from sidecar.ledger.reports.usage import Days, Dimension, UsageQuery, usage
from sidecar.ledger.rollups import COUNTS, FIGURES
from sidecar.records import Cost, Usage, UsageState
from sidecar.shared.engine import Engine, open_engine
from sidecar.shared.server import EngineError
from sidecar.shared.usage import display_names

pytestmark = needs_redis
TODAY = datetime.fromtimestamp(Wall().now, UTC).date()
MONTH = Days(TODAY - timedelta(30), TODAY)
BY = tuple(Dimension(each) for each in ("day", "key", "group", "provider", "model"))
_numbers = iter(range(10**9))


@dataclass
class Node:
    """A ledger and what shares its usage."""

    state: Path
    ledger: Ledger
    engine: Engine

    def use(self, key: str = "a", days_ago: int = 0, **more: Any) -> None:
        started = Wall().now - days_ago * DAY_SECONDS
        name = f"call_{next(_numbers)}"
        self.ledger.finished(call(call_id=name, key=key, started=started, **more))

    async def report(self, *others: Node) -> dict[tuple[str, ...], Sums]:
        """What this node shows of all."""
        await asyncio.gather(*(each.engine.usage.push() for each in others))
        return await self.shown()

    async def shown(self) -> dict[tuple[str, ...], Sums]:
        await self.ledger.flush()
        with open_to_read(self.state) as books:
            own = await self.engine.usage.read_own(1)
            assert own is not None
            found = await self.engine.usage.read_others(own.node, TODAY - timedelta(30), TODAY)
            others = [NamedDays(each.id, each.days) for each in found.nodes]
            with merged(books, "own", others, MONTH) as together:
                return sums(together)


def sums(books: sqlite3.Connection) -> dict[tuple[str, ...], Sums]:
    return {each.names: each.sums for each in usage(books, UsageQuery(BY, MONTH))}


def summed(*nodes: Node) -> dict[tuple[str, ...], Sums]:
    """What the ledgers of nodes add up to, each read by itself."""
    found: dict[tuple[str, ...], list[Sums]] = {}
    for each in nodes:
        with open_to_read(each.state) as books:
            for names, line in sums(books).items():
                found.setdefault(names, []).append(line)
    return {names: total(each) for names, each in found.items()}


@pytest.fixture(scope="module")
def server() -> Iterator[RealRedis]:
    with real_redis() as found:
        yield found


@asynccontextmanager
async def node(state: Path, server: RealRedis, namespace: str) -> AsyncIterator[Node]:
    wall = Wall()
    async with Ledger(state, wall=wall) as ledger:
        ledger.reconcile(snapshot({"a": "one"}, timezone=UTC))
        clock = asyncio.get_running_loop().time
        async with open_engine(server.url, namespace, clock, wall) as engine:
            engine.usage.read_own = own_days(ledger, state, wall)
            yield Node(state, ledger, engine)


@asynccontextmanager
async def two(folder: Path, server: RealRedis) -> AsyncIterator[tuple[Node, Node]]:
    async with (
        node(folder / "one", server, folder.name) as one,
        node(folder / "other", server, folder.name) as other,
    ):
        yield one, other


async def test_report_of_all_nodes_equals_the_sum_of_their_ledgers(
    tmp_path: Path, server: RealRedis
) -> None:
    async with two(tmp_path, server) as (one, other):
        for _ in range(200):  # more than a floating-point number holds
            other.use(cost=Cost(MAX_COST - 1, MAX_COST - 1, "list"))
        for at, each in enumerate((one, other, other)):
            each.use("b", days_ago=at, usage=Usage(input_tokens=7 + at))
            each.use("c", usage=None, cost=None, usage_state=UsageState.UNKNOWN)
            each.use("d", model_asked=f"m-{at}", usage_state=UsageState.PARTIAL)
            each.use("e", usage=None, cost=None, usage_state=UsageState.NONE)
        found = await one.report(other)
        assert found == summed(one, other)
        assert found == await other.report(one)
        assert found[TODAY.isoformat(), "a", "G", "acme", "m-1"].charged == 200 * (MAX_COST - 1)
        assert found[TODAY.isoformat(), "c", "G", "acme", "m-1"].input_tokens is None


async def test_usage_that_is_pushed_twice_and_after_a_restart_counts_once(
    tmp_path: Path, server: RealRedis
) -> None:
    async with node(tmp_path / "one", server, tmp_path.name) as one:
        async with node(tmp_path / "other", server, tmp_path.name) as other:
            other.use()
            for _ in range(2):
                await other.engine.usage.push(whole=True)
            before = await one.shown()
        async with node(tmp_path / "other", server, tmp_path.name) as again:
            assert await one.report(again) == before == summed(again)
            again.use()
            assert await one.report(again) == summed(again)


async def test_last_usage_is_pushed_when_the_process_ends(
    tmp_path: Path, server: RealRedis
) -> None:
    async with node(tmp_path / "one", server, tmp_path.name) as one:
        async with node(tmp_path / "other", server, tmp_path.name) as other:
            await other.engine.usage.push()
            other.use()
        assert await one.shown() == summed(other)


async def test_usage_is_pushed_again_after_the_server_lost_its_data(
    tmp_path: Path, server: RealRedis
) -> None:
    async with two(tmp_path, server) as (one, other):
        other.use(days_ago=9)
        assert await one.report(other) == summed(other)
        await other.engine._server.send([("FLUSHALL",)])
        assert await one.shown() == {}
        other.use()
        assert await one.report(other) == summed(other)


async def test_push_beside_another_brings_back_all_that_the_server_lost(
    tmp_path: Path, server: RealRedis
) -> None:
    async with two(tmp_path, server) as (one, other):
        other.use(days_ago=9)
        for turns in range(40):
            assert await one.report(other) == summed(other)
            push, send = other.engine.usage.push, other.engine._server.send
            other.use()
            running = asyncio.create_task(push())
            for _ in range(turns):
                await asyncio.sleep(0)
            await send([("FLUSHALL",)])
            await push()
            assert await one.shown() == summed(other)
            await running


async def test_rename_of_a_key_moves_its_pushed_usage(tmp_path: Path, server: RealRedis) -> None:
    async with two(tmp_path, server) as (one, other):
        other.use()
        other.use("gone", days_ago=9)
        used(other.ledger, "a")
        await other.engine.usage.push()
        other.ledger.reconcile(snapshot({"b": "one"}, timezone=UTC))
        await other.engine.usage.push(whole=True)
        found = await one.shown()
        assert {names[1] for names in found} == {"b", "gone"}
        assert found == summed(other)


async def test_day_that_the_ledger_no_longer_has_is_dropped(
    tmp_path: Path, server: RealRedis
) -> None:
    async with two(tmp_path, server) as (one, other):
        other.use()
        other.use(days_ago=9)
        assert len(await one.report(other)) == 2
        with closing(sqlite3.connect(other.state / "sidecar.db")) as books, books:
            books.execute("DELETE FROM days WHERE day < ?", (TODAY.isoformat(),))
        await other.engine.usage.push(whole=True)
        assert len(await one.shown()) == 1


async def test_usage_of_an_outage_is_pushed_after_it_and_the_outage_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with real_redis() as server:
        async with two(tmp_path, server) as (one, other):
            other.use()
            await other.engine.usage.push()
            server.kill()
            other.use()
            with caplog.at_level(logging.WARNING, "sidecar.shared"):
                for _ in range(2):
                    await other.engine.usage._try_push(whole=False)
            assert [each.message for each in caplog.records] == [
                "usage is not shared: the server of shared state cannot be reached"
            ]
            with pytest.raises(EngineError):
                await one.shown()
            server.start()
            assert await one.report(other) == summed(other)


async def test_node_that_stopped_keeps_the_time_of_its_last_push(
    tmp_path: Path, server: RealRedis
) -> None:
    async with two(tmp_path, server) as (one, other):
        other.use()
        await other.engine.usage.push()
        own = await one.engine.usage.read_own(1)
        assert own is not None
        one.engine.usage._server_time = lambda: Wall().now + 3600
        await one.engine.usage.push()
        found = await one.engine.usage.read_others(own.node, TODAY, TODAY)
        assert [each.written for each in found.nodes] == [pytest.approx(Wall().now, abs=60)]
        assert one.engine.usage.pushed_at == Wall().now + 3600
        assert not (await one.engine.usage.read_others(own.node, TODAY + timedelta(3), TODAY)).nodes


async def test_rows_of_a_day_are_bounded_and_still_add_up(
    tmp_path: Path, server: RealRedis
) -> None:
    async with two(tmp_path, server) as (one, other):
        for at in range(MAX_DAY_ROWS + 20):
            other.use(model_asked=f"m-{at}")
        other.use(model_asked="m-3")
        found = await one.report(other)
        assert len(found) == MAX_DAY_ROWS
        assert found[TODAY.isoformat(), *[FOLDED] * 4].calls == 21
        assert (TODAY.isoformat(), "a", "G", "acme", "m-3") in found
        assert total(found.values()) == total(summed(other).values())


def read_by_node(**days: str) -> dict[str, Sums]:
    """What a report reads of the days that nodes wrote."""
    others = [NamedDays(name, {TODAY.isoformat(): text}) for name, text in days.items()]
    columns = ", ".join(("day", "key", "group_name", "provider", "model", *COUNTS, *FIGURES))
    with closing(sqlite3.connect(":memory:")) as own:
        own.execute(f"CREATE TABLE days ({columns})")
        own.execute("CREATE TABLE settings (name, value)")
        with merged(own, "own", others, Days()) as together:
            return {
                each.names[0]: each.sums for each in usage(together, UsageQuery((Dimension.NODE,)))
            }


@pytest.mark.parametrize("written", ["", "soon", "nan", "1e300"])
async def test_node_without_a_time_that_nodes_write_is_shown(
    tmp_path: Path, server: RealRedis, written: str
) -> None:
    async with node(tmp_path, server, tmp_path.name) as own:
        head = ["host", "h\x1b[2J", *(["written", written] if written else [])]
        usage, key = own.engine.usage, own.engine.usage._key
        await usage._server.send([("HSET", f"{key}:x", *head), ("ZADD", key, "1e10", "x")])
        [found] = (await usage.read_others("own", TODAY, TODAY)).nodes
        assert found.host == "h\\x1b[2J"
        assert 0 <= found.written < 1e10


def test_day_of_another_version_is_read_by_the_names_of_its_columns() -> None:
    found = read_by_node(new='[["key","later","calls","cost_charged"],["a",1,2,5],["b",1,1,null]]')
    assert (found["new"].calls, found["new"].charged, found["new"].input_tokens) == (3, 5, None)


def test_day_that_no_node_writes_is_left_out_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bad = {
        "cut": '[["calls"],[1', "none": "[]", "text": '[["calls"],["1"]]',
        "null": '[["calls"],[2],[null]]', "big": f'[["calls"],[{1 << 70}]]',
        "short": '[["key","calls"],["a"]]', "number": '[["key"],[1]]',
    }  # fmt: skip
    assert list(read_by_node(good='[["calls"],[1]]', **bad)) == ["good"]
    assert len(caplog.records) == len(bad)


def test_nodes_of_one_machine_are_told_apart_by_their_lasting_names() -> None:
    assert display_names({"aaaa1": "laptop", "bbbb2": "laptop", "cccc3": "ci"}) == {
        "aaaa1": "laptop-aaaa", "bbbb2": "laptop-bbbb", "cccc3": "ci",
    }  # fmt: skip
