"""A key far above its own habit, and a program that it has not seen before: told once."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_checks import Wall, call, seen, snapshot

from sidecar.ledger.anomalies import (
    MIN_COST,
    MIN_TOKENS,
    SPIKE_FACTOR,
    DayUsage,
    Spike,
    find_spike,
    find_spikes,
)
from sidecar.ledger.database import DAY_SECONDS, open_database
from sidecar.ledger.ledger import Ledger
from sidecar.ledger.model import Batch, Keep, day_of
from sidecar.ledger.reader import open_to_read
from sidecar.records import CallRecord, Cost, Usage, UsageState

DOLLAR = 10**9
NOW = Wall().now
TODAY = day_of(NOW, None)


def spent(dollars: float | None, days_ago: int, key: str = "nightly", **more: object) -> CallRecord:
    """A call of that day which came to so much."""
    cost = None if dollars is None else Cost(0, round(dollars * DOLLAR), "list")
    return call(
        call_id=f"{key} {days_ago} {dollars} {more}", key=key, started=NOW - days_ago * DAY_SECONDS,
        cost=cost, **{"usage": Usage(10, 10), **more},
    )  # fmt: skip


def spikes(state: Path, *records: CallRecord) -> dict[str, Spike]:
    database = open_database(state, NOW)
    database.write(Batch(steps=list(records)), Keep())
    database.close()
    with open_to_read(state) as books:
        return find_spikes(books, TODAY)


def habit(*dollars: float | None) -> list[CallRecord]:
    """A day each, up to yesterday."""
    return [spent(each, days_ago) for days_ago, each in enumerate(reversed(dollars), 1)]


def test_spike_is_found_on_a_day_far_above_the_baseline(tmp_path: Path) -> None:
    found = spikes(tmp_path, *habit(2, 2, 3, 2, 2), spent(12.30, 0))
    assert found == {"nightly": Spike("nightly", TODAY, "cost", 12_300_000_000, 2 * DOLLAR)}
    assert str(found["nightly"]) == "$12.30 today, 6 times its usual $2.00"


@pytest.mark.parametrize(
    "records",
    [
        [spent(100, 0)],
        [*habit(2, 2, 2, 2), spent(100, 0)],
        [*habit(2, 2, 2, 2, 2), spent(8, 0)],
        [*habit(0.1, 0.1, 0.1, 0.1, 0.1), spent(0.99, 0)],
        [*habit(2, 2, 2, 2, 2, 100), spent(None, 0)],
        [*habit(2, 2, 2, 2, 2), spent(100, 1)],
        [*habit(None, None, None, None, None), spent(100, 0)],
        [*(spent(2, days_ago) for days_ago in range(15, 25)), spent(100, 0)],
    ],
    ids=[
        "a new key", "no habit yet", "within it", "too little to matter", "unknown",
        "not today", "unknown habit", "long ago",
    ],
)  # fmt: skip
def test_spike_is_absent_for_ordinary_days(tmp_path: Path, records: list[CallRecord]) -> None:
    assert spikes(tmp_path, *records) == {}


def test_spike_is_found_after_an_earlier_extreme_day(tmp_path: Path) -> None:
    """A mean would be 22 dollars."""
    assert spikes(tmp_path, *habit(2, 2, 2, 2, 100), spent(100, 0))["nightly"].usual == 2 * DOLLAR


def test_baseline_ignores_days_without_use(tmp_path: Path) -> None:
    """A key that works on some days only would else have a habit of nothing."""
    days = [spent(2, days_ago) for days_ago in (2, 5, 7, 9, 12)]
    idle = [
        spent(None, days_ago, usage=None, usage_state=UsageState.NONE)
        for days_ago in (1, 3, 4, 6, 8, 10, 11, 13)
    ]
    assert spikes(tmp_path, *days, *idle, spent(7, 0)) == {}
    assert spikes(tmp_path, spent(2, 0))["nightly"].usual == 2 * DOLLAR


def test_spike_compares_tokens_where_prices_are_unknown(tmp_path: Path) -> None:
    usual = [spent(None, days_ago, usage=Usage(200_000, 50_000)) for days_ago in range(1, 8)]
    found = spikes(tmp_path, *usual, spent(None, 0, usage=Usage(2_000_000, 0)))
    assert found == {"nightly": Spike("nightly", TODAY, "tokens", 2_000_000, 250_000)}
    assert str(found["nightly"]) == "2,000,000 tokens today, 8 times its usual 250,000"


@given(st.lists(st.integers(1, 10**12), min_size=5, max_size=14), st.integers(0, 10**13))
def test_spike_is_above_four_times_the_median(before: list[int], amount: int) -> None:
    days = [DayUsage(TODAY - timedelta(ago), each, None) for ago, each in enumerate(before, 1)]
    found = find_spike("nightly", TODAY, [*days, DayUsage(TODAY, amount, None)])
    exceeded = sum(amount > SPIKE_FACTOR * each for each in before)
    if found is not None:
        assert exceeded * 2 >= len(before)
        assert amount >= MIN_COST
    elif amount >= MIN_COST:
        assert exceeded * 2 <= len(before)


def test_spike_in_tokens_has_its_own_floor(tmp_path: Path) -> None:
    usual = [spent(None, days_ago, usage=Usage(10, 0)) for days_ago in range(1, 8)]
    assert spikes(tmp_path, *usual, spent(None, 0, usage=Usage(MIN_TOKENS - 1, 0))) == {}
    assert spikes(tmp_path, spent(None, 0, usage=Usage(1, 0), session="more"))


async def test_spike_is_logged_once_a_day_and_listed_always(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sidecar.ledger.anomalies")
    wall = Wall()
    async with Ledger(tmp_path, wall=wall) as ledger:
        for record in [*habit(2, 2, 2, 2, 2), spent(30, 0)]:
            ledger.finished(record)
        await look(ledger)
        await look(ledger)
        assert ledger.spikes["nightly"].amount == 30 * DOLLAR
        assert told(caplog) == [
            'key "nightly": $30.00 today, 15 times its usual $2.00'
            " (see: sidecar usage --by day,model --key nightly)"
        ]
        wall.now += DAY_SECONDS
        await look(ledger)
        assert ledger.spikes == {}
        ledger.finished(spent(40, -1))
        await look(ledger)
        assert len(told(caplog)) == 2


async def test_new_program_of_a_key_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sidecar.ledger.anomalies")
    async with Ledger(tmp_path, wall=Wall()) as ledger:
        ledger.reconcile(snapshot({"nightly": "text"}))
        seen(ledger, "nightly")
        ledger.finished(call(call_id="1", program="codex/1.0"))
        await ledger.flush()
        assert told(caplog) == []  # somebody is always the first
        for number, program in enumerate(("codex/1.1", "curl/8", "curl/9", "", "go-client"), 2):
            ledger.finished(call(call_id=str(number), program=program, caller=None))
        ledger.finished(call(call_id="7", key="", program="who"))
        await ledger.flush()
    async with Ledger(tmp_path, wall=Wall()) as ledger:
        ledger.reconcile(snapshot({"another": "text"}))  # renamed: nothing about it is new
        ledger.finished(call(call_id="8", key="another", program="curl/10"))
    assert told(caplog) == [
        'key "nightly" is used from a new program: curl (until now: codex)',
        'key "nightly" is used from a new program: go-client (until now: codex, curl)',
    ]


async def look(ledger: Ledger) -> None:
    """Have the thread look now rather than at its next time."""
    ledger._store._looked = float("-inf")
    await ledger.flush()


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == "sidecar.ledger.anomalies"]
