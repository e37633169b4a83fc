"""The engine on a real server: what happens to calls, nodes and the server itself."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator

import pytest
from lease_rooms import Room, shared_room, snapshot
from real_redis import needs_redis, redis_server
from vendor_apis import until

import sidecar.shared.server
from sidecar.config.model import Urgency
from sidecar.errors import ProxyError
from sidecar.records import NANODOLLARS
from sidecar.scheduling.limiter import demand_of
from sidecar.shared.engine import Engine, open_engine
from sidecar.shared.scopes import Denied, Scope
from sidecar.shared.server import EngineError

pytestmark = needs_redis
DOLLAR = demand_of(1, 1, NANODOLLARS)
MINUTE = [Scope("key/a/rpm/", "window", 2, 2, 1)]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with redis_server() as url:
        yield url


def engine_of(room: Room, at: int) -> Engine:
    found = room.processes[at].engine
    assert found is not None
    return found


async def take(engine: Engine, lease_id: str | None = None) -> Denied | None:
    return await engine.lease(lease_id or engine.new_id(), 1, 0.0, MINUTE)


async def test_slots_of_a_dead_process_are_free_after_fifteen_seconds(server: str) -> None:
    async with shared_room(snapshot("limits: {concurrency: 1}"), server, 2) as room:
        assert await room.lease(at=0)
        waits = await room.wait(at=1)
        await room.pass_time(14, 0)
        assert not waits.done()
        await room.pass_time(10, 0)
        assert waits.done()


async def test_budget_of_a_dead_process_counts_its_estimate_until_it_settles(server: str) -> None:
    async with shared_room(snapshot("budget: $1/day"), server, 2) as room:
        lease = await room.lease(demand=DOLLAR, at=0)
        assert lease
        await room.pass_time(30, 0)
        assert await room.lease(demand=DOLLAR, at=1) is None
        await room.end(lease, demand_of(1, 1, NANODOLLARS // 4))
        assert await room.lease(demand=DOLLAR, at=1)


async def test_waiting_call_of_a_dead_process_is_dropped(server: str) -> None:
    async with shared_room(snapshot("limits: {concurrency: 1}"), server, 3) as room:
        running = await room.lease(at=0)
        await room.wait(urgency=Urgency.INTERACTIVE, at=1)
        waits = await room.wait(at=2)
        engine_of(room, 1)._base = "{elsewhere}"  # as if it were gone
        await room.pass_time(16, 1)
        assert running
        await room.end(running)
        await room.pass_time(3, 1)
        assert waits.done()


async def test_message_that_no_node_sends_stops_no_other(server: str) -> None:
    async with shared_room(snapshot(), server, 1) as room:
        engine, woken = engine_of(room, 0), list[tuple[str, int, bool]]()
        engine.on_wake = lambda *wake: woken.append(wake)
        channel = f"{engine._base}:wake:{engine.node}"
        while not await room.redis.publish(channel, "1 begin"):
            pass  # it does not listen yet
        for each in ("no number", "", "8 a/b", "9 a/b turn"):
            assert await room.redis.publish(channel, each)
        await until(lambda: ("a/b", 9, True) in woken)
        begin = woken.index(("begin", 1, False))
        assert woken[begin + 1 :] == [("a/b", 8, False), ("a/b", 9, True)]


async def test_lease_and_settlement_that_are_sent_twice_count_once(server: str) -> None:
    async with shared_room(snapshot(), server, 1) as room:
        engine = engine_of(room, 0)
        assert await take(engine, "one") is None
        assert await take(engine, "one") is None
        assert await take(engine, "two") is None
        denied = await take(engine, "three")
        assert denied is not None
        assert denied.settled == 2
        for _ in range(2):
            engine.settle("one", [0])
        await room.quiet()
        assert await take(engine) is None
        assert await take(engine) is not None


async def test_lease_that_was_given_up_before_it_arrived_is_refused(server: str) -> None:
    async with shared_room(snapshot(), server, 1) as room:
        engine = engine_of(room, 0)
        engine.give_up("late")
        await room.quiet()
        with pytest.raises(EngineError):
            await take(engine, "late")
        assert await take(engine) is None
        assert await take(engine) is None


async def test_correction_that_is_sent_twice_counts_once(server: str) -> None:
    async with shared_room(snapshot("budget: $1/day"), server, 1) as room:
        lease = await room.lease(demand=DOLLAR)
        assert lease
        await room.end(lease)
        engine, process = engine_of(room, 0), room.processes[0]
        less = demand_of(1, 1, NANODOLLARS // 2)
        windows = process.limits.correct(room.scopes("a"), "gpt-5", DOLLAR, less, room.wall())
        process.leases.correct(windows, DOLLAR, less, room.wall())
        engine._unsent.append(engine._unsent[0])
        await room.quiet()
        [counts] = [
            await room.redis.hgetall(key)  # type: ignore[misc]
            for key in await room.redis.keys(f"{engine._base}:h:*budget*")
        ]
        assert counts["s"] == str(NANODOLLARS // 2)


async def test_lease_without_contention_is_one_round_trip(server: str) -> None:
    limits = "limits: {rpm: 9, tpm: 900, concurrency: 3, rpd: 9}, budget: $9/day"
    async with shared_room(snapshot(limits, limits), server, 1) as room:
        commands = room.redis

        async def number() -> int:
            stats = await commands.info("commandstats")
            return int(sum(stats[f"cmdstat_{name}"]["calls"] for name in ("evalsha", "eval")))

        before = await number()
        assert await room.lease()
        assert await number() == before + 1


async def test_server_that_lost_the_script_gets_it_again(server: str) -> None:
    async with shared_room(snapshot(), server, 1) as room:
        engine = engine_of(room, 0)
        await room.redis.script_flush()
        assert await take(engine) is None


async def test_stall_of_this_process_is_no_outage_of_the_server(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sidecar.shared.server, "TIMEOUT_SECONDS", 0.1)
    async with shared_room(snapshot(), server, 1) as room:
        engine = engine_of(room, 0)
        asked = asyncio.ensure_future(take(engine))
        for _ in range(3):  # until the command is written
            await asyncio.sleep(0)
        time.sleep(0.3)  # noqa: ASYNC251 - the stall
        assert await asked is None
        assert engine.is_reached


async def test_namespaces_are_apart(server: str) -> None:
    async with shared_room(snapshot(), server, 1) as one, shared_room(snapshot(), server, 1) as two:
        for room in (one, two):
            assert await take(engine_of(room, 0)) is None
            assert await take(engine_of(room, 0)) is None
            assert await take(engine_of(room, 0)) is not None


@pytest.mark.usefixtures("silent_server_is_out")
async def test_stopped_server_rejects_calls_and_counts_nothing_twice() -> None:
    with redis_server() as url:
        async with shared_room(snapshot("limits: {rpm: 1}"), url, 1, refuses=True) as room:
            engine = engine_of(room, 0)
            pid = (await room.redis.info("server"))["process_id"]
            os.kill(pid, signal.SIGSTOP)
            try:
                with pytest.raises(ProxyError) as rejected:
                    await room.lease()
            finally:
                os.kill(pid, signal.SIGCONT)
            assert "did not answer within 0.5 s" in str(rejected.value)
            async with asyncio.timeout(10):
                while not engine.is_reached:
                    await asyncio.gather(engine.beat(), return_exceptions=True)
            assert await room.lease()
            assert await room.lease() is None


async def test_password_is_in_no_message(caplog: pytest.LogCaptureFixture) -> None:
    with redis_server("--requirepass", "canary-right") as url:
        wrong = url.replace("unix://", "unix://:canary-wrong@")
        async with open_engine(wrong, "n", asyncio.get_running_loop().time) as engine:
            with pytest.raises(EngineError, match="rejects the user or password") as rejected:
                await take(engine)
        assert "canary" not in caplog.text + str(rejected.value)
        right = url.replace("unix://", "unix://:canary-right@")
        async with open_engine(right, "n", asyncio.get_running_loop().time) as engine:
            assert await take(engine) is None
