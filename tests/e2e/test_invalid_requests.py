"""Invalid and hostile requests get an error with a reason, never a 5xx, and reach no vendor."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from raw_http_client import Got, connected, exchange
from running_sidecar import Sidecar, request
from running_sidecar import sidecar as start_sidecar
from scripted_vendor import ScriptedVendor, answer

YAML = """
server: {{max_body: 64KiB}}
providers:
  oa: {{plugin: openai, base_url: "{url}/v1", credential: env:UPSTREAM_KEY}}
groups:
  GPT: {{vendor: openai, routes: [oa]}}
keys:
  gpt: {{group: GPT, hash: "{{gpt}}"}}
"""
GOOD = b'{"model":"gpt-5-mini"}'


@pytest.fixture
async def small(tmp_path: Path, vendor: ScriptedVendor) -> AsyncIterator[Sidecar]:
    """A sidecar that reads bodies of at most 64 KiB."""
    vendor.play(answer(b"{}"))
    async with start_sidecar(tmp_path, YAML.format(url=vendor.url), ("gpt",)) as started:
        yield started


def key(proxy: Sidecar, name: str = "gpt") -> tuple[str, str]:
    return ("Authorization", f"Bearer {proxy.keys[name]}")


async def post(proxy: Sidecar, body: bytes, target: str = "/v1/chat/completions") -> Got:
    return await exchange(proxy.port, request("POST", target, [key(proxy)], body))


async def still_serves(proxy: Sidecar, vendor: ScriptedVendor) -> None:
    vendor.play(answer(b"{}"))
    assert (await post(proxy, GOOD)).status == 200


UNROUTABLE = {
    "cut": b'{"model":',
    "a list": b'[{"model":"m"}]',
    "a string": b'"model"',
    "null": b"null",
    "nothing": b"",
    "no model": b'{"messages":[]}',
    "an empty model": b'{"model":""}',
    "a null model": b'{"model":null}',
    "a number for a model": b'{"model":5}',
    "an object for a model": b'{"model":{"name":"m"}}',
    "a model inside only": b'{"metadata":{"model":"m"}}',
    "something behind": b'{"model":"m"} x',
    "NaN": b'{"model":"m","temperature":NaN}',
    "single quotes": b"{'model':'m'}",
    "a comment": b'{"model":"m"/* */}',
    "a byte order mark": b'\xef\xbb\xbf{"model":"m"}',
    "UTF-16": '{"model":"m"}'.encode("utf-16"),
    "a model that is no UTF-8": b'{"model":"\xff"}',
    "a model of half a surrogate": b'{"model":"\\ud800"}',
    "too deep": b'{"model":"m","messages":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    "a form": b"model=m",
}


@pytest.mark.parametrize("what", UNROUTABLE)
async def test_body_without_a_readable_model_is_a_400_with_the_reason(
    small: Sidecar, vendor: ScriptedVendor, what: str
) -> None:
    got = await post(small, UNROUTABLE[what])
    assert got.status == 400, got.body
    assert got.json()["error"]["type"] == "invalid_request_error"
    assert any(word in got.message for word in ("model", "JSON", "nested", "cannot be routed"))
    assert got.get("x-should-retry") == ["false"]
    assert vendor.requests == []
    await still_serves(small, vendor)


PASSED_ON = {
    "wrong types elsewhere": b'{"model":"m","stream":"yes","max_tokens":"many","messages":7}',
    "an endless number": b'{"model":"m","max_tokens":' + b"9" * 20_000 + b"}",
    "a negative bound": b'{"model":"m","max_tokens":-1}',
    "space around": b' \r\n{"model":"m"}\n\n',
    "an escaped name": b'{"\\u006dodel":"m"}',
    "a model of any spelling": '{"model":"ft:gpt/数🦊 x@1"}'.encode(),
}


@pytest.mark.parametrize("what", PASSED_ON)
async def test_invalid_fields_that_routing_does_not_use_reach_the_vendor(
    small: Sidecar, vendor: ScriptedVendor, what: str
) -> None:
    got = await post(small, PASSED_ON[what])
    assert got.status == 200, got.body
    assert vendor.last.body == PASSED_ON[what]


async def test_body_with_two_models_uses_the_last(proxy: Sidecar, vendor: ScriptedVendor) -> None:
    vendor.play(answer(b"{}"))
    target = "/v1/chat/completions"
    for body, status in (
        (b'{"model":"gpt-5-mini","model":"o9"}', 403),
        (b'{"model":"o9","model":"gpt-5-mini"}', 200),
    ):
        sent = request("POST", target, [key(proxy, "mini")], body)
        assert (await exchange(proxy.port, sent)).status == status
    assert [each.body for each in vendor.requests] == [body]


async def test_upload_without_a_model_streams_through_above_the_cap(
    small: Sidecar, vendor: ScriptedVendor
) -> None:
    body = bytes(range(256)) * 8192
    assert (await post(small, body, "/v1/files")).status == 200
    assert vendor.last.body == body


async def test_unknown_key_is_rejected_before_the_body_is_read(small: Sidecar) -> None:
    sent = request("POST", "/v1/messages", {"x-api-key": "no", "Content-Length": "60000000"})
    async with connected(small.port) as line:
        await line.send(sent)
        got = await line.answer()
    assert got.status == 401


EXPECT = ("Expect", "100-continue")
CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("Authorization", "Bearer no")], 401),
        ([("Host", "evil.test"), None], 403),
        ([None, ("Content-Length", "99999999")], 413),
    ],
    ids=["unknown key", "foreign host", "too large"],
)
async def test_expect_continue_of_a_rejected_call_gets_no_100(
    small: Sidecar, headers: list[tuple[str, str] | None], status: int
) -> None:
    pairs = [key(small) if pair is None else pair for pair in headers]
    if not any(name == "Content-Length" for name, _ in pairs):
        pairs.append(("Content-Length", "9"))
    async with connected(small.port) as line:
        await line.send(request("POST", CHAT, [EXPECT, *pairs]))
        got = await line.answer()
    assert got.status == status
    assert b"100 Continue" not in line.seen


@pytest.mark.parametrize(
    ("target", "upstream"),
    [
        ("//v1/chat/completions", "/v1/chat/completions"),
        ("/v1//chat/completions", "/v1/chat/completions"),
        ("/v1//v1/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/openai/v1/chat/completions", "/v1/chat/completions"),
        ("/v1beta/openai/chat/completions", "/v1/chat/completions"),
        ("/chat/completions?x=//..", "/v1/chat/completions?x=//.."),
        ("//chat/completions", "/v1/chat/completions"),
    ],
)
async def test_base_url_variants_reach_the_right_path(
    small: Sidecar, vendor: ScriptedVendor, target: str, upstream: str
) -> None:
    got = await post(small, GOOD, target)
    assert got.status == 200, got.body
    assert vendor.last.path == upstream


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("POST http://evil.test/v1/chat/completions HTTP/1.1", 400),
        ("POST /v1/../v1/chat/completions HTTP/1.1", 400),
        ("POST /v1/%2e%2E/chat/completions HTTP/1.1", 400),
        ("POST /v1/chat/completions#x HTTP/1.1", 400),
        ("POST /v1\\chat HTTP/1.1", 400),
        ("POST * HTTP/1.1", 400),
        ("CONNECT evil.test:443 HTTP/1.1", 405),
        ("TRACE /v1/chat/completions HTTP/1.1", 405),
        ("POST /nowhere HTTP/1.1", 404),
        ("GET /v1/organization/costs HTTP/1.1", 403),
        ("POST /v1/organizations/x HTTP/1.1", 403),
        ("POST /v1/messages HTTP/1.1", 404),
        ("GET /v1beta/models/g:generateContent HTTP/1.1", 404),
    ],
)
async def test_target_that_is_not_served_is_refused_in_json(
    small: Sidecar, vendor: ScriptedVendor, line: str, status: int
) -> None:
    _, rest = request("POST", "/", [key(small)], GOOD).split(b"\r\n", 1)
    got = await exchange(small.port, line.encode() + b"\r\n" + rest)
    assert got.status == status, got.body
    assert got.message
    assert got.get("content-type")[0].startswith("application/json")
    assert vendor.requests == []
    await still_serves(small, vendor)


async def test_rejected_method_lists_the_allowed_ones(small: Sidecar) -> None:
    got = await exchange(small.port, request("TRACE", "/v1/x", [key(small)]))
    assert "POST" in got.get("allow")[0]


SECRET = "sk-sidecar-canary-in-a-broken-head"
BROKEN = {
    "a bare line feed": b"POST / HTTP/1.1\r\nHost: localhost\r\nX-Key: Bearer %s\nx\r\n\r\n",
    "no colon": b"POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization Bearer %s\r\n\r\n",
    "a space before the colon": b"POST / HTTP/1.1\r\nHost: localhost\r\nX-Key : %s\r\n\r\n",
    "a null byte": b"POST / HTTP/1.1\r\nHost: localhost\r\nX-Key: %s\x00\r\n\r\n",
    "a folded line": b"POST / HTTP/1.1\r\nHost: localhost\r\nX-Key: a\r\n %s\r\n\r\n",
    "a bare carriage return": b"POST / HTTP/1.1\r\nHost: localhost\r\nX-Key: %s\rb: c\r\n\r\n",
    "a space in the target": b"POST /?key=%s x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a strange version": b"POST /?key=%s HTTP/9.1\r\nHost: localhost\r\n\r\n",
    "a strange method": b"P(ST /?key=%s HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no version": b"GET /?key=%s\r\n\r\n",
    "no number for a length": (
        b"POST /?key=%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: +5\r\n\r\nabcde"
    ),
    "two lengths": (
        b"POST /?key=%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
        b"Content-Length: 3\r\n\r\nabc"
    ),
    "a length and chunks": (
        b"POST /?key=%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "an unknown transfer coding": (
        b"POST /?key=%s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n"
    ),
    "two hosts": b"POST /?key=%s HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03%s\r\n\r\n",
    "a line without an end": b"POST /?key=%s" + b"x" * 200_000,
    "a header without an end": b"POST / HTTP/1.1\r\nHost: localhost\r\nX-Key: %s" + b"x" * 200_000,
}


@pytest.mark.parametrize("side", ["agents", "admin"])
@pytest.mark.parametrize("what", BROKEN)
async def test_malformed_head_is_rejected_without_quoting_it(
    small: Sidecar,
    vendor: ScriptedVendor,
    caplog: pytest.LogCaptureFixture,
    what: str,
    side: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    port = small.port if side == "agents" else small.admin_port
    async with connected(port) as line:
        await line.send(BROKEN[what].replace(b"%s", SECRET.encode()))
        got = await line.to_the_end()
    assert got.status in {400, 405}, bytes(line.seen)
    assert got.message
    assert SECRET.encode() not in line.seen
    assert SECRET not in caplog.text
    assert vendor.requests == []


async def test_http_1_0_without_a_host_is_rejected(small: Sidecar, vendor: ScriptedVendor) -> None:
    got = await exchange(small.port, b"GET /v1/files HTTP/1.0\r\n\r\n")
    assert got.status == 400
    assert "Host" in got.message
    assert vendor.requests == []


async def test_http_1_0_with_a_host_is_served(small: Sidecar, vendor: ScriptedVendor) -> None:
    sent = request("GET", "/v1/files", [key(small)]).replace(b"HTTP/1.1", b"HTTP/1.0")
    got = await exchange(small.port, sent)
    assert (got.status, got.body) == (200, b"{}")


async def test_body_of_a_rejected_call_is_not_read_as_a_request(small: Sidecar) -> None:
    hidden = request("GET", "/v1/files", [key(small)])
    sent = request("POST", CHAT, {"x-api-key": "no"}, hidden).replace(b"Connection: close\r\n", b"")
    async with connected(small.port) as line:
        await line.send(sent)
        await line.to_the_end()
    assert line.seen.count(b"HTTP/1.1 ") == 1
