"""Records of finished calls reach every listener, in batches."""

from __future__ import annotations

import asyncio
import logging

import pytest

from sidecar.callers.lookup import Callers
from sidecar.pricing import price_list
from sidecar.pricing.prices import Prices
from sidecar.proxy.in_flight import FinishedCalls, LiveCall, LiveCalls
from sidecar.records import CallRecord


async def test_failing_listener_keeps_no_record_from_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    counted: list[CallRecord] = []
    published: list[CallRecord] = []
    ended: list[LiveCall] = []

    def fail(*_: CallRecord) -> None:
        raise RuntimeError("broken")

    def publish(*records: CallRecord) -> None:
        published.extend(records)

    live = LiveCalls(asyncio.get_running_loop().time, lambda: 0.0)
    calls = [live.open("POST", "", None) for _ in range(2)]
    ids = [each.call_id for each in calls]
    with (
        caplog.at_level(logging.ERROR, "sidecar"),
        Callers(asyncio.get_running_loop().time, None) as callers,
        FinishedCalls(
            callers,
            Prices(price_list.load(), lambda: 0.0),
            ended.append,
            (counted.append,),
            (fail, publish),
        ) as finished,
    ):
        for each in calls:
            live.close(each)
            finished.add(each)
        assert not published
    assert counted == published
    assert ended == calls
    assert [record.call_id for record in counted] == ids
    assert f"the record of call {' '.join(ids)} is incomplete" in caplog.text
