"""Windows against a simple model of the rules, for any order of events."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.model import Period, Urgency
from sidecar.scheduling.estimates.demand import CallLimiters
from sidecar.scheduling.limiter import MINUTE_SECONDS, NEVER, LimitUnit, demand_of
from sidecar.scheduling.windows import (
    CalendarWindow,
    ConcurrencyLimit,
    CountingLimiter,
    SlidingWindow,
)

INTERACTIVE, NORMAL, BACKGROUND = Urgency


def sliding_window(limit: int) -> SlidingWindow:
    return SlidingWindow("key", "tpm", LimitUnit.TOKENS, "", limit)


class Model:
    """The model: every amount with the time from which it counts."""

    def __init__(self) -> None:
        self.rows: list[list[float]] = []

    def used(self, now: float) -> float:
        return sum(amount for at, amount in self.rows if at + MINUTE_SECONDS > now)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.floats(0, 40)),
        st.tuples(st.just("take"), st.integers(0, 120)),
        st.tuples(st.just("settle"), st.integers(0, 200)),
    ),
    max_size=60,
)


@given(limit=st.integers(0, 150), steps=STEPS)
def test_sliding_window_counts_any_sixty_seconds(
    limit: int, steps: list[tuple[str, float]]
) -> None:
    window, model, now = sliding_window(limit), Model(), 0.0
    running: list[tuple[object, list[float]]] = []
    for kind, figure in steps:
        if kind == "wait":
            now += figure
        elif kind == "take":
            amount = int(figure)
            used = model.used(now)
            fits = limit > 0 and (used <= 0 or amount == 0 or used + amount <= limit)
            assert window.allows(amount, NORMAL, now) == fits
            if fits:
                row = [now, amount]
                model.rows.append(row)
                running.append((window.acquire(amount, NORMAL, now), row))
        elif running:
            reservation, row = running.pop()
            truth = int(figure)
            window.settle(reservation, truth, now)
            if truth > row[1]:
                model.rows.append([now, truth - row[1]])
            else:
                row[1] = truth
        assert window.limit - window.remaining(now) == model.used(now)


@given(
    limit=st.integers(1, 100),
    admitted=st.lists(st.tuples(st.floats(0, 10), st.integers(1, 60), st.booleans()), max_size=20),
    amount=st.integers(1, 150),
)
def test_sliding_window_admits_exactly_from_its_next_check_on(
    limit: int, admitted: list[tuple[float, int, bool]], amount: int
) -> None:
    window, now = sliding_window(limit), 0.0
    for gap, each, ended in admitted:
        now += gap
        reservation = window.acquire(each, NORMAL, now)
        if ended:
            window.settle(reservation, each, now)
    if window.allows(amount, NORMAL, now):
        assert window.available_at(amount, NORMAL, now) == now
        return
    at = window.next_check_at(amount, NORMAL, now)
    running_may_give_back = window.reserved and window.settled <= max(limit - amount, 0)
    assert window.available_at(amount, NORMAL, now) == (now if running_may_give_back else at)
    assert now < at < NEVER
    before = at - 1e-6
    assert before <= now or not window.allows(amount, NORMAL, before)
    assert window.allows(amount, NORMAL, at)


def test_call_above_the_limit_is_admitted_to_an_empty_window_and_counts_on() -> None:
    window = sliding_window(100)
    reservation = window.acquire(300, NORMAL, 0.0)
    assert not window.allows(1, NORMAL, 59.9)
    window.settle(reservation, 350, 30.0)
    assert not window.allows(51, NORMAL, 60.0)  # the excess of 50 counts from when it became known
    assert window.allows(51, NORMAL, 90.0)


def test_limit_of_zero_admits_nothing() -> None:
    window = sliding_window(0)
    assert not window.allows(0, INTERACTIVE, 0.0)
    assert window.available_at(1, INTERACTIVE, 0.0) == NEVER
    slots = ConcurrencyLimit("key", "concurrency", LimitUnit.CALLS, "", 0)
    assert not slots.allows(1, INTERACTIVE, 0.0)
    assert slots.available_at(1, INTERACTIVE, 0.0) == NEVER


def test_concurrency_slot_is_returned_whatever_the_call_took() -> None:
    slots = ConcurrencyLimit("key", "concurrency", LimitUnit.CALLS, "", 2)
    one, _ = slots.acquire(1, NORMAL, 0.0), slots.acquire(1, NORMAL, 0.0)
    assert not slots.allows(1, NORMAL, 1000.0)
    slots.settle(one, 0, 1000.0)
    assert slots.allows(1, NORMAL, 1000.0)


@pytest.mark.parametrize("kind", [ConcurrencyLimit, SlidingWindow])
def test_headroom_binds_only_while_there_are_more_urgent_calls(kind: type[CountingLimiter]) -> None:
    window = kind("p", "calls", LimitUnit.CALLS, "", 10)
    window.headroom = {NORMAL: 0.1, BACKGROUND: 0.3}
    for _ in range(8):
        window.acquire(1, BACKGROUND, 0.0)
    assert window.allows(1, BACKGROUND, 0.0)  # no urgent call was admitted
    reservation = window.acquire(1, INTERACTIVE, 0.0)
    window.settle(reservation, 0, 0.0)
    assert not window.allows(1, BACKGROUND, 59.0)
    assert window.allows(1, NORMAL, 59.0)
    assert window.allows(1, INTERACTIVE, 59.0)
    window.acquire(1, NORMAL, 59.0)
    assert not window.allows(1, NORMAL, 59.0)
    assert window.allows(1, INTERACTIVE, 59.0)


def test_headroom_never_keeps_all_of_a_small_limit() -> None:
    slots = ConcurrencyLimit("p", "concurrency", LimitUnit.CALLS, "", 1)
    slots.headroom = {BACKGROUND: 0.9}
    slots.settle(slots.acquire(1, INTERACTIVE, 0.0), 1, 0.0)
    assert slots.allows(1, BACKGROUND, 1.0)


def test_demand_has_an_amount_of_every_unit() -> None:
    assert list(demand_of(3, 4, 5)) == [1, 7, 3, 4, 5, 7, 4]
    assert list(demand_of(3, 4, 5, upper_bound=9)) == [1, 7, 3, 4, 5, 12, 9]


BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()


@pytest.mark.parametrize(
    ("period", "moment", "begins", "ends"),
    [
        (Period.DAY, "2026-11-25T13:00", "2026-11-25T00:00", "2026-11-26T00:00"),
        (Period.DAY, "2026-03-29T12:00", "2026-03-29T00:00", "2026-03-30T00:00"),  # 23 hours
        (Period.DAY, "2026-10-25T02:30", "2026-10-25T00:00", "2026-10-26T00:00"),  # 25 hours
        (Period.WEEK, "2026-11-29T23:59", "2026-11-23T00:00", "2026-11-30T00:00"),
        (Period.MONTH, "2026-12-31T23:59", "2026-12-01T00:00", "2027-01-01T00:00"),
        (Period.MONTH, "2026-02-28T00:00", "2026-02-01T00:00", "2026-03-01T00:00"),
    ],
)
def test_periods_follow_the_calendar(period: Period, moment: str, begins: str, ends: str) -> None:
    assert period.bounds(at(moment), BERLIN) == (at(begins), at(ends))


class Days:
    """A calendar window of a day, on a clock of the test."""

    def __init__(self, limit: int = 10) -> None:
        self.wall = at("2026-11-25T13:00")
        self.kept: list[tuple[float, int]] = []
        self.window = CalendarWindow(
            "key", "rpd", LimitUnit.CALLS, "", limit, Period.DAY,
            lambda: self.wall, lambda c: self.kept.append((c.started_at, c.used)),
        )  # fmt: skip
        self.window.set_zone(BERLIN)

    def take(self, amount: int = 1) -> tuple[float, int, int]:
        assert self.window.allows(amount, NORMAL, 0.0)
        return self.window.acquire(amount, NORMAL, 0.0)


def test_day_ends_at_midnight_of_its_zone() -> None:
    days = Days()
    for _ in range(10):
        days.take()
    assert not days.window.allows(1, NORMAL, 0.0)
    assert days.window.available_at(1, NORMAL, 5.0) == 5.0 + 11 * 3600
    days.wall = at("2026-11-26T00:00")
    assert days.window.allows(10, NORMAL, 0.0)


def test_call_counts_in_the_day_of_its_admission() -> None:
    days = Days()
    days.wall = at("2026-11-25T23:59:59")
    reservation = days.take(4)
    days.wall += 10
    days.take(3)
    days.window.settle(reservation, 9, 0.0)
    assert days.window.remaining(0.0) == 7


def test_calendar_count_survives_a_clock_that_is_set() -> None:
    days = Days()
    days.take(6)
    today = days.wall
    for moment in (today - 3600 * 20, today + 86400 * 366, today):
        days.wall = moment
        days.window.allows(1, NORMAL, 0.0)
    assert days.window.remaining(0.0) == 4


def test_call_that_is_settled_after_midnight_counts_when_the_clock_is_set_back() -> None:
    days = Days()
    days.take(2)
    reservation = days.take(4)
    days.wall += 86400
    days.take(1)
    days.window.settle(reservation, 7, 0.0)
    assert days.window.remaining(0.0) == 9
    days.wall -= 86400
    assert days.window.remaining(0.0) == 1
    assert days.window.settled == 9
    days.wall += 86400
    assert days.window.remaining(0.0) == 9


def test_calendar_count_outlives_the_process() -> None:
    days = Days()
    days.take(6)
    begun, used = days.kept[-1]
    later = Days()
    later.window.restore(begun, used)
    assert later.window.remaining(0.0) == 4
    yesterday = Days()
    yesterday.window.restore(begun - 86400, 10)
    assert yesterday.window.remaining(0.0) == 10


def test_calendar_count_restored_late_keeps_what_was_counted_meanwhile() -> None:
    days = Days()
    days.take(6)
    days.window.restore(days.window.started_at, 3)
    assert days.window.remaining(0.0) == 4


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30))
def test_calendar_count_is_the_sum_of_settlements(pairs: list[tuple[int, int]]) -> None:
    days = Days(limit=10_000)
    reservations = [(days.take(estimate), truth) for estimate, truth in pairs]
    for reservation, truth in reservations:
        days.window.settle(reservation, truth, 0.0)
    assert days.window.remaining(0.0) == 10_000 - sum(truth for _, truth in pairs)
    assert (days.kept[-1][1] if days.kept else 0) == sum(truth for _, truth in pairs)


def test_token_room_is_shared_with_the_calls_of_the_least_used_limit() -> None:
    """A call that is alone at its key's limit shares it with none, however many run elsewhere."""
    own, shared = sliding_window(1000), sliding_window(9000)
    slots = ConcurrencyLimit("all", "concurrency", LimitUnit.CALLS, "", 9)
    day = CalendarWindow(
        "all", "tpd", LimitUnit.TOKENS, "", 10**6, Period.DAY, lambda: 0.0, lambda _: None
    )  # fmt: skip
    day.set_zone(BERLIN)
    reservations = [shared.acquire(100, NORMAL, 0.0) for _ in range(3)]
    spent = [day.acquire(100, NORMAL, 0.0) for _ in range(2)]
    slots.acquire(1, NORMAL, 0.0)
    assert CallLimiters([slots]).running() == 0
    assert CallLimiters([slots, shared]).running() == 3
    assert CallLimiters([slots, shared, day]).running() == 2
    assert CallLimiters([slots, own, shared, day]).running() == 0
    shared.settle(
        reservations[0], 50, MINUTE_SECONDS * 2
    )  # ended, though nothing of it counts any more
    day.settle(spent[0], 100, 0.0)
    assert (shared.running, day.running) == (2, 1)
