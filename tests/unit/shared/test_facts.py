"""Facts on a real server: what one node publishes, every node has, until it lapses."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from namespaces import Namespace, namespace
from real_redis import needs_redis, redis_server
from vendor_apis import until

from sidecar.shared.engine import Engine
from sidecar.shared.facts import MAX_VALUE_CHARS, PAGE, Fact

pytestmark = needs_redis


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with redis_server() as url:
        yield url


class Node:
    """What one node has."""

    def __init__(self, engine: Engine, clock: Callable[[], float]) -> None:
        self.engine, self.clock = engine, clock
        self.told: list[tuple[str, str]] = []
        engine.facts.follow("k", lambda fact: self.told.append((fact.name, fact.value)))

    async def sync(self) -> dict[str, str]:
        await self.engine.facts.sync()
        return self.values()

    def values(self) -> dict[str, str]:
        return {each.name: each.value for each in self.engine.facts.known("k")}

    def fact(self, name: str) -> Fact:
        found = self.engine.facts.get("k", name)
        assert found is not None
        return found


async def join(to: Namespace) -> Node:
    return Node(*await to.join())


async def test_fact_is_pushed_to_the_others_and_lapses_by_the_clock_of_the_server(
    server: str,
) -> None:
    async with namespace(server) as found:
        one, other = await join(found), await join(found)
        one.engine.facts.publish("k", "a", "x y", 20.0)
        await until(lambda: other.values() == {"a": "x y"})
        assert other.fact("a").until == pytest.approx(other.clock() + 20.0, abs=0.01)
        assert (one.told, other.told) == ([], [("a", "x y")])
        found.clock.advance(20.1)
        late = await join(found)
        assert (one.values(), other.values(), late.values()) == ({}, {}, {})


async def test_joining_node_reads_every_page_of_what_holds(server: str) -> None:
    async with namespace(server) as found:
        one = await join(found)
        for each in range(2 * PAGE):
            one.engine.facts.publish("k", f"{each}", "v", 60.0)
        one.engine.facts.withdraw("k", "7")
        await one.sync()
        late = await join(found)
        assert late.values() == {f"{each}": "v" for each in range(2 * PAGE) if each != 7}
        assert late.told.count(("7", "")) == 1


async def test_withdrawal_reaches_the_others_and_a_node_that_was_away(server: str) -> None:
    async with namespace(server) as found:
        one, other, away = [await join(found) for _ in range(3)]
        one.engine.facts.publish("k", "a", "x", 1e9)
        for each in (one, other, away):
            await each.sync()
        other.engine.facts.withdraw("k", "a")
        await other.sync()
        found.clock.advance(86400.0)
        assert (await one.sync(), await away.sync()) == ({}, {})
        assert away.told == [("a", "x"), ("a", "")]


async def test_fact_that_lapses_last_stays_among_longest_ones(server: str) -> None:
    async with namespace(server) as found:
        one, other = await join(found), await join(found)
        one.engine.facts.publish("k", "a", "long", 60.0, longest=True)
        other.engine.facts.publish("k", "a", "short", 5.0, longest=True)  # before it hears of it
        await one.sync()
        assert await other.sync() == await one.sync() == {"a": "long"}
        one.engine.facts.withdraw("k", "a")
        one.engine.facts.publish("k", "a", "anew", 1.0, longest=True)
        await one.sync()
        assert await other.sync() == await one.sync() == {"a": "anew"}


async def test_change_that_is_not_sent_yet_holds_over_what_is_read(server: str) -> None:
    async with namespace(server) as found:
        one, other = await join(found), await join(found)
        one.engine.facts.publish("k", "a", "first", 60.0)
        await one.sync()
        other.engine.facts.publish("k", "a", "second", 60.0)
        assert await other.sync() == await one.sync() == {"a": "second"}
        assert other.told in ([], [("a", "first")])


async def test_lost_message_is_made_good_by_the_next_sign_of_life(server: str) -> None:
    async with namespace(server) as found:
        one, other = await join(found), await join(found)
        await one.engine._server.send([("CLIENT", "KILL", "TYPE", "pubsub")])
        one.engine.facts.publish("k", "a", "x", 60.0)
        await one.sync()
        await other.engine.beat()
        await until(lambda: other.values() == {"a": "x"})


async def test_server_that_lost_its_data_gets_what_holds_but_nothing_that_was_changed_since(
    server: str,
) -> None:
    async with namespace(server) as found:
        one, other = await join(found), await join(found)
        for name in ("a", "b"):
            one.engine.facts.publish("k", name, "old", 60.0)
        await one.sync()
        await other.sync()
        await one.engine._server.send([("FLUSHALL",)])
        other.engine.facts.publish("k", "b", "new", 60.0)
        for each in (other, one, other):
            await each.engine.beat()
            await each.sync()
        late = await join(found)
        assert one.values() == other.values() == late.values() == {"a": "old", "b": "new"}


BROKEN: tuple[tuple[str, bytes, float], ...] = (
    ("k/endless", b"x v", float("inf")),
    ("k/far", b"x v", 1e300),
    ("k/bytes", b"x \xff", 1.9e15),
    ("k/long", b"x " + b"v" * (MAX_VALUE_CHARS + 1), 1.9e15),
    ("k/alone", b"", 1.9e15),
)


async def test_facts_that_no_node_writes_hold_up_none_of_the_others(server: str) -> None:
    from redis.asyncio import Redis

    async with namespace(server) as found, Redis.from_url(server) as writer:
        one, other = await join(found), await join(found)
        base = one.engine._base
        for name, entry, ends in BROKEN:
            await writer.hset(f"{base}:f", name, entry)
            await writer.zadd(f"{base}:f:order", {name: await writer.incr(f"{base}:f:number")})
            await writer.zadd(f"{base}:f:ends", {name: ends})
        await writer.zadd(f"{base}:f:order", {"k/evicted": await writer.incr(f"{base}:f:number")})
        await writer.hset(f"{base}:about", "x", "host-alone")
        for channel in (":facts", f":wake:{other.engine.node}"):
            await writer.publish(f"{base}{channel}", b"\xff")
        one.engine.facts.publish("k", "a", "x", 60.0)
        await until(lambda: other.values().get("a") == "x")
        assert other.values() == {"a": "x", "bytes": "\ufffd"}
        assert [each.host for each in await one.engine.living()] == ["host0", "host1"]


@pytest.mark.parametrize("key", ["f", "f:ends"])
async def test_fact_whose_entry_the_server_evicted_is_written_anew(server: str, key: str) -> None:
    async with namespace(server) as found:
        one, other = await join(found), await join(found)
        one.engine.facts.publish("k", "a", "x", 60.0)
        await one.sync()
        await one.engine._server.send([("DEL", f"{one.engine._base}:{key}")])
        one.engine.facts.publish("k", "a", "y", 90.0, longest=True)
        await one.sync()
        assert await other.sync() == {"a": "y"}
        assert one.engine.is_reached


async def test_facts_of_others_are_bounded(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.shared.facts.MAX_FACTS", 3)
    async with namespace(server) as found:
        one, other = await join(found), await join(found)
        for each in range(5):
            one.engine.facts.publish("k", f"{each}", "v", 60.0)
        await one.sync()
        assert len(await other.sync()) == 3
        one.engine.facts.publish("k", "0", "w", 60.0)
        await one.sync()
        assert (await other.sync())["0"] == "w"


async def test_server_that_refuses_facts_still_counts_limits_and_takes_them_later(
    server: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with namespace(server) as found:
        one, other = await join(found), await join(found)
        broken = f"{one.engine._base}:f"
        await one.engine._server.send([("SET", broken, "of another version")])
        one.engine.facts.publish("k", "a", "x", 60.0)
        await until(lambda: "is not shared" in caplog.text)
        await one.engine.beat()
        assert one.engine.is_reached
        await one.engine._server.send([("DEL", broken)])
        for each in (one, other):
            await each.sync()
        assert other.values() == {"a": "x"}
