"""Known faults of proxies: framing, shared connections, names in headers, hidden models."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path

import pytest
from raw_http_client import Got, connected, exchange
from running_sidecar import Sidecar, request, sidecar
from scripted_vendor import STREAM_HEAD, ScriptedVendor, Wire, answer, chunk, raw, stream

CHAT, FILES = "/v1/chat/completions", "/v1/files"
ASKED = b'{"model":"gpt-5-mini"}'
DONE = b"data: [DONE]\n\n"


async def call(
    proxy: Sidecar,
    target: str = CHAT,
    body: bytes = ASKED,
    key: str = "gpt",
    *extra: tuple[str, str],
) -> Got:
    pairs = [*proxy.bearer(key).items(), *extra]
    return await exchange(proxy.port, request("POST", target, pairs, body))


@pytest.mark.parametrize("size", [10, 300_000, 3_000_000])
@pytest.mark.parametrize("target", [CHAT, FILES])
async def test_body_of_any_size_keeps_its_content_length(
    proxy: Sidecar, vendor: ScriptedVendor, target: str, size: int
) -> None:
    vendor.play(answer(b"{}"))
    body = b'{"model":"gpt-5-mini","x":"' + b"x" * size + b'"}'
    assert (await call(proxy, target, body)).status == 200
    assert vendor.last.body == body
    assert vendor.last.get("content-length") == [str(len(body))]
    assert vendor.last.get("transfer-encoding") == []


async def test_chunked_upload_stays_chunked(proxy: Sidecar, vendor: ScriptedVendor) -> None:
    vendor.play(answer(b"{}"))
    head = request("POST", FILES, [*proxy.bearer("gpt").items(), ("Transfer-Encoding", "chunked")])
    # Trailers belong to the hop.
    got = await exchange(proxy.port, head, chunk(b"abc"), b"0\r\nX-Trailer: 1\r\n\r\n")
    assert got.status == 200
    assert vendor.last.body == b"abc"
    assert vendor.last.get("transfer-encoding") == ["chunked"]
    assert vendor.last.get("x-trailer") == []


@pytest.mark.parametrize("target", [CHAT, FILES])
async def test_response_before_the_end_of_the_body_is_relayed(
    proxy: Sidecar, vendor: ScriptedVendor, target: str
) -> None:
    async def at_once(wire: Wire) -> None:
        await answer(b'{"too":"large"}', "413 Too Large")(wire)
        await wire.until_gone()

    vendor.early = at_once
    body = ASKED[:-1] + b',"x":"' + b"x" * (8 << 20) + b'"}'
    got = await call(proxy, target, body)
    assert (got.status, got.body) == (413, b'{"too":"large"}')


@pytest.mark.parametrize("head", ["Content-Length: 8388608", "Transfer-Encoding: chunked"])
async def test_upload_that_its_client_leaves_stays_incomplete_for_the_vendor(
    proxy: Sidecar, vendor: ScriptedVendor, head: str
) -> None:
    arrived = bytearray()
    some = asyncio.Event()

    async def swallow(wire: Wire) -> None:
        while data := await wire.reader.read(65536):
            arrived.extend(data)
            some.set()
        wire.gone.set()

    vendor.early = swallow
    name, _, value = head.partition(": ")
    piece = chunk(b"x" * 65536) if value == "chunked" else b"x" * 65536
    async with connected(proxy.port) as line:
        pairs = [*proxy.bearer("gpt").items(), (name, value)]
        await line.send(request("POST", FILES, pairs), piece, piece, piece)
        await some.wait()
    async with asyncio.timeout(5):
        await vendor.gone.wait()
    assert not arrived.endswith(b"0\r\n\r\n")
    assert len(arrived) < 8388608
    assert (await proxy.record()).outcome.value == "cancelled"


UNASKED = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\n\r\nEVIL"


async def test_bytes_after_a_response_reach_no_client(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}" + UNASKED), answer(b"[]"))
    assert (await call(proxy)).body == b"{}"
    assert (await call(proxy)).body == b"[]"


async def test_unrequested_response_reaches_no_client(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    """Some servers say 408 on an idle connection before they close it."""
    unasked = asyncio.Event()

    async def twice(wire: Wire) -> None:
        await answer(b"{}")(wire)
        await unasked.wait()
        await wire.send(UNASKED)

    vendor.play(twice, answer(b"[]"))
    assert (await call(proxy)).body == b"{}"
    unasked.set()
    # Until the bytes have crossed the loopback and been seen.
    for _ in range(20):
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)
    got = await call(proxy)
    assert (got.status, got.body) == (200, b"[]")
    assert vendor.connections == 2


@pytest.mark.parametrize(
    "script",
    [
        answer(b"{}"),
        answer(b"{}", "400 Bad Request"),
        stream(DONE),
        raw(b"HTTP/1.1 204 No Content\r\n\r\n"),
        raw(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ],
    ids=["json", "error", "stream", "no content", "interim"],
)
async def test_consecutive_calls_share_a_connection(
    proxy: Sidecar, vendor: ScriptedVendor, script: object
) -> None:
    vendor.play(script)  # type: ignore[arg-type]
    for _ in range(5):
        assert (await call(proxy)).whole
    assert vendor.connections == 1


async def test_connection_of_an_abandoned_stream_is_not_reused(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    async def endless(wire: Wire) -> None:
        await wire.send(STREAM_HEAD + chunk(b"data: {}\n\n"))
        await wire.until_gone()

    vendor.play(endless, answer(b"[]"))
    async with connected(proxy.port) as line:
        await line.send(request("POST", CHAT, [*proxy.bearer("gpt").items()], ASKED))
        await line.until(b"data: {}")
    await vendor.gone.wait()
    assert (await call(proxy)).body == b"[]"
    assert vendor.connections == 2


async def test_streams_run_in_parallel_up_to_120(proxy: Sidecar, vendor: ScriptedVendor) -> None:
    """More than the HTTP library would allow by itself; none ends before all have begun."""
    begun = asyncio.Event()

    async def wait_for_all(wire: Wire) -> None:
        await wire.send(STREAM_HEAD + chunk(b"data: {}\n\n"))
        if len(vendor.requests) == 120:
            begun.set()
        await begun.wait()
        await wire.send(chunk(DONE) + b"0\r\n\r\n")

    vendor.play(wait_for_all)
    found = await asyncio.gather(*(call(proxy) for _ in range(120)))
    assert all(got.whole and got.body == b"data: {}\n\n" + DONE for got in found)


NAMES = ["a\r\nX-Evil: 1", "a\nb", "a\x00b", "a\x7fb", "a\tb", "数🦊", "x" * 500]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
async def test_model_name_with_control_characters_breaks_no_header(
    proxy: Sidecar, vendor: ScriptedVendor, name: str
) -> None:
    vendor.play(answer(b"{}"))
    got = await call(proxy, CHAT, json.dumps({"model": name}).encode())
    assert (got.status, got.body) == (200, b"{}")
    assert got.get("x-evil") == []
    (shown,) = got.get("x-sidecar-model")
    assert len(shown) <= 256
    assert shown.isprintable()
    for refused in ("mini", "off"):
        got = await call(proxy, CHAT, json.dumps({"model": name}).encode(), refused)
        assert got.status == 403
        assert len(got.body) < 2000
    got = await exchange(proxy.admin_port, request("GET", "/metrics", {}))
    assert got.status == 200
    assert len(got.body) < 60_000


def form(*fields: tuple[bytes, bytes]) -> bytes:
    parts = [
        b'--b\r\nContent-Disposition: form-data; name="' + name + b'"\r\n\r\n' + value + b"\r\n"
        for name, value in fields
    ]
    return b"".join(parts) + b"--b--\r\n"


FORM = ("Content-Type", "multipart/form-data; boundary=b")
HIDDEN = {
    "no model, where the vendor has one of its own": ("/v1/images/generations", b'{"prompt":"x"}'),
    "no model in a form": ("/v1/images/edits", form((b"prompt", b"x"))),
    "no model, but a stored prompt": ("/v1/responses", b'{"prompt":{"id":"p"},"input":"x"}'),
    "work without a model": ("/v1/threads/runs", b'{"assistant_id":"a"}'),
    "another model on an unknown path": ("/v1/brand/new", b'{"model":"o9"}'),
    "a second model": (CHAT, b'{"model":"gpt-5-mini","model":"o9"}'),
    "a second model, escaped": (CHAT, b'{"model":"gpt-5-mini","\\u006dodel":"o9"}'),
    "a second model in a form": (
        "/v1/audio/transcriptions",
        form((b"model", b"gpt-5-mini"), (b"model", b"o9")),
    ),
    "a model in what only looks like a field": (
        "/v1/audio/transcriptions",
        form(
            (b"file", b'x--b\r\nContent-Disposition: form-data; name="model"\r\n\r\ngpt-5-mini'),
            (b"model", b"o9"),
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", HIDDEN)
async def test_key_of_few_models_cannot_hide_which_one_it_asks_for(
    proxy: Sidecar, vendor: ScriptedVendor, how: str
) -> None:
    vendor.play(answer(b"{}"))
    target, body = HIDDEN[how]
    got = await call(proxy, target, body, "mini", *([FORM] if body.startswith(b"--b") else []))
    assert got.status in {400, 403}, got.body
    assert vendor.requests == []


@pytest.mark.parametrize("offered", ["h2c", "TLS/1.3", "h2c, foo/2"])
async def test_offer_of_another_protocol_is_ignored(
    proxy: Sidecar, vendor: ScriptedVendor, offered: str
) -> None:
    """Java's HTTP client offers h2c with every call."""
    vendor.play(answer(b"{}"))
    offer = [
        ("Connection", "Upgrade, HTTP2-Settings, close"),
        ("Upgrade", offered),
        ("HTTP2-Settings", "AAMAAABkAAQAoAAAAAIAAAAA"),
    ]
    got = await call(proxy, CHAT, ASKED, "gpt", *offer)
    assert (got.status, got.body) == (200, b"{}")
    assert vendor.last.body == ASKED
    assert vendor.last.get("upgrade") == vendor.last.get("http2-settings") == []


