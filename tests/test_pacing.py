"""What vendors say of themselves as gates: buckets by their headers, cooldowns after a no."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.model import Provider, Urgency
from sidecar.errors import Place
from sidecar.plugin_api.error_class import Judgement, Verdict
from sidecar.plugin_api.vendor import Quota, QuotaKind, Vendor
from sidecar.scheduling import upstream_health
from sidecar.scheduling.cooldown import Cooldown
from sidecar.scheduling.limiter import NEVER
from sidecar.scheduling.pauses import Hold
from sidecar.scheduling.upstream_health import Accounts
from sidecar.scheduling.vendor_quota import BELIEVED, MARGIN, MAX_COOLDOWN_SECONDS, PROBE, Bucket

NORMAL = Urgency.NORMAL


def bucket(
    limit: int = 60, left: int = 0, reset: float | None = 60.0,
    kind: QuotaKind = QuotaKind.REQUESTS,
) -> Bucket:  # fmt: skip
    found = Bucket("p", "p is at its quota", kind)
    found.observe(Quota(kind, limit, left, reset), None, 0.0)
    return found


def test_a_bucket_of_which_nothing_was_heard_lets_everything_pass() -> None:
    fresh = Bucket("p", "", QuotaKind.TOKENS)
    assert fresh.fits(10**9, NORMAL, 0.0)
    assert not fresh.known(0.0)


def test_it_fills_up_at_the_vendors_pace() -> None:
    empty = bucket(limit=60, left=0, reset=60.0)
    assert not empty.fits(1, NORMAL, 0.9)
    assert empty.opens(1, NORMAL, 0.0) == pytest.approx(1.0)
    assert empty.fits(1, NORMAL, 1.0)
    assert empty.fits(30, NORMAL, 30.0)
    assert not empty.fits(31, NORMAL, 30.0)


def test_what_is_let_through_is_taken_off_until_the_vendor_tells() -> None:
    full = bucket(limit=10, left=10)
    marks = [full.take(1, NORMAL, 0.0) for _ in range(10)]
    assert not full.fits(1, NORMAL, 0.0)
    # The first answer says that 7 are left: of the nine others, not all had arrived.
    full.observe(Quota(QuotaKind.REQUESTS, 10, 7, 18.0), marks[0], 0.0)
    assert full.left(0.0) == 7 - 9
    for mark in marks[1:]:
        full.settle(mark, 1, 0.0)
    assert full.left(0.0) == 7 - 9


def test_output_is_held_until_the_answer_is_over() -> None:
    """The vendor's figure at the head of an answer cannot have what is still to be written."""
    tokens = bucket(limit=1000, left=1000, kind=QuotaKind.OUTPUT_TOKENS)
    mark = tokens.take(400, NORMAL, 0.0)
    tokens.observe(Quota(QuotaKind.OUTPUT_TOKENS, 1000, 1000, 0.0), mark, 0.0)
    assert tokens.left(0.0) == 600
    tokens.settle(mark, 50, 0.0)
    assert tokens.left(0.0) == 950


def test_a_call_larger_than_the_vendors_limit_goes_when_all_of_it_is_there() -> None:
    tokens = bucket(limit=100, left=0, reset=60.0, kind=QuotaKind.TOKENS)
    assert tokens.opens(500, NORMAL, 0.0) == pytest.approx(60.0)
    assert tokens.fits(500, NORMAL, 60.0)


def test_a_vendors_last_tokens_are_left_alone() -> None:
    """It says "13000 left" and means 12600."""
    tokens = bucket(limit=100_000, left=13_000, reset=52.2, kind=QuotaKind.INPUT_TOKENS)
    assert tokens.fits(10_000, NORMAL, 0.0)
    assert not tokens.fits(10_001, NORMAL, 0.0)
    opens = tokens.opens(10_001, NORMAL, 0.0)
    assert opens == pytest.approx(1 / (100_000 / 60))
    assert tokens.fits(10_001, NORMAL, opens + 1e-9)


def test_a_call_that_needs_nearly_all_of_a_limit_passes_when_it_is_full() -> None:
    tokens = bucket(limit=100_000, left=40_000, reset=36.0, kind=QuotaKind.TOKENS)
    amount = int(100_000 * (1 - MARGIN / 2))
    assert tokens.opens(amount, NORMAL, 0.0) == pytest.approx(36.0)
    assert not tokens.fits(amount, NORMAL, 35.9)
    assert tokens.fits(amount, NORMAL, 36.1)


def test_the_last_request_is_not_left_alone() -> None:
    assert bucket(limit=50, left=1).fits(1, NORMAL, 0.0)


@given(
    limit=st.one_of(st.none(), st.integers(-5, 10**12)),
    remaining=st.one_of(st.none(), st.integers(-5, 10**12)),
    reset=st.one_of(st.none(), st.floats(0, 1e12)),
    amount=st.integers(1, 10**7),
)
def test_no_figure_of_a_vendor_shuts_a_bucket_for_long(
    limit: int | None, remaining: int | None, reset: float | None, amount: int
) -> None:
    gate = Bucket("p", "", QuotaKind.TOKENS)
    gate.observe(Quota(QuotaKind.TOKENS, limit, remaining, reset), None, 100.0)
    assert gate.fits(amount, NORMAL, 100.0 + MAX_COOLDOWN_SECONDS)
    assert gate.opens(amount, NORMAL, 100.0) <= 100.0 + MAX_COOLDOWN_SECONDS


