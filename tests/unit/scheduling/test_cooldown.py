"""What vendors say of themselves as gates: buckets by their headers, cooldowns after a no."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.model import Urgency
from sidecar.plugin_api.error_class import Classification, ErrorClass
from sidecar.plugin_api.vendor import Quota, QuotaKind
from sidecar.scheduling.cooldown import MAX_HINT_SECONDS, PROBE_SECONDS, Cooldown
from sidecar.scheduling.limiter import NEVER
from sidecar.scheduling.pauses import PauseLimiter
from sidecar.scheduling.upstream_health import UpstreamKey, Upstreams
from sidecar.scheduling.vendor_quota import (
    MAX_COOLDOWN_SECONDS,
    SAFETY_MARGIN_SHARE,
    VendorQuota,
)

NORMAL = Urgency.NORMAL


def bucket(
    limit: int = 60, left: int = 0, reset: float | None = 60.0,
    kind: QuotaKind = QuotaKind.REQUESTS,
) -> VendorQuota:  # fmt: skip
    found = VendorQuota("p", "p is at its quota", kind)
    found.observe(Quota(kind, limit, left, reset), None, 0.0)
    return found


def test_a_bucket_of_which_nothing_was_heard_lets_everything_pass() -> None:
    fresh = VendorQuota("p", "", QuotaKind.TOKENS)
    assert fresh.allows(10**9, NORMAL, 0.0)
    assert not fresh.is_known(0.0)


def test_it_fills_up_at_the_vendors_pace() -> None:
    empty = bucket(limit=60, left=0, reset=60.0)
    assert not empty.allows(1, NORMAL, 0.9)
    assert empty.available_at(1, NORMAL, 0.0) == pytest.approx(1.0)
    assert empty.allows(1, NORMAL, 1.0)
    assert empty.allows(30, NORMAL, 30.0)
    assert not empty.allows(31, NORMAL, 30.0)


def test_what_is_let_through_is_taken_off_until_the_vendor_tells() -> None:
    full = bucket(limit=10, left=10)
    marks = [full.acquire(1, NORMAL, 0.0) for _ in range(10)]
    assert not full.allows(1, NORMAL, 0.0)
    # The first answer says that 7 are left: of the nine others, not all had arrived.
    full.observe(Quota(QuotaKind.REQUESTS, 10, 7, 18.0), marks[0], 0.0)
    assert full.remaining(0.0) == 7 - 9
    for mark in marks[1:]:
        full.settle(mark, 1, 0.0)
    assert full.remaining(0.0) == 7 - 9


def test_output_is_held_until_the_answer_is_over() -> None:
    """The vendor's figure at the head of an answer cannot have what is still to be written."""
    tokens = bucket(limit=1000, left=1000, kind=QuotaKind.OUTPUT_TOKENS)
    mark = tokens.acquire(400, NORMAL, 0.0)
    tokens.observe(Quota(QuotaKind.OUTPUT_TOKENS, 1000, 1000, 0.0), mark, 0.0)
    assert tokens.remaining(0.0) == 600
    tokens.settle(mark, 50, 0.0)
    assert tokens.remaining(0.0) == 950


def test_a_call_larger_than_the_vendors_limit_goes_when_all_of_it_is_there() -> None:
    tokens = bucket(limit=100, left=0, reset=60.0, kind=QuotaKind.TOKENS)
    assert tokens.available_at(500, NORMAL, 0.0) == pytest.approx(60.0)
    assert tokens.allows(500, NORMAL, 60.0)


def test_a_vendors_last_tokens_are_left_alone() -> None:
    """It says "13000 left" and means 12600."""
    tokens = bucket(limit=100_000, left=13_000, reset=52.2, kind=QuotaKind.INPUT_TOKENS)
    assert tokens.allows(10_000, NORMAL, 0.0)
    assert not tokens.allows(10_001, NORMAL, 0.0)
    opens = tokens.available_at(10_001, NORMAL, 0.0)
    assert opens == pytest.approx(1 / (100_000 / 60))
    assert tokens.allows(10_001, NORMAL, opens + 1e-9)


def test_a_call_that_needs_nearly_all_of_a_limit_passes_when_it_is_full() -> None:
    tokens = bucket(limit=100_000, left=40_000, reset=36.0, kind=QuotaKind.TOKENS)
    amount = int(100_000 * (1 - SAFETY_MARGIN_SHARE / 2))
    assert tokens.available_at(amount, NORMAL, 0.0) == pytest.approx(36.0)
    assert not tokens.allows(amount, NORMAL, 35.9)
    assert tokens.allows(amount, NORMAL, 36.1)


def test_the_last_request_is_not_left_alone() -> None:
    assert bucket(limit=50, left=1).allows(1, NORMAL, 0.0)


@given(
    limit=st.one_of(st.none(), st.integers(-5, 10**12)),
    remaining=st.one_of(st.none(), st.integers(-5, 10**12)),
    reset=st.one_of(st.none(), st.floats(0, 1e12)),
    amount=st.integers(1, 10**7),
)
def test_no_figure_of_a_vendor_shuts_a_bucket_for_long(
    limit: int | None, remaining: int | None, reset: float | None, amount: int
) -> None:
    limiter = VendorQuota("p", "", QuotaKind.TOKENS)
    limiter.observe(Quota(QuotaKind.TOKENS, limit, remaining, reset), None, 100.0)
    assert limiter.allows(amount, NORMAL, 100.0 + MAX_COOLDOWN_SECONDS)
    assert limiter.available_at(amount, NORMAL, 100.0) <= 100.0 + MAX_COOLDOWN_SECONDS


