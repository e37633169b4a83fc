"""Every rule that frames an answer, what breaks them, and mutations of both."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from random import Random
from typing import NamedTuple

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_transport import MemoryTransport
from property_tests import messages

from sidecar.errors import Fault
from sidecar.http.wire.deadlines import DeadlineSweep
from sidecar.http.wire.framing import HELD_BODY_BYTES, MAX_HEAD_BYTES, chunk_of, only_chunk
from sidecar.http.wire.upstream_protocol import UpstreamConnection

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


class Read(NamedTuple):
    """What came of the bytes of an answer. `failed`: no more comes, and it has no proper end."""

    status: int | None
    body: bytes
    complete: bool
    failed: bool
    reusable: bool


def connection() -> tuple[UpstreamConnection, MemoryTransport]:
    loop = asyncio.get_running_loop()
    made, transport = UpstreamConnection(loop, DeadlineSweep(loop)), MemoryTransport()
    made.connection_made(transport)
    return made, transport


async def test_answers_of_two_forms_take_turns_and_both_have_their_lines() -> None:
    made, _ = connection()
    forms = [
        OK + b"Content-Type: %b/x-turns\r\nContent-Length: 0\r\n\r\n" % n for n in (b"a", b"b")
    ]
    read = []
    for answer in forms * 3:
        made.send("GET", b"", b"")
        made.data_received(answer)
        read.append((await made.read_head(made.loop.time() + 1, "")).lines)
    assert read[:2] == [b"", b""]  # a form is known once it came twice
    assert read[4:] == [b"Content-Type: a/x-turns\r\n", b"Content-Type: b/x-turns\r\n"]


def read(pieces: list[bytes], method: str = "POST", *, ended: bool = False) -> Read:
    """Feed an answer in these pieces, and then, if `ended`, the end of the connection."""
    made, transport = connection()
    made.send(method, b"", b"")
    for piece in pieces:
        if not transport.closing:
            made.data_received(piece)
    if ended:
        made.eof_received()
    head = made._head
    body = made.body.take()
    failed = made._failure is not None and not made.body.is_complete
    complete = made.body.is_complete
    made.rest()
    return Read(head and head.status, body, complete, failed, made.home == [made])


WHOLE: dict[str, tuple[bytes, bytes, bool]] = {
    "length": (OK + b"Content-Length: 2\r\n\r\nhi", b"hi", True),
    "length of 0": (OK + b"Content-Length: 0\r\n\r\n", b"", True),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nhi", b"hi", True),
    "chunks": (CHUNKED + b"2\r\nhi\r\n3\r\nyou\r\n0\r\n\r\n", b"hiyou", True),
    "chunk extension": (CHUNKED + b"2;a=b\r\nhi\r\n0\r\n\r\n", b"hi", True),
    "trailers": (CHUNKED + b"2\r\nhi\r\n0\r\nX-T: 1\r\nX-U: 2\r\n\r\n", b"hi", True),
    "close": (OK + b"Content-Length: 2\r\nConnection: close\r\n\r\nhi", b"hi", False),
    "1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"hi", False),
    "1.0 that claims to stay": (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi", b"hi", False,
    ),
    "204 with a length": (b"HTTP/1.1 204 No\r\nContent-Length: 2\r\n\r\n", b"", True),
    "304 with a length": (b"HTTP/1.1 304 No\r\nContent-Length: 2\r\n\r\n", b"", True),
    "interim": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 E\r\nLink: </a>\r\n\r\n"
        + OK + b"Content-Length: 2\r\n\r\nhi", b"hi", True,
    ),
    "an upgrade that is offered": (
        OK + b"Connection: upgrade\r\nUpgrade: h2\r\nContent-Length: 2\r\n\r\nhi", b"hi", True,
    ),
    "a value that is no UTF-8": (OK + b"X-A: \xe9\r\nContent-Length: 2\r\n\r\nhi", b"hi", True),
}  # fmt: skip

BROKEN: dict[str, bytes] = {
    "two framings": OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two framings, turned": CHUNKED[:-2] + b"Content-Length: 2\r\n\r\n0\r\n\r\n",
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
    "a length twice": OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
    "a length with a sign": OK + b"Content-Length: +2\r\n\r\nhi",
    "a length beyond 64 bits": OK + b"Content-Length: 99999999999999999999\r\n\r\nhi",
    "a space before the colon": OK + b"Content-Length : 2\r\n\r\nhi",
    "a folded line": OK + b"X-A: a\r\n b\r\nContent-Length: 2\r\n\r\nhi",
    "a line feed alone": OK + b"X-A: a\nContent-Length: 2\r\n\r\nhi",
    "a carriage return alone": OK + b"X-A: a\rb\r\nContent-Length: 2\r\n\r\nhi",
    "a control character": OK + b"X-A: a\x01\r\nContent-Length: 2\r\n\r\nhi",
    "a control character in the reason": b"HTTP/1.1 200 O\x01K\r\nContent-Length: 2\r\n\r\nhi",
    "no name": OK + b": a\r\nContent-Length: 2\r\n\r\nhi",
    "a name with a space": OK + b"X A: a\r\nContent-Length: 2\r\n\r\nhi",
    "a status of two digits": b"HTTP/1.1 99 X\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 0200 X\r\n\r\n",
    "a status of 600": b"HTTP/1.1 600 X\r\nContent-Length: 0\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nabc",
    "another version": b"HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    "no HTTP": b"ICY 200 OK\r\n\r\n",
    "a size that is none": CHUNKED + b"x\r\nhi\r\n0\r\n\r\n",
    "a size with a prefix": CHUNKED + b"0x2\r\nhi\r\n0\r\n\r\n",
    "a negative size": CHUNKED + b"-2\r\nhi\r\n0\r\n\r\n",
    "a size beyond 64 bits": CHUNKED + b"fffffffffffffffff\r\nhi\r\n0\r\n\r\n",
    "a chunk longer than its size": CHUNKED + b"2\r\nhixx\r\n0\r\n\r\n",
    "a line feed after a size": CHUNKED + b"2\nhi\r\n0\r\n\r\n",
    "a head without end": OK + b"X-A: " + b"a" * (MAX_HEAD_BYTES + 1),
    "a head of many fields": OK + b"X-A: b\r\n" * (MAX_HEAD_BYTES // 8 + 9) + b"\r\n",
    "trailers without end": CHUNKED + b"0\r\n" + b"X-A: b\r\n" * (MAX_HEAD_BYTES // 4),
    "an extension without end": CHUNKED + b"2;" + b"a" * (MAX_HEAD_BYTES * 2),
}  # fmt: skip


READ_BYTES = 1 << 14


def one_by_one(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@pytest.mark.parametrize("name", WHOLE)
async def test_framed_answer_is_read_to_its_end_in_any_pieces(name: str) -> None:
    data, body, reusable = WHOLE[name]
    for pieces in ([data], one_by_one(data)):
        got = read(pieces)
        assert (got.body, got.complete, got.failed, got.reusable) == (body, True, False, reusable)


@pytest.mark.parametrize("name", WHOLE)
async def test_connection_with_bytes_after_its_answer_is_not_used_again(name: str) -> None:
    data, body, _ = WHOLE[name]
    for pieces in ([data + b"x"], [data, b"x"], [data + OK + b"Content-Length: 0\r\n\r\n"]):
        got = read(pieces)
        assert (got.body, got.complete, got.reusable) == (body, True, False)


@pytest.mark.parametrize("name", BROKEN)
async def test_broken_answer_fails_in_any_pieces(name: str) -> None:
    data = BROKEN[name]
    for size in (1, READ_BYTES):
        got = read([data[at : at + size] for at in range(0, len(data), size)])
        assert (got.failed, got.complete, got.reusable) == (True, False, False)


PARTS = st.sampled_from([
    b"2\r\nhi\r\n", b"2\r\nhi\r\n", b"2\r\n\r\n\r\n", b"5\r\n0\r\n\r\n\r\n", b"A\r\n0123456789\r\n",
    b"a\r\n0123456789\r\n", b"02\r\nhi\r\n", b"2;a=b\r\nhi\r\n", b"2", b"3\r\n", b"hi\r\n", b"\r\n",
    b"0\r\n", b"0\r\n\r\n", b"+2\r\nhi\r\n", b"0x2\r\nhi\r\n", b"2 \r\nhi\r\n", b"2\nhi\r\n",
])  # fmt: skip


@given(st.lists(PARTS, max_size=7), st.integers(0, 2), st.sampled_from(["POST", "HEAD"]))
def test_chunks_that_come_one_a_read_are_read_as_those_that_come_in_single_bytes(
    parts: list[bytes], with_head: int, method: str
) -> None:
    async def both() -> tuple[Read, Read]:
        whole = [b"".join([CHUNKED, *parts[:with_head]]), *parts[with_head:]]
        return read(whole, method), read(one_by_one(b"".join(whole)), method)

    quick, plain = asyncio.run(both())
    assert quick == plain


@given(st.integers(0, 5) | st.integers(1, 6).flatmap(lambda digits: st.integers(-6, 6).map(
    lambda more: max(0, 16**digits + more))))  # fmt: skip
def test_only_chunk_is_found_for_each_size_and_in_nothing_longer_or_shorter(size: int) -> None:
    data = b"x" * size
    whole = chunk_of(data)
    assert only_chunk(whole) == only_chunk(b"%X\r\n%b\r\n" % (size, data)) == data
    assert not any(map(only_chunk, (whole[1:], whole[:-1], b"0" + whole, whole + b"\n")))
    assert not any(only_chunk(each + data + b"\r\n") for each in (b"", b"-", b"x", b"X"))


@pytest.mark.parametrize("coding", [b"", b"Transfer-Encoding: gzip\r\n", b"Connection: close\r\n"])
async def test_answer_without_framing_ends_with_its_connection(coding: bytes) -> None:
    data = OK + coding + b"\r\nhi"
    assert read([data]) == (200, b"hi", False, False, False)
    assert read([data], ended=True) == (200, b"hi", True, False, False)


@pytest.mark.parametrize("name", WHOLE)
async def test_answer_that_ends_early_fails_with_what_came(name: str) -> None:
    data, body, _ = WHOLE[name]
    for at in range(len(data)):
        got = read([data[:at]] if at else [], ended=True)
        assert got.failed
        assert not got.complete
        assert body.startswith(got.body)


async def test_answer_to_head_has_no_body_whatever_its_fields_promise() -> None:
    assert read([OK + b"\r\n"], "HEAD")[:4] == (200, b"", True, False)
    for framing in (b"Content-Length: 9\r\n", b"Transfer-Encoding: chunked\r\n"):
        assert read([OK + framing + b"\r\n"], "HEAD") == (200, b"", True, False, True)
        assert not read([OK + framing + b"\r\n", b"surplus"], "HEAD").reusable


async def test_bytes_before_a_request_close_the_connection() -> None:
    made, transport = connection()
    made.send("POST", b"", b"")
    made.data_received(OK + b"Content-Length: 0\r\n\r\n")
    shelf: list[UpstreamConnection] = []
    made.home = shelf
    made.rest()
    made.data_received(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
    assert transport.aborted
    made.connection_lost(None)
    assert shelf == []


async def test_connection_with_much_unread_body_is_not_read_until_it_is_taken() -> None:
    made, transport = connection()
    made.send("POST", b"", b"")
    made.data_received(OK + b"\r\n" + b"x" * HELD_BODY_BYTES)
    assert transport.reading
    made.data_received(b"y")
    assert not transport.reading
    assert await made.read(1) == b"x" * HELD_BODY_BYTES + b"y"
    assert transport.reading


async def test_error_of_an_answer_comes_after_the_bytes_before_it() -> None:
    made, _ = connection()
    made.send("POST", b"", b"")
    made.data_received(CHUNKED + b"2\r\nhi\r\nno size\r\n")
    assert await made.read(1) == b"hi"
    with pytest.raises(Exception, match="not valid HTTP") as caught:
        await made.read(1)
    assert getattr(caught.value, "fault", None) is Fault.PROTOCOL


SEEDS = [data for data, _, _ in WHOLE.values()] + [
    data for data in BROKEN.values() if len(data) < 1000
]
_SPICE = [
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b";", b",", b"0", b"f", b"chunked",
    b"HTTP/1.1", b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n",
    b"\xff", b"-", b"+",
]  # fmt: skip


def mutations(seed: int, count: int) -> Iterator[tuple[bytes, int]]:
    """Messages, each with a place to cut it at."""
    random = Random(seed)
    for _ in range(count):
        data = bytearray(random.choice(SEEDS))
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
                    data[at : at + len(data)] = random.choice(SEEDS)[at:]
                case _:
                    data += data[at : at + 20]
        yield bytes(data) or b"x", random.randrange(len(data) + 1)


def read_by_h11(data: bytes) -> tuple[int, bytes] | None:
    """The status and the whole body of an answer by another implementation; None where it has no
    such thing."""
    other = h11.Connection(h11.CLIENT)
    other.send(h11.Request(method="POST", target="/", headers=[("Host", "a")]))
    other.send(h11.EndOfMessage())
    try:
        other.receive_data(data)
        other.receive_data(b"")
        status, body = 0, b""
        while True:
            match other.next_event():
                case h11.Response(status_code=code):
                    status = code
                case h11.Data(data=piece):
                    body += piece
                case h11.EndOfMessage():
                    return status, body
                case h11.NEED_DATA | h11.ConnectionClosed() | h11.PAUSED:
                    return None
    except h11.RemoteProtocolError:
        return None


@pytest.mark.hypothesis
async def test_mutated_answers_are_read_alike_in_one_piece_and_in_two() -> None:
    count = messages(20_000, 100_000)
    agreed = 0
    for number, (data, cut) in enumerate(mutations(12, count)):
        whole = read([data], ended=True)
        halves = read([each for each in (data[:cut], data[cut:]) if each], ended=True)
        assert whole == halves, data
        assert whole.complete != whole.failed, data
        assert len(whole.body) <= len(data)
        if number % 10 == 0 and whole.complete and (other := read_by_h11(data)) is not None:
            assert other == (whole.status, whole.body), data
            agreed += 1
    assert agreed > count / 100
