"""One contract of leases: by the counts of one process, and of three processes on one server.

In the shared room each call goes to the next process, so that nothing is true of one alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from lease_rooms import NOON, Room, local_room, shared_room, snapshot
from real_redis import needs_redis, redis_server

from sidecar.child_keys import ChildKeys, ChildOrder
from sidecar.config.model import Snapshot, Urgency
from sidecar.records import NANODOLLARS
from sidecar.scheduling.lease import Lease, NotAdmitted
from sidecar.scheduling.limiter import demand_of

BACKGROUND, INTERACTIVE = Urgency.BACKGROUND, Urgency.INTERACTIVE


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with redis_server() as url:
        yield url


class Rooms:
    def __init__(self, server: str | None) -> None:
        self.server = server

    def __call__(self, of: Snapshot) -> AbstractAsyncContextManager[Room]:
        return local_room(of) if self.server is None else shared_room(of, self.server, steady=True)


@pytest.fixture(params=["local", pytest.param("shared", marks=needs_redis)])
def rooms(request: pytest.FixtureRequest) -> Rooms:
    return Rooms(None if request.param == "local" else request.getfixturevalue("server"))


async def granted(task: asyncio.Task[Lease]) -> Lease:
    async with asyncio.timeout(5):
        return await task


async def test_minute_window_admits_its_limit_in_any_sixty_seconds(rooms: Rooms) -> None:
    async with rooms(snapshot("limits: {rpm: 3}")) as room:
        for _ in range(3):
            assert await room.lease()
            await room.pass_time(10)
        assert await room.lease() is None
        await room.pass_time(29.9)
        assert await room.lease() is None
        await room.pass_time(0.2)
        assert await room.lease()
        assert await room.lease() is None
        await room.pass_time(10)
        assert await room.lease()


async def test_lease_takes_all_scopes_or_none(rooms: Rooms) -> None:
    async with rooms(snapshot("limits: {rpm: 2}", "limits: {rpm: 1}")) as room:
        assert await room.lease("a")
        for _ in range(5):
            assert await room.lease("a") is None
        assert await room.lease("b")
        assert await room.lease("b") is None


async def test_settled_tokens_replace_the_estimate(rooms: Rooms) -> None:
    async with rooms(snapshot("limits: {tpm: 1000}")) as room:
        first = await room.lease(demand=demand_of(900, 0))
        assert first
        assert await room.lease(demand=demand_of(200, 0)) is None
        await room.end(first, demand_of(700, 0))
        assert await room.lease(demand=demand_of(200, 0))
        assert await room.lease(demand=demand_of(101, 0)) is None
        second = await room.lease(demand=demand_of(100, 0))
        assert second
        await room.pass_time(59)
        await room.end(second, demand_of(600, 0))  # 500 more count from now on
        await room.pass_time(2)
        assert await room.lease(demand=demand_of(501, 0)) is None
        assert await room.lease(demand=demand_of(500, 0))


async def test_call_above_the_limit_is_admitted_when_nothing_counts(rooms: Rooms) -> None:
    async with rooms(snapshot("limits: {tpm: 1000}")) as room:
        assert await room.lease(demand=demand_of(5000, 0))
        assert await room.lease(demand=demand_of(1, 0)) is None
        await room.pass_time(61)
        assert await room.lease(demand=demand_of(5000, 0))


async def test_refund_returns_every_scope(rooms: Rooms) -> None:
    async with rooms(snapshot("limits: {rpm: 1, tpm: 50, concurrency: 1, rpd: 1}")) as room:
        for _ in range(3):
            lease = await room.lease(demand=demand_of(40, 0))
            assert lease
            lease.refund()
            await room.quiet()
        assert await room.lease()
        assert await room.lease() is None


async def test_waiting_call_gets_the_slot_of_an_ended_one(rooms: Rooms) -> None:
    async with rooms(snapshot("limits: {concurrency: 1}")) as room:
        running = await room.lease()
        assert running
        waits = await room.wait()
        assert not waits.done()
        await room.end(running)
        assert await granted(waits)


async def test_more_urgent_calls_go_first_and_equal_ones_by_arrival(rooms: Rooms) -> None:
    async with rooms(snapshot("limits: {concurrency: 1}")) as room:
        running = await room.lease()
        asked = [
            ("late", await room.wait(urgency=BACKGROUND)),
            ("second", await room.wait()),
            ("third", await room.wait()),
            ("first", await room.wait(urgency=INTERACTIVE)),
        ]
        order = []
        while asked:
            assert running
            await room.end(running)
            [(name, task)] = [each for each in asked if each[1].done()]
            order.append(name)
            running = task.result()
            asked = [each for each in asked if each[0] != name]
        assert order == ["first", "second", "third", "late"]


async def test_old_call_goes_after_nine_more_urgent_ones(rooms: Rooms) -> None:
    async with rooms(snapshot("limits: {concurrency: 1}")) as room:
        running = await room.lease(at=0)
        old = await room.wait(urgency=BACKGROUND, at=0)
        await room.pass_time(31)
        number, asked = 0, [await room.wait(urgency=INTERACTIVE, at=-1) for _ in range(15)]
        while not old.done():
            assert running
            await room.end(running)
            done = [each for each in asked if each.done()]
            if done:
                number, running = number + 1, done[0].result()
                asked.remove(done[0])
        assert number == 9


async def test_call_that_leaves_holds_no_other_up(rooms: Rooms) -> None:
    async with rooms(snapshot("limits: {concurrency: 1}")) as room:
        running = await room.lease()
        leaves, stays = await room.wait(), await room.wait()
        leaves.cancel()
        await room.quiet()
        assert running
        await room.end(running)
        assert await granted(stays)


async def test_time_alone_admits_calls_that_wait_for_a_minute(rooms: Rooms) -> None:
    async with rooms(snapshot("limits: {rpm: 2}")) as room:
        assert await room.lease()
        await room.pass_time(20)
        assert await room.lease()
        asked = [await room.wait() for _ in range(3)]
        await room.pass_time(39)
        assert not any(each.done() for each in asked)
        await room.pass_time(1.1)
        assert [each.done() for each in asked] == [True, False, False]
        for _ in range(11):
            await room.pass_time(2)
        assert [each.done() for each in asked] == [True, True, False]


async def test_headroom_is_kept_from_background_calls_for_a_minute(rooms: Rooms) -> None:
    async with rooms(snapshot("limits: {rpm: 10}, headroom: {background: 30%}")) as room:
        assert await room.lease(urgency=INTERACTIVE)
        for _ in range(6):
            assert await room.lease(urgency=BACKGROUND)
        assert await room.lease(urgency=BACKGROUND) is None
        assert await room.lease(urgency=INTERACTIVE)


async def test_day_is_counted_by_the_calendar_of_the_zone(rooms: Rooms) -> None:
    async with rooms(snapshot("limits: {rpd: 2}", zone="Asia/Tokyo")) as room:
        assert await room.lease()
        assert await room.lease()
        await room.pass_time(3 * 3600 - 1)  # noon UTC is nine in the evening in Tokyo
        assert await room.lease() is None
        await room.pass_time(1.01)
        assert await room.lease()


async def test_budget_is_spent_by_settled_cost_alone(rooms: Rooms) -> None:
    dollar = demand_of(1, 1, NANODOLLARS)
    async with rooms(snapshot("budget: $2/day")) as room:
        first, second = await room.lease(demand=dollar), await room.lease(demand=dollar)
        assert first
        assert second
        waits = await room.wait(demand=dollar)
        assert not waits.done()
        await room.end(first, demand_of(1, 1, NANODOLLARS // 2))
        await room.end(second, demand_of(1, 1, NANODOLLARS - 1))
        assert await granted(waits)
        await room.end(waits.result())
        with pytest.raises(NotAdmitted) as spent:
            await granted(await room.wait(demand=dollar, max_wait=60.0))
        blocking = spent.value.soonest.last_blocking
        assert blocking.spent
        assert "is at its budget" in blocking.name
        assert await room.lease(demand=demand_of(1, 1))  # known to cost nothing


async def test_budget_of_a_child_key_holds_for_all_processes(rooms: Rooms, tmp_path: Path) -> None:
    dollar, of = demand_of(1, 1, NANODOLLARS), snapshot()
    children = ChildKeys(tmp_path, lambda: NOON, lambda: NOON)
    children.renew(ChildOrder(name="c", digest="ab" * 32, key="a", budgets=["$2/day"]), of)
    async with rooms(children.add_to(of)) as room:
        for _ in range(2):
            lease = await room.lease(demand=dollar)
            assert lease
            await room.end(lease)
        assert await room.lease(demand=dollar) is None


async def test_money_above_two_to_the_53_is_counted_to_the_nano_dollar(rooms: Rooms) -> None:
    whole, half = 20_000_000 * NANODOLLARS, 5_000_000 * NANODOLLARS
    async with rooms(snapshot("budget: $20000000/day")) as room:
        for amount in (half, half, half, half - 3):
            lease = await room.lease(demand=demand_of(1, 1, amount))
            assert lease
            await room.end(lease)
        assert whole > 1 << 53
        for amount in (1, 1):
            lease = await room.lease(demand=demand_of(1, 1, amount))
            assert lease
            await room.end(lease)
        held = await room.lease(demand=demand_of(1, 1, 1))
        assert held
        assert await room.lease(demand=demand_of(1, 1, 1)) is None
        await room.end(held)
        assert await room.lease(demand=demand_of(1, 1, 1)) is None


async def test_correction_changes_the_day_of_an_ended_call(rooms: Rooms) -> None:
    before, after = demand_of(100, 0), demand_of(40, 0)
    async with rooms(snapshot("limits: {tpd: 100}")) as room:
        lease = await room.lease(demand=before)
        assert lease
        await room.end(lease)
        assert await room.lease(demand=demand_of(60, 0)) is None
        process = room.processes[0]
        windows = process.limits.correct(room.scopes("a"), "gpt-5", before, after, room.wall())
        process.leases.correct(windows, before, after, room.wall())
        await room.quiet()
        assert await room.lease(demand=demand_of(61, 0)) is None
        assert await room.lease(demand=demand_of(60, 0))


async def test_call_that_cannot_be_admitted_in_time_is_rejected_at_once(rooms: Rooms) -> None:
    async with rooms(snapshot("limits: {rpm: 1}")) as room:
        assert await room.lease()
        with pytest.raises(NotAdmitted) as rejected:
            await granted(await room.wait(max_wait=59.0))
        assert (
            "group G is at its limit of 1 rpm (routes.yaml:" in rejected.value.soonest.limiter.name
        )
        assert rejected.value.soonest.available_at == pytest.approx(60.0, abs=0.01)
