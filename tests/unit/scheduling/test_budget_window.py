"""Budgets for any order of events: what is admitted, what waits, and how far they are overshot."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sidecar.config.model import Period, Urgency
from sidecar.scheduling.limiter import NEVER, LimitUnit
from sidecar.scheduling.windows import BudgetWindow

INTERACTIVE, NORMAL, BACKGROUND = Urgency
NOON = 1_764_072_000.0
HALF_A_DAY = 12 * 3600.0


def budget(limit: int, kept: list[int] | None = None) -> BudgetWindow:
    window = BudgetWindow(
        "key", "budget/day", LimitUnit.MONEY, "key is at its budget", limit, Period.DAY,
        lambda: NOON, lambda each: None if kept is None else kept.append(each.used),
    )  # fmt: skip
    window.set_zone(ZoneInfo("UTC"))
    return window


class Spending(RuleBasedStateMachine):
    """Calls of any estimate and any true cost against one budget."""

    LIMIT = 100

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[int] = []
        self.window = budget(self.LIMIT, self.kept)
        self.running: list[tuple[tuple[float, int], int]] = []
        self.settled = 0
        self.ran_when_spent: int | None = None

    @rule(estimate=st.integers(0, 150), cost=st.integers(0, 200))
    def ask(self, estimate: int, cost: int) -> None:
        reserved = sum(reservation[1] for reservation, _ in self.running)
        fits = self.window.allows(estimate, NORMAL, 0.0)
        room = self.settled + reserved + estimate <= self.LIMIT
        assert fits == (estimate == 0 or (self.settled < self.LIMIT and (room or reserved == 0)))
        opens = self.window.available_at(estimate, NORMAL, 0.0)
        if fits or self.settled < self.LIMIT:
            assert opens == 0.0, "room that running calls give back is waited for"
        else:
            assert opens == HALF_A_DAY, "what is spent comes back tomorrow"
        if fits:
            # A call that is known to cost nothing costs nothing.
            reservation = self.window.acquire(estimate, NORMAL, 0.0)
            self.running.append((reservation, cost if estimate else 0))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.running) - 1))
        in_flight = sum(cost for _, cost in self.running)
        reservation, cost = self.running.pop(at)
        self.window.settle(reservation, cost, 0.0)
        self.settled += cost
        if self.settled >= self.LIMIT and self.ran_when_spent is None:
            self.ran_when_spent = in_flight

    @invariant()
    def spend_is_what_was_settled(self) -> None:
        assert self.window.settled == self.settled
        assert self.window.reserved == sum(reservation[1] for reservation, _ in self.running)
        assert self.window.spent == (self.settled >= self.LIMIT)
        kept = self.kept[-1] if self.kept else 0
        assert kept == self.window.used, "what a kill cuts short stays counted as it was estimated"

    @invariant()
    def overshoot_is_at_most_what_was_in_flight(self) -> None:
        if self.ran_when_spent is not None:
            assert self.settled < self.LIMIT + self.ran_when_spent


TestSpending = Spending.TestCase


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 100)), max_size=60))
def test_budget_with_estimates_that_hold_is_overshot_by_one_call_at_most(
    calls: list[tuple[int, int]],
) -> None:
    """Several run only where all of their estimates fit."""
    window = budget(100)
    running = []
    for estimate, part in calls:
        if window.allows(estimate, NORMAL, 0.0):
            running.append((window.acquire(estimate, NORMAL, 0.0), estimate * part // 100))
            assert window.used <= 100 or len(running) == 1
        elif running:
            window.settle(running[0][0], running.pop(0)[1], 0.0)
    for reservation, cost in running:
        window.settle(reservation, cost, 0.0)
    assert window.settled < 100 + 40


def test_budget_with_less_left_than_an_estimate_admits_it_alone() -> None:
    window = budget(100)
    window.settle(window.acquire(10, NORMAL, 0.0), 99, 0.0)
    assert window.allows(5000, NORMAL, 0.0)
    reservation = window.acquire(5000, NORMAL, 0.0)
    assert not window.allows(1, NORMAL, 0.0)
    assert window.available_at(1, NORMAL, 0.0) == 0.0
    assert window.next_check_at(1, NORMAL, 0.0) == HALF_A_DAY
    window.settle(reservation, 1, 0.0)
    assert not window.allows(1, NORMAL, 0.0)
    assert window.allows(0, NORMAL, 0.0)


def test_budget_of_zero_admits_only_what_costs_nothing() -> None:
    window = budget(0)
    assert window.spent
    assert window.allows(0, NORMAL, 0.0)
    assert not window.allows(1, NORMAL, 0.0)
    assert window.available_at(1, NORMAL, 0.0) == NEVER


def test_budget_with_headroom_keeps_its_part_while_urgent_calls_run() -> None:
    window = budget(100)
    window.headroom = {BACKGROUND: 0.5}
    window.settle(window.acquire(10, INTERACTIVE, 0.0), 50, 0.0)
    assert not window.allows(1, BACKGROUND, 1.0)
    assert not window.spent
    assert (
        window.available_at(1, BACKGROUND, 1.0) == window.next_check_at(1, BACKGROUND, 1.0) == 60.0
    )
    assert window.allows(1, BACKGROUND, 60.0)
    assert window.allows(1, INTERACTIVE, 1.0)


def test_budget_whose_time_zone_changes_settles_running_calls_in_its_new_period() -> None:
    window = budget(100)
    settled, running = (window.acquire(30, NORMAL, 0.0) for _ in range(2))
    window.settle(settled, 20, 0.0)
    for zone in ("Asia/Tokyo", "UTC", "America/New_York"):
        window.set_zone(ZoneInfo(zone))
        assert (window.settled, window.reserved) == (20, 30)
    window.settle(running, 7, 0.0)
    assert (window.settled, window.reserved) == (27, 0)
