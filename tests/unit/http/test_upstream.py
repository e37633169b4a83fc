"""One request and the head of its answer, on real connections, in whatever pieces they come."""

from __future__ import annotations

import asyncio
import base64
import errno
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_vendor import STREAM_HEAD, Wire, answer, chunk, raw, read_head, scripted_vendor
from tls_vendors import CERTIFICATES

from sidecar.config.model import Provider, Timeouts
from sidecar.errors import Fault, SourceLocation, UpstreamError
from sidecar.http.client import (
    Body,
    Reply,
    SendState,
    Upstream,
    open_upstream,
    request_head,
    target_of,
)
from sidecar.http.headers import encoded, lines_of
from sidecar.http.wire.connection_pool import Destination, connection_failure
from sidecar.http.wire.framing import HELD_BODY_BYTES
from sidecar.http.wire.tls import client_context
from sidecar.plugin_api.vendor import Vendor

MEBIBYTE = 1 << 20
GOOD = answer(b"{}")


class Acme(Vendor):
    name = "acme"
    title = "Acme"


def provider(
    *, ca_file: str | None = None, proxy: str | None = None, timeouts: Timeouts | None = None
) -> Provider:
    where = SourceLocation("f", 1)
    times = timeouts or Timeouts(5, 5, 5)
    return Provider("p", Acme(), None, (), where, ca_file=ca_file, proxy=proxy, timeouts=times)


async def send(
    upstream: Upstream, url: str, method: str = "POST", body: Body = b"{}",
    to: Provider | None = None, headers: tuple[tuple[bytes, bytes], ...] = ((b"X-A", b"b"),),
) -> Reply:  # fmt: skip
    return await upstream.send(to or provider(), method, url, lines_of(headers), body, SendState())


async def rest_of(reply: Reply) -> bytes:
    body = b""
    async with asyncio.timeout(5):
        while piece := await reply.read():
            body += piece
    reply.close()
    return body


FRAMINGS = st.sampled_from(["length", "chunked", "trailers", "none", "head", "close", "1.0"])


