"""What a call used in all: sums of what is known, and how much of it that is."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_checks import call

from sidecar.proxy.in_flight import MAX_LOGGED_ATTEMPTS, LiveCalls
from sidecar.records import (
    AttemptRecord,
    AttemptUsage,
    Cost,
    Usage,
    UsageState,
    together,
    utc_text,
    with_spent,
)

R, P, U, N = UsageState.REPORTED, UsageState.PARTIAL, UsageState.UNKNOWN, UsageState.NONE
COUNT = st.none() | st.integers(0, 10**6)
UNITS = st.dictionaries(st.sampled_from(["images", "web_searches"]), st.integers(1, 9))
USAGE = st.builds(
    Usage, COUNT, COUNT, COUNT, COUNT, COUNT, COUNT, UNITS.map(lambda each: tuple(each.items()))
)
MONEY = st.integers(0, 10**9)
COST = st.builds(Cost, MONEY, MONEY, st.sampled_from(["p", "q", "p + q"]), st.booleans())
SPENT = st.builds(AttemptUsage, st.sampled_from([R, P, U]), st.none() | USAGE, st.none() | COST)


def plain(spent: AttemptUsage) -> object:
    """What it says, whatever the order of its names."""
    usage, cost = spent.usage, spent.cost
    return (
        spent.state,
        usage and (usage.input_tokens, usage.output_tokens, sorted(usage.units)),
        cost and (cost.listed, cost.charged, sorted(cost.price.split(" + ")), cost.whole),
    )


@given(SPENT, SPENT, SPENT)
def test_usage_sum_is_the_same_in_any_order(
    one: AttemptUsage, two: AttemptUsage, three: AttemptUsage
) -> None:
    assert plain(together(one, two)) == plain(together(two, one))
    forth = together(together(one, two), three)
    assert plain(forth) == plain(together(one, together(two, three)))


@given(SPENT)
def test_usage_of_nothing_adds_nothing(spent: AttemptUsage) -> None:
    assert plain(together(AttemptUsage(N), spent)) == plain(spent)


@pytest.mark.parametrize(
    ("one", "two", "both"),
    [(R, R, R), (R, P, P), (R, U, U), (P, U, U), (N, R, R), (N, U, U), (N, N, N)],
)
def test_usage_sum_has_the_least_known_state(
    one: UsageState, two: UsageState, both: UsageState
) -> None:
    assert together(AttemptUsage(one), AttemptUsage(two)).state is both
    assert together(AttemptUsage(two), AttemptUsage(one)).state is both


def test_usage_count_that_one_side_lacks_is_that_of_the_other() -> None:
    one = AttemptUsage(
        R, Usage(5, None, 2, units=(("images", 1),), service_tier="flex"), Cost(3, 2, "p")
    )
    two = AttemptUsage(R, Usage(7, 1, units=(("images", 2),)), None)
    found = together(one, two)
    assert found.usage == Usage(12, 1, 2, units=(("images", 3),), service_tier="flex")
    assert found.cost == Cost(3, 2, "p", whole=False)


def test_call_record_with_spent_usage_has_both() -> None:
    record = call(usage=Usage(5, 6), cost=Cost(10, 9, "p"))
    found = with_spent(record, AttemptUsage(P, Usage(1, 1), Cost(4, 4, "q")))
    assert (found.usage, found.usage_state) == (Usage(6, 7), P)
    assert found.cost == Cost(14, 13, "p + q")


async def test_attempts_of_a_long_outage_keep_first_and_last_and_count_all() -> None:
    live = LiveCalls(lambda: 0.0, lambda: 0.0).open("POST", "", None)
    for number in range(2 * MAX_LOGGED_ATTEMPTS):
        spent = AttemptUsage(R, Usage(1, 1))
        live.note(AttemptRecord("acme", "", "m", "overloaded", 503, str(number), 0.1, spent))
    reasons = [each.reason for each in live.attempts]
    assert reasons == [*map(str, range(MAX_LOGGED_ATTEMPTS)), str(2 * MAX_LOGGED_ATTEMPTS - 1)]
    assert live.spent == AttemptUsage(R, Usage(2 * MAX_LOGGED_ATTEMPTS, 2 * MAX_LOGGED_ATTEMPTS))


@pytest.mark.parametrize(
    ("time", "timespec", "text"),
    [
        (0.25, "seconds", "1970-01-01T00:00:00Z"),
        (0.25, "auto", "1970-01-01T00:00:00.250000Z"),
        (0.0, "auto", "1970-01-01T00:00:00Z"),
        (datetime.fromisoformat("2026-12-31T20:00+02:00"), "seconds", "2026-12-31T18:00:00Z"),
    ],
)
def test_utc_text_is_iso_8601_with_a_fraction_on_request(
    time: datetime | float, timespec: str, text: str
) -> None:
    assert utc_text(time, timespec) == text
