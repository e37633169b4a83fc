"""What happens to limits while the engine fails, and after it: with real servers and links."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Iterator

import pytest
from bad_link import bad_link
from lease_rooms import Room, shared_room, snapshot
from real_redis import RealRedis, needs_redis, real_redis

from sidecar.errors import ProxyError
from sidecar.records import NANODOLLARS
from sidecar.scheduling.lease import Lease
from sidecar.scheduling.limiter import demand_of
from sidecar.shared.engine import Engine

pytestmark = [needs_redis, pytest.mark.usefixtures("silent_server_is_out")]
DOLLAR = demand_of(1, 1, NANODOLLARS)


@pytest.fixture
def server() -> Iterator[RealRedis]:
    with real_redis() as found:
        yield found


def engines(room: Room) -> list[Engine]:
    return [each.engine for each in room.processes if each.engine is not None]


async def taken(room: Room, at: int, most: int = 50) -> list[Lease]:
    """As many leases as a process gets now."""
    found: list[Lease] = []
    while len(found) < most and (lease := await room.lease(at=at)) is not None:
        found.append(lease)
    return found


async def failed(room: Room) -> None:
    """Until every process has seen that the server fails."""
    async with asyncio.timeout(20):
        for each in engines(room):
            while each.is_reached:
                await asyncio.gather(each.beat(), return_exceptions=True)


async def recovered(room: Room) -> None:
    async with asyncio.timeout(20):
        for each in engines(room):
            while not each.is_reached:
                await asyncio.gather(each.beat(), return_exceptions=True)
    await room.quiet()


async def number_of(room: Room, *words: str) -> object:
    return await room.redis.execute_command(*words)


async def beats(room: Room) -> None:
    for each in engines(room):
        await each.beat()


@pytest.mark.parametrize(("limit", "share"), [("rpm: 10", 5), ("concurrency: 4", 2), ("rpd: 1", 1)])
async def test_process_admits_its_part_while_the_server_is_gone(
    server: RealRedis, limit: str, share: int
) -> None:
    async with shared_room(snapshot(f"limits: {{{limit}}}"), server.url, 2) as room:
        await beats(room)
        server.kill()
        await failed(room)
        for at in (0, 1):
            assert len(await taken(room, at)) == share


async def test_limit_is_exceeded_by_the_parts_of_the_others_at_most(server: RealRedis) -> None:
    async with shared_room(snapshot("limits: {rpm: 12}"), server.url, 3) as room:
        await beats(room)
        before = len(await taken(room, 0))
        server.kill()
        await failed(room)
        after = sum([len(await taken(room, at)) for at in range(3)])
        assert (before, after) == (12, 8)  # the first has had its part


async def test_refusing_process_rejects_calls_at_once_and_counts_nothing(
    server: RealRedis,
) -> None:
    async with shared_room(snapshot("limits: {rpm: 1}"), server.url, 1, refuses=True) as room:
        server.kill()
        await failed(room)
        for _ in range(3):
            with pytest.raises(ProxyError, match="cannot be reached") as rejected:
                await room.lease()
            assert rejected.value.reply.retry_after == 2.0
        server.start()
        await recovered(room)
        assert len(await taken(room, 0)) == 1


async def test_calls_of_an_outage_count_for_all_after_it_and_once(
    server: RealRedis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "sidecar.shared")
    limits = "limits: {rpm: 10, concurrency: 8}, budget: $9/day"
    async with shared_room(snapshot(limits), server.url, 2) as room:
        await beats(room)
        before = [await room.lease(demand=DOLLAR, at=0) for _ in range(2)]
        server.send(signal.SIGSTOP)
        await failed(room)
        during = [await room.lease(demand=DOLLAR, at=at) for at in (0, 1, 1)]
        for lease in (before[0], during[0]):  # the one is on the server, the other is not
            assert lease
            lease.settle(DOLLAR)
        server.send(signal.SIGCONT)
        await recovered(room)
        assert [each.levelname for each in caplog.records] == ["ERROR"] * 2 + ["WARNING"] * 2
        await beats(room)
        for lease in (before[1], *during[1:]):
            assert lease
            await room.end(lease, demand_of(1, 1, NANODOLLARS // 2))
        names = await room.redis.keys("*:h:group*")
        counts = {name: await room.redis.hgetall(name) for name in names}  # type: ignore[misc]
        [spent] = [found["s"] for name, found in counts.items() if "budget" in name]
        [slots] = [found["s"] for name, found in counts.items() if "concurrency" in name]
        assert (spent, slots) == (str(2 * NANODOLLARS + 3 * NANODOLLARS // 2), "0")
        assert len(await taken(room, 1)) == 5


async def test_call_that_waits_at_a_gate_is_admitted_by_the_part(server: RealRedis) -> None:
    async with shared_room(snapshot("limits: {concurrency: 2}"), server.url, 2) as room:
        await beats(room)
        held = await taken(room, 0)
        waits = await room.wait(at=1)
        assert not waits.done()
        server.kill()
        await failed(room)
        async with asyncio.timeout(10):
            await waits
        server.start()
        await recovered(room)
        await beats(room)
        assert await room.lease(at=1) is None  # three run
        for lease in (*held, await waits):
            await room.end(lease)
        assert len(await taken(room, 1)) == 2


async def test_message_that_the_loss_of_data_makes_void_does_not_block_the_process(
    server: RealRedis,
) -> None:
    async with shared_room(snapshot("limits: {concurrency: 2}"), server.url, 1) as room:
        [engine] = engines(room)
        server.kill()
        await failed(room)
        engine.leave(["no/such/limit"])
        server.start()
        while not engine.is_reached:
            await asyncio.gather(engine.beat(), return_exceptions=True)
        assert not engine._unsent
        assert not engine._has_unsent.is_set()  # else its sender runs and never waits


@pytest.mark.parametrize("loss", ["flush", "restart"])
async def test_server_that_lost_its_data_gets_it_back(server: RealRedis, loss: str) -> None:
    limits = "limits: {rpm: 10, tpm: 60000, concurrency: 5}, budget: $9/day"
    async with shared_room(snapshot(limits), server.url, 2) as room:
        await beats(room)
        leases = [await room.lease(demand=DOLLAR, at=at) for at in (0, 1, 0, 1)]
        for lease in leases[:2]:
            assert lease
            await room.end(lease)
        if loss == "flush":
            await number_of(room, "FLUSHALL")
            await beats(room)
        else:
            server.kill()
            await failed(room)
            server.start()
        await recovered(room)
        assert len(await taken(room, 0)) == 3  # of five slots, two are in use
        for lease in leases[2:]:
            assert lease
            await room.end(lease, demand_of(1, 1, NANODOLLARS // 2))
        await room.quiet()
        found = await room.redis.hgetall(  # type: ignore[misc]
            next(iter(await room.redis.keys("*:h:group*budget*")))
        )
        assert found["s"] == str(3 * NANODOLLARS)
        assert len(await taken(room, 1)) == 2
        await room.pass_time(61)
        for _ in range(2):
            await beats(room)
        assert len(await taken(room, 1)) == 0  # five run


async def test_slots_of_a_parted_process_are_its_own_again(server: RealRedis) -> None:
    async with (
        bad_link(server.path) as link,
        shared_room(snapshot("limits: {concurrency: 2}"), server.url, 2, by=[link.url]) as room,
    ):
        [lease] = await taken(room, 1, 1)
        link.loses_requests = True
        await asyncio.gather(engines(room)[1].beat(), return_exceptions=True)
        room.clock.advance(20)
        await engines(room)[0].beat()
        link.mend()
        link.cut()
        await recovered(room)
        assert len(await taken(room, 0)) == 1
        await room.end(lease)
        assert len(await taken(room, 0)) == 1


async def test_slots_of_a_long_outage_are_not_given_to_the_process_that_returns_first(
    server: RealRedis,
) -> None:
    limit = snapshot("limits: {concurrency: 2}")
    async with shared_room(limit, server.url, 2, refuses=True) as room:
        held = await taken(room, 1)
        server.send(signal.SIGSTOP)
        await failed(room)
        room.clock.advance(20)
        server.send(signal.SIGCONT)
        async with asyncio.timeout(20):
            while not engines(room)[0].is_reached:
                await asyncio.gather(engines(room)[0].beat(), return_exceptions=True)
        assert await taken(room, 0) == []
        await recovered(room)
        for lease in held:
            await room.end(lease)
        assert len(await taken(room, 0)) == 2


@pytest.mark.parametrize("fault", ["slow", "requests", "answers", "cut"])
async def test_bad_link_holds_no_call_and_counts_each_once(server: RealRedis, fault: str) -> None:
    async with (
        bad_link(server.path) as link,
        shared_room(snapshot("limits: {rpm: 6}"), server.url, 1, by=[link.url]) as room,
    ):
        first = await room.lease()
        assert first
        link.delay = 30.0 if fault == "slow" else 0.0
        link.loses_requests, link.loses_answers = fault == "requests", fault == "answers"
        if fault == "cut":
            link.cut()
        async with asyncio.timeout(5):
            second = await room.lease()
        assert second
        first.settle(first.option.demand)
        second.settle(second.option.demand)
        link.mend()
        link.cut()
        await recovered(room)
        assert len(await taken(room, 0)) == 4
        [name] = await room.redis.keys("*:w:group*")
        assert await room.redis.zcard(name) == 6


@pytest.mark.parametrize(
    ("begin", "end", "reason"),
    [
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "has no memory left"),
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "is a read-only replica"),
        ("CONFIG SET requirepass canary", "", "rejects the user or password"),
    ],
)
async def test_server_that_cannot_count_is_out_until_it_can(
    server: RealRedis, begin: str, end: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with shared_room(snapshot("limits: {rpm: 4}"), server.url, 1) as room:
        assert await room.lease()
        await number_of(room, *begin.split(" "))
        if not end:
            await engines(room)[0]._server.close()
        await failed(room)
        assert reason in caplog.text
        assert "canary" not in caplog.text
        assert await room.lease()
        if end:
            await number_of(room, *end.split(" "))
            await recovered(room)
            assert len(await taken(room, 0)) == 2


async def test_server_that_does_not_know_the_script_is_out() -> None:
    with real_redis("--rename-command", "EVALSHA", "") as server:
        async with shared_room(snapshot("limits: {rpm: 2}"), server.url, 1) as room:
            assert "refuses the script" in engines(room)[0].failure
            assert len(await taken(room, 0)) == 2


async def test_server_that_is_down_at_the_start_gets_what_was_counted() -> None:
    with real_redis() as server:
        server.kill()
        async with shared_room(snapshot("limits: {rpd: 4}"), server.url, 1) as room:
            [one, other] = await taken(room, 0, 2)
            await room.end(one)
            server.start()
            await recovered(room)
            await room.end(other)
            assert len(await taken(room, 0)) == 2
