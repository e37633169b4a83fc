"""Quotas by a vendor's headers, cooldowns after its failures, and pauses."""

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


def quota(
    limit: int = 60, left: int = 0, reset: float | None = 60.0,
    kind: QuotaKind = QuotaKind.REQUESTS,
) -> VendorQuota:  # fmt: skip
    found = VendorQuota("p", "p is at its quota", kind)
    found.observe(Quota(kind, limit, left, reset), None, 0.0)
    return found


def test_quota_without_a_report_admits_everything() -> None:
    fresh = VendorQuota("p", "", QuotaKind.TOKENS)
    assert fresh.allows(10**9, NORMAL, 0.0)
    assert not fresh.is_known(0.0)


def test_quota_refills_at_the_vendors_rate() -> None:
    empty = quota(limit=60, left=0, reset=60.0)
    assert not empty.allows(1, NORMAL, 0.9)
    assert empty.available_at(1, NORMAL, 0.0) == pytest.approx(1.0)
    assert empty.allows(1, NORMAL, 1.0)
    assert empty.allows(30, NORMAL, 30.0)
    assert not empty.allows(31, NORMAL, 30.0)


def test_quota_subtracts_admitted_calls_until_the_vendor_reports_them() -> None:
    full = quota(limit=10, left=10)
    reservations = [full.acquire(1, NORMAL, 0.0) for _ in range(10)]
    assert not full.allows(1, NORMAL, 0.0)
    # The first response reports 7: not all of the nine other calls had arrived.
    full.observe(Quota(QuotaKind.REQUESTS, 10, 7, 18.0), reservations[0], 0.0)
    assert full.remaining(0.0) == 7 - 9
    for reservation in reservations[1:]:
        full.settle(reservation, 1, 0.0)
    assert full.remaining(0.0) == 7 - 9


def test_output_quota_is_reserved_until_the_response_ends() -> None:
    """The vendor's figure in the headers cannot include output that is still to come."""
    tokens = quota(limit=1000, left=1000, kind=QuotaKind.OUTPUT_TOKENS)
    reservation = tokens.acquire(400, NORMAL, 0.0)
    tokens.observe(Quota(QuotaKind.OUTPUT_TOKENS, 1000, 1000, 0.0), reservation, 0.0)
    assert tokens.remaining(0.0) == 600
    tokens.settle(reservation, 50, 0.0)
    assert tokens.remaining(0.0) == 950


def test_call_above_the_vendors_limit_is_admitted_when_the_quota_is_full() -> None:
    tokens = quota(limit=100, left=0, reset=60.0, kind=QuotaKind.TOKENS)
    assert tokens.available_at(500, NORMAL, 0.0) == pytest.approx(60.0)
    assert tokens.allows(500, NORMAL, 60.0)


def test_token_quota_keeps_a_safety_margin() -> None:
    """A vendor may report 13000 and admit 12600."""
    tokens = quota(limit=100_000, left=13_000, reset=52.2, kind=QuotaKind.INPUT_TOKENS)
    assert tokens.allows(10_000, NORMAL, 0.0)
    assert not tokens.allows(10_001, NORMAL, 0.0)
    opens = tokens.available_at(10_001, NORMAL, 0.0)
    assert opens == pytest.approx(1 / (100_000 / 60))
    assert tokens.allows(10_001, NORMAL, opens + 1e-9)


def test_call_of_nearly_the_whole_limit_is_admitted_when_the_quota_is_full() -> None:
    tokens = quota(limit=100_000, left=40_000, reset=36.0, kind=QuotaKind.TOKENS)
    amount = int(100_000 * (1 - SAFETY_MARGIN_SHARE / 2))
    assert tokens.available_at(amount, NORMAL, 0.0) == pytest.approx(36.0)
    assert not tokens.allows(amount, NORMAL, 35.9)
    assert tokens.allows(amount, NORMAL, 36.1)


def test_request_quota_has_no_safety_margin() -> None:
    assert quota(limit=50, left=1).allows(1, NORMAL, 0.0)


@given(
    limit=st.one_of(st.none(), st.integers(-5, 10**12)),
    remaining=st.one_of(st.none(), st.integers(-5, 10**12)),
    reset=st.one_of(st.none(), st.floats(0, 1e12)),
    amount=st.integers(1, 10**7),
)
def test_quota_with_any_figures_blocks_for_the_longest_cooldown_at_most(
    limit: int | None, remaining: int | None, reset: float | None, amount: int
) -> None:
    limiter = VendorQuota("p", "", QuotaKind.TOKENS)
    limiter.observe(Quota(QuotaKind.TOKENS, limit, remaining, reset), None, 100.0)
    assert limiter.allows(amount, NORMAL, 100.0 + MAX_COOLDOWN_SECONDS)
    assert limiter.available_at(amount, NORMAL, 100.0) <= 100.0 + MAX_COOLDOWN_SECONDS


