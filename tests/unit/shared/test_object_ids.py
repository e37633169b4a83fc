"""Owners of objects on a real server: found by other nodes, through outages and loss of data."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from manual_clock import HandClock
from real_redis import RealRedis, needs_redis, real_redis
from vendor_apis import until

from sidecar.shared.engine import Engine, open_engine

pytestmark = needs_redis
DAY_SECONDS = 86400.0


@asynccontextmanager
async def pair(redis: RealRedis, clock: HandClock) -> AsyncIterator[tuple[Engine, Engine]]:
    async with AsyncExitStack() as stack:
        one, two = [
            await stack.enter_async_context(open_engine(redis.url, "n", clock, clock))
            for _ in range(2)
        ]
        yield one, two


async def recovered(*engines: Engine) -> None:
    """Let each node find that the server works again."""
    async with asyncio.timeout(20):
        for each in engines:
            await asyncio.gather(each.beat(), return_exceptions=True)  # of a dead connection
            while not each.is_reached:
                await asyncio.gather(each.beat(), return_exceptions=True)


async def sent(engine: Engine) -> None:
    await until(lambda: not engine.object_ids._unsent, 10)


async def test_owner_that_one_node_publishes_is_found_by_another_for_ninety_days() -> None:
    clock = HandClock()
    with real_redis() as redis:
        async with pair(redis, clock) as (one, two):
            one.object_ids.publish("d1", "first")
            await sent(one)
            assert await two.object_ids.find("d1") == "first"
            assert await two.object_ids.find("d2") == ""
            clock.advance(91 * DAY_SECONDS)
            one.object_ids.publish("d2", "second")
            await sent(one)
            assert await two.object_ids.find("d1") == ""
            assert await two.object_ids.find("d2") == "second"


async def test_owners_are_sent_after_an_outage_and_to_a_server_that_lost_its_data() -> None:
    with real_redis() as redis:
        async with pair(redis, HandClock()) as (one, two):
            one.object_ids.publish("before", "a")
            await sent(one)
            redis.kill()
            assert await two.object_ids.find("before") == ""
            one.object_ids.publish("meanwhile", "b")
            redis.start()
            await recovered(one, two)
            await sent(one)
            found = [await two.object_ids.find(each) for each in ("before", "meanwhile")]
            assert found == ["a", "b"]


async def test_frozen_server_ends_a_look_up_before_it_counts_as_failed() -> None:
    with real_redis() as redis:
        async with pair(redis, HandClock()) as (one, two):
            one.object_ids.publish("d", "a")
            await sent(one)
            redis.send(signal.SIGSTOP)
            assert await two.object_ids.find("d") == ""
            assert two.is_reached
            redis.send(signal.SIGCONT)
            assert await two.object_ids.find("d") == "a"
