"""Requests that count tokens are answered with an estimate where no provider can count."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import anthropic
import pytest
from running_sidecar import Sidecar
from running_sidecar import sidecar as start_sidecar
from sample_answers import HELLO
from scripted_vendor import ScriptedVendor, answer

YAML = """
providers:
  oa: {{plugin: openai, base_url: "{url}/v1", credential: env:UPSTREAM_KEY}}
  router: {{plugin: openrouter, base_url: "{url}/router/v1", credential: env:UPSTREAM_KEY}}
  an: {{plugin: anthropic, base_url: "{url}/native", credential: env:UPSTREAM_KEY}}
groups:
  Claude: {{vendor: anthropic, routes: [oa: {{as: gpt-5, translate: true, redact: email}}]}}
  Estimating: {{vendor: anthropic, count_tokens: estimate, routes: [router]}}
  Bare: {{vendor: anthropic, routes: [router]}}
  Gemini: {{vendor: gemini, routes: [oa: {{as: gpt-5, translate: true}}]}}
  GPT: {{vendor: openai, routes: [an: {{as: claude-5, translate: true}}]}}
  Both: {{vendor: anthropic, count_tokens: estimate, routes: [an, router]}}
keys:
  claude: {{group: Claude, hash: "{{claude}}", budget: $0.000001/day, limits: {{rpm: 1}}}}
  shut: {{group: Claude, hash: "{{shut}}", max_wait: 0s, limits: {{concurrency: 0}}}}
  estimating: {{group: Estimating, hash: "{{estimating}}"}}
  bare: {{group: Bare, hash: "{{bare}}"}}
  gemini: {{group: Gemini, hash: "{{gemini}}"}}
  gpt: {{group: GPT, hash: "{{gpt}}"}}
  both: {{group: Both, hash: "{{both}}"}}
"""
KEYS = ("gemini", "gpt", "claude", "shut", "estimating", "bare", "both")
COUNT = "/v1/messages/count_tokens"
TEXT = "x" * 3500
SEARCH = {"type": "web_search_20250305", "name": "web_search"}


def asked(**fields: object) -> bytes:
    messages = [{"role": "user", "content": TEXT}]
    return json.dumps({"model": "claude-5", "messages": messages, **fields}).encode()


@pytest.fixture
async def counting(tmp_path: Path, vendor: ScriptedVendor) -> AsyncIterator[Sidecar]:
    async with start_sidecar(tmp_path, YAML.format(url=vendor.url), KEYS) as started:
        yield started


@pytest.mark.parametrize(("key", "by"), [("claude", "translate"), ("estimating", "count_tokens")])
async def test_count_of_a_provider_that_cannot_count_is_a_marked_estimate(
    counting: Sidecar, vendor: ScriptedVendor, key: str, by: str
) -> None:
    for _ in range(2):  # it takes nothing of the limit of one request
        got = await counting.ask(COUNT, asked(), key=key)
    assert (got.status, got.json()) == (200, {"input_tokens": 1001})
    assert got.headers["x-sidecar-transform"] == by
    assert got.headers["x-sidecar-provider"] == "none"
    assert not vendor.requests
    record = await counting.record()
    assert (record.endpoint, record.transform, record.provider) == ("count_tokens", by, "")
    assert (record.usage_state.value, record.cost, record.attempts) == ("none", None, ())
    assert record.outcome.value == "ok"


async def test_sdk_reads_an_estimate_of_its_tools_and_images(counting: Sidecar) -> None:
    async with anthropic.AsyncAnthropic(
        base_url=counting.url, api_key=counting.keys["claude"], max_retries=0
    ) as claude:
        plain = await claude.messages.count_tokens(model="claude-5", messages=HELLO)  # type: ignore[arg-type]
        image = {"type": "base64", "media_type": "image/png", "data": "A" * 100_000}
        shown = await claude.messages.count_tokens(
            model="claude-5",
            messages=[{"role": "user", "content": [{"type": "image", "source": image}]}],  # type: ignore[list-item]
        )
    assert plain.input_tokens < 10
    assert 1000 < shown.input_tokens < 3000, "not by the length of its base64"


@pytest.mark.parametrize(
    ("key", "path", "field"),
    [
        ("gemini", "/v1beta/models/gemini-3:countTokens", "totalTokens"),
        ("gpt", "/v1/responses/input_tokens", "input_tokens"),
    ],
)
async def test_count_of_each_api_has_its_shape(
    counting: Sidecar, vendor: ScriptedVendor, key: str, path: str, field: str
) -> None:
    contents = [{"role": "user", "parts": [{"text": TEXT}]}]
    bodies = [{"contents": contents}, {"generateContentRequest": {"contents": contents}}]
    if key == "gpt":
        bodies = [{"model": "gpt-5", "input": TEXT}]
    for each in bodies:
        got = await counting.ask(path, json.dumps(each).encode(), key=key)
        assert got.status == 200
        assert 1000 < got.json()[field] < 1100
    assert not vendor.requests


async def test_count_of_a_provider_that_counts_is_the_providers(
    counting: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b'{"input_tokens":7}'))
    got = await counting.ask(COUNT, asked(), key="both")
    assert got.body == b'{"input_tokens":7}'
    assert (vendor.last.path, vendor.last.body) == (f"/native{COUNT}", asked())
    assert "x-sidecar-transform" not in got.headers


async def test_count_is_estimated_when_the_provider_that_counts_fails(
    counting: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b'{"error":{}}', "500 Internal Server Error"))
    got = await counting.ask(COUNT, asked(), key="both")
    assert (got.json(), got.headers["x-sidecar-provider"]) == ({"input_tokens": 1001}, "none")
    record = await counting.record()
    assert [each.provider for each in record.attempts] == ["an"]


async def test_count_of_a_group_without_estimates_is_not_found(counting: Sidecar) -> None:
    got = await counting.ask(COUNT, asked(), key="bare")
    assert got.status == 404
    assert "router: does not serve anthropic count_tokens" in got.message


async def test_estimate_takes_the_concurrency_of_its_key_as_every_call_does(
    counting: Sidecar,
) -> None:
    assert (await counting.ask(COUNT, asked(), key="shut")).status == 429


async def test_estimate_counts_a_tool_that_only_the_vendor_has(counting: Sidecar) -> None:
    got = await counting.ask(COUNT, asked(tools=[SEARCH]), key="estimating")
    assert got.status == 200
    assert got.json()["input_tokens"] > 1001