@st.composite
def answers(draw: st.DrawFn) -> tuple[str, bytes, bytes, list[bytes]]:
    """The method that asks for it, its body, its bytes on the wire, and these in pieces."""
    framing, body = draw(FRAMINGS), draw(st.binary(max_size=200))
    number = draw(st.integers(0, 9))
    interim = draw(st.sampled_from([b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"]))
    head = b"HTTP/1.1 200 OK\r\nX-Number: %d\r\n" % number
    length = b"Content-Length: %d\r\n\r\n" % len(body)
    cut = draw(st.integers(0, len(body)))
    pieces = b"".join(chunk(piece) for piece in (body[:cut], body[cut:]) if piece)
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n" + pieces
    whole = (
        interim
        + {
            "length": head + length + body,
            "chunked": chunked + b"0\r\n\r\n",
            "trailers": chunked + b"0\r\nX-Trailed: 1\r\nX-Number: 99\r\n\r\n",
            "none": head.replace(b"200 OK", b"204 None") + length,
            "head": head + length,
            "close": head + b"Connection: close\r\n\r\n" + body,
            "1.0": head.replace(b"1.1", b"1.0") + b"\r\n" + body,
        }[framing]
    )
    points = draw(st.lists(st.integers(0, len(whole)), max_size=8))
    ends = sorted({0, len(whole), *points})
    cuts = [whole[start:end] for start, end in pairwise(ends)]
    without = framing in {"none", "head"}
    return "HEAD" if framing == "head" else "POST", b"" if without else body, head, cuts


@settings(max_examples=100, deadline=None, derandomize=True)
@given(played=st.lists(answers(), min_size=1, max_size=4))
async def test_answers_of_any_framing_in_any_pieces_come_out_whole_one_after_the_other(
    played: list[tuple[str, bytes, bytes, list[bytes]]],
) -> None:
    async with scripted_vendor() as vendor, open_upstream() as upstream:
        for method, body, head, cuts in played:

            async def in_pieces(wire: Wire, cuts: list[bytes] = cuts) -> None:
                for piece in cuts:
                    await wire.send(piece)
                    await asyncio.sleep(0)
                if b"Content-Length" not in b"".join(cuts) and b"chunked" not in b"".join(cuts):
                    wire.writer.close()

            vendor.play(in_pieces)
            reply = await send(upstream, vendor.url, method)
            assert await rest_of(reply) == body
            numbers = [value for name, value in reply.head.fields if name == b"X-Number"]
            assert b"X-Number: " + b"".join(numbers) in head
            assert not any(name == b"X-Trailed" for name, _ in reply.head.fields)
            assert vendor.last.head.endswith(
                b"Host: 127.0.0.1:%d\r\nX-A: b\r\nContent-Length: 2\r\n\r\n" % vendor.port
            )


async def test_unread_answer_is_held_up_to_a_bound_and_read_on_later() -> None:
    async def large(wire: Wire) -> None:
        await wire.send(STREAM_HEAD + chunk(b"x" * 16 * MEBIBYTE) + b"0\r\n\r\n")

    async with scripted_vendor() as vendor, open_upstream() as upstream:
        vendor.play(large)
        reply = await send(upstream, vendor.url)
        body = reply._connection.body
        async with asyncio.timeout(5):
            while body.size <= HELD_BODY_BYTES:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
        assert body.size <= 2 * HELD_BODY_BYTES
        assert await rest_of(reply) == b"x" * 16 * MEBIBYTE
        assert await rest_of(await send(upstream, vendor.url)) != b""
        assert vendor.connections == 1


@pytest.mark.parametrize("size", [0, 1, 1 << 14, (1 << 14) + 1, 1 << 18, (1 << 18) + 1, 3 << 20])
async def test_body_of_any_size_arrives_with_its_length(size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"z" * (size % 256)
    async with scripted_vendor() as vendor, open_upstream() as upstream:
        vendor.play(GOOD)
        for _ in range(2):
            assert await rest_of(await send(upstream, vendor.url, body=body)) == b"{}"
            assert vendor.last.body == body
            assert vendor.last.get("content-length") == [str(size)]
        assert vendor.connections == 1


async def pieces_of(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        await asyncio.sleep(0)
        yield piece


async def test_body_that_is_still_to_come_goes_as_chunks_or_by_its_declared_length() -> None:
    length = (b"Content-Length", b"5")
    async with scripted_vendor() as vendor, open_upstream() as upstream:
        vendor.play(GOOD)
        await rest_of(await send(upstream, vendor.url, body=pieces_of(b"ab", b"cde")))
        assert vendor.last.get("transfer-encoding") == ["chunked"]
        assert vendor.last.body == b"abcde"
        stream = pieces_of(b"ab", b"cde")
        await rest_of(await send(upstream, vendor.url, body=stream, headers=(length,)))
        assert vendor.last.get("transfer-encoding") == []
        assert (vendor.last.get("content-length"), vendor.last.body) == (["5"], b"abcde")
        assert vendor.connections == 1


async def test_body_that_breaks_off_is_not_ended_properly() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"ab"
        raise RuntimeError("the client left")

    async with scripted_vendor() as vendor, open_upstream() as upstream:
        vendor.play(GOOD)
        with pytest.raises(UpstreamError, match="broke off") as caught:
            await send(upstream, vendor.url, body=broken())
        assert caught.value.sent
        assert vendor.requests == []


async def test_answer_before_the_end_of_the_body_is_read_and_its_connection_dropped() -> None:
    async with scripted_vendor() as vendor, open_upstream() as upstream:
        vendor.early = raw(b"HTTP/1.1 413 Large\r\nContent-Length: 2\r\n\r\nno")
        never = asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            yield b"ab"
            await never.wait()

        reply = await send(upstream, vendor.url, body=endless())
        assert reply.status == 413
        assert await rest_of(reply) == b"no"
        vendor.early = None
        vendor.play(GOOD)
        assert await rest_of(await send(upstream, vendor.url)) == b"{}"
        assert vendor.connections == 2


async def test_body_is_not_taken_faster_than_the_provider_reads_it() -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1 << 16
            yield b"x" * (1 << 16)

    async def reads_nothing(wire: Wire) -> None:
        wire.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(0.3)
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await asyncio.sleep(0.1)

    async with scripted_vendor() as vendor, open_upstream() as upstream:
        vendor.early = reads_nothing
        reply = await send(upstream, vendor.url, body=endless())
        reply.close()
        before = taken
        await asyncio.sleep(0.05)
        assert taken == before  # nobody takes it any longer
        assert taken < 64 * MEBIBYTE


async def test_cancelled_request_cuts_its_connection_at_once() -> None:
    async def silent(wire: Wire) -> None:
        await wire.until_gone()

    async with scripted_vendor() as vendor, open_upstream() as upstream:
        vendor.play(silent)
        task = asyncio.create_task(send(upstream, vendor.url))
        await vendor.arrived.wait()
        task.cancel()
        async with asyncio.timeout(0.1):
            await vendor.gone.wait()


async def test_provider_that_goes_silent_times_out_by_the_time_that_it_concerns() -> None:
    async def silent(wire: Wire) -> None:
        await wire.until_gone()

    async def stops(wire: Wire) -> None:
        await wire.send(STREAM_HEAD + chunk(b"a"))
        await wire.until_gone()

    short = provider(timeouts=Timeouts(5, 0.1, 0.2))
    async with scripted_vendor() as vendor, open_upstream() as upstream:
        vendor.play(silent, stops)
        with pytest.raises(UpstreamError, match=r"no answer within 0.1 s") as caught:
            await send(upstream, vendor.url, to=short)
        assert (caught.value.fault, caught.value.sent) == (Fault.TIMEOUT, True)
        reply = await send(upstream, vendor.url, to=short)
        assert await reply.read() == b"a"
        with pytest.raises(UpstreamError, match=r"silent for 0.2 s"):
            await reply.read()
        reply.close()


@asynccontextmanager
async def nobody_accepts() -> AsyncIterator[str]:
    """A port whose queue is full, so that nothing answers those who knock."""
    with socket.socket() as listener, ExitStack() as knocking:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            one = knocking.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(("connect", "first_byte"), [(0.2, 5.0), (5.0, 0.2)])
async def test_request_without_a_connection_is_not_sent_whichever_time_is_shorter(
    connect: float, first_byte: float
) -> None:
    to, state = provider(timeouts=Timeouts(connect, first_byte, 5)), SendState()
    async with nobody_accepts() as url, open_upstream() as upstream:
        with pytest.raises(UpstreamError, match=r"within 0.2 s") as caught:
            await upstream.send(to, "POST", url, b"", b"{}", state)
        assert (caught.value.fault, caught.value.sent, state.sent) == (Fault.TIMEOUT, False, False)


@pytest.mark.parametrize(
    ("url", "method", "pairs"),
    [
        ("http://a/b c", "GET", []),
        ("http://a/b\x00", "GET", []),
        ("http://a/?\x0b", "GET", []),
        ("http://a/", "GET /x", []),
        ("http://a/", "GET", [("X-A", "b\r\nX-B: c")]),
        ("http://a/", "GET", [("X-A\r\nX-B", "c")]),
        ("http://a/", "GET", [("X-A", "b\n")]),
        ("http://a/", "GET", [("X-A", "b\r")]),
        ("http://a/", "GET", [("X-A", "b\0")]),
    ],
)
def test_head_that_would_say_something_else_is_not_written(
    url: str, method: str, pairs: list[tuple[str, str]]
) -> None:
    to = Destination("a", 80, None, None)
    with pytest.raises(ValueError, match=r"end it|one word"):
        request_head(method, target_of(url), lines_of(encoded(pairs)), b"", to)


@pytest.mark.parametrize(
    ("number", "offline"),
    [
        (errno.ENETUNREACH, True), (errno.EHOSTUNREACH, True), (errno.ENETDOWN, True),
        (errno.ECONNREFUSED, False), (errno.ECONNRESET, False),
    ],
)  # fmt: skip
def test_only_the_operating_systems_own_word_means_that_there_is_no_way_out(
    number: int, offline: bool
) -> None:
    assert connection_failure(OSError(number, "x")).offline is offline


@pytest.mark.parametrize(
    ("number", "offline"), [(socket.EAI_AGAIN, True), (socket.EAI_NONAME, False)]
)
async def test_name_that_cannot_be_asked_for_means_that_there_is_no_way_out(
    number: int, offline: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuses(*_: object, **__: object) -> object:
        raise socket.gaierror(number, "x")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", refuses)
    async with open_upstream() as upstream:
        with pytest.raises(UpstreamError, match="does not resolve") as caught:
            await send(upstream, "http://name.example/")
        assert (caught.value.fault, caught.value.offline) == (Fault.CONNECT, offline)


async def test_kept_connection_is_used_again_only_with_the_same_authorities() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / "here.pem")
    trusting = provider(ca_file=str(CERTIFICATES / "here.pem"))
    async with scripted_vendor(context) as vendor, open_upstream() as upstream:
        vendor.play(GOOD)
        for _ in range(3):
            await rest_of(await send(upstream, vendor.url, to=trusting))
        assert vendor.connections == 1
        with pytest.raises(UpstreamError, match="certificate was not accepted") as caught:
            await send(upstream, vendor.url)
        assert (caught.value.fault, caught.value.sent) == (Fault.TLS, False)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_session_is_resumed_on_the_next_connection(version: ssl.TLSVersion) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / "here.pem")
    context.maximum_version = version
    resumed = []

    async def once(wire: Wire) -> None:
        resumed.append(wire.writer.get_extra_info("ssl_object").session_reused)
        await wire.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
        wire.writer.close()

    trusting = provider(ca_file=str(CERTIFICATES / "here.pem"))
    async with scripted_vendor(context) as vendor, open_upstream() as upstream:
        vendor.play(once)
        for _ in range(3):
            assert await rest_of(await send(upstream, vendor.url, to=trusting)) == b"{}"
    assert resumed == [False, True, True]


@asynccontextmanager
async def tunnel(status: bytes = b"200 Connected") -> AsyncIterator[tuple[str, list[bytes]]]:
    """A proxy for CONNECT: its URL, and the heads that came to it."""
    heads: list[bytes] = []
    tasks: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await read_head(reader)
        heads.append(request.head)
        writer.write(b"HTTP/1.1 %b\r\nX-Proxy: 1\r\n\r\n" % status)
        if not status.startswith(b"200"):
            writer.close()
            return
        host, _, port = request.path.rpartition(":")
        there, away = await asyncio.open_connection(host, int(port))
        await asyncio.gather(pump(reader, away), pump(there, writer), return_exceptions=True)

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield f"http://me:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}", heads
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the loop closes their sockets


async def test_https_goes_through_a_tunnel_of_the_proxy_and_keeps_it() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / "here.pem")
    async with scripted_vendor(context) as vendor, tunnel() as (url, heads):
        to = provider(ca_file=str(CERTIFICATES / "here.pem"), proxy=url)
        vendor.play(GOOD)
        async with open_upstream() as upstream:
            for size in (2, MEBIBYTE):
                body = b"x" * size
                assert await rest_of(await send(upstream, vendor.url, body=body, to=to)) == b"{}"
                assert vendor.last.body == body
                assert vendor.last.path == "/"
    login = base64.b64encode(b"me:secret")
    place = b"127.0.0.1:%d" % vendor.port
    assert heads == [
        b"CONNECT %b HTTP/1.1\r\nHost: %b\r\nProxy-Authorization: Basic %b\r\n\r\n"
        % (place, place, login)
    ]
    assert vendor.last.get("proxy-authorization") == []


async def test_certificate_is_checked_through_a_tunnel_too() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / "here.pem")
    async with (
        scripted_vendor(context) as vendor,
        tunnel() as (url, _),
        open_upstream() as upstream,
    ):
        with pytest.raises(UpstreamError, match="certificate was not accepted"):
            await send(upstream, vendor.url, to=provider(proxy=url))
        assert vendor.requests == []


@pytest.mark.parametrize("status", [b"407 Login", b"502 No", b"302 Found", b"nonsense"])
async def test_proxy_that_refuses_is_named(status: bytes) -> None:
    async with tunnel(status) as (url, _), open_upstream() as upstream:
        with pytest.raises(UpstreamError, match="the proxy refused") as caught:
            await send(upstream, "https://vendor.example/", to=provider(proxy=url))
        assert (caught.value.fault, caught.value.sent) == (Fault.CONNECT, False)


async def test_plain_http_through_a_proxy_has_its_whole_address_and_the_proxys_login() -> None:
    async with scripted_vendor() as vendor, open_upstream() as upstream:
        vendor.play(GOOD)
        to = provider(proxy=vendor.url.replace("//", "//me:secret@"))
        await rest_of(await send(upstream, "http://vendor.example/v1/x?y=1", to=to))
        assert vendor.last.path == "http://vendor.example/v1/x?y=1"
        assert vendor.last.get("host") == ["vendor.example"]
        login = base64.b64encode(b"me:secret").decode()
        assert vendor.last.get("proxy-authorization") == [f"Basic {login}"]


def test_ca_file_is_trusted_besides_the_systems_authorities(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATES / "here.pem"))
    usual = client_context(None).get_ca_certs()
    both = client_context(str(CERTIFICATES / "elsewhere.pem")).get_ca_certs()
    assert len(usual) == 1
    assert len(both) == 2
    assert usual[0] in both
