"""The engine on several servers: the nodes of a cluster, and a primary under Sentinels."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from lease_rooms import Room, shared_room, snapshot
from many_redis import Member, cluster, move_slot, pair, wait_until, watched
from real_redis import needs_redis

from sidecar.scheduling.limiter import demand_of
from sidecar.shared.addresses import ServerAddresses
from sidecar.shared.engine import Engine

pytestmark = needs_redis
LIMIT = snapshot("limits: {rpm: 6}")


@pytest.fixture(scope="module")
def members() -> Iterator[list[Member]]:
    with cluster() as found:
        yield found


def engine_of(room: Room) -> Engine:
    found = room.processes[0].engine
    assert found is not None
    return found


async def taken(room: Room) -> int:
    """The number of leases that a process gets now."""
    number = 0
    while await room.lease(at=0) is not None:
        number += 1
    return number


async def until_reached(room: Room, *, reached: bool = True) -> None:
    engine = engine_of(room)
    async with asyncio.timeout(30):
        while engine.is_reached != reached:
            await asyncio.gather(engine.beat(), return_exceptions=True)
            await asyncio.sleep(0.02)


def url(*members: Member) -> str:
    return f"redis://{','.join(each.address for each in members)}"


async def test_node_of_a_cluster_names_the_one_that_counts_and_passes_messages_on(
    members: list[Member],
) -> None:
    first, second, third, _ = members
    limit = snapshot("limits: {concurrency: 1}")
    async with shared_room(limit, url(first), 2, by=[url(third, second)]) as room:
        lease = await room.lease(at=0)
        assert lease
        waits = await room.wait(at=1)
        assert not waits.done()
        await room.end(lease)
        async with asyncio.timeout(10):
            await waits


async def test_limit_holds_while_its_slot_moves_to_another_node(members: list[Member]) -> None:
    first, second, _, _ = members
    async with shared_room(LIMIT, url(first, second), 1) as room:
        for _ in range(3):
            assert await room.lease()
        slot = first.run("CLUSTER KEYSLOT", engine_of(room)._base)
        moving = move_slot(slot, first, second)
        next(moving)
        await until_reached(room, reached=False)
        assert "moves" in engine_of(room).failure
        assert await room.lease()
        next(moving)
        await until_reached(room)
        assert await taken(room) == 2


async def test_replica_that_a_cluster_promotes_has_the_counts(members: list[Member]) -> None:
    first, second, _, replica = members
    async with shared_room(LIMIT, url(first, second), 1) as room:
        for _ in range(3):
            assert await room.lease()
        assert first.run("WAIT", 1, 5000) == 1
        first.server.kill()
        await until_reached(room, reached=False)
        assert await room.lease()
        await until_reached(room)
        assert replica.info("replication")["role"] == "master"
        assert await taken(room) == 2


async def test_primary_that_sentinels_promote_has_the_counts() -> None:
    with watched() as (primary, replica, address):
        async with shared_room(LIMIT, address, 1) as room:
            for _ in range(3):
                assert await room.lease()
            assert engine_of(room).is_reached
            wait_until(lambda: primary.run("WAIT", 1, 100) == 1)
            primary.server.kill()
            await until_reached(room, reached=False)
            assert await room.lease()
            await until_reached(room)
            assert replica.info("replication")["role"] == "master"
            assert await taken(room) == 2


async def test_call_whose_end_a_replica_had_not_received_holds_no_slot() -> None:
    limits = snapshot("limits: {concurrency: 2, tpd: 1000}")
    with pair() as (primary, replica):
        async with shared_room(limits, url(primary, replica), 1) as room:
            ended = await room.lease(demand=demand_of(600, 0))
            assert ended
            wait_until(lambda: primary.run("WAIT", 1, 100) == 1)
            replica.run("REPLICAOF", "NO", "ONE")
            await room.end(ended, demand_of(100, 0))
            assert await room.lease(demand=demand_of(300, 0))
            primary.server.kill()
            await until_reached(room, reached=False)
            await until_reached(room)
            await room.quiet()
            assert await room.lease(demand=demand_of(601, 0)) is None  # 100 and 300 count
            assert await room.lease(demand=demand_of(600, 0))
            assert await taken(room) == 0


@pytest.mark.parametrize(
    ("given", "found", "asked"),
    [
        ("unix:///tmp/s?db=1", "unix:///tmp/s?db=1", ""),
        ("rediss://u:p%40@a:1,b:2/3?ssl_ca_certs=c", "rediss://u:p%40@a:1/3?ssl_ca_certs=c", ""),
        (
            "rediss+sentinel://u:p@a,b:2/main?db=3&ssl_ca_certs=c&sentinel_password=s",
            "rediss://u:p@a?db=3&ssl_ca_certs=c", "rediss://a:26379?ssl_ca_certs=c&password=s",
        ),
        ("redis+sentinel://[::1]/main", "redis://[::1]", "redis://[::1]:26379"),
    ],
)  # fmt: skip
def test_url_gives_servers_and_sentinels_their_own_options(
    given: str, found: str, asked: str
) -> None:
    addresses = ServerAddresses(given)
    assert addresses.any == found
    if asked:
        assert addresses._sentinel_url(addresses._hosts[0]) == asked


@pytest.mark.parametrize("given", ["redis+sentinel://a:1", "redis+other://a:1/main"])
def test_url_of_sentinels_without_a_service_is_invalid(given: str) -> None:
    with pytest.raises(ValueError, match="service"):
        ServerAddresses(given)
