"""A stream is held until its first event; before that, the next provider may serve the call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from property_tests import examples
from raw_http_client import connected
from running_sidecar import Raw, Sidecar, request, sidecar
from scripted_vendor import (
    STREAM_HEAD,
    Script,
    ScriptedVendor,
    Wire,
    answer,
    chunk,
    cut,
    paced,
    raw,
    stream,
)
from vendor_apis import APIS, Api

from sidecar.proxy.stream.start import HELD_BYTES
from sidecar.records import AttemptUsage, UsageState

YAML = """
defaults: {{max_wait: 0s}}
providers:
  one: {{plugin: openai, base_url: "{one}/v1", credential: env:UPSTREAM_KEY}}
  two: {{plugin: openai, base_url: "{two}/v1", credential: env:UPSTREAM_KEY}}
  an1: {{plugin: anthropic, base_url: "{one}", credential: env:UPSTREAM_KEY}}
  an2: {{plugin: anthropic, base_url: "{two}", credential: env:UPSTREAM_KEY}}
  ge1: {{plugin: gemini, base_url: "{one}", credential: env:UPSTREAM_KEY}}
  ge2: {{plugin: gemini, base_url: "{two}", credential: env:UPSTREAM_KEY}}
groups:
  GPT: {{vendor: openai, routes: [one, two]}}
  Alone: {{vendor: openai, routes: [one]}}
  Claude: {{vendor: anthropic, routes: [an1, an2]}}
  Gemini: {{vendor: gemini, routes: [ge1, ge2]}}
keys:
  gpt: {{group: GPT, hash: "{{gpt}}"}}
  alone: {{group: Alone, hash: "{{alone}}"}}
  claude: {{group: Claude, hash: "{{claude}}"}}
  gemini: {{group: Gemini, hash: "{{gemini}}"}}
