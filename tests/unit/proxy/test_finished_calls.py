"""Records of finished calls reach every listener, in batches."""

from __future__ import annotations

import asyncio
import logging

import pytest
from ledger_checks import call

from sidecar.callers.lookup import Callers
from sidecar.proxy.in_flight import FinishedCalls
from sidecar.records import CallRecord


async def test_failing_listener_keeps_no_record_from_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    counted: list[CallRecord] = []
    published: list[CallRecord] = []

    def fail(*_: CallRecord) -> None:
        raise RuntimeError("broken")

    def publish(*records: CallRecord) -> None:
        published.extend(records)

    first, second = call(call_id="call_1"), call(call_id="call_2")
    with (
        caplog.at_level(logging.ERROR, "sidecar"),
        Callers(asyncio.get_running_loop().time, None) as callers,
        FinishedCalls(callers, counted.append, (fail, publish)) as finished,
    ):
        finished.add(first, None)
        finished.add(second, None)
        assert not published
    assert counted == published == [first, second]
    assert "the record of call call_1 call_2 is incomplete" in caplog.text