def slow(wait: float | None = None, verdict: Verdict = Verdict.SLOW_DOWN) -> Judgement:
    return Judgement(verdict, "429 slow", wait)


def test_a_cooldown_lasts_as_long_as_the_vendor_asks_and_then_one_call_tries() -> None:
    gate = Cooldown("p", "p is cooling down")
    assert gate.fits(1, NORMAL, 0.0)
    assert gate.bad(slow(7.0), 10.0) == 7.0
    assert not gate.fits(1, NORMAL, 16.9)
    assert gate.opens(1, NORMAL, 12.0) == 17.0
    assert gate.fits(1, NORMAL, 17.0)
    gate.take(1, NORMAL, 17.0)
    assert not gate.fits(1, NORMAL, 17.5)
    assert gate.opens(1, NORMAL, 17.5) == 17.0 + PROBE
    assert gate.fits(1, NORMAL, 17.0 + PROBE)  # a no would have come by now
    assert gate.good()
    assert gate.fits(1, NORMAL, 17.5)
    assert not gate.good()


def test_without_a_hint_each_failure_in_a_row_doubles_it_up_to_a_bound() -> None:
    gate, now, waits = Cooldown("p", ""), 0.0, []
    for _ in range(10):
        waits.append(gate.bad(slow(verdict=Verdict.OVERLOADED), now))
        now += waits[-1]
    assert waits[:6] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0]
    assert max(waits) == 16.0
    gate.good()
    assert gate.bad(slow(verdict=Verdict.OVERLOADED), now) == 0.5


@pytest.mark.parametrize(
    ("verdict", "seconds"),
    [(Verdict.SLOW_DOWN, 2.0), (Verdict.OVERLOADED, 0.5), (Verdict.SPENT, MAX_COOLDOWN_SECONDS)],
)
def test_a_hint_of_days_is_not_believed_of_throttling(verdict: Verdict, seconds: float) -> None:
    """Else one nonsensical answer would shut an account for five minutes."""
    assert Cooldown("p", "").bad(slow(6 * 86400.0, verdict), 0.0) == seconds
    assert Cooldown("p", "").bad(slow(BELIEVED, verdict), 0.0) == MAX_COOLDOWN_SECONDS


def test_who_says_days_again_and_again_is_asked_less_and_less() -> None:
    gate, now, tries = Cooldown("p", ""), 0.0, 0
    while now < 3600:
        tries += 1
        now += gate.bad(slow(6 * 86400.0), now)
    assert tries < 70


def test_what_was_sent_before_and_fails_too_makes_it_no_longer() -> None:
    """Eight calls of one moment that all get a 429 are one no, not eight."""
    gate = Cooldown("p", "")
    first = gate.bad(slow(), 0.0)
    for _ in range(7):
        gate.bad(slow(), 0.1)
    assert gate.until == pytest.approx(first + 0.1)


@given(st.one_of(st.none(), st.floats(0, 1e9)), st.floats(0, 1), st.integers(1, 50))
def test_nothing_is_shut_for_longer_than_five_minutes(
    hint: float | None, spread: float, times: int
) -> None:
    gate, now = Cooldown("p", ""), 0.0
    for _ in range(times):
        seconds = gate.bad(slow(hint), now, spread=spread)
        assert 0 < seconds <= MAX_COOLDOWN_SECONDS
        now = gate.until
        assert gate.fits(1, NORMAL, now)


def test_failures_that_may_lie_in_what_was_asked_are_tolerated_for_a_while() -> None:
    gate = Cooldown("p", "")
    waits = [gate.bad(slow(verdict=Verdict.OVERLOADED), float(n), tolerated=3) for n in range(5)]
    assert waits == [0.0, 0.0, 0.0, 0.5, 1.0]


def test_nobody_waits_for_money() -> None:
    gate = Cooldown("p", "")
    gate.bad(slow(verdict=Verdict.SPENT), 0.0)
    assert gate.opens(1, NORMAL, 1.0) == NEVER
    assert gate.fits(1, NORMAL, gate.until)


def test_a_hold_opens_only_by_hand() -> None:
    hold = Hold("all", "everything is paused")
    assert not hold.fits(1, Urgency.INTERACTIVE, 1e9)
    assert hold.opens(1, NORMAL, 5.0) == 5.0


class Acme(Vendor):
    name = title = "acme"


def test_too_many_models_make_nobody_forget_that_a_provider_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor do those who wait, and look their gates up again, make it come back to itself."""
    monkeypatch.setattr(upstream_health, "MOST_FAMILIES", 10)
    provider = Provider("p", Acme(), "http://localhost", (), Place("f", 1))

    def look_up() -> None:
        for number in range(20):
            list(known.gates(provider, "", f"waiting{number}"))

    known = Accounts(lambda: 0.0, lambda: 0.0, lambda: 0.0, look_up)
    known.good(provider, "", "model")
    for number in range(100):
        list(known.gates(provider, "", f"model{number}"))
    assert known.has_answered(provider, "")
    assert len(list(known)) < 60
