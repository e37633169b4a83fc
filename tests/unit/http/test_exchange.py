"""One request and the head of its answer, on a real connection, in whatever pieces it comes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from itertools import pairwise

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_http_client import connected
from scripted_vendor import STREAM_HEAD, Wire, chunk, scripted_vendor
from yarl import URL

from sidecar.http.aiohttp_internals import Connector
from sidecar.http.exchange import Head, request_head, send_request, was_sent
from sidecar.http.headers import encoded
from sidecar.http.server import HttpServer

LIMITS = aiohttp.ClientTimeout(total=None, connect=5, sock_connect=5)
TINY = (1 << 14) + 1
"""Chunks of which the library holds so many, unread, that it pauses at the last one."""


async def send(connector: Connector, url: str, method: str = "POST") -> Head:
    return await send_request(connector, True, method, URL(url), [(b"X-A", b"b")], b"{}", LIMITS, 5)


async def rest_of(content: aiohttp.StreamReader) -> bytes:
    body = b""
    async with asyncio.timeout(5):
        while piece := await content.readany():
            body += piece
    return body


async def arrived(content: aiohttp.StreamReader) -> None:
    """Until all tiny chunks are held, and none was read."""
    async with asyncio.timeout(5):
        while content.total_bytes < TINY:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)


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
    async with scripted_vendor() as vendor, Connector() as connector:
        for method, body, head, cuts in played:

            async def in_pieces(wire: Wire, cuts: list[bytes] = cuts) -> None:
                for piece in cuts:
                    await wire.send(piece)
                    await asyncio.sleep(0)
                if b"Content-Length" not in b"".join(cuts) and b"chunked" not in b"".join(cuts):
                    wire.writer.close()

            vendor.play(in_pieces)
            answer = await send(connector, vendor.url, method)
            found = await rest_of(answer.body)
            answer.held.release()
            assert found == body
            numbers = [value for name, value in answer.raw if name == b"X-Number"]
            assert b"X-Number: " + b"".join(numbers) in head
            assert not any(name == b"X-Trailed" for name, _ in answer.raw)
            assert vendor.last.head.endswith(
                b"Host: 127.0.0.1:%d\r\nX-A: b\r\nContent-Length: 2\r\n\r\n" % vendor.port
            )


async def test_an_answer_goes_on_after_a_pause_between_two_of_its_chunks() -> None:
    read = asyncio.Event()

    async def in_many_chunks(wire: Wire) -> None:
        await wire.send(STREAM_HEAD + chunk(b"x") * TINY)
        await read.wait()
        await wire.send(chunk(b"y") + b"0\r\n\r\n")

    async with scripted_vendor() as vendor, Connector() as connector:
        vendor.play(in_many_chunks)
        answer = await send(connector, vendor.url)
        await arrived(answer.body)
        assert await answer.body.readany() == b"x" * TINY
        read.set()
        assert await rest_of(answer.body) == b"y"
        answer.held.release()


async def test_a_request_goes_on_after_a_pause_between_two_of_its_chunks() -> None:
    read, found = asyncio.Event(), b""

    async def late(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal found
        await arrived(request.content)
        assert await request.content.readany() == b"x" * TINY
        read.set()
        found = await rest_of(request.content)
        return web.Response(status=204)

    listener = await asyncio.get_running_loop().create_server(HttpServer(late), "127.0.0.1", 0)
    async with listener, connected(listener.sockets[0].getsockname()[1]) as line:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        await line.send(head + chunk(b"x") * TINY)
        await read.wait()
        await line.send(chunk(b"y") + b"0\r\n\r\n")
        assert (await line.answer()).status == 204
    assert found == b"y"


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
async def test_a_request_is_not_sent_while_there_is_no_connection_whichever_time_is_shorter(
    connect: float, first_byte: float
) -> None:
    limits = aiohttp.ClientTimeout(total=None, connect=first_byte, sock_connect=connect)
    async with nobody_accepts() as url, Connector() as connector:
        with pytest.raises(TimeoutError):
            await send_request(connector, True, "POST", URL(url), [], b"{}", limits, first_byte)
        assert not was_sent()


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
def test_a_head_that_would_say_something_else_is_not_written(
    url: str, method: str, pairs: list[tuple[str, str]]
) -> None:
    with pytest.raises(ValueError, match=r"end it|one word"):
        request_head(method, URL(url, encoded=True), encoded(pairs), 0)
