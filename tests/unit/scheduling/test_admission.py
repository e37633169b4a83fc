"""Admission: cases that random interleavings of calls seldom reach."""

from __future__ import annotations

import asyncio

import pytest
from sample_candidates import candidate
from virtual_time import run

from sidecar.config.model import Period, Urgency
from sidecar.errors import ErrorKind, LocalReply
from sidecar.plugin_api.error_class import Classification, ErrorClass
from sidecar.proxy.rejection import to_proxy_error
from sidecar.scheduling.admission import Admission
from sidecar.scheduling.cooldown import Cooldown
from sidecar.scheduling.fair_queue import AGING_AFTER_SECONDS, OLDEST_EVERY_N
from sidecar.scheduling.lease import AdmissionOption, Lease, NotAdmitted, Waiter
from sidecar.scheduling.limiter import ACTIVE_SECONDS, Limiter, LimitUnit, demand_of
from sidecar.scheduling.pauses import PauseLimiter
from sidecar.scheduling.windows import BudgetWindow, CalendarWindow, ConcurrencyLimit, SlidingWindow


def test_room_at_the_very_end_of_max_wait_is_taken() -> None:
    async def scenario() -> tuple[Lease, float]:
        loop = asyncio.get_running_loop()
        admission = Admission(loop.time, loop.call_at)
        limiter = SlidingWindow("all", "rpm", LimitUnit.CALLS, "all", 1)
        every = [AdmissionOption(candidate("somewhere"), (limiter,), demand_of(0, 0))]

        def asks(key: str) -> asyncio.Task[Lease]:
            waiter = admission.new_waiter(key, 1.0, Urgency.NORMAL, every, lambda: every)
            return loop.create_task(admission.acquire(waiter, 60.0))

        first, second = asks("a"), asks("b")
        await first
        return await second, loop.time()

    lease, at = run(scenario)
    assert (lease.candidate.provider.name, at) == ("somewhere", 60.0)


def test_options_blocked_by_one_limiter_are_served_in_the_order_of_availability() -> None:
    """Options of one call may differ in demand: each vendor has its own estimate of tokens."""

    async def scenario() -> tuple[Lease, float]:
        loop = asyncio.get_running_loop()
        admission = Admission(loop.time, loop.call_at)
        limiter = SlidingWindow("all", "tpm", LimitUnit.TOKENS, "all", 100)

        def waiter(**ways: int) -> Waiter:
            every = [
                AdmissionOption(candidate(place), (limiter,), demand_of(amount, 0))
                for place, amount in ways.items()
            ]
            return admission.new_waiter("k", 1.0, Urgency.NORMAL, every, lambda: every)

        assert admission.try_lease(waiter(early=50))
        await asyncio.sleep(30.0)
        assert admission.try_lease(waiter(late=45))
        return await admission.acquire(waiter(large=60, small=40), 100.0), loop.time()

    lease, at = run(scenario)
    assert (lease.candidate.provider.name, at) == ("small", 60.0)


def test_aged_call_that_waits_elsewhere_goes_before_the_oldest_member_of_a_queue() -> None:
    """Otherwise it moves back and forth between two queues for ever."""

    async def scenario() -> tuple[list[str], Lease | None]:
        loop = asyncio.get_running_loop()
        admission = Admission(loop.time, loop.call_at)
        tokens = SlidingWindow("p", "tpm", LimitUnit.TOKENS, "tokens", 100)
        slots = ConcurrencyLimit("p", "concurrency", LimitUnit.CALLS, "slots", 1)

        def waiter(urgency: Urgency, amount: int, *limiters: Limiter) -> Waiter:
            every = [AdmissionOption(candidate("p"), limiters, demand_of(amount, 0))]
            return admission.new_waiter(f"{amount}", 1.0, urgency, every, lambda: every)

        running = admission.try_lease(waiter(Urgency.NORMAL, 10, tokens, slots))
        old, young = (waiter(Urgency.NORMAL, amount, tokens, slots) for amount in (30, 95))
        waiting = [loop.create_task(admission.acquire(each, 100.0)) for each in (old, young)]
        await asyncio.sleep(AGING_AFTER_SECONDS)
        for _ in range(OLDEST_EVERY_N - 1):
            assert admission.try_lease(waiter(Urgency.INTERACTIVE, 1, tokens))
        admission.recheck([tokens, slots])
        names = [limiter.name for each in (old, young) for limiter in each.queued_at]
        assert running is not None
        running.refund()
        lease = await waiting[0]
        waiting[1].cancel()
        return names, lease

    names, lease = run(scenario)
    assert names == ["slots", "tokens"]
    assert lease is not None


