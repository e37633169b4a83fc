"""Virtual time keeps the order of real time and costs none."""

from __future__ import annotations

import asyncio

import pytest
from virtual_time import Stuck, run


def test_virtual_hours_pass_at_once_and_timers_fire_in_order() -> None:
    async def day() -> list[tuple[str, float]]:
        clock = asyncio.get_running_loop().time
        rung: list[tuple[str, float]] = []

        async def wait(name: str, seconds: float) -> None:
            await asyncio.sleep(seconds)
            rung.append((name, clock()))

        async with asyncio.TaskGroup() as group:
            for name, seconds in [("day", 86_400.0), ("now", 0.0), ("hour", 3600.0), ("ms", 0.001)]:
                group.create_task(wait(name, seconds))
        return rung

    rung = run(day)
    assert [name for name, _ in rung] == ["now", "ms", "hour", "day"]
    assert [at for _, at in rung] == pytest.approx([0.0, 0.001, 3600.0, 86_400.0])


def test_virtual_time_stands_still_while_callbacks_are_ready() -> None:
    async def busy() -> float:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(1e-6, lambda: None)
        for _ in range(1000):
            await asyncio.sleep(0)
        timer.cancel()
        return loop.time()

    assert run(busy) == 0.0


def test_virtual_timeout_ends_a_wait_and_a_cancelled_timer_is_ignored() -> None:
    async def impatient() -> float:
        loop = asyncio.get_running_loop()
        loop.call_later(5.0, lambda: None).cancel()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(7.5):
                await loop.create_future()
        return loop.time()

    assert run(impatient) == pytest.approx(7.5)


def test_virtual_wait_without_an_end_raises_an_error() -> None:
    async def forgotten() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Stuck):
        run(forgotten)
