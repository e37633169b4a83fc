from __future__ import annotations

import asyncio
import time

from sidecar.metrics.metrics import watch_lag


async def test_loop_lag_is_observed() -> None:
    """The loop is blocked for as long as it takes until a timer that lies in it is late."""
    told: asyncio.Queue[float] = asyncio.Queue()
    watching = asyncio.create_task(watch_lag(told.put_nowait))
    await asyncio.sleep(0)
    start = time.perf_counter()
    time.sleep(0.8)  # noqa: ASYNC251 - this is the hold-up
    late = await told.get()
    watching.cancel()
    assert 0.25 < late < time.perf_counter() - start