BEGUN = b'data: {"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]}\n\n'
GEMINI = "/v1beta/models/g:streamGenerateContent?alt=sse"
WHOLE = {
    "no blank line behind the end": ("gpt", CHAT, BEGUN + b"data: [DONE]\n"),
    "no line end behind the end": ("gpt", CHAT, BEGUN + b"data: [DONE]"),
    "no space": ("gpt", CHAT, BEGUN + b"data:[DONE]\n\n"),
    "carriage returns": ("gpt", CHAT, (BEGUN + DONE).replace(b"\n", b"\r")),
    "no [DONE], but a reason": ("gpt", CHAT, BEGUN.replace(b"null", b'"stop"')),
    "an error as the end": ("gpt", CHAT, BEGUN + b'data: {"error":{"message":"x"}}\n\n'),
    "responses": ("gpt", "/v1/responses", b'data: {"type":"response.completed"}\n\n'),
    "incomplete": ("gpt", "/v1/responses", b'data: {"type":"response.incomplete"}\n\n'),
    "failed": ("gpt", "/v1/responses", b'data: {"type":"response.failed"}\n\n'),
    "messages": ("claude", "/v1/messages", b'event:message_stop\ndata:{"type":"message_stop"}\n'),
    "legacy": ("claude", "/v1/complete", b'event: completion\ndata: {"stop_reason":"x"}\n\n'),
    "gemini": ("gemini", GEMINI, b'data: {"candidates":[{"finishReason":"STOP"}]}\r\n'),
    "blocked": ("gemini", GEMINI, b'data: {"promptFeedback":{"blockReason":"SAFETY"}}\r\n\r\n'),
    "nobody's": ("gpt", "/v1/brand/new", b"event: ended\ndata: {}\n\n"),
}


