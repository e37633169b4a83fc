"""Failures of the network and of vendors, and the response that the client gets for each."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anthropic
import httpx2
import openai
import pytest
from running_sidecar import CANARY, Sidecar, parse
from running_sidecar import sidecar as start_sidecar
from scripted_vendor import (
    STREAM_HEAD,
    Script,
    ScriptedVendor,
    Wire,
    answer,
    chunk,
    hang,
    raw,
    scripted_vendor,
    stream,
)
from vendor_apis import (
    APIS,
    CHAT,
    MESSAGES,
    RESPONSES,
    Api,
    attempts,
    dial,
    outcomes,
    settled,
)

EVERY_API = pytest.mark.parametrize("api", APIS, ids=lambda api: api.name)
GOOD = answer(b'{"id":"c1","model":"gpt-5-mini","choices":[]}')
ONE = """
providers:
  a:
    plugin: openai
    base_url: "{url}"
    credential: env:UPSTREAM_KEY
    timeouts: {{connect: 1s, first_byte: {first_byte}, idle: {idle}}}
groups:
  GPT: {{vendor: openai, routes: [a]}}
keys:
  gpt: {{group: GPT, hash: "{{gpt}}"}}
"""
TWO = """
defaults: {{max_wait: 0s}}
providers:
  a:
    plugin: openai
    base_url: "{url}/a"
    credential: env:{first}
    timeouts: {{first_byte: 300ms}}
  b: {{plugin: openai, base_url: "{url}/b", credential: env:UPSTREAM_KEY}}
groups:
  Both: {{vendor: openai, routes: [a: {{retry: at-least-once}}, b]}}
  Alone: {{vendor: openai, routes: [a]}}
keys:
  gpt: {{group: Both, hash: "{{gpt}}"}}
  alone: {{group: Alone, hash: "{{alone}}"}}
