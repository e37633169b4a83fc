"""The watch over calls in flight: checkpoints, and the log line of a call that waits for long."""

from __future__ import annotations

import asyncio

import pytest
from sample_candidates import candidate as sample_candidate
from virtual_time import run

from sidecar.config.loader import load
from sidecar.plugin_api.manager import discover
from sidecar.proxy.in_flight import (
    CHECKPOINT_AFTER_SECONDS,
    CHECKPOINT_SECONDS,
    LiveCalls,
    watch_calls,
)
from sidecar.records import CallRecord
from sidecar.scheduling.lease import Waiter
from sidecar.scheduling.limiter import Limiter, LimitUnit

TEXT = b"groups: {demo: {vendor: echo}}\nkeys: {codex: {group: demo}}\n"


@pytest.mark.parametrize(("seconds", "count"), [(4.5, 0), (30.0, 1)])
def test_long_wait_is_logged_once_after_five_seconds(
    caplog: pytest.LogCaptureFixture, seconds: float, count: int
) -> None:
    caplog.set_level("INFO", "sidecar")

    async def scenario() -> str:
        loop = asyncio.get_running_loop()
        live = LiveCalls(loop.time, loop.time)
        call = live.open("POST", "curl", None)
        call.key = load(TEXT, file="routes.yaml", registry=discover()).keys["codex"]
        call.waiter = Waiter(0, "codex", 1.0, 0, (), lambda: ())
        call.waiter.record_blocked(loop.time(), Limiter("all", "rpm", LimitUnit.CALLS, "rpm 60"))
        watching = loop.create_task(watch_calls(live, lambda _: None, loop.time))
        await asyncio.sleep(seconds)
        watching.cancel()
        return call.call_id

    call_id = run(scenario)
    told = [each.getMessage() for each in caplog.records]
    line = f'call {call_id} of key "codex" has waited for 5 s: rpm 60; see: sidecar top'
    assert told == [line] * count


def test_watch_without_calls_wakes_twice_a_second() -> None:
    checks = 0

    async def scenario() -> None:
        loop = asyncio.get_running_loop()

        def clock() -> float:
            nonlocal checks
            checks += 1
            return loop.time()

        live = LiveCalls(loop.time, loop.time)
        watching = loop.create_task(watch_calls(live, lambda _: None, clock))
        await asyncio.sleep(60.1)
        watching.cancel()

    run(scenario)
    assert checks == 120


@pytest.mark.parametrize("begun", [0.0, 0.05, 0.45, 0.55])
def test_call_begun_at_any_time_has_its_checkpoint_in_time(begun: float) -> None:
    async def scenario() -> list[float]:
        loop = asyncio.get_running_loop()
        live, noted = LiveCalls(loop.time, loop.time), list[float]()
        watching = loop.create_task(
            watch_calls(live, lambda each: noted.append(each.duration), loop.time)
        )
        await asyncio.sleep(begun)
        live.open("POST", "curl", None).candidate = sample_candidate("oa")
        await asyncio.sleep(5)
        watching.cancel()
        return noted

    noted = run(scenario)
    assert len(noted) == 1
    assert CHECKPOINT_AFTER_SECONDS <= noted[0] <= CHECKPOINT_AFTER_SECONDS + CHECKPOINT_SECONDS


def test_call_has_a_checkpoint_whenever_it_has_come_further() -> None:
    async def scenario() -> list[CallRecord]:
        loop = asyncio.get_running_loop()
        live, noted = LiveCalls(loop.time, loop.time), list[CallRecord]()
        watching = loop.create_task(watch_calls(live, noted.append, loop.time))
        call = live.open("POST", "curl", None)
        await asyncio.sleep(5)
        call.key = load(TEXT, file="routes.yaml", registry=discover()).keys["codex"]
        await asyncio.sleep(5)
        call.candidate = sample_candidate("oa")
        await asyncio.sleep(5)
        call.status = 200
        await asyncio.sleep(5)
        watching.cancel()
        return noted

    noted = run(scenario)
    assert [(each.key, each.provider, each.status) for each in noted] == [
        ("codex", "", 0), ("codex", "oa", 0), ("codex", "oa", 200),
    ]  # fmt: skip
    for number, each in enumerate(noted, 1):
        assert 5 * number <= each.duration <= 5 * number + CHECKPOINT_SECONDS
