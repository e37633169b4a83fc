"""Rate-limit headers of vendors delay, reroute or reject calls as they say."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from recorded_answers import sse
from recorded_limits import QUOTA, google, openrouter, violations
from running_sidecar import Sidecar, sidecar
from scripted_vendor import ScriptedVendor, answer, stream

from sidecar import ErrorClass

CHAT = "/v1/chat/completions"
YAML = """
providers:
  router: {{plugin: openrouter, base_url: "{url}/router/v1", credential: env:FIRST}}
  other: {{plugin: openai, base_url: "{url}/other/v1", credential: env:FIRST}}
  ge: {{plugin: gemini, base_url: "{url}", credential: [env:FIRST, env:SECOND]}}
groups:
  One: {{vendor: openai, routes: [router]}}
  Two: {{vendor: openai, routes: [router, other]}}
  Gemini: {{vendor: gemini, routes: [ge]}}
keys:
  one: {{group: One, hash: "{{one}}"}}
  two: {{group: Two, hash: "{{two}}"}}
  gemini: {{group: Gemini, hash: "{{gemini}}"}}
"""
CREDENTIALS = {"FIRST": "sk-first", "SECOND": "sk-second"}


@pytest.fixture
async def proxy(tmp_path: Path, vendor: ScriptedVendor) -> AsyncIterator[Sidecar]:
    yaml = YAML.format(url=vendor.url)
    async with sidecar(tmp_path, yaml, ("one", "two", "gemini"), CREDENTIALS) as started:
        yield started


async def test_quota_reserved_by_running_calls_is_waited_for(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    """Its status is one that means spent money elsewhere."""
    held = json.dumps(openrouter(402, "x", limit_source="openrouter_in_flight_budget")).encode()
    vendor.play(answer(held, "402 Payment Required", retry_after="0.1"), answer(b'{"id":"c"}'))
    found = await proxy.ask(CHAT, b'{"model":"m"}', key="one")
    assert (found.status, found.body) == (200, b'{"id":"c"}')
    record = await proxy.record()
    assert [attempt.verdict for attempt in record.attempts] == [
        ErrorClass.RATE_LIMITED,
        ErrorClass.OK,
    ]


async def test_exhausted_balance_is_not_waited_for(proxy: Sidecar, vendor: ScriptedVendor) -> None:
    spent = json.dumps(openrouter(402, "Insufficient credits")).encode()
    vendor.play(answer(spent, "402 Payment Required"))
    found = await proxy.ask(CHAT, b'{"model":"m"}', key="one")
    assert (found.status, found.body) == (402, spent)


async def test_stream_that_begins_with_overload_goes_to_the_next_provider(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    good = sse({"choices": [{"delta": {}, "finish_reason": "stop"}]}, "[DONE]")
    vendor.play(stream(sse(openrouter(502, "Upstream failed"))), stream(good))
    found = await proxy.ask(CHAT, b'{"model":"m","stream":true}', key="two")
    assert found.body == good
    assert [each.path for each in vendor.requests] == [
        "/router/v1/chat/completions",
        "/other/v1/chat/completions",
    ]


async def test_daily_limit_of_one_credential_does_not_bind_the_other(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    daily = violations(("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "250"))
    body = json.dumps(google(429, "RESOURCE_EXHAUSTED", QUOTA, daily)).encode()
    vendor.play(answer(body, "429 Too Many Requests"), answer(b"{}"), answer(b"{}"))
    target = "/v1beta/models/gemini-3-pro:generateContent"
    for _ in range(2):
        assert (await proxy.ask(target, b"{}", key="gemini")).status == 200
    used = [each.get("x-goog-api-key")[0] for each in vendor.requests]
    assert set(used) == {"sk-first", "sk-second"}
    assert used[0] != used[1] == used[2]
