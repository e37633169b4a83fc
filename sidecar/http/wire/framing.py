"""Bounds, bodies as they arrive and writing with back-pressure, for both directions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import lru_cache
from io import BytesIO
from typing import Protocol, cast

from httptools import HTTPProtocol
from msgspec import Struct

MAX_HEAD_BYTES = 64 * 1024
"""Bytes of a head, of the trailers of a body, or of what frames a chunk."""
INLINE_BODY_BYTES = 1 << 14
"""Bodies up to this size are copied behind their head: one piece is written faster than two."""
HELD_BODY_BYTES = 1 << 18
"""Unread bytes of a body from which on its connection is not read any further."""


class FramingError(ValueError):
    """A message that breaks the rules of HTTP/1.1, in words for the other side."""


class ParserEvents(HTTPProtocol):
    """Pass over the events of the parser that one of the two directions does not need. The parser
    calls nothing for those that are None."""

    def on_url(self, url: bytes) -> None:
        """Pass over the target of a request."""

    def on_status(self, status: bytes) -> None:
        """Pass over the reason of an answer."""

    on_chunk_header = on_chunk_complete = None  # type: ignore[assignment]


class ChunkEvents(ParserEvents):
    """Note whether the latest chunk has ended. A part of the next one may have arrived, too."""

    is_chunk_over = False

    def on_chunk_header(self) -> None:  # type: ignore[override]
        """Note that a chunk has begun."""
        self.is_chunk_over = False

    def on_chunk_complete(self) -> None:  # type: ignore[override]
        """Note that it has ended."""
        self.is_chunk_over = True


class Sink(Protocol):
    """Takes the next bytes of a body."""

    def __call__(self, data: bytes, chunk: bytes = b"", /, *, is_last: bool = False) -> bool:
        """Take the next bytes; `chunk` is the chunk that they came in, if they came as one. None
        follow after the last ones. Return False to take no more for now."""


class IncomingBody(Struct, eq=False):
    """The body of one message: fed by its connection, read by one task.

    An error comes after the bytes that arrived before it.

    Attributes:
        on_room: Called when what was too much has been read.
        length: The declared length in bytes; None without a declaration.
        pieces: The bytes that have arrived and were not read.
        size: Their number.
        is_complete: Whether all of it has arrived.
    """

    on_room: Callable[[], None]
    length: int | None = None
    pieces: list[bytes] = []
    size: int = 0
    is_complete: bool = False
    _waiter: asyncio.Future[None] | None = None
    _sink: Sink | None = None  # while there is one, nothing is unread, and there is no error
    _error: Exception | None = None
    _into: BytesIO | None = None

    @property
    def is_drained(self) -> bool:
        """Return whether all of it arrived, and was read."""
        return self.is_complete and not self.pieces

    @property
    def is_ready(self) -> bool:
        """Return whether `read` returns without waiting."""
        return bool(self.pieces) or self.is_complete or self._error is not None

    @property
    def error(self) -> Exception | None:
        """Return why the rest never arrives; None while it may."""
        return self._error

    def feed(self, data: bytes) -> bool:
        """Add the next bytes, unless it has failed. Return whether too many are unread."""
        if self._error is not None:
            return False
        if self._into is not None:
            self._into.write(data)
            return False
        self.pieces.append(data)
        if self._sink is not None:
            return False  # `deliver` follows at once
        self.size += len(data)
        if self._waiter is not None:
            self._wake()
        return self.size > HELD_BODY_BYTES

    def receive(self, data: bytes, chunk: bytes) -> bool:
        """Do what `feed` and `deliver` do, for the only bytes of a read, which came as `chunk`:
        without a list of pieces. Return whether too many are unread."""
        sink = self._sink
        if sink is None:
            return self.feed(data)
        try:
            if sink(data, chunk):
                return False
        except Exception as error:  # noqa: BLE001 - `pass_on` raises it
            self._error = error
        self._sink = None
        self._wake()
        return False

    def deliver(self) -> None:
        """Give the sink of `pass_on` what has arrived. The connection calls this once for each
        read, so that pieces which came together are passed on together."""
        sink, pieces = self._sink, self.pieces
        if sink is None or not pieces:
            return
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        try:
            if sink(data, is_last=self.is_complete):
                return
        except Exception as error:  # noqa: BLE001 - `pass_on` raises it
            self._error = error
        self._sink = None
        self._wake()

    def fill(self, data: bytes) -> None:
        """Set the whole body, of which nothing came before."""
        if data:
            self.pieces.append(data)
            self.size = len(data)
        self.is_complete = True
        if self._waiter is not None:
            self._wake()

    def finish(self) -> None:
        """Mark the end, in its proper place."""
        self.is_complete = True
        if self._waiter is not None:
            self._wake()

    def fail(self, error: Exception) -> None:
        """Mark that the rest never arrives. The first error stays."""
        if not self.is_complete and self._error is None:
            self._error, self._sink = error, None
            self._wake()

    def take(self) -> bytes:
        """Return what has arrived and was not read; b"" when that is nothing."""
        pieces = self.pieces
        if len(pieces) == 1:
            data = pieces.pop()
        elif pieces:
            data = b"".join(pieces)
            pieces.clear()
        else:
            return b""
        size, self.size = self.size, 0
        if size > HELD_BODY_BYTES:
            self.on_room()
        return data

    async def read(self) -> bytes:
        """Return the next bytes as they arrive; b"" at the end. Raises the error it failed with."""
        while not self.pieces:
            if self.is_complete:
                return b""
            if self._error is not None:
                raise self._error
            await self._wait()
        return self.take()

    async def gather(self, into: BytesIO) -> None:
        """Write the body to `into` as it arrives, until its end: its pieces wake no task, and are
        never too many. The calling code has memory for all of them. Raises the error it failed
        with."""
        into.write(self.take())
        self._into = into
        try:
            while not self.is_complete:
                if self._error is not None:
                    raise self._error
                await self._wait()
        finally:
            self._into = None

    async def pass_on(self, sink: Sink) -> bool:
        """Call `sink` with the next bytes as they arrive, each time in the event that brings them:
        waking a task for each piece of a stream would cost a third of passing it on.

        Returns:
            True at the end; False once `sink` returned False.

        Raises the error that the body failed with, or that `sink` raised.
        """
        self._sink = sink
        try:
            while True:
                if self.pieces and not sink(self.take(), is_last=self.is_complete):
                    return False
                if self._error is not None:
                    raise self._error
                if self.is_complete or self._sink is None:
                    return self.is_complete
                await self._wait()
        finally:
            self._sink = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self.read():
            yield data

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


class WireProtocol(asyncio.Protocol):
    """A connection that can be written to no faster than the other side reads."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.transport: asyncio.Transport | None = None
        self._room: asyncio.Future[None] | None = None
        self.is_full = False
        self._is_reading_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - of asyncio
        """Let a writer that waits find the connection closed."""
        self.transport = None
        self.resume_writing()

    def pause_writing(self) -> None:
        """Have `drained` wait."""
        self.is_full = True

    def resume_writing(self) -> None:
        """Have `drained` return."""
        self.is_full = False
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    async def drained(self) -> None:
        """Wait until the other side has read enough. Raises `ConnectionError` once it is gone."""
        while self.is_full and self.transport is not None:
            if self._room is None:
                self._room = self.loop.create_future()
            await asyncio.shield(self._room)
        if self.transport is None:
            raise ConnectionResetError("the connection is closed")

    async def write(self, data: bytes | memoryview) -> None:
        """Write once the other side has read enough. Raises `ConnectionError` once it is gone."""
        # Let the loop read first: a failing write closes the transport, and a response that came
        # already, such as a 413 before a reset, would be lost.
        await asyncio.sleep(0)
        await self.drained()
        assert self.transport is not None  # noqa: S101 - checked by drained()
        self.transport.write(data)

    def abort(self) -> None:
        """Cut the connection; what was not written is lost."""
        if self.transport is not None:
            self.transport.abort()

    def pause_body(self) -> None:
        """Read no more until `resume_body`."""
        if self.transport is not None and not self._is_reading_paused:
            self._is_reading_paused = True
            self.transport.pause_reading()

    def resume_body(self) -> None:
        """Read on, if `pause_body` stopped it."""
        if self._is_reading_paused:
            self._is_reading_paused = False
            if self.transport is not None:
                self.transport.resume_reading()


def chunk_of(data: bytes) -> bytes:
    """Return bytes as one chunk of a body (RFC 9112 section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def only_chunk(data: bytes) -> bytes:
    """Return what one chunk holds, if `data` is one, whole and of the usual form; else b"". The
    last chunk, which is empty, is another form."""
    line = _size_line(len(data))
    begin = len(line)
    if data[:begin].lower() == line and data[-2:] == b"\r\n":
        return data[begin:-2]
    return b""


@lru_cache(maxsize=4096)
def _size_line(total: int) -> bytes:
    """Return the size line of the only chunk that takes so many bytes in all; if none does, what
    nothing in lower case begins with."""
    for digits in range(1, len(b"%x" % total) + 1):
        size = total - digits - 4
        if size > 0 and len(line := b"%x\r\n" % size) == digits + 2:
            return line
    return b"X"


LAST_CHUNK = b"0\r\n\r\n"
