"""A vendor's quota, extrapolated until its next report."""

from __future__ import annotations

from pathlib import Path

from running_sidecar import sidecar
from scripted_vendor import ScriptedVendor, answer
from vendor_apis import figures

from sidecar import Quota, QuotaKind
from sidecar.scheduling.vendor_quota import MAX_COOLDOWN_SECONDS, VendorQuota

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
