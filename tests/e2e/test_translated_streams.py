"""Translated streams behave as all streams: pings, cuts, cancelled calls, figures, failover."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from admin_client import see
from google import genai
from google.genai import errors as genai_errors
from google.genai import types
from loop_agents import MODELS, openai_client
from property_tests import messages
from raw_http_client import connected
from running_sidecar import Sidecar, parse, request, talk
from running_sidecar import sidecar as start_sidecar
from sample_answers import HELLO, MESSAGE, body
from scripted_vendor import STREAM_HEAD, Script, ScriptedVendor, answer, chunk, paced, stream
from vendor_apis import APIS, figures, until

from sidecar.records import NANODOLLARS, Outcome, UsageState

YAML = """
timezone: UTC
limits: {{concurrency: 1}}
prices: {{"*": {{input: 1000, output: 1000, cache_read: 1000, cache_write: 1000}}}}
providers:
  oa: {{plugin: openai, base_url: "{url}/v1", credential: env:UPSTREAM_KEY}}
  an: {{plugin: anthropic, base_url: "{url}", credential: env:UPSTREAM_KEY}}
  login: {{plugin: anthropic, base_url: "{url}", credential: caller}}
groups:
  Claude: {{vendor: anthropic, routes: [oa: {{as: gpt-5, translate: true}}]}}
  GPT:
    vendor: openai
    routes: [an: {{as: claude-5, transforms: {{translate: {{api: messages}}}}}}]
  Google: {{vendor: gemini, routes: [an: {{as: claude-5, translate: true}}]}}
  Native: {{vendor: anthropic, routes: [an]}}
  Login: {{vendor: gemini, routes: [login: {{as: claude-5, translate: true}}]}}
keys:
  claude: {{group: Claude, hash: "{{claude}}", max_wait: 5s}}
  gpt: {{group: GPT, hash: "{{gpt}}", max_wait: 5s}}
  gemini: {{group: Google, hash: "{{gemini}}", max_wait: 5s}}
  native: {{group: Native, hash: "{{native}}"}}
  login: {{group: Login, hash: "{{login}}", max_wait: 0s}}
  back: {{group: Claude, hash: "{{back}}", max_wait: 0s, routes: [oa, an]}}
  poor: {{group: Claude, hash: "{{poor}}", max_wait: 0s, budget: $2/day, limits: {{tpm: 1M}}}}
"""
KEYS = ("claude", "gpt", "gemini", "native", "login", "back", "poor")
EVERY_API = pytest.mark.parametrize("api", APIS, ids=lambda api: api.name)
ROUND = {"chat": "messages", "responses": "messages", "gemini": "messages", "messages": "chat"}
"""The protocol of the provider for each client."""


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seconds of pings are shortened, what happens after them is not."""
    monkeypatch.setattr("sidecar.proxy.stream.keepalive.FIRST_PING_SECONDS", 0.05)
    monkeypatch.setattr("sidecar.proxy.stream.keepalive.PING_INTERVAL_SECONDS", 0.05)
    monkeypatch.setattr("sidecar.proxy.stream.keepalive.CHECK_INTERVAL_SECONDS", 0.05)


@pytest.fixture
async def translating(tmp_path: Path, vendor: ScriptedVendor) -> AsyncIterator[Sidecar]:
    async with start_sidecar(tmp_path, YAML.format(url=vendor.url), KEYS) as started:
        yield started


# What each SDK makes of a stream: its text, or its error


async def claude_reads(proxy: Sidecar, retries: int = 0) -> str:
    async with anthropic.AsyncAnthropic(
        base_url=proxy.url, api_key=proxy.keys["claude"], max_retries=retries
    ) as client:
        events = await client.messages.create(
            model="claude-5", max_tokens=9, messages=HELLO, stream=True
        )
        found = [event async for event in events]
    if found[-1].type != "message_stop":
        raise EOFError
    return "".join(getattr(getattr(event, "delta", None), "text", "") for event in found)


async def chat_reads(proxy: Sidecar, retries: int = 0) -> str:
    async with openai_client(proxy, "gpt", retries) as client:
        chunks = await client.chat.completions.create(model="g", messages=HELLO, stream=True)
        found = [each.choices[0].delta.content or "" async for each in chunks if each.choices]
    return "".join(found)


async def responses_read(proxy: Sidecar, retries: int = 0) -> str:
    async with openai_client(proxy, "gpt", retries) as client:
        events = await client.responses.create(model="g", input="?", stream=True)
        last = [event async for event in events][-1]
    if last.type != "response.completed":
        raise EOFError
    return last.response.output_text


