"""Cooldowns after failures, and pauses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.model import Urgency
from sidecar.plugin_api.error_class import Classification, ErrorClass
from sidecar.routing.upstream_key import UpstreamKey
from sidecar.scheduling.cooldown import MAX_HINT_SECONDS, PROBE_SECONDS, Cooldown
from sidecar.scheduling.limiter import NEVER
from sidecar.scheduling.pauses import PauseLimiter
from sidecar.scheduling.upstream_health import TOLERATED_FAILURES, Upstreams
from sidecar.scheduling.vendor_quota import (
    MAX_COOLDOWN_SECONDS,
)

NORMAL = Urgency.NORMAL


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


def test_success_resets_the_count_of_tolerated_failures() -> None:
    upstreams = Upstreams(lambda: 0.0, lambda: 0.0, lambda: 0.0, lambda: None)
    key = UpstreamKey("p", "", "model")
    overloaded = rate_limited(error_class=ErrorClass.OVERLOADED)
    for _ in range(3):
        for _ in range(TOLERATED_FAILURES):
            assert upstreams.record_failure(key, overloaded, transient=False) == 0.0
        upstreams.record_success(key)
    assert upstreams.cooldown(key).at_rest


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
