"""Chunks that are read without a parser, compared with the reading of the parser."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from httptools import HttpResponseParser
from hypothesis import given
from hypothesis import strategies as st

from sidecar.http.wire.deadlines import DeadlineSweep
from sidecar.http.wire.response_head import usual_chunks
from sidecar.http.wire.upstream_protocol import UpstreamConnection

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
SIZES = st.sampled_from([b"0", b"1", b"2", b"3", b"02", b"+2", b"-3", b"A", b"a", b"0x2", b"2;a=b",
                         b" 2", b"2 ", b"", b"fffffffff"])  # fmt: skip
LINE_ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b""])
CONTENTS = st.one_of(st.binary(max_size=3), st.sampled_from([b"0\r\n", b"\r\n2", b"x" * 10]))
PARTS = st.tuples(SIZES, LINE_ENDS, CONTENTS, LINE_ENDS).map(b"".join)
WHOLE = st.one_of(st.binary(min_size=1, max_size=20), st.just(b"2\r\nab\r\n")).map(
    lambda content: b"%x\r\n%b\r\n" % (len(content), content)
)


class Reading:
    """What the parser reads of a body."""

    def __init__(self, data: bytes) -> None:
        self.body = b""
        self.is_complete = False
        HttpResponseParser(self).feed_data(HEAD + data)

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.is_complete = True


@given(st.lists(st.one_of(PARTS, WHOLE, st.just(b"0\r\n\r\n")), max_size=4).map(b"".join))
def test_chunks_that_are_read_without_the_parser_have_what_the_parser_reads(data: bytes) -> None:
    found = usual_chunks(data)
    if found is None:
        return
    reading = Reading(data)
    assert found == (reading.body, reading.is_complete)


@given(st.lists(WHOLE, min_size=1, max_size=4), st.booleans())
def test_whole_chunks_need_no_parser(chunks: list[bytes], ended: bool) -> None:
    data = b"".join(chunks) + (b"0\r\n\r\n" if ended else b"")
    reading = Reading(data)
    assert usual_chunks(data) == (reading.body, ended)


class Line(asyncio.Transport):
    """The transport of a connection that nothing is written to."""

    is_cut = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Drop it."""

    def abort(self) -> None:
        self.is_cut = True


async def received(reads: list[bytes]) -> tuple[bytes, bool, str]:
    """Return the body of an answer that arrives in these reads, whether it is complete, and why it
    failed."""
    loop, line = asyncio.get_running_loop(), Line()
    connection = UpstreamConnection(loop, DeadlineSweep(loop))
    connection.connection_made(line)
    connection.send("GET", b"GET / HTTP/1.1\r\n\r\n", b"")
    for read in reads:
        if not line.is_cut:
            connection.data_received(read)
    body = connection.body
    return body.take(), body.is_complete, str(body.error or "")


@given(
    st.lists(st.one_of(WHOLE, WHOLE, PARTS, st.just(b"0\r\n\r\n")), max_size=5),
    st.lists(st.integers(0, 80), max_size=4),
)
def test_answer_in_chunks_is_the_same_however_it_arrives(
    parts: list[bytes], cuts: list[int]
) -> None:
    data = HEAD + b"".join(parts)
    places = [0, *sorted({cut for cut in cuts if 0 < cut < len(data)}), len(data)]
    reads = [data[begin:end] for begin, end in pairwise(places)]
    singly = [data[at : at + 1] for at in range(len(data))]  # the head in pieces: by the parser
    assert asyncio.run(received(reads)) == asyncio.run(received(singly))


def test_parser_continues_in_a_chunk_that_is_cut() -> None:
    reads = [HEAD, b"2\r\nab\r\n", b"3\r\nc", b"de\r\n", b"1\r\nf\r\n", b"0\r\nX: y\r\n\r\n"]
    assert asyncio.run(received(reads)) == (b"abcdef", True, "")


def test_body_that_ended_does_not_change_by_what_follows_it() -> None:
    whole = HEAD + b"1\r\na\r\n0\r\n\r\n"
    assert asyncio.run(received([whole, whole])) == (b"a", True, "")