"""
KEYS = ("gpt", "alone", "claude", "gemini")
CHAT = "/v1/chat/completions"
ASKED = b'{"model":"m","stream":true}'
GOOD = b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\ndata: [DONE]\n\n'
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
OVERLOADED = b'{"error":{"message":"x","type":"overloaded_error","code":"overloaded_error"}}'
UNKNOWN = b'{"error":{"message":"the turbine is wet","code":"turbine_wet"}}'
CLIENTS = b'{"error":{"message":"x","type":"invalid_request_error"}}'
HTML = answer(b"<!doctype html><p>sign in</p>", content_type="text/html")


@asynccontextmanager
async def pair(
    path: Path, one: ScriptedVendor, two: ScriptedVendor
) -> AsyncIterator[Sidecar]:  # fmt: skip
    two.play(stream(GOOD))
    async with sidecar(path, YAML.format(one=one.url, two=two.url), KEYS) as proxy:
        yield proxy


async def ask(proxy: Sidecar, key: str = "gpt") -> Raw:
    return await proxy.ask(CHAT, ASKED, key=key)


def events(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


FAILED: dict[str, Script] = {
    "empty": stream(),
    "empty, with a length": answer(b"", content_type="text/event-stream"),
    "empty JSON": answer(b""),
    "blank lines": stream(b"\n\n", b"\r\n"),
    "comments": stream(b": OPENROUTER PROCESSING\n\n", b": and again\n\n"),
    "empty data": stream(b"data:\n\n", b"data: \n\n"),
    "pings": stream(PING, PING),
    "dropped": cut(STREAM_HEAD),
    "reset": cut(STREAM_HEAD, "rst"),
    "dropped after a ping": cut(STREAM_HEAD + chunk(PING)),
    "dropped inside the first event": cut(STREAM_HEAD + chunk(GOOD[:20])),
    "an error": stream(events(OVERLOADED)),
    "a ping and an error": stream(PING, b"event: error\n" + events(OVERLOADED)),
    "comments and an error in pieces": stream(
        b": x\n\n", *(bytes([b]) for b in events(OVERLOADED))
    ),
    "an error without its blank line": stream(b"data: " + OVERLOADED),
    "an error that nobody knows": stream(events(UNKNOWN)),
    "an error without a word": stream(events(b'{"error":{"message":"x"}}')),
    "error JSON": answer(OVERLOADED),
    "error JSON, labelled as events": answer(OVERLOADED, content_type="text/event-stream"),
    "error JSON behind blank lines": answer(b"\n\n" + OVERLOADED),
    "events in another spelling": answer(
        PING + events(OVERLOADED), content_type="Text/Event-Stream; charset=utf-8"
    ),
    "events without a label": raw(
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + events(OVERLOADED), close=True
    ),
    "a web page": HTML,
}


@pytest.mark.parametrize("case", FAILED)
async def test_stream_that_never_begins_sends_the_call_to_the_next_provider(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor, case: str
) -> None:
    vendor.play(FAILED[case])
    async with pair(tmp_path, vendor, other) as proxy:
        found = await ask(proxy)
        assert (found.status, found.headers["x-sidecar-provider"]) == (200, "two")
        assert (found.body, found.ended) == (GOOD, True)
        assert (len(vendor.requests), len(other.requests)) == (1, 1)
        record = await proxy.record()
        assert [each.spent for each in record.attempts] == [AttemptUsage(UsageState.UNKNOWN), None]


NOBODY_LEFT = {
    "empty": (502, "ended before its first event"),
    "dropped": (502, "broke off"),
    "pings": (502, "ended before its first event"),
    "a web page": (502, "web page"),
    "a ping and an error": (503, "overloaded_error"),
    "error JSON": (503, "overloaded_error"),
}


@pytest.mark.parametrize("case", NOBODY_LEFT)
async def test_stream_that_never_begins_is_an_error_where_no_provider_is_left(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor, case: str
) -> None:
    status, says = NOBODY_LEFT[case]
    vendor.play(FAILED[case])
    async with pair(tmp_path, vendor, other) as proxy:
        found = await ask(proxy, "alone")
        assert (found.status, len(vendor.requests)) == (status, 1)
        assert says in found.message


@pytest.mark.parametrize(
    "script", [stream(PING, events(UNKNOWN)), answer(UNKNOWN)], ids=["events", "JSON"]
)
async def test_error_of_an_unknown_type_passes_unchanged_where_no_provider_is_left(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor, script: Script
) -> None:
    vendor.play(script)
    async with pair(tmp_path, vendor, other) as proxy:
        found = await ask(proxy, "alone")
        assert (found.status, found.ended, len(vendor.requests)) == (200, True, 1)
        assert found.body in {PING + events(UNKNOWN), UNKNOWN}
        record = await proxy.record()
        assert (record.outcome, record.usage_state) == ("upstream_error", "unknown")


@pytest.mark.parametrize(
    "script", [stream(PING, events(CLIENTS)), answer(CLIENTS)], ids=["events", "JSON"]
)
async def test_error_of_the_client_in_a_stream_passes_and_is_not_repeated(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor, script: Script
) -> None:
    vendor.play(script)
    async with pair(tmp_path, vendor, other) as proxy:
        found = await ask(proxy)
        assert (found.status, found.headers["x-sidecar-provider"]) == (200, "one")
        assert found.body in {PING + events(CLIENTS), CLIENTS}


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.name)
async def test_stream_that_never_begins_is_followed_by_the_next_provider_in_each_dialect(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor, api: Api
) -> None:
    vendor.play(stream(b": x\n\n"))
    async with pair(tmp_path, vendor, other) as proxy:
        other.play(stream(api.begun, api.ended))
        found = await api.call(proxy, stream=True)
        assert (found.status, found.body) == (200, api.begun + api.ended)
        assert len(vendor.requests) == 1


async def test_array_of_chunks_that_begins_with_an_error_goes_to_the_next_provider(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor
) -> None:
    """Gemini streams an array where `alt=sse` is not asked for."""
    good = b'[{"candidates":[{"finishReason":"STOP"}]}]'
    vendor.play(answer(b'[{\n "error": {"code": 503, "status": "UNAVAILABLE"}}]'))
    async with pair(tmp_path, vendor, other) as proxy:
        other.play(answer(good))
        pairs = [("x-goog-api-key", proxy.keys["gemini"])]
        target = "/v1beta/models/gemini-x:streamGenerateContent"
        found = await proxy.ask(target, b"{}", key="gemini", headers=pairs)
        assert (found.body, len(vendor.requests), len(other.requests)) == (good, 1, 1)


# ── what is held goes out ───────────────────────────────────────────────────────────────────────


def asking(proxy: Sidecar) -> bytes:
    return request("POST", CHAT, proxy.bearer("gpt"), ASKED)


@pytest.mark.parametrize(
    ("label", "first"),
    [
        (b"text/event-stream", b": x\n\n" + PING + b'data: {"choices":[]}\n\n'),
        (b"application/json", b'[{"candidates":[]}\n,'),
        (b"text/plain", b"plain words"),
        (b"audio/mpeg", b"\xff\xfb"),
    ],
)
async def test_first_event_is_sent_at_once_with_all_held_bytes(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor, label: bytes, first: bytes
) -> None:
    """The vendor sends no more until the client has got it."""
    seen = asyncio.Event()
    head = STREAM_HEAD.replace(b"text/event-stream", label)
    vendor.play(paced(head, chunk(first), seen, b"0\r\n\r\n"))
    async with pair(tmp_path, vendor, other) as proxy, connected(proxy.port) as line:
        began = asyncio.get_running_loop().time()
        await line.send(asking(proxy))
        await line.until(first + b"\r\n")
        assert asyncio.get_running_loop().time() - began < 1.5  # less than what is held at most
        seen.set()


async def test_beginning_without_an_event_is_sent_after_two_seconds(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor
) -> None:
    seen = asyncio.Event()
    vendor.play(paced(STREAM_HEAD, chunk(PING), seen, chunk(GOOD), b"0\r\n\r\n"))
    async with pair(tmp_path, vendor, other) as proxy, connected(proxy.port) as line:
        began = asyncio.get_running_loop().time()
        await line.send(asking(proxy))
        await line.until(PING)
        assert asyncio.get_running_loop().time() - began >= 1.9
        seen.set()
        await line.to_the_end()
        assert GOOD in line.seen
    assert other.requests == []


async def test_beginning_of_64_kib_without_an_event_is_sent_at_once(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor
) -> None:
    noise = b": " + b"x" * 1000 + b"\n\n"
    many = noise * (HELD_BYTES // len(noise) + 1)
    seen = asyncio.Event()
    vendor.play(paced(STREAM_HEAD, chunk(many), seen, chunk(GOOD), b"0\r\n\r\n"))
    async with pair(tmp_path, vendor, other) as proxy, connected(proxy.port) as line:
        began = asyncio.get_running_loop().time()
        await line.send(asking(proxy))
        await line.until(noise + b"\r\n")
        assert asyncio.get_running_loop().time() - began < 1.5
        seen.set()


NOISE = st.lists(
    st.sampled_from([b": c\n\n", b"\n", PING, b"data:\n\n", b"retry: 9\r\n\r\n", b"\xef\xbb\xbf"]),
    max_size=6,
).map(b"".join)


@examples(
    60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
@given(noise=NOISE, cuts=st.lists(st.integers(0, 400), max_size=8))
async def test_held_stream_passes_byte_for_byte_for_any_split(
    proxy: Sidecar, vendor: ScriptedVendor, noise: bytes, cuts: list[int]
) -> None:
    whole = noise + GOOD
    ends = sorted({0, len(whole), *(min(cut, len(whole)) for cut in cuts)})
    pieces = [whole[start:end] for start, end in pairwise(ends)]
    vendor.play(stream(*pieces))
    found = await ask(proxy)
    assert (found.status, found.body, found.ended) == (200, whole, True)


async def test_client_that_leaves_while_a_stream_is_held_ends_the_providers_work(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor
) -> None:
    sent = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.send(STREAM_HEAD + chunk(PING))
        sent.set()
        await wire.until_gone()

    vendor.play(script)
    async with pair(tmp_path, vendor, other) as proxy:
        async with connected(proxy.port) as line:
            await line.send(asking(proxy))
            await sent.wait()
        async with asyncio.timeout(5):
            await vendor.gone.wait()
        record = await proxy.record()
        assert (record.outcome, record.usage_state) == ("cancelled", "unknown")
        assert other.requests == []
