"""Clients that leave, malformed bodies, and access from web pages and unknown keys."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from running_sidecar import Sidecar, parse, request, talk
from running_sidecar import sidecar as start_sidecar
from scripted_vendor import STREAM_HEAD, Script, ScriptedVendor, Wire, answer, chunk, hang
from vendor_apis import APIS, CHAT, MESSAGES, Api, dial, figures, outcomes, settled, until

EVERY_API = pytest.mark.parametrize("api", APIS, ids=lambda api: api.name)
GOOD = answer(b'{"id":"c1","model":"gpt-5-mini","choices":[]}')
SMALL = """
server: {{max_body: 2 KiB}}
providers:
  a: {{plugin: openai, base_url: "{url}", credential: env:UPSTREAM_KEY}}
groups:
  GPT: {{vendor: openai, routes: [a]}}
keys:
  gpt: {{group: GPT, hash: "{{gpt}}"}}
"""
FAKE = "sk-sidecar-fake-0123456789abcdefghij"


@pytest.fixture
async def small(tmp_path: Path, vendor: ScriptedVendor) -> AsyncIterator[Sidecar]:
    """A sidecar that takes 2 KiB a body."""
    vendor.play(GOOD)
    async with start_sidecar(tmp_path, SMALL.format(url=vendor.url), ("gpt",)) as started:
        yield started


def held(data: bytes) -> Script:
    async def script(wire: Wire) -> None:
        await wire.send(data)
        await wire.until_gone()

    return script


async def vendor_hears_of_it(proxy: Sidecar, vendor: ScriptedVendor) -> None:
    await asyncio.wait_for(vendor.gone.wait(), 1)
    await settled(proxy.running)


@pytest.mark.parametrize("streaming", [False, True], ids=["non-streaming", "streaming"])
async def test_client_that_leaves_before_the_first_byte_frees_the_vendor(
    proxy: Sidecar, vendor: ScriptedVendor, streaming: bool
) -> None:
    vendor.play(hang)
    async with dial(proxy.port, CHAT.request(proxy, stream=streaming)):
        await vendor.arrived.wait()
    await vendor_hears_of_it(proxy, vendor)
    assert await outcomes(proxy.running) == {"cancelled": 1}


async def test_client_that_leaves_before_the_first_event_frees_the_vendor(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    begun = asyncio.Event()

    async def head_alone(wire: Wire) -> None:
        await wire.send(STREAM_HEAD)
        begun.set()
        await wire.until_gone()

    vendor.play(head_alone)
    async with dial(proxy.port, CHAT.request(proxy, stream=True)):
        await begun.wait()
    await vendor_hears_of_it(proxy, vendor)
    assert await outcomes(proxy.running) == {"cancelled": 1}


@EVERY_API
async def test_client_that_leaves_mid_stream_frees_the_vendor(
    proxy: Sidecar, vendor: ScriptedVendor, api: Api
) -> None:
    vendor.play(held(STREAM_HEAD + chunk(api.begun)))
    async with dial(proxy.port, api.request(proxy, stream=True)) as (reader, _):
        await reader.readuntil(api.begun)
    await vendor_hears_of_it(proxy, vendor)
    assert await outcomes(proxy.running) == {"cancelled": 1}


async def test_client_that_leaves_in_the_middle_of_a_json_answer_frees_the_vendor(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(
        held(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"id')
    )
    async with dial(proxy.port, CHAT.request(proxy)):
        await vendor.arrived.wait()
    await vendor_hears_of_it(proxy, vendor)
    assert await outcomes(proxy.running) == {"cancelled": 1}


async def test_client_that_leaves_mid_body_reaches_no_vendor(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    async with dial(proxy.port, CHAT.request(proxy)[:-5]):
        await until(lambda: len(proxy.running.services.live) == 1)
    await settled(proxy.running)
    assert vendor.requests == []


@EVERY_API
async def test_client_that_closes_after_the_last_event_counts_as_served(
    proxy: Sidecar, vendor: ScriptedVendor, api: Api
) -> None:
    vendor.play(held(STREAM_HEAD + chunk(api.begun) + chunk(api.ended)))
    async with dial(proxy.port, api.request(proxy, stream=True)) as (reader, _):
        await reader.readuntil(api.ended)
    await vendor_hears_of_it(proxy, vendor)
    assert await outcomes(proxy.running) == {"ok": 1}
    assert sum((await figures(proxy.running, "sidecar_tokens_total")).values()) > 0


async def test_usage_until_the_client_left_is_counted(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(held(STREAM_HEAD + chunk(MESSAGES.begun)))
    async with dial(proxy.port, MESSAGES.request(proxy, stream=True)) as (reader, _):
        await reader.readuntil(MESSAGES.begun)
    await vendor_hears_of_it(proxy, vendor)
    assert sum((await figures(proxy.running, "sidecar_tokens_total")).values()) == 5312 + 1


def expecting(proxy: Sidecar, key: str, length: int, extra: str = "") -> bytes:
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
        f"Expect: 100-continue\r\nContent-Length: {length}\r\nConnection: close\r\n{extra}\r\n"
    ).encode()


BODY = json.dumps(CHAT.asked).encode()
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


async def test_expect_continue_with_a_known_key_gets_100(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(GOOD)
    async with dial(proxy.port, expecting(proxy, proxy.keys["gpt"], len(BODY))) as (reader, writer):
        assert await reader.readexactly(len(CONTINUE)) == CONTINUE
        writer.write(BODY)
        assert parse(await reader.read(-1)).status == 200
    assert vendor.last.body == BODY
    assert vendor.last.get("expect") == []


@pytest.mark.parametrize(("key", "status"), [("", 401), ("off", 403), ("old", 403)])
async def test_expect_continue_without_a_known_key_gets_no_100(
    proxy: Sidecar, key: str, status: int
) -> None:
    asked = expecting(proxy, proxy.keys.get(key, FAKE), len(BODY))
    assert parse(await talk(proxy.port, asked)).status == status


async def test_body_with_a_too_large_content_length_is_not_read(
    small: Sidecar, vendor: ScriptedVendor
) -> None:
    found = parse(await talk(small.port, expecting(small, small.keys["gpt"], 2049)))
    assert found.status == 413
    assert b"server.max_body" in found.body
    assert CONTINUE not in found.whole
    assert vendor.requests == []


async def test_chunked_body_that_grows_too_large_is_rejected(
    small: Sidecar, vendor: ScriptedVendor
) -> None:
    head = request("POST", CHAT.path, {**small.bearer("gpt"), "Transfer-Encoding": "chunked"})
    async with dial(small.port, head + chunk(b'{"model":"' + b"x" * 3000)) as (reader, _):
        found = parse(await reader.read(-1))
    assert found.status == 413
    assert CHAT.code(json.loads(found.body)) == "request_too_large"
    assert vendor.requests == []


async def test_body_of_the_maximum_size_passes(small: Sidecar, vendor: ScriptedVendor) -> None:
    body = BODY.ljust(2048)
    found = parse(await talk(small.port, request("POST", CHAT.path, small.bearer("gpt"), body)))
    assert found.status == 200
    assert vendor.last.body == body


async def test_chunked_body_with_a_broken_chunk_is_rejected(
    proxy: Sidecar, vendor: ScriptedVendor, caplog: pytest.LogCaptureFixture
) -> None:
    head = request("POST", CHAT.path, {**proxy.bearer("gpt"), "Transfer-Encoding": "chunked"})
    async with dial(proxy.port, head + chunk(b'{"model":')) as (reader, writer):
        await until(lambda: len(proxy.running.services.live) == 1)
        writer.write(b"zz\r\nxx\r\n")
        assert b" 400 " in (await reader.read(-1)).partition(b"\r\n")[0]
    await settled(proxy.running)
    assert vendor.requests == []
    assert [each.message for each in caplog.records if each.levelname == "ERROR"] == []


async def test_chunked_body_without_chunks_is_rejected(
    proxy: Sidecar, vendor: ScriptedVendor, caplog: pytest.LogCaptureFixture
) -> None:
    head = request("POST", CHAT.path, {**proxy.bearer("gpt"), "Transfer-Encoding": "chunked"})
    assert parse(await talk(proxy.port, head + b"zz\r\nxx\r\n")).status == 400
    assert vendor.requests == []
    assert [each.message for each in caplog.records if each.levelname == "ERROR"] == []


STRANGE = {
    "HTTP/1.0 without Host": (b"GET /v1/models HTTP/1.0\r\n\r\n", 400),
    "no Host": (b"GET /v1/models HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
    "two Hosts": (request("GET", "/v1/models", [("Host", "a"), ("Host", "127.0.0.1")]), 400),
    "an absolute target": (request("GET", "http://127.0.0.1/v1/models", {}), 400),
    "CONNECT": (request("CONNECT", "api.openai.com:443", {}), 405),
    "TRACE": (request("TRACE", "/v1/models", {}), 405),
    "dot segments": (request("GET", "/v1/../admin", {}), 400),
    "coded dot segments": (request("GET", "/v1/%2e%2E/admin", {}), 400),
    "a backslash": (request("GET", "/v1\\models", {}), 400),
    "a foreign Host": (request("GET", "/v1/models", {"Host": "evil.example:8787"}), 403),
    "a foreign Origin": (request("GET", "/v1/models", {"Origin": "https://evil.example"}), 403),
    "an Origin of null": (request("GET", "/v1/models", {"Origin": "null"}), 403),
    "another local page": (request("GET", "/v1/models", {"Origin": "http://127.0.0.1:1"}), 403),
    "a web page": (request("GET", "/v1/models", {"Sec-Fetch-Site": "cross-site"}), 403),
    "a form of a web page": (request("POST", "/v1/models", {"Sec-Fetch-Mode": "no-cors"}), 403),
    "a preflight": (
        request("OPTIONS", "/v1/models", {
            "Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}), 403),
}  # fmt: skip


@pytest.mark.parametrize("side", ["agents", "admin"])
@pytest.mark.parametrize(("asked", "status"), STRANGE.values(), ids=STRANGE.keys())
async def test_both_listeners_check_host_and_origin(
    proxy: Sidecar, vendor: ScriptedVendor, asked: bytes, status: int, side: str
) -> None:
    port = proxy.port if side == "agents" else proxy.admin_port
    asked = asked.replace(b"/v1/models", b"/metrics") if side == "admin" else asked
    whole = await talk(port, asked)
    found = parse(whole)
    assert found.status == status
    assert b"access-control" not in whole.lower()
    assert b"evil" not in whole
    assert json.loads(found.body)["error"]["message"]
    assert vendor.requests == []


async def test_response_has_no_cors_headers(proxy: Sidecar, vendor: ScriptedVendor) -> None:
    vendor.play(answer(b"{}", access_control_allow_origin="*"))
    found = await CHAT.call(proxy)
    assert found.status == 200
    assert not any(name.startswith("access-control") for name in found.headers)


async def test_malformed_header_is_neither_returned_nor_logged(
    proxy: Sidecar, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    for line in (
        f"Authorization Bearer {FAKE}", f"Authorization\x00: {FAKE}", f" {FAKE}: x",
        f"x: y\r\n\x01{FAKE}", f"Authorization: Bearer {FAKE}\x00", f"Content-Length: {FAKE}",
    ):  # fmt: skip
        asked = f"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n{line}\r\n\r\n"
        whole = await talk(proxy.port, asked.encode("latin-1"))
        assert parse(whole).status == 400
        assert FAKE.encode() not in whole
    assert FAKE not in caplog.text


async def test_unknown_key_is_neither_returned_nor_logged(
    proxy: Sidecar, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    asked = request("GET", f"/v1/models?key={FAKE}", {"Authorization": f"Bearer {FAKE}"})
    whole = await talk(proxy.port, asked)
    assert parse(whole).status == 401
    assert FAKE.encode() not in whole
    assert FAKE not in caplog.text


async def test_request_head_in_pieces_is_served(proxy: Sidecar, vendor: ScriptedVendor) -> None:
    vendor.play(GOOD)
    asked = CHAT.request(proxy)
    async with dial(proxy.port, b"") as (reader, writer):
        for start in range(0, len(asked), 7):
            writer.write(asked[start : start + 7])
            await writer.drain()
            await asyncio.sleep(0)
        assert parse(await reader.read(-1)).status == 200
    assert vendor.last.body == BODY


async def test_incomplete_request_head_is_not_recorded_as_a_call(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    assert await talk(proxy.port, CHAT.request(proxy)[:40], half=True) == b""
    assert len(proxy.running.services.live) == 0
    assert vendor.requests == []


async def test_pipelined_requests_are_answered_in_order(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    first, second = b'{"choices":[],"n":1}', b'{"choices":[],"n":2}'
    vendor.play(answer(first), answer(second))
    open_ended = CHAT.request(proxy).replace(b"Connection: close\r\n", b"")
    whole = await talk(proxy.port, open_ended + CHAT.request(proxy), to_the_end=True)
    assert 0 < whole.index(first) < whole.index(second)
    assert whole.count(b"HTTP/1.1 200 OK") == 2


async def test_upgrade_is_rejected_and_the_connection_stays_usable(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(GOOD)
    upgrade = request("GET", "/v1/responses", [
        *proxy.bearer("gpt").items(), ("Upgrade", "websocket"), ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), ("Sec-WebSocket-Version", "13"),
    ]).replace(b"Connection: close\r\n", b"")  # fmt: skip
    async with dial(proxy.port, upgrade) as (reader, writer):
        refused = await reader.readuntil(b'"code": "upgrade_required"}}')
        assert parse(refused).status == 426
        writer.write(CHAT.request(proxy))
        assert parse(await reader.read(-1)).status == 200
    assert [each.path for each in vendor.requests] == ["/v1/chat/completions"]


@pytest.mark.parametrize(("method", "path"), [("HEAD", "/api/hello"), ("GET", "/"), ("HEAD", "/")])
async def test_root_path_gets_a_200_without_a_key(proxy: Sidecar, method: str, path: str) -> None:
    found = parse(await talk(proxy.port, request(method, path, {})))
    assert found.status == 200
    assert await outcomes(proxy.running) == {}
    foreign = parse(await talk(proxy.port, request(method, path, {"Host": "evil.example"})))
    assert foreign.status == 403


WRONG = {
    "nothing": b"",
    "no JSON": b"model=gpt-5",
    "a broken end": b'{"model":"gpt-5-mini"',
    "a list": b'[{"model":"gpt-5-mini"}]',
    "a string": b'"gpt-5-mini"',
    "null": b"null",
    "a model of a wrong type": b'{"model":7}',
    "a list of models": b'{"model":["gpt-5-mini"]}',
    "a model that is null": b'{"model":null}',
    "an empty model": b'{"model":""}',
    "no model": b'{"messages":[]}',
    "deeply nested": b'{"model":"gpt-5-mini","a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deeply nested and open": b'{"a":' * 100_000,
    "NaN": b'{"model":"gpt-5-mini","temperature":NaN}',
    "Infinity": b'{"model":"gpt-5-mini","temperature":Infinity}',
    "a byte order mark": b'\xef\xbb\xbf{"model":"gpt-5-mini"}',
    "UTF-16": '{"model":"gpt-5-mini"}'.encode("utf-16"),
    "broken UTF-8": b'{"model":"gpt-\xff"}',
    "a lone surrogate": b'{"model":"gpt-\\ud800"}',
}


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG.keys())
@pytest.mark.parametrize("api", [CHAT, MESSAGES], ids=lambda api: api.name)
async def test_body_that_cannot_be_routed_is_a_400_in_the_vendors_shape(
    proxy: Sidecar, vendor: ScriptedVendor, api: Api, body: bytes
) -> None:
    vendor.play(GOOD)
    headers = api.headers(proxy.keys[api.key])
    found = parse(await talk(proxy.port, request("POST", api.path, headers, body)))
    assert found.status == 400
    error = json.loads(found.body)["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    assert vendor.requests == []


def upload(proxy: Sidecar, framing: tuple[str, str]) -> bytes:
    kind = ("Content-Type", "multipart/form-data; boundary=b")
    return request("POST", "/v1/files", [*proxy.bearer("gpt").items(), kind, framing])


async def test_client_that_leaves_mid_upload_frees_the_vendor(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(GOOD)
    asked = upload(proxy, ("Content-Length", "4000000"))
    async with dial(proxy.port, asked + b"x" * 2_000_000) as (_, writer):
        await writer.drain()
        await until(
            lambda: any(live.attempts or live.provider for live in proxy.running.services.live)
        )
    await vendor_hears_of_it(proxy, vendor)
    assert vendor.requests == []
    assert await outcomes(proxy.running) == {"cancelled": 1}


async def test_upload_with_a_broken_chunk_ends_at_once(
    proxy: Sidecar, vendor: ScriptedVendor, caplog: pytest.LogCaptureFixture
) -> None:
    vendor.play(GOOD)
    asked = upload(proxy, ("Transfer-Encoding", "chunked"))
    async with dial(proxy.port, asked + chunk(b"x" * 100_000)) as (reader, writer):
        await until(lambda: any(live.provider for live in proxy.running.services.live))
        writer.write(b"zz\r\nxx\r\n")
        assert b" 400 " in (await reader.read(-1)).partition(b"\r\n")[0]
    await vendor_hears_of_it(proxy, vendor)
    assert vendor.requests == []
    assert await outcomes(proxy.running) == {"refused": 1}
    assert [each.message for each in caplog.records if each.levelname == "ERROR"] == []