def slow(
    wait: float | None = None, verdict: ErrorClass = ErrorClass.RATE_LIMITED
) -> Classification:
    return Classification(verdict, "429 slow", wait)


def test_a_cooldown_lasts_as_long_as_the_vendor_asks_and_then_one_call_tries() -> None:
    limiter = Cooldown("p", "p is cooling down")
    assert limiter.allows(1, NORMAL, 0.0)
    assert limiter.record_failure(slow(7.0), 10.0) == 7.0
    assert not limiter.allows(1, NORMAL, 16.9)
    assert limiter.available_at(1, NORMAL, 12.0) == 17.0
    assert limiter.allows(1, NORMAL, 17.0)
    limiter.acquire(1, NORMAL, 17.0)
    assert not limiter.allows(1, NORMAL, 17.5)
    assert limiter.available_at(1, NORMAL, 17.5) == 17.0 + PROBE_SECONDS
    assert limiter.allows(1, NORMAL, 17.0 + PROBE_SECONDS)  # a no would have come by now
    assert limiter.record_success()
    assert limiter.allows(1, NORMAL, 17.5)
    assert not limiter.record_success()


def test_without_a_hint_each_failure_in_a_row_doubles_it_up_to_a_bound() -> None:
    limiter, now, waits = Cooldown("p", ""), 0.0, []
    for _ in range(10):
        waits.append(limiter.record_failure(slow(verdict=ErrorClass.OVERLOADED), now))
        now += waits[-1]
    assert waits[:6] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0]
    assert max(waits) == 16.0
    limiter.record_success()
    assert limiter.record_failure(slow(verdict=ErrorClass.OVERLOADED), now) == 0.5


@pytest.mark.parametrize(
    ("verdict", "seconds"),
    [
        (ErrorClass.RATE_LIMITED, 2.0),
        (ErrorClass.OVERLOADED, 0.5),
        (ErrorClass.QUOTA_EXHAUSTED, MAX_COOLDOWN_SECONDS),
    ],
)
def test_a_hint_of_days_is_not_believed_of_throttling(verdict: ErrorClass, seconds: float) -> None:
    """Else one nonsensical answer would shut an account for five minutes."""
    assert Cooldown("p", "").record_failure(slow(6 * 86400.0, verdict), 0.0) == seconds
    assert (
        Cooldown("p", "").record_failure(slow(MAX_HINT_SECONDS, verdict), 0.0)
        == MAX_COOLDOWN_SECONDS
    )


def test_who_says_days_again_and_again_is_asked_less_and_less() -> None:
    limiter, now, tries = Cooldown("p", ""), 0.0, 0
    while now < 3600:
        tries += 1
        now += limiter.record_failure(slow(6 * 86400.0), now)
    assert tries < 70


def test_what_was_sent_before_and_fails_too_makes_it_no_longer() -> None:
    """Eight calls of one moment that all get a 429 are one no, not eight."""
    limiter = Cooldown("p", "")
    first = limiter.record_failure(slow(), 0.0)
    for _ in range(7):
        limiter.record_failure(slow(), 0.1)
    assert limiter.until == pytest.approx(first + 0.1)


@given(st.one_of(st.none(), st.floats(0, 1e9)), st.floats(0, 1), st.integers(1, 50))
def test_nothing_is_shut_for_longer_than_five_minutes(
    hint: float | None, jitter: float, times: int
) -> None:
    limiter, now = Cooldown("p", ""), 0.0
    for _ in range(times):
        seconds = limiter.record_failure(slow(hint), now, jitter=jitter)
        assert 0 < seconds <= MAX_COOLDOWN_SECONDS
        now = limiter.until
        assert limiter.allows(1, NORMAL, now)


def test_failures_that_may_lie_in_what_was_asked_are_tolerated_for_a_while() -> None:
    limiter = Cooldown("p", "")
    waits = [
        limiter.record_failure(slow(verdict=ErrorClass.OVERLOADED), float(n), tolerated=3)
        for n in range(5)
    ]
    assert waits == [0.0, 0.0, 0.0, 0.5, 1.0]


def test_nobody_waits_for_money() -> None:
    limiter = Cooldown("p", "")
    limiter.record_failure(slow(verdict=ErrorClass.QUOTA_EXHAUSTED), 0.0)
    assert limiter.available_at(1, NORMAL, 1.0) == NEVER
    assert limiter.allows(1, NORMAL, limiter.until)


def test_a_hold_opens_only_by_hand() -> None:
    hold = PauseLimiter("all", "everything is paused")
    assert not hold.allows(1, Urgency.INTERACTIVE, 1e9)
    assert hold.available_at(1, NORMAL, 5.0) == 5.0


def test_upstreams_of_too_many_models_keep_that_a_provider_answered() -> None:
    """Waiting calls that look up their limiters meanwhile cause no recursion."""

    def look_up() -> None:
        for number in range(20):
            list(known.limiters(UpstreamKey("p", "", f"waiting{number}")))

    known = Upstreams(lambda: 0.0, lambda: 0.0, lambda: 0.0, look_up, max_upstreams=10)
    known.record_success(UpstreamKey("p", "", "model"))
    for number in range(100):
        list(known.limiters(UpstreamKey("p", "", f"model{number}")))
    assert known.has_answered(UpstreamKey("p", ""))
    assert len(list(known)) < 60
