"""The body of a message: passed on as it arrives, however it is cut and refused."""

from __future__ import annotations

import asyncio
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import Fault, ProxyError, UpstreamError
from sidecar.http.body_memory import BodyMemory, HeldBody
from sidecar.http.body_reading import read_body
from sidecar.http.wire.framing import HELD_BODY_BYTES, IncomingBody, chunk_of

READS = st.lists(st.lists(st.binary(min_size=1, max_size=5), min_size=1, max_size=3), max_size=8)
"""What each read of a connection brings: the pieces that the parser cuts it into."""
BROKEN = UpstreamError(Fault.CLOSED, "it broke off", sent=True)


async def passed_on(
    reads: list[list[bytes]], accepts: list[bool], error: Exception | None
) -> list[bytes]:
    """Return the calls of the sink. It refuses to take more where `accepts` is false."""
    body, calls, left = IncomingBody(lambda: None), [], list(accepts)

    def sink(data: bytes, chunk: bytes = b"", *, is_last: bool = False) -> bool:
        assert chunk in {b"", chunk_of(data)}
        calls.append(data)
        return left.pop() if left else True

    async def pass_on() -> None:
        while not await body.pass_on(sink):
            pass

    task = asyncio.create_task(pass_on())
    await asyncio.sleep(0)
    for pieces in reads:
        if len(pieces) == 1:
            assert not body.receive(pieces[0], chunk_of(pieces[0]))
        else:
            for piece in pieces:
                body.feed(piece)
            body.deliver()
        await asyncio.sleep(0)
    body.fail(error) if error is not None else body.finish()
    await task
    return calls


@given(READS, st.lists(st.booleans(), max_size=8))
def test_body_is_passed_on_in_order_also_to_a_sink_that_refuses(
    reads: list[list[bytes]], accepts: list[bool]
) -> None:
    calls = asyncio.run(passed_on(reads, accepts, None))
    assert b"".join(calls) == b"".join(map(b"".join, reads))


def test_pieces_of_one_read_are_passed_on_together() -> None:
    calls = asyncio.run(passed_on([[b"a", b"b"], [b"c"]], [], None))
    assert calls == [b"ab", b"c"]


def test_failed_body_raises_after_its_last_piece() -> None:
    async def failing() -> None:
        body, calls = IncomingBody(lambda: None), []

        def sink(data: bytes, _: bytes = b"", *, is_last: bool = False) -> bool:
            calls.append(data)
            return True

        task = asyncio.create_task(body.pass_on(sink))
        await asyncio.sleep(0)
        body.feed(b"a")
        body.fail(BROKEN)
        with pytest.raises(UpstreamError, match="it broke off"):
            await task
        assert calls == [b"a"]

    asyncio.run(failing())


@pytest.mark.parametrize("is_only", [True, False])
def test_error_of_a_sink_is_raised_to_the_task_and_ends_the_body(*, is_only: bool) -> None:
    def arrive(body: IncomingBody, data: bytes) -> None:
        if is_only:
            body.receive(data, chunk_of(data))
        else:
            body.feed(data)
            body.deliver()

    async def failing() -> None:
        body, calls = IncomingBody(lambda: None), []

        def sink(data: bytes, _: bytes = b"", *, is_last: bool = False) -> bool:
            calls.append(data)
            raise ConnectionResetError("the client left")

        task = asyncio.create_task(body.pass_on(sink))
        await asyncio.sleep(0)
        arrive(body, b"a")
        arrive(body, b"b")
        with pytest.raises(ConnectionResetError):
            await task
        assert calls == [b"a"]

    asyncio.run(failing())


async def test_body_that_still_arrives_is_whole_however_often_its_progress_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sidecar.http.body_reading._GRAIN_SECONDS", 0.0)
    held = HeldBody(BodyMemory(1000, Path(), asyncio.get_running_loop().time))
    await held.reserve(9)
    body = IncomingBody(lambda: None, 9)
    task = asyncio.create_task(read_body(body, 9, held))
    for at in range(9):
        for _ in range(5):
            await asyncio.sleep(0)
        body.feed(b"%d" % at)
    body.finish()
    assert await task == b"012345678"


async def test_body_with_memory_for_all_of_it_is_never_too_much() -> None:
    length = 8 * HELD_BODY_BYTES
    held = HeldBody(BodyMemory(length, Path(), asyncio.get_running_loop().time))
    await held.reserve(length)
    body, piece = IncomingBody(lambda: None, length), b"a" * HELD_BODY_BYTES
    task = asyncio.create_task(read_body(body, length, held))
    await asyncio.sleep(0)
    assert not any(body.feed(piece) for _ in range(8))
    body.finish()
    assert await task == piece * 8


async def test_declared_body_above_the_limit_is_refused_whatever_is_reserved() -> None:
    held = HeldBody(BodyMemory(1000, Path(), asyncio.get_running_loop().time))
    await held.reserve(10)
    body = IncomingBody(lambda: None, 10)
    task = asyncio.create_task(read_body(body, 9, held))
    await asyncio.sleep(0)
    body.feed(b"a" * 10)
    body.finish()
    with pytest.raises(ProxyError, match="larger than 9 bytes"):
        await task


@given(READS, st.booleans())
def test_gathered_body_is_whole_and_its_pieces_wake_no_task(
    reads: list[list[bytes]], fails: bool
) -> None:
    async def gathered() -> None:
        body, into = IncomingBody(lambda: None), BytesIO()
        body.feed(b"a")
        task = asyncio.create_task(body.gather(into))
        await asyncio.sleep(0)
        waiter = body._waiter
        for pieces in reads:
            for piece in pieces:
                assert not body.feed(piece)
            await asyncio.sleep(0)
            assert body._waiter is waiter
        body.fail(BROKEN) if fails else body.finish()
        if fails:
            with pytest.raises(UpstreamError):
                await task
        else:
            await task
            assert into.getvalue() == b"a" + b"".join(map(b"".join, reads))

    asyncio.run(gathered())