"""
A, B = "/a/chat/completions", "/b/chat/completions"


@asynccontextmanager
async def one(
    folder: Path, url: str, *, first_byte: str = "5s", idle: str = "5s"
) -> AsyncIterator[Sidecar]:
    yaml = ONE.format(url=url, first_byte=first_byte, idle=idle)
    async with start_sidecar(folder, yaml, ("gpt",)) as started:
        yield started


@pytest.fixture
async def two(tmp_path: Path, vendor: ScriptedVendor) -> AsyncIterator[Sidecar]:
    yaml = TWO.format(url=vendor.url, first="UPSTREAM_KEY")
    async with start_sidecar(tmp_path, yaml, ("gpt", "alone")) as started:
        yield started


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


@asynccontextmanager
async def no_tls() -> AsyncIterator[str]:
    """The address of something that answers a TLS handshake with plain text."""

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(64)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_closed_port_is_a_502_with_the_reason(tmp_path: Path) -> None:
    async with one(tmp_path, f"http://127.0.0.1:{closed_port()}") as proxy:
        found = await CHAT.call(proxy)
        assert found.status == 502
        error = json.loads(found.body)
        assert CHAT.code(error) == "upstream_unreachable"
        assert "a: the connection failed" in error["error"]["message"]
        assert found.headers["x-should-retry"] == "false"  # agents ask again for minutes
        assert await attempts(proxy.running) == {"a": "failed"}


async def test_unresolvable_host_is_a_502_with_the_reason(tmp_path: Path) -> None:
    async with one(tmp_path, "https://no-such-host.invalid") as proxy:
        found = await CHAT.call(proxy)
        assert found.status == 502
        assert b"its name does not resolve" in found.body
        assert found.headers["x-should-retry"] == "false"


async def test_upstream_without_tls_is_a_502_with_the_reason(tmp_path: Path) -> None:
    async with no_tls() as url, one(tmp_path, url) as proxy:
        found = await CHAT.call(proxy)
        assert found.status == 502
        assert b"the TLS handshake failed" in found.body
        assert found.headers["x-should-retry"] == "false"


async def test_provider_that_stopped_between_calls_may_be_retried(
    tmp_path: Path,
) -> None:
    async with AsyncExitStack() as running:
        going = await running.enter_async_context(scripted_vendor())
        going.play(GOOD)
        yaml = "defaults: {max_wait: 0s}" + ONE.format(url=going.url, first_byte="5s", idle="5s")
        async with start_sidecar(tmp_path, yaml, ("gpt",)) as proxy:
            assert (await CHAT.call(proxy)).status == 200
            await running.aclose()
            found = await CHAT.call(proxy)
            assert found.status == 502
            assert "x-should-retry" not in found.headers


async def test_idle_upstream_before_the_head_is_a_504(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(hang)
    async with one(tmp_path, vendor.url, first_byte="200ms") as proxy:
        found = await CHAT.call(proxy)
        assert found.status == 504
        error = json.loads(found.body)
        assert CHAT.code(error) == "upstream_timeout"
        assert "0.2 s (timeouts.first_byte)" in error["error"]["message"]
        assert len(vendor.requests) == 1
        await asyncio.wait_for(vendor.gone.wait(), 5)


async def test_idle_upstream_in_a_body_is_a_504(tmp_path: Path, vendor: ScriptedVendor) -> None:
    vendor.play(
        held(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"id')
    )
    async with one(tmp_path, vendor.url, idle="200ms") as proxy:
        found = await CHAT.call(proxy)
        assert found.status == 504
        assert b"silent for 0.2 s (timeouts.idle)" in found.body
        await asyncio.wait_for(vendor.gone.wait(), 5)


async def test_idle_upstream_in_a_stream_ends_it_with_an_error_event(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(held(STREAM_HEAD + chunk(CHAT.begun)))
    async with one(tmp_path, vendor.url, idle="200ms") as proxy:
        found = await CHAT.call(proxy, stream=True)
        assert found.body.startswith(CHAT.begun + b"data: ")
        assert b"timeouts.idle" in found.body
        assert not found.whole.endswith(b"0\r\n\r\n")


def held(data: bytes) -> Script:
    async def script(wire: Wire) -> None:
        await wire.send(data)
        await wire.until_gone()

    return script


async def reset(wire: Wire) -> None:
    wire.reset()


async def test_reset_before_the_head_is_a_502_after_one_attempt(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(reset)
    found = await CHAT.call(proxy)
    assert found.status == 502
    assert CHAT.code(json.loads(found.body)) == "upstream_unreachable"
    assert len(vendor.requests) == 1


CUT_JSON = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 400\r\n\r\n"
    b'{"id":"c1","mo'
)
# Google has no 502: its clients know UNAVAILABLE.
BROKEN = {
    "chat": (502, "upstream_invalid"),
    "responses": (502, "upstream_invalid"),
    "messages": (502, "api_error"),
    "gemini": (503, "UNAVAILABLE"),
}


@EVERY_API
async def test_truncated_json_response_is_a_502_in_the_vendors_shape(
    proxy: Sidecar, vendor: ScriptedVendor, api: Api
) -> None:
    vendor.play(raw(CUT_JSON, close=True))
    found = await api.call(proxy)
    assert (found.status, api.code(json.loads(found.body))) == BROKEN[api.name]
    assert found.headers["content-type"].startswith("application/json")
    assert int(found.headers["content-length"]) == len(found.body)
    assert found.headers["x-sidecar-error"] == "upstream_invalid"
    assert b"broke off" in found.body


@EVERY_API
async def test_stream_cut_between_events_gets_an_error_event_and_an_end_only_if_it_is_one(
    proxy: Sidecar, vendor: ScriptedVendor, api: Api
) -> None:
    vendor.play(stream(api.begun, end=b""))
    await is_cut_with_event(proxy, api)


CUT = {
    "chat": "upstream_unreachable",
    "responses": "upstream_unreachable",
    "messages": "api_error",
    "gemini": "UNAVAILABLE",
}


async def is_cut_with_event(proxy: Sidecar, api: Api) -> None:
    found = await api.call(proxy, stream=True)
    assert found.status == 200
    added = found.body.removeprefix(api.begun)
    assert added != found.body
    assert added.startswith(api.event)
    assert api.code(json.loads(added.removeprefix(api.event))) == CUT[api.name]
    assert added.endswith((b"\n\n", b"\r\n\r\n"))
    assert found.whole.endswith(b"0\r\n\r\n") == api.has_failed_end
    assert await outcomes(proxy.running) == {"cut": 1}


@EVERY_API
async def test_stream_cut_inside_an_event_gets_nothing_added_and_no_end(
    proxy: Sidecar, vendor: ScriptedVendor, api: Api
) -> None:
    begun = api.begun + api.ended[:20]
    vendor.play(stream(begun, end=b""))
    found = await api.call(proxy, stream=True)
    assert found.body == begun
    assert not found.whole.endswith(b"0\r\n\r\n")
    assert await outcomes(proxy.running) == {"cut": 1}


@EVERY_API
async def test_complete_stream_passes_byte_for_byte_and_ends(
    proxy: Sidecar, vendor: ScriptedVendor, api: Api
) -> None:
    vendor.play(stream(api.begun, api.ended))
    found = await api.call(proxy, stream=True)
    assert found.body == api.begun + api.ended
    assert found.whole.endswith(b"0\r\n\r\n")
    assert await outcomes(proxy.running) == {"ok": 1}


@pytest.mark.parametrize("inside", [False, True], ids=["between events", "inside an event"])
@pytest.mark.parametrize("api", [CHAT, RESPONSES], ids=lambda api: api.name)
async def test_openais_sdk_raises_on_a_cut_stream(
    proxy: Sidecar, vendor: ScriptedVendor, api: Api, inside: bool
) -> None:
    vendor.play(stream(api.begun + (api.ended[:20] if inside else b""), end=b""))
    async with openai.AsyncOpenAI(
        base_url=f"{proxy.url}/v1", api_key=proxy.keys["gpt"], max_retries=0
    ) as client:
        made = client.chat.completions if api is CHAT else client.responses
        events = await made.create(**api.asked, stream=True)  # type: ignore[attr-defined]
        with pytest.raises(openai.APIConnectionError if inside else openai.APIError):
            _ = [event async for event in events]


@pytest.mark.parametrize("inside", [False, True], ids=["between events", "inside an event"])
async def test_anthropics_sdk_raises_on_a_cut_stream(
    proxy: Sidecar, vendor: ScriptedVendor, inside: bool
) -> None:
    vendor.play(stream(MESSAGES.begun + (MESSAGES.ended[:20] if inside else b""), end=b""))
    async with anthropic.AsyncAnthropic(
        base_url=proxy.url, api_key=proxy.keys["claude"], max_retries=0
    ) as client:
        events = await client.messages.create(**MESSAGES.asked, stream=True)  # type: ignore[call-overload]
        with pytest.raises(httpx2.RemoteProtocolError if inside else anthropic.APIStatusError):
            _ = [event async for event in events]


RETRY = {"retry_after": "7", "x_ratelimit_remaining_requests": "0"}
OVERLOADED = b'{"error":{"message":"busy","type":"server_error","code":null}}'
TROUBLE = pytest.mark.parametrize(
    ("status", "verdict"),
    [(429, "rate_limited"), (500, "overloaded"), (503, "overloaded"), (529, "overloaded")],
)


@TROUBLE
async def test_failing_provider_is_followed_by_the_next_one(
    two: Sidecar, vendor: ScriptedVendor, status: int, verdict: str
) -> None:
    vendor.by_path[A] = answer(OVERLOADED, f"{status} Trouble", **RETRY)
    vendor.by_path[B] = GOOD
    found = await CHAT.call(two)
    assert (found.status, found.headers["x-sidecar-provider"]) == (200, "b")
    assert "retry-after" not in found.headers
    assert [each.path for each in vendor.requests] == [A, B]
    assert vendor.requests[0].body == vendor.requests[1].body
    assert await attempts(two.running) == {"a": verdict, "b": "ok"}
    assert await outcomes(two.running) == {"ok": 1}


@TROUBLE
async def test_failing_provider_without_a_next_one_passes_its_own_response(
    two: Sidecar, vendor: ScriptedVendor, status: int, verdict: str
) -> None:
    vendor.by_path[A] = answer(OVERLOADED, f"{status} Trouble", **RETRY)
    found = await CHAT.call(two, key="alone")
    assert (found.status, found.body) == (status, OVERLOADED)
    assert found.headers["retry-after"] == "7"
    assert found.headers["x-ratelimit-remaining-requests"] == "0"
    assert await attempts(two.running) == {"a": verdict}
    assert await outcomes(two.running) == {"upstream_error": 1}


async def test_failure_of_all_providers_returns_the_error_of_the_first(
    two: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.by_path[A] = answer(OVERLOADED, "503 Trouble")
    vendor.by_path[B] = answer(b"{}", "500 Trouble")
    found = await CHAT.call(two)
    assert (found.status, found.body) == (503, OVERLOADED)
    assert await attempts(two.running) == {"a": "overloaded", "b": "overloaded"}


async def test_unreachable_provider_is_followed_by_the_next_one(
    two: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.by_path[A] = hang
    vendor.by_path[B] = GOOD
    assert (await CHAT.call(two)).status == 200
    assert await attempts(two.running) == {"a": "failed", "b": "ok"}


async def test_client_error_is_not_retried(two: Sidecar, vendor: ScriptedVendor) -> None:
    vendor.by_path[A] = answer(b'{"error":{"message":"no"}}', "400 Bad Request")
    found = await CHAT.call(two)
    assert (found.status, found.body) == (400, b'{"error":{"message":"no"}}')
    assert await attempts(two.running) == {"a": "client_error"}
    assert await outcomes(two.running) == {"client_error": 1}


async def test_provider_without_its_credential_is_skipped(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(GOOD)
    yaml = TWO.format(url=vendor.url, first="NO_SUCH_VARIABLE")
    async with start_sidecar(tmp_path, yaml, ("gpt", "alone")) as proxy:
        assert (await CHAT.call(proxy)).headers["x-sidecar-provider"] == "b"
        found = await CHAT.call(proxy, key="alone")
        assert found.status == 503
        assert b"NO_SUCH_VARIABLE" in found.body
        assert [each.path for each in vendor.requests] == [B]


ECHOED = b'{"error":{"message":"Incorrect API key provided: %s","code":"invalid_api_key"}}'


async def test_rejected_credential_sends_the_call_to_the_next_provider(
    two: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.by_path[A] = answer(ECHOED % CANARY.encode(), "401 Unauthorized")
    vendor.by_path[B] = GOOD
    assert (await CHAT.call(two)).status == 200
    assert await attempts(two.running) == {"a": "auth_failed", "b": "ok"}


async def test_rejected_credential_is_a_502_that_does_not_show_it(
    two: Sidecar, vendor: ScriptedVendor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    vendor.by_path[A] = answer(ECHOED % CANARY.encode(), "401 Unauthorized")
    found = await CHAT.call(two, key="alone")
    assert found.status == 502
    error = json.loads(found.body)
    assert CHAT.code(error) == "upstream_credential_rejected"
    assert "env:UPSTREAM_KEY" in error["error"]["message"]
    assert found.headers["x-should-retry"] == "false"
    assert CANARY.encode() not in found.whole
    assert CANARY not in caplog.text
    assert CANARY not in (await two.running.services.metrics.render()).decode()


async def test_error_that_quotes_our_credential_passes_without_it(
    two: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.by_path[A] = answer(ECHOED % CANARY.encode(), "400 Bad Request", x_api_key=CANARY)
    found = await CHAT.call(two, key="alone")
    assert found.status == 400
    assert b"Incorrect API key provided" in found.body
    assert CANARY.encode() not in found.whole


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("url", ["http://127.0.0.1:9/elsewhere", "http://[nowhere"])
async def test_redirect_elsewhere_is_not_followed(
    two: Sidecar, vendor: ScriptedVendor, status: int, url: str
) -> None:
    vendor.by_path[A] = answer(b"", f"{status} Moved", location=url)
    found = await CHAT.call(two)
    assert found.status == 502
    assert "location" not in found.headers
    assert CHAT.code(json.loads(found.body)) == "upstream_invalid"
    assert [each.path for each in vendor.requests] == [A]


async def test_location_at_the_vendor_is_rewritten_to_sidecar(
    two: Sidecar, vendor: ScriptedVendor
) -> None:
    made = answer(b"{}", "201 Created", location=f"{vendor.url}/a/videos/v1?x=1")
    vendor.by_path[A] = made
    found = await CHAT.call(two)
    assert found.status == 201
    assert found.headers["location"] == "http://127.0.0.1/v1/videos/v1?x=1"


async def test_location_at_another_origin_is_dropped(two: Sidecar, vendor: ScriptedVendor) -> None:
    vendor.by_path[A] = answer(b"{}", "201 Created", location="https://elsewhere.example/x")
    found = await CHAT.call(two)
    assert found.status == 201
    assert "location" not in found.headers


INVALID = {
    "a garbage status line": b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
    "a status of 999": b"HTTP/1.1 999 What\r\nContent-Length: 2\r\n\r\n{}",
    "two different lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}",
    "a length beside chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a header without a colon": b"HTTP/1.1 200 OK\r\nContent-Length 2\r\n\r\n{}",
    "an endless header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("answered", INVALID.values(), ids=INVALID.keys())
async def test_response_that_is_not_http_is_a_502(
    two: Sidecar, vendor: ScriptedVendor, answered: bytes
) -> None:
    vendor.play(raw(answered, close=True))
    found = await CHAT.call(two, key="alone")
    assert found.status == 502
    assert CHAT.code(json.loads(found.body)) == "upstream_invalid"
    assert b"SSH" not in found.body


async def test_broken_chunk_of_a_stream_truncates_it(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    seen = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.send(STREAM_HEAD + chunk(CHAT.begun))
        await seen.wait()
        await wire.send(b"zz\r\nxx\r\n")
        await wire.until_gone()

    vendor.play(script)
    async with dial(proxy.port, CHAT.request(proxy, stream=True)) as (reader, _):
        head = await reader.readuntil(CHAT.begun + b"\r\n")
        seen.set()
        rest = await reader.read(-1)
    await settled(proxy.running)
    found = parse(head + rest)
    assert found.body.startswith(CHAT.begun + b"data: ")
    assert not rest.endswith(b"0\r\n\r\n")
    assert await outcomes(proxy.running) == {"cut": 1}


async def test_dead_connection_is_replaced_once_without_an_error(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(GOOD, reset, GOOD)
    first, second = await CHAT.call(proxy), await CHAT.call(proxy)
    assert (first.status, second.status) == (200, 200)
    assert len(vendor.requests) == 3
    assert vendor.requests[1].body == vendor.requests[2].body
    assert await outcomes(proxy.running) == {"ok": 2}


async def test_connection_that_dies_twice_is_a_502(proxy: Sidecar, vendor: ScriptedVendor) -> None:
    vendor.play(GOOD, reset)
    assert (await CHAT.call(proxy)).status == 200
    assert (await CHAT.call(proxy)).status == 502
    assert len(vendor.requests) == 3


async def test_compressed_response_passes_unchanged(proxy: Sidecar, vendor: ScriptedVendor) -> None:
    squeezed = gzip.compress(b'{"id":"c1","choices":[]}')
    vendor.play(answer(squeezed, content_encoding="gzip"))
    found = await CHAT.call(proxy)
    assert found.body == squeezed
    assert found.headers["content-encoding"] == "gzip"


async def test_compressed_stream_passes_unchanged(proxy: Sidecar, vendor: ScriptedVendor) -> None:
    squeezed = gzip.compress(CHAT.begun + CHAT.ended)
    head = STREAM_HEAD.replace(b"Transfer", b"Content-Encoding: gzip\r\nTransfer")
    vendor.play(raw(head + chunk(squeezed[:30]) + chunk(squeezed[30:]) + b"0\r\n\r\n"))
    found = await CHAT.call(proxy, stream=True)
    assert found.body == squeezed
    assert found.whole.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("framing", [b"Content-Length: 3000000", b"Transfer-Encoding: chunked"])
async def test_truncated_large_response_is_not_ended_cleanly(
    proxy: Sidecar, vendor: ScriptedVendor, framing: bytes
) -> None:
    large = b'{"id":"c1","x":"' + b"x" * 2_000_000
    sent = chunk(large) if b"chunked" in framing else large
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%s\r\n\r\n" % framing
    vendor.play(raw(head + sent, close=True))
    found = await CHAT.call(proxy)
    assert found.status == 200
    assert large.startswith(found.body)
    assert not found.whole.endswith(b"0\r\n\r\n")
    assert int(found.headers.get("content-length", 3_000_000)) == 3_000_000
    assert b"error" not in found.body
    assert await outcomes(proxy.running) == {"cut": 1}


async def test_truncated_error_sends_the_call_to_the_next_provider(
    two: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.by_path[A] = raw(b"HTTP/1.1 500 No\r\nContent-Length: 99\r\n\r\n{", close=True)
    vendor.by_path[B] = GOOD
    assert (await CHAT.call(two)).status == 200
    assert await attempts(two.running) == {"a": "failed", "b": "ok"}
    assert (await CHAT.call(two, key="alone")).status == 502


async def test_truncated_response_is_not_retried(two: Sidecar, vendor: ScriptedVendor) -> None:
    vendor.by_path[A] = raw(CUT_JSON, close=True)
    assert (await CHAT.call(two)).status == 502
    assert [each.path for each in vendor.requests] == [A]


async def test_timeout_of_every_provider_is_a_504(tmp_path: Path, vendor: ScriptedVendor) -> None:
    vendor.play(hang)
    yaml = TWO.format(url=vendor.url, first="UPSTREAM_KEY")
    yaml = yaml.replace('/b", credential', '/b", timeouts: {first_byte: 300ms}, credential')
    async with start_sidecar(tmp_path, yaml, ("gpt", "alone")) as proxy:
        found = await CHAT.call(proxy)
        assert found.status == 504
        assert await attempts(proxy.running) == {"a": "failed", "b": "failed"}