def test_pause_longer_than_max_wait_costs_waiting_calls_none_of_it() -> None:

    async def scenario() -> tuple[Lease, float, Waiter]:
        loop = asyncio.get_running_loop()
        admission = Admission(loop.time, loop.call_at)
        limiter, pause = (
            SlidingWindow("all", "rpm", LimitUnit.CALLS, "all", 1),
            PauseLimiter("all", "paused"),
        )
        free = [AdmissionOption(candidate("p"), (limiter,), demand_of(0, 0))]
        paused = [AdmissionOption(candidate("p"), (pause, limiter), demand_of(0, 0))]
        now = free

        def waiter(key: str) -> Waiter:
            return admission.new_waiter(key, 1.0, Urgency.NORMAL, now, lambda: now)

        now = paused
        first, second = waiter("a"), waiter("b")
        calls = [loop.create_task(admission.acquire(each, 70.0)) for each in (first, second)]
        await asyncio.sleep(700.0)
        now = free
        admission.reevaluate()
        await calls[0]
        return await calls[1], loop.time(), second

    lease, at, waiter = run(scenario)
    assert (lease.candidate.provider.name, at) == ("p", 760.0)
    assert waiter.parked(at) == 700.0


def test_max_wait_goes_on_after_a_pause() -> None:
    async def scenario() -> tuple[NotAdmitted, float]:
        loop = asyncio.get_running_loop()
        admission = Admission(loop.time, loop.call_at)
        slots, pause = (
            ConcurrencyLimit("all", "concurrency", LimitUnit.CALLS, "all", 1),
            PauseLimiter("all", "paused"),
        )
        free = [AdmissionOption(candidate("p"), (slots,), demand_of(0, 0))]
        now = free
        asks = [admission.new_waiter(key, 1.0, Urgency.NORMAL, now, lambda: now) for key in "ab"]
        await admission.acquire(asks[0], 10.0)
        second = loop.create_task(admission.acquire(asks[1], 10.0))
        await asyncio.sleep(4.0)
        now = [AdmissionOption(candidate("p"), (pause, slots), demand_of(0, 0))]
        admission.reevaluate()
        await asyncio.sleep(300.0)
        now = free
        admission.reevaluate()
        with pytest.raises(NotAdmitted) as no_room:
            await second
        return no_room.value, loop.time()

    no_room, at = run(scenario)
    assert (at, no_room.waited) == (310.0, 10.0)


def test_call_cancelled_before_a_reevaluation_leaves_the_others_waiting() -> None:
    """The room that it returns may admit a call that the reevaluation has yet to reach."""

    async def scenario() -> list[str]:
        loop = asyncio.get_running_loop()
        admission = Admission(loop.time, loop.call_at)
        slots = ConcurrencyLimit("all", "concurrency", LimitUnit.CALLS, "slots", 1)
        every = [AdmissionOption(candidate("p"), (slots,), demand_of(0, 0))]

        def asks() -> Waiter:
            return admission.new_waiter("a", 1.0, Urgency.NORMAL, every, lambda: every)

        running = await admission.acquire(asks(), 1.0)
        calls = [loop.create_task(admission.acquire(asks(), 60.0)) for _ in range(3)]
        await asyncio.sleep(1.0)
        calls[0].cancel()
        slots.limit = 2
        admission.reevaluate()
        served = []
        for call in calls[1:]:
            lease = await call
            served.append(lease.candidate.provider.name)
            lease.settle(demand_of(0, 0))
        running.settle(demand_of(0, 0))
        assert (slots.used, len(admission), len(admission.leases)) == (0, 0, 0)
        return served

    assert run(scenario) == ["p", "p"]


def test_headroom_that_lapses_admits_a_call_to_a_free_slot() -> None:
    async def scenario() -> float:
        loop = asyncio.get_running_loop()
        admission = Admission(loop.time, loop.call_at)
        slots = ConcurrencyLimit("all", "concurrency", LimitUnit.CALLS, "slots", 2)
        slots.headroom = {Urgency.BACKGROUND: 0.5}
        every = [AdmissionOption(candidate("p"), (slots,), demand_of(0, 0))]

        def asks(urgency: Urgency) -> Waiter:
            return admission.new_waiter("a", 1.0, urgency, every, lambda: every)

        (await admission.acquire(asks(Urgency.INTERACTIVE), 1.0)).settle(demand_of(0, 0))
        await admission.acquire(asks(Urgency.BACKGROUND), 1.0)
        await admission.acquire(asks(Urgency.BACKGROUND), 300.0)
        return loop.time()

    assert run(scenario) == ACTIVE_SECONDS