def rate_limited(
    wait: float | None = None, error_class: ErrorClass = ErrorClass.RATE_LIMITED
) -> Classification:
    return Classification(error_class, "429 rate_limited", wait)


def test_cooldown_lasts_for_the_vendors_hint_and_then_admits_one_probe() -> None:
    limiter = Cooldown("p", "p is cooling down")
    assert limiter.allows(1, NORMAL, 0.0)
    assert limiter.record_failure(rate_limited(7.0), 10.0) == 7.0
    assert not limiter.allows(1, NORMAL, 16.9)
    assert limiter.available_at(1, NORMAL, 12.0) == 17.0
    assert limiter.allows(1, NORMAL, 17.0)
    limiter.acquire(1, NORMAL, 17.0)
    assert not limiter.allows(1, NORMAL, 17.5)
    assert limiter.available_at(1, NORMAL, 17.5) == 17.0 + PROBE_SECONDS
    assert limiter.allows(1, NORMAL, 17.0 + PROBE_SECONDS)  # a failure would have come by now
    assert limiter.record_success()
    assert limiter.allows(1, NORMAL, 17.5)
    assert not limiter.record_success()


def test_cooldown_without_a_hint_doubles_up_to_a_bound() -> None:
    limiter, now, waits = Cooldown("p", ""), 0.0, []
    for _ in range(10):
        waits.append(limiter.record_failure(rate_limited(error_class=ErrorClass.OVERLOADED), now))
        now += waits[-1]
    assert waits[:6] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0]
    assert max(waits) == 16.0
    limiter.record_success()
    assert limiter.record_failure(rate_limited(error_class=ErrorClass.OVERLOADED), now) == 0.5


@pytest.mark.parametrize(
    ("error_class", "seconds"),
    [
        (ErrorClass.RATE_LIMITED, 2.0),
        (ErrorClass.OVERLOADED, 0.5),
        (ErrorClass.QUOTA_EXHAUSTED, MAX_COOLDOWN_SECONDS),
    ],
)
def test_cooldown_after_a_rate_limit_ignores_a_hint_of_days(
    error_class: ErrorClass, seconds: float
) -> None:
    """One nonsensical hint must not block an upstream for five minutes."""
    assert Cooldown("p", "").record_failure(rate_limited(6 * 86400.0, error_class), 0.0) == seconds
    assert (
        Cooldown("p", "").record_failure(rate_limited(MAX_HINT_SECONDS, error_class), 0.0)
        == MAX_COOLDOWN_SECONDS
    )


def test_cooldown_grows_when_hints_of_days_repeat() -> None:
    limiter, now, tries = Cooldown("p", ""), 0.0, 0
    while now < 3600:
        tries += 1
        now += limiter.record_failure(rate_limited(6 * 86400.0), now)
    assert tries < 70


def test_cooldown_is_not_extended_by_failures_of_calls_sent_before() -> None:
    """Eight simultaneous calls that all get a 429 are one failure, not eight."""
    limiter = Cooldown("p", "")
    first = limiter.record_failure(rate_limited(), 0.0)
    for _ in range(7):
        limiter.record_failure(rate_limited(), 0.1)
    assert limiter.until == pytest.approx(first + 0.1)


@given(st.one_of(st.none(), st.floats(0, 1e9)), st.floats(0, 1), st.integers(1, 50))
def test_cooldown_of_any_hint_is_at_most_five_minutes(
    hint: float | None, jitter: float, times: int
) -> None:
    limiter, now = Cooldown("p", ""), 0.0
    for _ in range(times):
        seconds = limiter.record_failure(rate_limited(hint), now, jitter=jitter)
        assert 0 < seconds <= MAX_COOLDOWN_SECONDS
        now = limiter.until
        assert limiter.allows(1, NORMAL, now)


def test_cooldown_starts_after_the_tolerated_failures() -> None:
    limiter = Cooldown("p", "")
    waits = [
        limiter.record_failure(
            rate_limited(error_class=ErrorClass.OVERLOADED), float(n), tolerated=3
        )
        for n in range(5)
    ]
    assert waits == [0.0, 0.0, 0.0, 0.5, 1.0]


def test_cooldown_after_an_exhausted_quota_is_not_waited_for() -> None:
    limiter = Cooldown("p", "")
    limiter.record_failure(rate_limited(error_class=ErrorClass.QUOTA_EXHAUSTED), 0.0)
    assert limiter.available_at(1, NORMAL, 1.0) == NEVER
    assert limiter.allows(1, NORMAL, limiter.until)


def test_pause_never_ends_by_itself() -> None:
    pause = PauseLimiter("all", "everything is paused")
    assert not pause.allows(1, Urgency.INTERACTIVE, 1e9)
    assert pause.available_at(1, NORMAL, 5.0) == 5.0


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
