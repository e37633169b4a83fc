"""The agents' listener on real sockets: order, bounds, both ends of a connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from raw_http_client import connected, exchange
from scripted_vendor import chunk

from sidecar.http.responses import refuse_message, send_continue
from sidecar.http.wire import agent_protocol
from sidecar.http.wire.agent_messages import AgentRequest, LocalResponse, RelayedResponse
from sidecar.http.wire.agent_protocol import AgentResponse, AgentServer
from sidecar.http.wire.framing import HELD_BODY_BYTES

MEBIBYTE = 1 << 20
Handle = Callable[[AgentRequest], Awaitable[AgentResponse]]


@dataclass
class Listening:
    port: int
    server: AgentServer
    opened: list[object] = field(default_factory=list)


@asynccontextmanager
async def listening(handle: Handle) -> AsyncIterator[Listening]:
    opened: list[object] = []
    server = AgentServer(handle, refuse_message, opened.append)
    bound = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    try:
        yield Listening(bound.sockets[0].getsockname()[1], server, opened)
    finally:
        bound.close()
        await server.shutdown(1)


def post(body: bytes = b"", *fields: bytes, version: bytes = b"1.1") -> bytes:
    lines = b"".join(each + b"\r\n" for each in fields)
    length = b"Content-Length: %d\r\n" % len(body)
    return b"POST /a HTTP/%b\r\nHost: h\r\n%b%b\r\n%b" % (version, lines, length, body)


async def echo(request: AgentRequest) -> LocalResponse:
    body = b""
    async for piece in request.content:
        body += piece
    return LocalResponse(b"%d:%b" % (len(body), body[:8]))


async def test_requests_of_one_connection_are_answered_in_order_one_at_a_time() -> None:
    running = most = 0

    async def slow(request: AgentRequest) -> LocalResponse:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return LocalResponse(request.raw_path.encode())

    async with listening(slow) as here, connected(here.port) as line:
        for number in range(8):
            await line.send(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % number)
        await line.until(b"/7")
        assert most == 1
        assert [bytes(line.seen).index(b"\r\n\r\n/%d" % n) for n in range(8)] == sorted(
            bytes(line.seen).index(b"\r\n\r\n/%d" % n) for n in range(8)
        )
        assert len(here.opened) == 1


async def test_client_that_waits_is_told_to_send_once_and_only_by_the_handler() -> None:
    allowed = asyncio.Event()

    async def careful(request: AgentRequest) -> LocalResponse:
        await allowed.wait()
        send_continue(request)
        return await echo(request)

    async with listening(careful) as here, connected(here.port) as line:
        await line.send(post(b"", b"Expect: 100-continue").replace(b"Length: 0", b"Length: 2"))
        await asyncio.sleep(0.02)
        assert not line.reader._buffer  # type: ignore[attr-defined]
        allowed.set()
        assert await line.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        line.seen.clear()
        await line.send(b"hi")
        assert (await line.answer()).body == b"2:hi"


async def test_client_that_leaves_cancels_its_request_within_a_tenth_of_a_second() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def waiting(request: AgentRequest) -> LocalResponse:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return LocalResponse(b"")

    async with listening(waiting) as here:
        async with connected(here.port) as line:
            await line.send(post(b"hi"))
            await begun.wait()
        async with asyncio.timeout(0.1):
            await cancelled.wait()
        assert not here.server.connections


async def test_body_is_held_up_to_a_bound_and_goes_on_when_read() -> None:
    full, go_on, sizes = asyncio.Event(), asyncio.Event(), []

    async def late(request: AgentRequest) -> LocalResponse:
        while request.content.size <= HELD_BODY_BYTES:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)
        full.set()
        await go_on.wait()
        sizes.append(request.content.size)
        return await echo(request)

    body = b"x" * 16 * MEBIBYTE
    async with listening(late) as here, connected(here.port) as line:
        sending = asyncio.create_task(line.send(post(body)))
        await full.wait()
        await asyncio.sleep(0.05)
        assert not sending.done()
        go_on.set()
        assert (await line.answer()).body == b"%d:xxxxxxxx" % len(body)
        await sending
        assert HELD_BODY_BYTES < sizes[0] <= 3 * HELD_BODY_BYTES


async def test_chunks_are_read_on_after_a_pause_between_two_of_them() -> None:
    async with listening(echo) as here, connected(here.port) as line:
        await line.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        await line.send(chunk(b"x") * (HELD_BODY_BYTES + 1))
        await asyncio.sleep(0.02)
        await line.send(chunk(b"y") + b"0\r\n\r\n")
        assert (await line.answer()).body == b"%d:xxxxxxxx" % (HELD_BODY_BYTES + 2)


async def test_response_is_written_no_faster_than_the_client_reads() -> None:
    written = 0

    async def endless(request: AgentRequest) -> RelayedResponse:
        nonlocal written
        response = RelayedResponse(200, "OK", [], None)
        await response.prepare(request)
        while True:
            await response.write(b"x" * (1 << 16))
            written += 1 << 16

    async with listening(endless) as here, connected(here.port) as line:
        line.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await line.send(post())
        before = -1
        while written != before:
            before = written
            await asyncio.sleep(0.05)
        assert 0 < written < 32 * MEBIBYTE


@pytest.mark.parametrize("length", [None, 2])
@pytest.mark.parametrize(
    ("version", "fields", "stays"),
    [
        (b"1.1", (), True),
        (b"1.1", (b"Connection: close",), False),
        (b"1.0", (), False),
        (b"1.0", (b"Connection: keep-alive",), True),
    ],
)
async def test_response_is_framed_for_the_version_of_its_client(
    length: int | None, version: bytes, fields: tuple[bytes, ...], stays: bool
) -> None:
    async def stream(request: AgentRequest) -> RelayedResponse:
        response = RelayedResponse(200, "OK", [(b"X-A", b"\xe9")], length)
        await response.prepare(request)
        for piece in (b"h", b"i"):
            await response.write(piece)
        response.end()
        return response

    async with listening(stream) as here, connected(here.port) as line:
        await line.send(post(b"", *fields, version=version))
        chunked = length is None and version == b"1.1"
        if stays and (chunked or length):
            got = await line.answer()
        else:
            got = await line.to_the_end()
        assert (got.body, got.whole, got.reason) == (b"hi", True, "OK")
        assert got.get("transfer-encoding") == (["chunked"] if chunked else [])
        assert got.get("content-length") == ([] if length is None else ["2"])
        assert got.head.startswith(b"HTTP/" + version)
        assert b"X-A: \xe9\r\n" in got.head


async def test_first_bytes_of_a_stream_are_sent_with_its_head() -> None:
    gone = asyncio.Event()

    async def stream(request: AgentRequest) -> RelayedResponse:
        response = RelayedResponse(200, "", [], None)
        await response.prepare(request, b"one")
        await gone.wait()
        response.end()
        return response

    async with listening(stream) as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        writer.write(post())
        assert (await reader.read(MEBIBYTE)).endswith(b"\r\n\r\n" + chunk(b"one"))
        gone.set()
        assert await reader.readexactly(5) == b"0\r\n\r\n"
        writer.close()


async def test_answer_to_head_has_a_length_and_no_body() -> None:
    async def handle(request: AgentRequest) -> LocalResponse:
        return LocalResponse(b"hello")

    async with listening(handle) as here, connected(here.port) as line:
        await line.send(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await line.until(b"\r\n\r\n")).endswith(b"\r\n\r\n")
        assert b"Content-Length: 5\r\n" in line.seen
        line.seen.clear()
        await line.send(post())
        assert (await line.answer()).body == b"hello"


@pytest.mark.parametrize("before", [b"", post(b"hi")])
async def test_refusal_reaches_a_client_that_still_sends(before: bytes) -> None:
    async def refuse(request: AgentRequest) -> LocalResponse:
        return LocalResponse(b"no", status=413, closes=not request.content.is_complete)

    async with listening(refuse) as here, connected(here.port) as line:
        if before:
            await line.send(before)
            await line.answer()
            line.seen.clear()
        await line.send(post(b"x" * 4 * MEBIBYTE))
        got = await line.to_the_end()
        assert (got.status, got.body, got.reset) == (413, b"no", False)


async def test_nonsense_is_refused_in_words_and_reaches_a_client_that_still_sends() -> None:
    async with listening(echo) as here:
        got = await exchange(here.port, b"\x16\x03\x01" + b"x" * 4 * MEBIBYTE)
        assert (got.status, got.reset) == (400, False)
        assert got.get("x-sidecar-error") == ["bad_request"]
        assert got.message == "the request is not valid HTTP/1.1"


async def test_error_of_a_handler_is_a_500_without_its_text_and_closes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fails(request: AgentRequest) -> LocalResponse:
        raise RuntimeError("secret")

    async with listening(fails) as here, connected(here.port) as line:
        await line.send(post())
        got = await line.to_the_end()
        assert got.status == 500
        assert b"secret" not in got.body


async def test_error_of_a_handler_in_its_response_cuts_the_connection() -> None:
    async def fails(request: AgentRequest) -> RelayedResponse:
        response = RelayedResponse(200, "OK", [], None)
        await response.prepare(request)
        await response.write(b"hi")
        raise RuntimeError("secret")

    async with listening(fails) as here, connected(here.port) as line:
        await line.send(post())
        got = await line.to_the_end()
        assert not got.whole


async def test_head_that_never_ends_and_idle_connections_are_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(agent_protocol, "HEAD_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(agent_protocol, "KEEP_ALIVE_SECONDS", 0.3)
    loop = asyncio.get_running_loop()

    async def until_closed(port: int, *sent: bytes) -> float:
        began = loop.time()
        async with connected(port) as line:
            for each in sent:
                await line.send(each)
            with pytest.raises((AssertionError, ConnectionError)):
                await line.until(b"never")
        return loop.time() - began

    async with listening(echo) as here:
        head, silent, idle = await asyncio.gather(
            until_closed(here.port, b"POST / HT"),
            until_closed(here.port),
            until_closed(here.port, post(b"hi")),
        )
    assert 0.09 <= head < silent
    assert silent >= 0.29
    assert idle >= 0.29


async def test_slow_body_and_slow_handler_are_not_cut_by_the_time_for_heads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(agent_protocol, "HEAD_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr(agent_protocol, "KEEP_ALIVE_SECONDS", 0.05)
    async with listening(echo) as here, connected(here.port) as line:
        await line.send(post(b"hi")[:-1])
        await asyncio.sleep(0.2)
        await line.send(b"i")
        assert (await line.answer()).body == b"2:hi"


async def test_shutdown_closes_idle_connections_and_lets_requests_end() -> None:
    begun, finish = asyncio.Event(), asyncio.Event()

    async def waits(request: AgentRequest) -> LocalResponse:
        begun.set()
        await finish.wait()
        return LocalResponse(b"done")

    async with listening(waits) as here, connected(here.port) as idle, connected(here.port) as busy:
        await busy.send(post())
        await begun.wait()
        here.server.pre_shutdown()
        assert await idle.reader.read() == b""
        finish.set()
        got = await busy.to_the_end()
        assert (got.body, got.get("connection")) == (b"done", ["close"])


async def test_shutdown_cancels_requests_that_do_not_end() -> None:
    async def forever(request: AgentRequest) -> LocalResponse:
        await asyncio.Event().wait()
        return LocalResponse(b"")

    async with listening(forever) as here, connected(here.port) as line:
        await line.send(post())
        await asyncio.sleep(0.02)
        await here.server.shutdown(0.05)
        with pytest.raises((AssertionError, ConnectionError)):
            await line.until(b"never")
        assert not here.server.connections