def test_sticky_wait_ends_at_once_when_the_pinned_upstream_has_no_quota_left() -> None:
    async def scenario() -> tuple[str, float]:
        loop = asyncio.get_running_loop()
        admission = Admission(loop.time, loop.call_at)
        home = Cooldown("home", "home is cooling down")
        home.record_failure(Classification(ErrorClass.QUOTA_EXHAUSTED, wait=100.0), loop.time())
        other = ConcurrencyLimit("other", "concurrency", LimitUnit.CALLS, "slots", 1)
        every = [
            AdmissionOption(candidate("home"), (home,), demand_of(0, 0)),
            AdmissionOption(candidate("other"), (other,), demand_of(0, 0)),
        ]
        waiter = admission.new_waiter("a", 1.0, Urgency.NORMAL, every, lambda: every)
        lease = await admission.acquire(waiter, 60.0, sticky_wait=5.0)
        return lease.candidate.provider.name, loop.time()

    assert run(scenario) == ("other", 0.0)


def test_rejection_at_once_lists_every_option() -> None:
    async def scenario() -> list[str]:
        loop = asyncio.get_running_loop()
        admission = Admission(loop.time, loop.call_at)
        limiters = [
            SlidingWindow(name, "rpm", LimitUnit.CALLS, name, 1) for name in ("home", "other")
        ]
        every = [
            AdmissionOption(candidate(limiter.name), (limiter,), demand_of(0, 0))
            for limiter in limiters
        ]
        for limiter in limiters:
            limiter.acquire(1, 0, loop.time())
        waiter = admission.new_waiter("a", 1.0, Urgency.NORMAL, every, lambda: every)
        with pytest.raises(NotAdmitted) as no_room:
            await admission.acquire(waiter, 30.0, sticky_wait=5.0)
        return [each.limiter.name for each in no_room.value.blocked]

    assert run(scenario) == ["home", "other"]


def test_rejection_names_the_limit_that_blocks_for_longest() -> None:
    """A spent budget behind a full minute must not read as a rate limit of one minute."""

    async def scenario() -> LocalReply:
        loop = asyncio.get_running_loop()
        admission = Admission(loop.time, loop.call_at)
        minute = SlidingWindow("key", "rpm", LimitUnit.CALLS, "key at its rpm", 1)
        budget = BudgetWindow(
            "group", "budget/day", LimitUnit.MONEY, "group is at its budget", 0, Period.DAY,
            lambda: 1_764_000_000.0, lambda _: None,
        )  # fmt: skip
        minute.acquire(1, 0, loop.time())
        every = [AdmissionOption(candidate("p"), (minute, budget), demand_of(1, 1, 5))]
        waiter = admission.new_waiter("a", 1.0, Urgency.NORMAL, every, lambda: every)
        with pytest.raises(NotAdmitted) as no_room:
            await admission.acquire(waiter, 120.0)
        return to_proxy_error(no_room.value, 120.0).reply

    why = run(scenario)
    assert (why.kind, why.retry_after) == (ErrorKind.BUDGET_SPENT, None)
    assert "group is at its budget" in why.message


def test_rejection_with_room_hours_away_asks_for_no_retry() -> None:
    """SDKs sleep for `Retry-After` and come again, twice, where that cannot help."""

    async def scenario() -> LocalReply:
        loop = asyncio.get_running_loop()
        admission = Admission(loop.time, loop.call_at)
        daily = CalendarWindow(
            "key", "rpd", LimitUnit.CALLS, "key at its rpd", 1, Period.DAY,
            lambda: 1_764_000_000.0, lambda _: None,
        )  # fmt: skip
        daily.acquire(1, 0, loop.time())
        every = [AdmissionOption(candidate("p"), (daily,), demand_of(1, 1, 5))]
        waiter = admission.new_waiter("a", 1.0, Urgency.NORMAL, every, lambda: every)
        with pytest.raises(NotAdmitted) as no_room:
            await admission.acquire(waiter, 120.0)
        return to_proxy_error(no_room.value, 120.0).reply

    why = run(scenario)
    assert (why.kind, why.retryable, why.retry_after) == (ErrorKind.RATE_LIMITED, False, None)
    assert why.opens_in is not None
    assert why.opens_in > 3600
