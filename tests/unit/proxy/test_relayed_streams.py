"""A stream reaches the client as the filters leave it, and ends as it ended, however it arrives."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_transport import MemoryTransport

from sidecar import Endpoint, ModelAt
from sidecar.http.client import Reply
from sidecar.http.wire.agent_messages import AgentRequest, RequestHead
from sidecar.http.wire.deadlines import NEVER, DeadlineSweep
from sidecar.http.wire.framing import LAST_CHUNK, IncomingBody, WireProtocol, chunk_of
from sidecar.http.wire.upstream_protocol import UpstreamConnection
from sidecar.masking import CredentialMask
from sidecar.plugin_api.manager import discover
from sidecar.proxy.relay import Relay, RelayEnd
from sidecar.proxy.stream.error_masking import ErrorEventMask
from sidecar.proxy.stream.filter import StreamFilter

DIALECT = discover().dialects["openai"]
CHAT = Endpoint("chat", ModelAt.BODY, counts=True)
EVENTS = "text/event-stream"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CREDENTIAL = "sk-pr/oj+4nA=9xQ_and-more"
PIECE = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
END = (
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}\n\n',
    b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n',
    b"data: [DONE]\n\n",
)
ERROR = b'data: {"error":{"message":"%b"}}\n\n' % CREDENTIAL.encode()
SAMPLES = (PIECE, ERROR, b": ping\n\n", b'data: {"choices":[],"x":"sk-p', b"data: sk-pr", *END)


class Client(MemoryTransport):
    """Keeps each write apart."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        super().write(data)
        self.writes.append(bytes(data))


def mask() -> ErrorEventMask:
    return ErrorEventMask(CredentialMask(CREDENTIAL), partial(DIALECT.meter, CHAT, EVENTS))


def hiding() -> StreamFilter:
    return StreamFilter(partial(DIALECT.strip_injected_usage, CHAT))


async def relayed(
    reads: list[bytes], *, masks: bool = False, hides: bool = False, breaks: bool = False
) -> tuple[Relay, Client]:
    """Relay an answer that arrives in these reads; `breaks` closes the connection after them."""
    loop, client = asyncio.get_running_loop(), Client()
    upstream = UpstreamConnection(loop, DeadlineSweep(loop))
    upstream.connection_made(MemoryTransport())
    upstream.send("POST", b"", b"")
    sending = cast(Any, WireProtocol(loop))
    sending.connection_made(client)
    head, body = RequestHead("1.1", []), IncomingBody(lambda: None)
    body.finish()
    relay = Relay(AgentRequest(sending, "POST", "/", head, head.headers, body, keep_alive=True))

    async def relay_it() -> None:
        found = await upstream.read_head(NEVER, "")
        reply = Reply(upstream, 60.0, found, 200, EVENTS, "", None)
        await relay.run(
            reply, b"", DIALECT.meter(CHAT, EVENTS),
            hiding() if hides else None, mask() if masks else None,
        )  # fmt: skip

    task = asyncio.create_task(relay_it())
    await asyncio.sleep(0)
    for data in reads:
        upstream.data_received(data)
        for _ in range(3):
            await asyncio.sleep(0)
    if breaks:
        upstream.connection_lost(None)
    await asyncio.wait_for(task, 5)
    return relay, client


def unframed(sent: bytes) -> tuple[bytes, bool]:
    """Return what the chunks of a response hold, and whether the last one came."""
    body, rest = b"", sent.partition(b"\r\n\r\n")[2]
    while rest:
        line, _, rest = rest.partition(b"\r\n")
        size = int(line, 16)
        body += rest[:size]
        assert rest[size : size + 2] == b"\r\n"
        rest = rest[size + 2 :]
        if not size:
            assert not rest
            return body, True
    return body, False


def cut_up(data: st.DataObject, stream: bytes) -> list[bytes]:
    cuts = sorted({0, len(stream), *data.draw(st.lists(st.integers(0, len(stream)), max_size=9))})
    return [stream[a:b] for a, b in pairwise(cuts)]


@given(
    events=st.lists(st.sampled_from(SAMPLES), min_size=1, max_size=8),
    masks=st.booleans(),
    hides=st.booleans(),
    breaks=st.booleans(),
    data=st.data(),
)
def test_stream_arrives_as_the_filters_leave_it_and_ends_as_it_ended(
    events: list[bytes], data: st.DataObject, *, masks: bool, hides: bool, breaks: bool
) -> None:
    whole = b"".join(events)
    chunks = events if data.draw(st.booleans()) else cut_up(data, whole)
    frames = [*map(chunk_of, chunks), b"" if breaks else LAST_CHUNK]
    wire = HEAD + b"".join(frames)
    reads = [HEAD, *frames] if data.draw(st.booleans()) else cut_up(data, wire)
    parts = ([mask()] if masks else []) + ([hiding()] if hides else [])
    for part in cast(Any, parts):
        whole = part.feed(whole) + part.rest()
    relay, client = asyncio.run(relayed(reads, masks=masks, hides=hides, breaks=breaks))
    body, ended = unframed(bytes(client.written))
    assert ended is not breaks
    assert relay.end is (RelayEnd.TRUNCATED if breaks else RelayEnd.COMPLETE)
    assert whole.startswith(body) if breaks else whole == body
    assert relay.passed == len(b"".join(events))


@pytest.mark.parametrize("masks", [True, False])
async def test_last_bytes_are_written_with_the_end_and_nothing_waits_for_it(*, masks: bool) -> None:
    end = b"".join(END)
    frames = b"".join(map(chunk_of, END))
    together = await relayed([HEAD + chunk_of(PIECE), frames + LAST_CHUNK], masks=masks)
    assert together[1].writes[2:] == [chunk_of(end) + LAST_CHUNK]
    apart = await relayed([HEAD + chunk_of(PIECE), frames, LAST_CHUNK], masks=masks)
    assert apart[1].writes[2:] == [chunk_of(end), LAST_CHUNK]


async def test_bytes_that_a_filter_held_are_sent_with_the_end() -> None:
    frames = [HEAD + chunk_of(PIECE), chunk_of(b"data: sk-p"), LAST_CHUNK]
    relay, client = await relayed(frames, masks=True)
    assert client.writes[-1].endswith(LAST_CHUNK)
    assert unframed(bytes(client.written)) == (PIECE + b"data: ****", True)
    assert relay.end is RelayEnd.COMPLETE
