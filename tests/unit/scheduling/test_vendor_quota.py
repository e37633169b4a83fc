"""A vendor's quota, extrapolated until its next report."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from running_sidecar import sidecar
from scripted_vendor import ScriptedVendor, answer
from vendor_apis import figures

from sidecar import Quota, QuotaKind
from sidecar.config.model import Urgency
from sidecar.scheduling.vendor_quota import MAX_COOLDOWN_SECONDS, SAFETY_MARGIN_SHARE, VendorQuota

NORMAL = Urgency.NORMAL
TOKENS = QuotaKind.TOKENS
YAML = """
providers: {{mi: {{plugin: mistral, base_url: "{url}/v1", credential: env:UPSTREAM_KEY}}}}
groups: {{M: {{vendor: openai, routes: [mi]}}}}
keys: {{gpt: {{group: M, hash: "{{gpt}}"}}}}
"""


def quota_of(quota: Quota) -> VendorQuota:
    found = VendorQuota("provider x", "its limit", quota.kind)
    found.observe(quota, None, 100.0)
    return found


def test_token_bucket_refills_evenly() -> None:
    found = quota_of(Quota(QuotaKind.REQUESTS, 600, 0, 60.0, 60.0))
    assert [found.remaining(100.0 + seconds) for seconds in (0, 1, 30, 60, 90)] == [
        0,
        10,
        300,
        600,
        600,
    ]
    assert found.available_at(100, 0, 100.0) == 110.0


def test_fixed_window_refills_only_at_its_end() -> None:
    found = quota_of(Quota(TOKENS, 600, 50, 40.0, 60.0, at_once=True))
    assert found.allows(50, 0, 100.0)
    assert not found.allows(51, 0, 139.9)
    assert found.available_at(51, 0, 100.0) == 140.0
    assert found.allows(600, 0, 140.0)


def test_calls_after_the_end_of_a_fixed_window_count_until_the_next_report() -> None:
    found = quota_of(Quota(TOKENS, 600, 0, 40.0, 60.0, at_once=True))
    found.acquire(500, 0, 140.0)
    assert found.remaining(140.0) == 100
    assert not found.allows(101, 0, 140.0)
    found.observe(Quota(TOKENS, 600, 600, None, 60.0, at_once=True), None, 141.0)
    assert found.remaining(141.0) == 100  # the vendor has yet to count the 500


def test_quota_with_nothing_left_of_an_unknown_limit_blocks() -> None:
    found = quota_of(Quota(QuotaKind.REQUESTS, None, 0, 30.0, at_once=True))
    assert not found.allows(1, 0, 129.0)
    assert found.allows(1, 0, 130.0)


def test_window_of_a_month_blocks_for_the_longest_cooldown_at_most() -> None:
    found = quota_of(Quota(TOKENS, 600, 0, 30 * 86400.0, 30 * 86400.0, at_once=True))
    assert found.available_at(1, 0, 100.0) == 100.0 + MAX_COOLDOWN_SECONDS
    assert found.allows(1, 0, 100.0 + MAX_COOLDOWN_SECONDS)


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


async def test_quotas_of_two_windows_are_kept_apart(tmp_path: Path, vendor: ScriptedVendor) -> None:
    left = {
        "x_ratelimit_limit_tokens_minute": "50000", "x_ratelimit_remaining_tokens_minute": "47000",
        "x_ratelimit_limit_tokens_month": "4000000",
        "x_ratelimit_remaining_tokens_month": "3950000",
    }  # fmt: skip
    vendor.play(answer(b"{}", **left))
    async with sidecar(tmp_path, YAML.format(url=vendor.url), ("gpt",)) as running:
        await running.ask("/v1/chat/completions", b'{"model":"m"}')
        await running.record()
        reported = await figures(running.running, "sidecar_vendor_quota_left")
    assert {labels.rpartition('quota="')[2].rstrip('"'): n for labels, n in reported.items()} == {
        "tokens/minute": 47000.0, "tokens/month": 3950000.0,
    }  # fmt: skip
