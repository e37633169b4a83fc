"""Moments that an interleaving of calls seldom hits."""

from __future__ import annotations

import asyncio

from virtual_time import run

from sidecar.admission import Admission
from sidecar.config import Urgency
from sidecar.gates import Minute, Unit, need
from sidecar.leases import Lease, Option


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
