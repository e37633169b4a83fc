"""Moments that an interleaving of calls seldom hits."""

from __future__ import annotations

import asyncio

from virtual_time import run

from sidecar.admission import Admission
from sidecar.config import Urgency
from sidecar.gates import Gate, Minute, Slots, Unit, need
from sidecar.leases import Lease, Option, Waiter
from sidecar.lines import AGE, TURN


def test_room_that_comes_in_the_last_moment_of_a_calls_patience_is_taken() -> None:
    async def story() -> tuple[Lease[str], float]:
        loop = asyncio.get_running_loop()
        admission = Admission(loop.time, loop.call_at)
        gate = Minute("all", "rpm", Unit.CALLS, "all", 1)
        every = [Option("somewhere", (gate,), need(0, 0))]

        def asks(key: str) -> asyncio.Task[Lease[str]]:
            waiter = admission.asks(key, 1.0, Urgency.NORMAL, every, lambda: every)
            return loop.create_task(admission.lease(waiter, 60.0))

        first, second = asks("a"), asks("b")
        await first
        return await second, loop.time()

    lease, at = run(story)
    assert (lease.place, at) == ("somewhere", 60.0)


def test_an_old_call_that_waits_elsewhere_goes_before_the_oldest_of_a_line() -> None:
    """It once went back and forth between two lines, and nothing else happened any more."""

    async def story() -> tuple[list[str], Lease[str] | None]:
        loop = asyncio.get_running_loop()
        admission = Admission(loop.time, loop.call_at)
        tokens = Minute("p", "tpm", Unit.TOKENS, "tokens", 100)
        slots = Slots("p", "concurrency", Unit.CALLS, "slots", 1)

        def waiter(urgency: Urgency, amount: int, *gates: Gate) -> Waiter[str]:
            every = [Option("p", gates, need(amount, 0))]
            return admission.asks(f"{amount}", 1.0, urgency, every, lambda: every)

        running = admission.at_once(waiter(Urgency.NORMAL, 10, tokens, slots))
        old, young = (waiter(Urgency.NORMAL, amount, tokens, slots) for amount in (30, 95))
        waiting = [loop.create_task(admission.lease(each, 100.0)) for each in (old, young)]
        await asyncio.sleep(AGE)
        for _ in range(TURN - 1):
            assert admission.at_once(waiter(Urgency.INTERACTIVE, 1, tokens))
        admission.recheck([tokens, slots])
        stood = [gate.name for each in (old, young) for gate in each.stands]
        assert running is not None
        running.refund()
        lease = await waiting[0]
        waiting[1].cancel()
        return stood, lease

    stood, lease = run(story)
    assert stood == ["slots", "tokens"]
    assert lease is not None