async def gemini_reads(proxy: Sidecar, retries: int = 0) -> str:
    again = types.HttpRetryOptions(attempts=1 + retries, initial_delay=0.3, jitter=0)
    options = types.HttpOptions(base_url=proxy.url, retry_options=again)

    def work() -> str:
        with genai.Client(api_key=proxy.keys["gemini"], http_options=options) as client:
            parts = client.models.generate_content_stream(model="g", contents="?")
            return "".join(each.text or "" for each in parts)

    return await asyncio.to_thread(work)


READERS: dict[str, Callable[..., Awaitable[str]]] = {
    "messages": claude_reads,
    "chat": chat_reads,
    "responses": responses_read,
    "gemini": gemini_reads,
}
ERRORS = (anthropic.APIError, openai.APIError, genai_errors.APIError, EOFError)
EVERY_READER = pytest.mark.parametrize("client", READERS)


@EVERY_READER
async def test_stream_that_waited_with_pings_is_translated_whole(
    translating: Sidecar, vendor: ScriptedVendor, client: str
) -> None:
    leave = asyncio.Event()
    vendor.play(paced(leave, *_whole(answer_of=MESSAGE)))
    holder = asyncio.create_task(
        translating.ask("/v1/messages", b'{"model":"m","max_tokens":9,"messages":[]}', key="native")
    )
    await until(lambda: bool(vendor.requests))
    reading = asyncio.create_task(READERS[client](translating))
    await until(lambda: bool(translating.running.services.scheduler.waiting))
    await asyncio.sleep(0.2)  # several pings
    vendor.play(stream(MODELS[ROUND[client]](5)))
    leave.set()
    assert await reading == "Done."
    await holder
    record = await translating.record(2)
    assert (record.transform, record.usage_state) == ("translate", UsageState.REPORTED)


def _whole(answer_of: object) -> tuple[bytes, ...]:
    text = body(answer_of)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(text)}"
    return (head.encode() + b"\r\n\r\n" + text,)


