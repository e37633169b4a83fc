"""Every rule that frames a request, what breaks them, and mutations of both."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from random import Random
from typing import NamedTuple

import h11
import pytest
from memory_transport import MemoryTransport
from property_tests import messages

from sidecar.http.responses import refuse_message
from sidecar.http.wire.agent_messages import AgentRequest, LocalResponse
from sidecar.http.wire.agent_protocol import AgentServer
from sidecar.http.wire.framing import MAX_HEAD_BYTES
from sidecar.http.wire.request_reader import RepeatedHead

POST = b"POST /a HTTP/1.1\r\nHost: h\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n"
READ_BYTES = 1 << 14


class Served(NamedTuple):
    """A request that arrived whole."""

    method: str
    target: str
    body: bytes


class Came(NamedTuple):
    """What came of the bytes of a connection: the requests, the status of each answer, and whether
    another request may follow."""

    served: list[Served]
    statuses: list[bytes]
    open: bool


async def read(pieces: list[bytes]) -> Came:
    served: list[Served] = []

    async def handle(request: AgentRequest) -> LocalResponse:
        body = b""
        async for piece in request.content:
            body += piece
        served.append(Served(request.method, request.raw_path, body))
        return LocalResponse(b"")

    server = AgentServer(handle, refuse_message)
    connection, transport = server(), MemoryTransport()
    connection.connection_made(transport)
    for piece in pieces:
        if not transport.closing:
            connection.data_received(piece)
    turns = 0
    while connection.task is not None and turns < 80:  # a request whose body never ends waits
        await asyncio.sleep(0)
        turns += 1
    is_open = not transport.closing and not transport.ended
    connection.connection_lost(None)
    server.sweep.close()
    await asyncio.sleep(0)
    lines = bytes(transport.written).split(b"\r\n")
    statuses = [line[9:12] for line in lines if line.startswith(b"HTTP/1.")]
    return Came(served, statuses, is_open)


WHOLE: dict[str, tuple[bytes, bytes, bool]] = {
    "no body": (POST + b"\r\n", b"", True),
    "length": (POST + b"Content-Length: 2\r\n\r\nhi", b"hi", True),
    "length of 0": (POST + b"Content-Length: 0\r\n\r\n", b"", True),
    "chunks": (CHUNKED + b"2\r\nhi\r\n3\r\nyou\r\n0\r\n\r\n", b"hiyou", True),
    "chunk extension": (CHUNKED + b"2;a=b\r\nhi\r\n0\r\n\r\n", b"hi", True),
    "trailers": (CHUNKED + b"2\r\nhi\r\n0\r\nX-T: 1\r\nHost: x\r\n\r\n", b"hi", True),
    "close": (POST + b"Content-Length: 2\r\nConnection: close\r\n\r\nhi", b"hi", False),
    "1.0": (b"POST /a HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi", b"hi", False),
    "1.0 that stays": (
        b"POST /a HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi", b"hi", True,
    ),
    "empty lines before it": (b"\r\n\r\n" + POST + b"Content-Length: 2\r\n\r\nhi", b"hi", True),
    "an offer to upgrade, with a length": (
        POST + b"Connection: Upgrade, X\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nhi",
        b"hi", True,
    ),
    "an offer to upgrade, in chunks": (
        POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nhi\r\n0\r\n\r\n", b"hi", True,
    ),
    "an offer to upgrade, without a body": (
        POST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", b"", True,
    ),
}  # fmt: skip

BROKEN: dict[str, bytes] = {
    "two framings": POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two framings, turned": CHUNKED[:-2] + b"Content-Length: 2\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
    "a length twice": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
    "a list of lengths": POST + b"Content-Length: 2, 2\r\n\r\nhi",
    "a length with a sign": POST + b"Content-Length: +2\r\n\r\nhi",
    "an empty length": POST + b"Content-Length: \r\n\r\nhi",
    "a length beyond 64 bits": POST + b"Content-Length: 99999999999999999999\r\n\r\nhi",
    "chunked twice": CHUNKED[:-2] + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked before another coding": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "another coding": POST + b"Transfer-Encoding: gzip\r\n\r\nhi",
    "chunked in disguise": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked in 1.0": b"POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two hosts": POST + b"Host: h\r\n\r\n",
    "a space before the colon": POST + b"Content-Length : 2\r\n\r\nhi",
    "a folded line": POST + b"X-A: a\r\n b\r\nContent-Length: 2\r\n\r\nhi",
    "a line feed alone": POST + b"X-A: a\nContent-Length: 2\r\n\r\nhi",
    "a carriage return alone": POST + b"X-A: a\rb\r\n\r\n",
    "a zero byte": POST + b"X-A: a\0b\r\n\r\n",
    "a control character": POST + b"X-A: a\x01b\r\n\r\n",
    "no name": POST + b": a\r\n\r\n",
    "a name with a space": POST + b"X A: a\r\n\r\n",
    "a method that is none": b"FOO /a HTTP/1.1\r\nHost: h\r\n\r\n",
    "a target with a control character": b"GET /\x01 HTTP/1.1\r\nHost: h\r\n\r\n",
    "another version": b"GET /a HTTP/1.2\r\nHost: h\r\n\r\n",
    "version 2": b"GET /a HTTP/2.0\r\nHost: h\r\n\r\n",
    "no version": b"GET /a\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a head without end": POST + b"X-A: " + b"a" * (MAX_HEAD_BYTES + 1),
    "a target without end": b"GET /" + b"a" * (MAX_HEAD_BYTES + 1),
    "a head of many fields": POST + b"X-A: b\r\n" * (MAX_HEAD_BYTES // 8 + 9) + b"\r\n",
}  # fmt: skip

BROKEN_BODIES: dict[str, bytes] = {
    "a size that is none": CHUNKED + b"x\r\nhi\r\n0\r\n\r\n",
    "a size with a prefix": CHUNKED + b"0x2\r\nhi\r\n0\r\n\r\n",
    "a negative size": CHUNKED + b"-2\r\nhi\r\n0\r\n\r\n",
    "a size beyond 64 bits": CHUNKED + b"fffffffffffffffff\r\nhi\r\n0\r\n\r\n",
    "a chunk longer than its size": CHUNKED + b"2\r\nhixx\r\n0\r\n\r\n",
    "a line feed after a size": CHUNKED + b"2\nhi\r\n0\r\n\r\n",
    "a length among the trailers": CHUNKED + b"0\r\nContent-Length: 5\r\n\r\n",
    "trailers without end": CHUNKED + b"0\r\n" + b"X-A: b\r\n" * (MAX_HEAD_BYTES // 4),
    "an extension without end": CHUNKED + b"2;" + b"a" * (MAX_HEAD_BYTES * 2),
}  # fmt: skip


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("name", WHOLE)
async def test_framed_request_is_read_to_its_end_in_any_pieces(name: str) -> None:
    data, body, stays = WHOLE[name]
    for size in (1, READ_BYTES):
        got = await read(cut(data, size))
        assert got == ([Served("POST", "/a", body)], [b"200"], stays)


@pytest.mark.parametrize("name", WHOLE)
async def test_request_behind_another_is_read_where_the_connection_stays(name: str) -> None:
    data, body, stays = WHOLE[name]
    for pieces in ([data + NEXT], [data, NEXT], cut(data + NEXT, 1)):
        got = await read(pieces)
        assert got.served == [Served("POST", "/a", body), Served("GET", "/next", b"")][: 1 + stays]
        assert got.open is stays


@pytest.mark.parametrize("name", [*BROKEN, *BROKEN_BODIES])
async def test_broken_request_is_refused_and_ends_its_connection(name: str) -> None:
    data = (BROKEN | BROKEN_BODIES)[name]
    status = b"400" if name in BROKEN else b"500"  # the handler here does not expect broken bodies
    for size in (1, READ_BYTES):
        assert await read(cut(data, size)) == ([], [status], False)
        after_another = await read([NEXT, *cut(data + NEXT, size)])
        assert after_another == ([Served("GET", "/next", b"")], [b"200", status], False)


async def test_pipelined_requests_are_answered_in_order_and_held_back() -> None:
    requests = b"".join(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % number for number in range(30))
    got = await read([requests])
    assert [each.target for each in got.served] == [f"/{number}" for number in range(30)]
    assert got.statuses == [b"200"] * 30


async def test_bytes_after_connect_are_not_read_as_a_request() -> None:
    got = await read([b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n" + NEXT])
    assert got.served == []
    assert not got.open


SEEDS = [data for data, _, _ in WHOLE.values()] + [
    data for data in (BROKEN | BROKEN_BODIES).values() if len(data) < 1000
]
_SPICE = [
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b";", b",", b"0", b"f", b"chunked",
    b"HTTP/1.1", b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n",
    b"\xff", b"-", b"+", b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: x\r\n", NEXT,
]  # fmt: skip


def mutations(seed: int, count: int, seeds: Sequence[bytes] = SEEDS) -> Iterator[tuple[bytes, int]]:
    """Messages, each with a place to cut it at."""
    random = Random(seed)
    for _ in range(count):
        data = bytearray(random.choice(seeds))
        for _ in range(random.randint(1, 4)):
            at = random.randrange(len(data) + 1)
            match random.randrange(5):
                case 0:
                    data[at:at] = random.choice(_SPICE)
                case 1:
                    del data[at : at + random.randint(1, 8)]
                case 2 if at < len(data):
                    data[at] = random.randrange(256)
                case 3:
                    data[at : at + len(data)] = random.choice(seeds)[at:]
                case _:
                    data += data[at : at + 20]
        yield bytes(data) or b"x", random.randrange(len(data) + 1)


def first_by_h11(data: bytes) -> Served | None:
    """The first request by another implementation; None where it finds no whole one."""
    other = h11.Connection(h11.SERVER)
    try:
        other.receive_data(data)
        found, body = None, b""
        while True:
            match other.next_event():
                case h11.Request(method=method, target=target):
                    found = method.decode(), target.decode()
                case h11.Data(data=piece):
                    body += piece
                case h11.EndOfMessage() if found is not None:
                    return Served(*found, body)
                case h11.NEED_DATA | h11.ConnectionClosed() | h11.PAUSED:
                    return None
    except h11.RemoteProtocolError:
        return None


@pytest.mark.hypothesis
@pytest.mark.timeout(180)
async def test_mutated_requests_are_read_alike_in_one_piece_and_in_two(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("CRITICAL", "sidecar.http.server")
    count = messages(10_000, 100_000)
    agreed = 0
    for number, (data, at) in enumerate(mutations(21, count)):
        whole = await read([data])
        halves = await read([each for each in (data[:at], data[at:]) if each])
        assert whole == halves, data
        assert sum(len(each.body) for each in whole.served) <= len(data)
        if number % 10 == 0 and whole.served and (other := first_by_h11(data)) is not None:
            assert other == whole.served[0], data
            agreed += 1
    assert agreed > count / 100


AGAIN = POST + b"User-Agent: a/1\r\nContent-Length: 2\r\nAccept: */*\r\n\r\nhi"
_LENGTHS = [b"", b"-2", b"+2", b"02", b"2 ", b" 2", b"2, 2", b"2a", b"0x2", b"2\n", b"9" * 16]
SIMILAR = [
    *(AGAIN[:-2].replace(b" 2", b" %d" % size) + b"x" * size for size in (0, 1, 2, 3, 1000)),
    *(AGAIN.replace(b"h: 2", b"h: " + length) for length in _LENGTHS),
]
"""Requests with the head of `AGAIN`, or almost."""


@pytest.mark.parametrize("data", SIMILAR)
async def test_head_that_a_connection_has_read_before_is_read_as_on_a_new_one(data: bytes) -> None:
    for size in (1, 100, 150, READ_BYTES):
        pieces = cut(data + NEXT, size)
        alone, behind = await read(pieces), await read([AGAIN, AGAIN, *pieces])
        assert behind.served[:2] == [Served("POST", "/a", b"hi")] * 2
        assert behind.served[2:] == alone.served
        assert (behind.statuses[2:], behind.open) == (alone.statuses, alone.open)


@pytest.mark.hypothesis
@pytest.mark.timeout(180)
async def test_mutations_of_a_repeated_request_are_read_as_on_a_new_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("CRITICAL", "sidecar.http.server")
    for data, at in mutations(22, messages(5_000, 50_000), SIMILAR):
        pieces = [each for each in (data[:at], data[at:]) if each]
        alone, behind = await read(pieces), await read([AGAIN, AGAIN, *pieces])
        assert behind.served[2:] == alone.served, data
        assert (behind.statuses[2:], behind.open) == (alone.statuses, alone.open), data


def test_repeated_head_is_found_with_the_length_of_its_body_and_nowhere_else() -> None:
    fields = [(b"Host", b"h"), (b"User-Agent", b"a/1"), (b"Accept", b"*/*")]
    head = RepeatedHead("POST", "/a", fields, 2, b"Content-Length")
    assert head.find(AGAIN) == (2, len(AGAIN) - 2)
    assert head.find(AGAIN.replace(b" 2", b" 123456789012345")) == (
        123456789012345,
        len(AGAIN) + 12,
    )
    assert head.find(AGAIN.replace(b" 2", b" 1234567890123456")) is None
    assert head.find(b"\r\n" + AGAIN) is None
    assert head.find(AGAIN[:-3]) is None
    assert head.find(AGAIN.replace(b"/a", b"/b")) is None