@pytest.mark.parametrize("name", WHOLE)
async def test_last_event_of_every_vendor_is_recognized(
    proxy: Sidecar, vendor: ScriptedVendor, name: str
) -> None:
    key, target, events = WHOLE[name]
    vendor.play(stream(events))
    got = await call(proxy, target, b'{"model":"gpt-5-mini","stream":true}', key)
    assert (got.body, got.whole) == (events, True)


TWO = """
providers:
  a: {{plugin: openai, base_url: "{url}/a", credential: env:UPSTREAM_KEY}}
  b: {{plugin: openai, base_url: "{url}/b", credential: env:UPSTREAM_KEY}}
groups: {{GPT: {{vendor: openai, routes: [a, b: {{as: {{gpt-5-mini: renamed}}}}]}}}}
keys: {{gpt: {{group: GPT, hash: "{{gpt}}"}}}}
"""


async def test_each_provider_gets_its_own_model_name_in_the_body(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    """The first one fails; what was done to the body for it does not reach the second."""
    body = gzip.compress(ASKED)
    async with sidecar(tmp_path, TWO.format(url=vendor.url), ("gpt",)) as proxy:
        vendor.play(answer(b"{}", "503 Busy"), answer(b"{}"))
        got = await call(proxy, CHAT, body, "gpt", ("Content-Encoding", "gzip"))
    assert got.status == 200
    assert (got.get("x-sidecar-provider"), got.get("x-sidecar-model")) == (["b"], ["renamed"])
    first, second = vendor.requests
    assert (first.body, first.get("content-encoding")) == (body, ["gzip"])
    assert (second.body, second.get("content-encoding")) == (b'{"model":"renamed"}', [])