@EVERY_READER
@pytest.mark.hypothesis  # more places in `make explore`
async def test_stream_cut_anywhere_is_an_error_of_the_sdk_and_no_short_answer(
    translating: Sidecar, vendor: ScriptedVendor, client: str
) -> None:
    whole = MODELS[ROUND[client]](0)
    end = whole.rindex(b"data: {")  # what follows is the end alone
    places = [*range(40, end, max(1, end // messages(7, 28))), end]
    await translating.rewrite(lambda text: text.replace("max_wait: 5s", "max_wait: 0s"))
    for at in places:
        asked = len(vendor.requests)
        vendor.play(stream(whole[:at], end=b""))
        with pytest.raises(ERRORS):
            await READERS[client](translating)
        assert len(vendor.requests) == asked + 1, at
        vendor.play(stream(whole))  # a success, after which no failures are counted
        await READERS[client](translating)


@EVERY_READER
async def test_stream_that_begins_with_an_unknown_error_is_the_sdks_error(
    translating: Sidecar, vendor: ScriptedVendor, client: str
) -> None:
    error = {"message": "the turbine is wet", "code": "turbine_wet", "type": "turbine_wet"}
    event = b"data: " + json.dumps({"type": "error", "error": error}).encode() + b"\n\n"
    vendor.play(stream(b"event: error\n" + event if ROUND[client] == "messages" else event))
    with pytest.raises(ERRORS) as caught:
        await READERS[client](translating)
    assert isinstance(caught.value, EOFError) or "the turbine is wet" in str(caught.value)


@EVERY_READER
async def test_error_in_the_middle_of_a_stream_is_the_sdks_error(
    translating: Sidecar, vendor: ScriptedVendor, client: str
) -> None:
    whole = MODELS[ROUND[client]](0)
    error = {"type": "overloaded_error", "message": "the turbine is wet"}
    event = b"data: " + json.dumps({"type": "error", "error": error}).encode() + b"\n\n"
    begun = whole[: whole.index(b"\n\n", len(whole) // 2) + 2]
    vendor.play(stream(begun, b"event: error\n" + event))
    with pytest.raises(ERRORS) as caught:
        await READERS[client](translating)
    assert isinstance(caught.value, EOFError) or "the turbine is wet" in str(caught.value)


@EVERY_API
async def test_client_that_leaves_a_translated_stream_ends_the_providers(
    translating: Sidecar, vendor: ScriptedVendor, api: Any
) -> None:
    whole = MODELS[ROUND[api.name]](0)
    begun = whole[: whole.index(b"\n\n", len(whole) // 2) + 2]

    async def held(wire: Any) -> None:
        await wire.send(STREAM_HEAD + chunk(begun))
        await wire.until_gone()

    vendor.play(held)
    async with connected(translating.port) as line:
        await line.send(api.request(translating, stream=True))
        await line.until(b"thou")
    async with asyncio.timeout(10):
        await vendor.gone.wait()
    record = await translating.record()
    assert (record.outcome, record.transform) == (Outcome.CANCELLED, "translate")


async def test_login_of_the_caller_is_not_sent_to_a_translated_provider(
    translating: Sidecar, vendor: ScriptedVendor
) -> None:
    asked = body({"contents": [{"role": "user", "parts": [{"text": "?"}]}]})
    headers = {
        "Authorization": "Bearer sk-ant-oat01-login-canary",
        "x-sidecar-key": translating.keys["login"],
    }
    sent = request("POST", "/v1beta/models/g:generateContent", headers, asked)
    found = parse(await talk(translating.port, sent))
    assert found.status >= 400
    assert "another vendor issued: give it a credential" in found.message
    assert vendor.requests == []


async def test_figures_of_the_provider_count_for_budget_limits_usage_and_metrics(
    translating: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(stream(MODELS["chat"](5)))
    asked = body({"model": "claude-5", "max_tokens": 99, "messages": HELLO, "stream": True})
    assert (await translating.ask("/v1/messages", asked, key="poor")).status == 200
    windows = {
        (window.scope, window.kind): window.used
        for _, window, _ in translating.running.services.scheduler.limits
    }
    assert Decimal(windows['key "poor"', "budget/day"]) / NANODOLLARS == Decimal("1.54")
    assert windows['key "poor"', "tpm"] == 1540
    assert (await translating.ask("/v1/messages", asked, key="poor")).status == 200
    spent = await translating.ask("/v1/messages", asked, key="poor")
    assert (spent.status, spent.json()["type"]) == (402, "error")
    await translating.record(3)
    await translating.running.services.ledger.flush()
    (line,) = (await see(translating, "usage", by="key", key="poor"))["lines"]
    assert (line["input_tokens"], line["output_tokens"]) == (2400, 680)
    counted = await figures(translating.running, "sidecar_tokens_total")
    kinds = {labels.rpartition('kind="')[2]: each for labels, each in counted.items()}
    assert (kinds['output"'], kinds['reasoning"']) == (280, 400)
    story = await see(translating, "call", id=translating.records[0].call_id)
    assert "translate" in str(story["lines"])


async def test_translated_candidate_fails_over_to_the_native_one_byte_for_byte(
    translating: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.by_path["/v1/chat/completions"] = answer(b'{"error":{}}', "500 Internal Server Error")
    vendor.by_path["/v1/messages"] = answer(body(MESSAGE))
    sent = b'{"model" : "claude-5", "max_tokens":9,"messages":[ {"role":"user", "content":"?"} ] }'
    found = await translating.ask("/v1/messages", sent, key="back")
    first, second = vendor.requests
    assert (first.path, second.path) == ("/v1/chat/completions", "/v1/messages")
    assert second.body == sent
    assert found.body == body(MESSAGE)
    assert "x-sidecar-transform" not in found.headers
    record = await translating.record()
    assert (record.transform, record.provider) == ("", "an")
    assert (record.usage and record.usage.output_tokens) == 2


# What each SDK tries again


def limited(status: str, **headers: str) -> Script:
    kind = "rate_limit_error" if status.startswith("429") else "overloaded_error"
    error = {"type": kind, "message": "later", "code": kind}
    return answer(json.dumps({"type": "error", "error": error}).encode(), status, **headers)


@pytest.mark.parametrize("status", ["429 Too Many Requests", "529 Overloaded"])
@EVERY_READER
async def test_limit_of_the_provider_is_an_error_that_the_sdk_tries_again(
    translating: Sidecar, vendor: ScriptedVendor, client: str, status: str
) -> None:
    await translating.rewrite(lambda text: text.replace("max_wait: 5s", "max_wait: 0s"))
    vendor.play(limited(status, retry_after_ms="50"), stream(MODELS[ROUND[client]](5)))
    assert await READERS[client](translating, retries=2) == "Done."
    assert len(vendor.requests) == 2


@pytest.mark.parametrize("client", ["messages", "chat", "responses"])
async def test_sdk_gets_the_wait_that_the_provider_asks_for(
    translating: Sidecar, vendor: ScriptedVendor, client: str
) -> None:
    await translating.rewrite(lambda text: text.replace("max_wait: 5s", "max_wait: 0s"))
    vendor.play(limited("429 Too Many Requests", retry_after="7"))
    with pytest.raises((anthropic.RateLimitError, openai.RateLimitError)) as caught:
        await READERS[client](translating)
    assert int(caught.value.response.headers["retry-after"]) >= 7
