"""Upstream connections are reused, and nothing of one call reaches another through them."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from property_tests import examples
from raw_http_client import Got, connected, exchange
from running_sidecar import Sidecar, request
from running_sidecar import sidecar as start_sidecar
from scripted_vendor import STREAM_HEAD, ScriptedVendor, Wire, answer, chunk, raw

CHAT = "/v1/chat/completions"
ASKED = b'{"model":"gpt-5-mini"}'
DONE = b"data: [DONE]\n\n"
IMPATIENT = """
defaults: {max_wait: 0s}
providers:
  a:
    plugin: openai
    base_url: "%s/v1"
    credential: env:UPSTREAM_KEY
    timeouts: {connect: 5s, first_byte: 200ms}
groups:
  GPT: {vendor: openai, routes: [a]}
keys:
  gpt: {group: GPT, hash: "{gpt}"}
"""


def asking(proxy: Sidecar, *extra: tuple[str, str], body: bytes = ASKED) -> bytes:
    """A call whose connection stays open."""
    sent = request("POST", CHAT, [*proxy.bearer("gpt").items(), *extra], body)
    return sent.replace(b"Connection: close\r\n", b"")


async def call(proxy: Sidecar, method: str = "POST", *extra: tuple[str, str]) -> Got:
    target, body = (CHAT, ASKED) if method == "POST" else ("/v1/files", b"")
    pairs = [*proxy.bearer("gpt").items(), *extra]
    return await exchange(proxy.port, request(method, target, pairs, body))


async def test_response_trailer_is_no_header_of_the_next_response(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    trailed = STREAM_HEAD + chunk(DONE) + b"0\r\nX-Of-Another: secret\r\n\r\n"
    vendor.play(raw(trailed), answer(b"{}"))
    first, second = await call(proxy), await call(proxy)
    assert (first.body, first.whole, second.body) == (DONE, True, b"{}")
    assert second.get("x-of-another") == []
    assert vendor.connections == 1


@pytest.mark.parametrize("body", [b"Content-Length: 2\r\n\r\n{}", b"Content-Length: 0\r\n\r\n"])
async def test_connection_of_an_http_1_0_response_is_not_reused(
    proxy: Sidecar, vendor: ScriptedVendor, body: bytes
) -> None:
    """Servers of HTTP/1.0 say keep-alive and then read no further request."""
    first = b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + body
    vendor.play(raw(first), answer(b"[]"))
    assert (await call(proxy)).status == 200
    assert (await call(proxy)).body == b"[]"
    assert vendor.connections == 2


async def test_request_trailer_is_no_header_of_the_next_request(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b"{}"))
    trailed = chunk(ASKED) + b"0\r\nX-Of-Another: secret\r\n\r\n"
    async with connected(proxy.port) as line:
        await line.send(asking(proxy, ("Transfer-Encoding", "chunked"), body=b"") + trailed)
        got = await line.answer()
        line.seen.clear()
        await line.send(asking(proxy))
        second = await line.answer()
    assert (got.body, got.get("connection"), second.body) == (b"{}", [], b"{}")
    assert len(vendor.requests) == 2
    assert all(received.get("x-of-another") == [] for received in vendor.requests)


async def test_requests_of_a_connection_have_their_own_fields_and_lengths(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    """What is derived from equal fields is shared by the requests of a connection."""
    vendor.play(*(answer(b"{}") for _ in range(4)))
    longer = b'{"model":"gpt-5-mini","user":"b"}'
    asked = [
        ((), ASKED), ((), longer), ((("X-Of-One", "1"),), ASKED), ((("X-Of-One", "2"),), longer),
    ]  # fmt: skip
    async with connected(proxy.port) as line:
        for extra, body in asked:
            line.seen.clear()
            await line.send(asking(proxy, *extra, body=body))
            assert (await line.answer()).status == 200
    received = [(tuple(each.get("x-of-one")), each.body) for each in vendor.requests]
    assert received == [((), ASKED), ((), longer), (("1",), ASKED), (("2",), longer)]
    lengths = [each.get("content-length") for each in vendor.requests]
    assert lengths == [[str(len(body))] for _, body in asked]


async def test_key_that_is_removed_is_refused_on_a_kept_connection(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b"{}"))
    async with connected(proxy.port) as line:
        await line.send(asking(proxy))
        assert (await line.answer()).status == 200
        assert await proxy.rewrite(lambda text: re.sub(r"(?m)^  gpt: .*\n", "", text))
        line.seen.clear()
        await line.send(asking(proxy))
        assert (await line.answer()).status == 401


async def test_extra_response_on_a_connection_is_not_sent_to_the_next_call(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    unasked = b"HTTP/1.1 200 OK\r\nX-Of-Another: "
    vendor.play(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}" + unasked), answer(b"[]"))
    first, second = await call(proxy), await call(proxy)
    assert (first.body, second.body) == (b"{}", b"[]")
    assert second.get("x-of-another") == []


async def test_unrequested_bytes_on_a_connection_are_not_sent_to_the_next_call(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    unasked = asyncio.Event()

    async def twice(wire: Wire) -> None:
        await answer(b"{}")(wire)
        await unasked.wait()
        await wire.send(b"HTTP/1.1 408 Request Ti")

    vendor.play(twice, answer(b"[]"))
    assert (await call(proxy)).body == b"{}"
    unasked.set()
    await crossed()
    got = await call(proxy)
    assert (got.status, got.body) == (200, b"[]")
    assert vendor.connections == 2


async def crossed() -> None:
    """Until bytes have crossed the loopback and been seen."""
    for _ in range(20):
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "begun",
    [b"H", b"HTTP/1.1 200 OK\r\nX-A: ", b"HTTP/1.1 103 Early Hints\r\n\r\n"],
    ids=["a byte", "part of a head", "an interim answer"],
)
@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_request_whose_response_has_begun_is_not_resent(
    proxy: Sidecar, vendor: ScriptedVendor, begun: bytes, how: str
) -> None:
    async def breaks_off(wire: Wire) -> None:
        await wire.send(begun)
        if how == "rst":
            await crossed()
            wire.reset()
        wire.writer.close()

    vendor.play(answer(b"{}"), breaks_off, answer(b"{}"))
    first, second = await call(proxy), await call(proxy)
    assert (first.status, second.status) == (200, 502)
    assert len(vendor.requests) == 2


async def test_dead_connection_is_replaced_by_a_new_one(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    """A provider that restarts leaves many dead ones behind, and all are tried before they are
    seen to be closed."""
    both = asyncio.Event()

    async def meet(wire: Wire) -> None:
        if len(vendor.requests) == 2:
            both.set()
        await both.wait()
        await answer(b"{}")(wire)

    async def reset(wire: Wire) -> None:
        wire.reset()

    vendor.play(meet)
    await asyncio.gather(call(proxy), call(proxy))
    assert vendor.connections == 2
    vendor.play(reset, answer(b"{}"))
    assert (await call(proxy)).status == 200
    assert vendor.connections == 3


async def test_close_delimited_response_is_truncated_when_reset(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    async def resets(wire: Wire) -> None:
        await wire.send(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{"a":')
        await crossed()
        wire.reset()

    vendor.play(resets)
    assert not (await call(proxy)).whole
    assert (await proxy.record()).outcome.value == "cut"


@pytest.mark.parametrize(
    ("framed", "body"),
    [("Content-Length : 2", b"{}"), ("Transfer-Encoding : chunked", chunk(b"{}") + b"0\r\n\r\n")],
)
async def test_response_header_with_a_space_before_the_colon_keeps_its_framing(
    proxy: Sidecar, vendor: ScriptedVendor, framed: str, body: bytes
) -> None:
    vendor.play(raw(f"HTTP/1.1 200 OK\r\n{framed}\r\n\r\n".encode() + body))
    got = await call(proxy)
    # In Python's development mode the library refuses it, as it may.
    assert got.status == 502 or (got.body, got.whole) == (b"{}", True)
    assert b" :" not in got.head


@pytest.mark.parametrize("length", [[], ["77"]])
@pytest.mark.parametrize("status", ["200 OK", "404 Not Found"])
async def test_head_response_keeps_the_vendors_content_length(
    impatient: Sidecar, vendor: ScriptedVendor, status: str, length: list[str]
) -> None:
    lines = [f"HTTP/1.1 {status}", *(f"Content-Length: {each}" for each in length), "", ""]
    vendor.play(raw("\r\n".join(lines).encode()))
    got = await call(impatient, "HEAD")
    assert (got.get("content-length"), got.rest) == (length, b"")


async def test_http_1_0_client_gets_no_100_continue(proxy: Sidecar, vendor: ScriptedVendor) -> None:
    vendor.play(answer(b"{}"))
    sent = asking(proxy, ("Expect", "100-continue")).replace(b"HTTP/1.1", b"HTTP/1.0")
    async with connected(proxy.port) as line:
        await line.send(sent)
        await line.to_the_end()
    assert line.seen.startswith(b"HTTP/1.0 200 ")


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("wish", ["close", "keep-alive", ""])
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_client_connection_is_kept_open_by_the_rules_of_its_version(
    proxy: Sidecar, vendor: ScriptedVendor, version: bytes, wish: str, framing: str
) -> None:
    body = b"{}" if framing == "length" else DONE
    vendor.play(
        answer(body) if framing == "length" else raw(STREAM_HEAD + chunk(body) + b"0\r\n\r\n")
    )
    sent = asking(proxy)
    if wish:
        sent = sent.replace(b"\r\n", b"\r\nConnection: " + wish.encode() + b"\r\n", 1)
    old = version == b"1.0"
    stays = wish == "keep-alive" or (not wish and not old)
    stays = stays and (framing == "length" or not old)
    async with connected(proxy.port) as line:
        for _ in range(2 if stays else 1):
            line.seen.clear()
            await line.send(sent.replace(b"HTTP/1.1", b"HTTP/" + version))
            got = await (line.answer() if stays else line.to_the_end())
            assert (got.status, got.body, got.whole) == (200, body, True)
    assert (got.get("transfer-encoding") == ["chunked"]) == (framing == "chunked" and not old)


@pytest.mark.parametrize("told", [True, False], ids=["between events", "in JSON"])
async def test_truncated_response_to_http_1_0_ends_with_an_error_or_a_reset(
    proxy: Sidecar, vendor: ScriptedVendor, told: bool
) -> None:
    """To a client of HTTP/1.0, such as a reverse proxy may be, the end of the connection is the end
    of the answer."""
    piece = b'data: {"choices":[]}\n\n' if told else b'{"choices":'
    head = STREAM_HEAD if told else STREAM_HEAD.replace(b"text/event-stream", b"application/json")
    seen = asyncio.Event()

    async def breaks_off(wire: Wire) -> None:
        await wire.send(head + chunk(piece))
        await seen.wait()
        wire.writer.close()

    vendor.play(breaks_off)
    async with connected(proxy.port) as line:
        await line.send(asking(proxy).replace(b"HTTP/1.1", b"HTTP/1.0"))
        await line.until(piece)
        seen.set()
        got = await line.to_the_end()
    assert got.body.startswith(piece)
    assert (b'"error"' in got.body, got.reset) == (told, not told)


async def test_pipelined_requests_are_all_answered(proxy: Sidecar, vendor: ScriptedVendor) -> None:
    """Also after a request whose body came later than its head."""
    vendor.play(answer(b"{}"))
    first = asking(proxy)
    async with connected(proxy.port) as line:
        await line.send(first[: -len(ASKED)])
        await crossed()
        await line.send(ASKED)
        await line.answer()
        await line.send(first * 70)
        async with asyncio.timeout(20):
            while line.seen.count(b"HTTP/1.1 200 ") < 71:
                line.seen += await line.reader.read(65536)


async def test_interim_responses_do_not_extend_the_first_byte_timeout(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    async def endless(wire: Wire) -> None:
        while not wire.reader.at_eof():
            await wire.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000)
            await asyncio.sleep(0)

    vendor.play(endless)
    yaml = IMPATIENT.replace("%s", vendor.url)
    async with start_sidecar(tmp_path, yaml, ("gpt",)) as proxy, asyncio.timeout(10):
        assert (await call(proxy)).status == 504


PIECE, MANY = b"=" * (1 << 20), 40
"""Far more than all buffers on the way take."""


async def write_all(writer: asyncio.StreamWriter, piece: bytes, stuck: asyncio.Event) -> None:
    """Write a piece many times; return when the peer has read nothing for a while."""
    for _ in range(MANY):
        writer.write(piece)
        drained = asyncio.ensure_future(writer.drain())
        if not (await asyncio.wait({drained}, timeout=0.3))[0]:
            stuck.set()
        await drained


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_paused_client_pauses_the_vendor_and_gets_every_byte(
    proxy: Sidecar, vendor: ScriptedVendor, framing: str
) -> None:
    stuck = asyncio.Event()
    how = {
        "length": b"Content-Length: %d\r\n\r\n" % (len(PIECE) * MANY),
        "chunked": b"Transfer-Encoding: chunked\r\n\r\n",
        "close": b"Connection: close\r\n\r\n",
    }

    async def all_of_it(wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n" + how[framing])
        await write_all(wire.writer, chunk(PIECE) if framing == "chunked" else PIECE, stuck)
        await wire.send(b"0\r\n\r\n" if framing == "chunked" else b"")
        if framing == "close":
            wire.writer.close()

    vendor.play(all_of_it)
    async with connected(proxy.port) as line, asyncio.timeout(20):
        await line.send(request("POST", CHAT, [*proxy.bearer("gpt").items()], ASKED))
        await stuck.wait()
        got = await line.reader.read(-1)
    assert got.count(b"=") == len(PIECE) * MANY
    assert got.endswith(b"=" if framing == "length" else b"\r\n0\r\n\r\n")


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_paused_vendor_pauses_the_client_and_gets_every_byte(
    proxy: Sidecar, vendor: ScriptedVendor, framing: str
) -> None:
    stuck = asyncio.Event()
    size = len(PIECE) * MANY

    async def late(wire: Wire) -> None:
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await stuck.wait()
        wire.writer.transport.resume_reading()  # type: ignore[attr-defined]
        reader = wire.reader
        chunked = framing == "chunked"
        arrived = reader.readuntil(b"0\r\n\r\n") if chunked else reader.readexactly(size)
        wire.request.body = await arrived
        await answer(b"{}")(wire)

    vendor.early = late
    how = ("Content-Length", str(size)) if framing == "length" else ("Transfer-Encoding", "chunked")
    async with connected(proxy.port) as line, asyncio.timeout(20):
        await line.send(request("POST", "/v1/files", [*proxy.bearer("gpt").items(), how]))
        await write_all(line.writer, chunk(PIECE) if framing == "chunked" else PIECE, stuck)
        await line.send(b"0\r\n\r\n" if framing == "chunked" else b"")
        got = await line.answer()
    assert got.status == 200
    assert vendor.last.body.count(b"=") == size


LEGAL = st.lists(
    st.integers(0x21, 0xFF).filter(lambda byte: byte != 0x7F), min_size=1, max_size=12
).map(bytes)
"""Visible characters, and the bytes above them in whatever encoding (RFC 9110 section 5.5)."""
VALUES = st.lists(LEGAL, max_size=4).map(b" \t".join)


@examples(25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(VALUES, max_size=6), reason=VALUES, method=st.sampled_from(["POST", "GET"]))
async def test_header_values_pass_in_both_directions_byte_for_byte(
    proxy: Sidecar, vendor: ScriptedVendor, values: list[bytes], reason: bytes, method: str
) -> None:
    pairs = [(f"X-{number}", value.decode("latin-1")) for number, value in enumerate(values)]
    lines = "".join(f"{name}: {value}\r\n" for name, value in pairs).encode("latin-1")
    vendor.play(raw(b"HTTP/1.1 200 " + reason + b"\r\n" + lines + b"Content-Length: 2\r\n\r\n{}"))
    body = ASKED if method == "POST" else b""
    head = request(method, CHAT if body else "/v1/files", [*proxy.bearer("gpt").items()], body)
    got = await exchange(proxy.port, head.replace(b"\r\n", b"\r\n" + lines, 1))
    assert got.status == 200, got.body
    for found in (vendor.last.headers, got.headers):
        assert [pair for pair in found if pair[0][:2] == "X-"] == pairs
    if reason:
        assert got.reason == reason.decode("latin-1")


@pytest.mark.parametrize("value", [b"caf\xe9", "café 😀".encode(), b"\xff\xfe a"])
@pytest.mark.parametrize("how", ["in pieces", "as it arrives"])
async def test_headers_of_a_long_request_pass_byte_for_byte(
    proxy: Sidecar, vendor: ScriptedVendor, how: str, value: bytes
) -> None:
    vendor.play(answer(b"{}"))
    pairs = list(proxy.bearer("gpt").items())
    if how == "in pieces":
        head = request("POST", CHAT, pairs, b'{"model":"gpt-5-mini","user":"%s"}' % PIECE)
    else:
        chunks = chunk(PIECE) + b"0\r\n\r\n"
        head = request("POST", "/v1/files", [*pairs, ("Transfer-Encoding", "chunked")], chunks)
    got = await exchange(proxy.port, head.replace(b"\r\n", b"\r\nX-Title: " + value + b"\r\n", 1))
    assert got.status == 200, got.body
    assert vendor.last.get("X-Title") == [value.decode("latin-1")]
    assert vendor.last.body.count(b"=") == len(PIECE)
