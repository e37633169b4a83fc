"""What is shown of lines and gates agrees with what they do."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from queues import Person

from sidecar.admin.introspect.limit_states import (
    cooldown_state,
    limit_state,
    network_state,
    quota_state,
    seconds_until,
)
from sidecar.config.model import Budget, Limit, LimitKind, Period, Urgency
from sidecar.config.patterns import Pattern
from sidecar.errors import SourceLocation
from sidecar.plugin_api.error_class import Classification, ErrorClass
from sidecar.plugin_api.vendor import Quota, QuotaKind
from sidecar.records import NANODOLLARS
from sidecar.scheduling.cooldown import Cooldown, Network
from sidecar.scheduling.fair_queue import AGING_AFTER_SECONDS, OLDEST_EVERY_N, FairQueue
from sidecar.scheduling.limiter import Limiter, LimitUnit
from sidecar.scheduling.vendor_quota import VendorQuota
from sidecar.scheduling.windows import (
    BudgetWindow,
    ConcurrencyLimit,
    CountingLimiter,
    SlidingWindow,
)

INTERACTIVE, NORMAL, BACKGROUND = Urgency
HERE = SourceLocation("/home/me/routes.yaml", 7)


def takes(person: Person) -> int:
    return person.amount


def goes(line: FairQueue, now: float) -> int:
    front = line.head(now)
    assert isinstance(front, Person)
    line.charge(front, front.amount, now)
    line.remove(front)
    return front.seq


PEOPLE = st.lists(
    st.tuples(
        st.sampled_from(["come", "come", "go", "leave"]),
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(list(Urgency)),
        st.integers(0, 50),
    ),
    max_size=60,
)
SHARES = {"a": 1.0, "b": 2.5, "c": 0.5}


def after(events: list[tuple[str, str, Urgency, int]]) -> tuple[FairQueue, int]:
    """A line with a past, and the number of whoever comes next."""
    line, present = FairQueue(), list[Person]()
    for number, (kind, key, urgency, amount) in enumerate(events):
        if kind == "come":
            present.append(Person(number, key, SHARES[key], urgency, amount=amount))
            line.add(present[-1])
        elif present and kind == "go":
            seq = goes(line, 0.0)
            present = [each for each in present if each.seq != seq]
        elif present:
            line.remove(present.pop(amount % len(present)))
    return line, len(events)


@given(PEOPLE, st.booleans())
def test_the_order_that_is_shown_is_the_order_in_which_they_go(
    events: list[tuple[str, str, Urgency, int]], one_more: bool
) -> None:
    line, number = after(events)
    also = [Person(number, "b", SHARES["b"], NORMAL, amount=7)] if one_more else []
    before = len(line)
    shown = [each.seq for each in line.order(takes, 0.0, *also)]
    assert len(line) == before, "looking changes nothing"
    for person in also:
        line.add(person)
    assert shown == [goes(line, 0.0) for _ in range(len(line))]


def test_the_turn_of_the_oldest_is_shown() -> None:
    line = FairQueue()
    line.add(Person(0, urgency=BACKGROUND))
    for number in range(1, OLDEST_EVERY_N):
        line.add(Person(number, urgency=INTERACTIVE, since=AGING_AFTER_SECONDS))
        assert [each.seq for each in line.order(takes, AGING_AFTER_SECONDS)] == [number, 0]
        goes(line, AGING_AFTER_SECONDS)
    line.add(Person(OLDEST_EVERY_N, urgency=INTERACTIVE, since=AGING_AFTER_SECONDS))
    assert [each.seq for each in line.order(takes, AGING_AFTER_SECONDS)] == [0, OLDEST_EVERY_N]
    assert goes(line, AGING_AFTER_SECONDS) == 0


def limit(kind: LimitKind = LimitKind.TPM, models: str | None = None) -> Limit:
    return Limit(kind, 100, HERE, None if models is None else Pattern(models))


def figures(window: CountingLimiter, now: float, urgency: int = INTERACTIVE) -> dict[str, object]:
    view = limit_state(window, limit(), now, urgency)
    return {name: getattr(view, name) for name in ("used", "left", "kept", "reset", "limit")}


def test_a_minute_is_shown_as_it_counts() -> None:
    window = SlidingWindow("group demo", "tpm", LimitUnit.TOKENS, "", 100)
    assert figures(window, 0.0) == {"used": 0, "left": 100, "kept": 0, "reset": 0, "limit": 100}
    window.acquire(30, NORMAL, 10.0)
    mark = window.acquire(20, NORMAL, 40.0)
    assert figures(window, 50.0) == {
        "used": 50, "left": 50, "kept": 0, "reset": 50.0, "limit": 100,
    }  # fmt: skip
    window.settle(mark, 90, 50.0)
    found = figures(window, 50.0)
    assert (found["used"], found["left"]) == (120, 0), "what was used beyond it is not hidden"
    assert figures(window, 75.0) == {
        "used": 90, "left": 10, "kept": 0, "reset": 35.0, "limit": 100,
    }  # fmt: skip


def test_headroom_is_shown_while_it_binds_and_to_whom() -> None:
    window = SlidingWindow("group demo", "tpm", LimitUnit.TOKENS, "", 100)
    window.headroom = {BACKGROUND: 0.3}
    assert figures(window, 0.0, BACKGROUND)["kept"] == 0
    window.acquire(1, INTERACTIVE, 0.0)
    assert figures(window, 1.0, BACKGROUND)["kept"] == 30
    assert figures(window, 1.0, NORMAL)["kept"] == 0
    assert figures(window, 61.0, BACKGROUND)["kept"] == 0


def test_concurrency_limit_has_no_reset_time() -> None:
    window = ConcurrencyLimit("key a", "concurrency", LimitUnit.CALLS, "", 4)
    window.acquire(1, NORMAL, 0.0)
    view = limit_state(window, limit(LimitKind.CONCURRENCY), 0.0)
    assert (view.used, view.left, view.reset) == (1, 3, None)


def test_a_limit_of_nothing_is_never_free() -> None:
    window = SlidingWindow("key a", "rpm", LimitUnit.CALLS, "", 0)
    assert figures(window, 0.0) == {"used": 0, "left": 0, "kept": 0, "reset": None, "limit": 0}


def test_money_is_shown_in_dollars_and_free_when_the_day_is_over() -> None:
    window = BudgetWindow(
        "everything together", "budget/day", LimitUnit.MONEY, "", 10 * NANODOLLARS, Period.DAY,
        lambda: 1_764_000_000.0, lambda _: None,
    )  # fmt: skip
    mark = window.acquire(NANODOLLARS, NORMAL, 0.0)
    view = limit_state(window, Budget(Decimal(10), Period.DAY, HERE), 0.0)
    assert (view.used, view.reserved, view.left) == (0.0, 1.0, 9.0)
    window.settle(mark, NANODOLLARS // 4, 0.0)
    view = limit_state(window, Budget(Decimal(10), Period.DAY, HERE), 0.0)
    assert (view.unit, view.used, view.left, view.limit) == ("usd", 0.25, 9.75, 10.0)
    assert 0 < view.reset <= 86400
    assert view.line == "routes.yaml:7"


def test_a_limit_tells_its_line_and_its_models_and_nothing_where_nothing_is_known() -> None:
    window = SlidingWindow("group demo", "tpm", LimitUnit.TOKENS, "", 100)
    view = limit_state(window, limit(models="gpt-5*"), 0.0, known=False)
    assert (view.line, view.models, view.limit) == ("routes.yaml:7", "gpt-5*", 100)
    assert [getattr(view, name) for name in ("used", "left", "kept", "reset")] == [None] * 4


def test_a_vendors_quota_is_shown_until_it_is_too_old() -> None:
    bucket = VendorQuota("provider p", "", QuotaKind.REQUESTS)
    view = quota_state(bucket, 0.0, "requests/minute")
    assert (view.left, view.used) == (None, None)
    bucket.observe(Quota(QuotaKind.REQUESTS, 60, 40, 20.0), None, 0.0)
    view = quota_state(bucket, 0.0, "requests/minute")
    assert (view.kind, view.unit, view.limit) == ("requests/minute", "calls", 60)
    assert (view.left, view.used, view.reset) == (40, 20, 20.0)
    bucket.acquire(1, NORMAL, 0.0)
    assert quota_state(bucket, 0.0, "requests/minute").left == 39
    assert quota_state(bucket, 301.0, "requests/minute").left is None


def test_a_cooldown_is_shown_with_the_vendors_word() -> None:
    cooldown = Cooldown("provider p", "provider p is cooling down")
    cooldown.record_failure(
        Classification(ErrorClass.RATE_LIMITED, "429 rate_limit_exceeded", 30.0), 100.0
    )
    view = cooldown_state(cooldown, 110.0, 1000.0)
    assert (view.seconds, view.until) == (20.0, 1020.0)
    assert (view.reason, view.verdict) == ("429 rate_limit_exceeded", "rate_limited")
    assert cooldown_state(cooldown, 140.0, 1000.0).seconds == 0


def test_the_network_is_shown_with_the_next_try() -> None:
    now = [0.0]
    network = Network(lambda: now[0], lambda: 0.0)
    assert network_state(network.breaker, 0.0).up is True
    network.record_failure()
    view = network_state(network.breaker, 0.0)
    assert view.up is False
    assert view.seconds > 0


@pytest.mark.parametrize(
    ("opens", "shown"), [(5.0, 0.0), (12.25, 2.25), (float("inf"), None), (10.0, 0.0)]
)
def test_when_a_gate_opens(opens: float, shown: float | None) -> None:
    assert seconds_until(opens, 10.0) == shown


def test_every_kind_of_limiter_has_a_state_in_the_api() -> None:
    kinds = {each.__name__ for each in _kinds(Limiter)}
    assert kinds == {
        "CountingLimiter", "ConcurrencyLimit", "SlidingWindow", "CalendarWindow", "BudgetWindow",
        "VendorQuota", "Cooldown", "OfflineBreaker", "PauseLimiter",
        "Gate",  # of a shared limit, whose window has a state
        "RetryBudget",  # the live view shows what is left of it
    }  # fmt: skip


def _kinds(kind: type) -> set[type]:
    below = [each for each in kind.__subclasses__() if each.__module__.startswith("sidecar.")]
    return set(below).union(*(_kinds(each) for each in below))
