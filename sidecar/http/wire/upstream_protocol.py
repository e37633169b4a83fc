"""A connection to a provider or a proxy: one request at a time, and the answer to it.

The parser is httptools' (llhttp). What it leaves to its user is decided here: where a body ends
that only the end of the connection frames, that an answer to HEAD has none, how much a head may
hold, and whether the connection can be used again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from sidecar.errors import Fault, UpstreamError
from sidecar.http.wire.deadlines import NEVER, DeadlineSweep, silent_for
from sidecar.http.wire.framing import (
    INLINE_BODY_BYTES,
    LAST_CHUNK,
    MAX_HEAD_BYTES,
    ChunkEvents,
    IncomingBody,
    Sink,
    WireProtocol,
    chunk_of,
    only_chunk,
)
from sidecar.http.wire.response_head import HeadForm, ResponseHead, head_of_any_form, head_of_fields
from sidecar.http.wire.tls import ResumingContext

KEEP_ALIVE_SECONDS = 20.0
"""Seconds an idle connection is kept: less than any vendor keeps it, so that few are found dead."""
PIECE_BYTES = 1 << 18
"""Larger bodies are written in pieces of this size, so that the loop is not held up."""
INVALID = "its answer was not valid HTTP"
_CONTROL = bytes({*range(0x20), 0x7F} - {0x09})
_SWITCHING = 101
_CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
"""Stands for a head that was read without the parser, before the chunks that it is to read."""
_UNUSUAL_METHODS = frozenset({"HEAD", "CONNECT"})
"""Methods whose answers have no body, whatever their fields say."""


class UpstreamConnection(WireProtocol, ChunkEvents):
    """Sends a request and reads its answer.

    `home` has the idle connections to where this one leads. `tls` remembers the session once the
    first answer came. `received`: some of an answer came. `_form` is that of the latest usual head.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, sweep: DeadlineSweep) -> None:
        super().__init__(loop)
        self._sweep = sweep
        self.deadline = NEVER
        self.expiry_reason = ""
        self._idle = NEVER
        self.tls: ResumingContext | None = None
        self.home: list[UpstreamConnection] = []
        self._upload: asyncio.Task[None] | None = None
        self._is_asked = False
        self._method = ""
        self._waiter: asyncio.Future[None] | None = None
        self._head: ResponseHead | None = None
        self._form: HeadForm | None = None
        self._may_stay = False
        self.received = False
        self.body = IncomingBody(self.resume_body)
        self._reset_parsing()

    def _reset_parsing(self) -> None:
        """Forget what reading with a parser has left. Reading without one leaves nothing here on a
        connection that can be used again."""
        self._parser: HttpResponseParser | None = None
        self._bytes_left = 0
        self._status_text = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._unframed_bytes = 0
        self._is_between_chunks = self.is_chunk_over = False
        self._failure: UpstreamError | None = None
        self._ends_by_close = False

    def send(self, method: str, head: bytes, body: bytes | AsyncIterable[bytes]) -> None:
        """Write a request. A large body, or one that is still to come, is written by a task;
        `head` frames it: by its length, or as chunks."""
        transport = self.transport
        assert transport is not None  # noqa: S101 - a connection is made before it is given
        if self._parser is not None:
            self._reset_parsing()
        self._method = method
        self._head = None
        self._may_stay = self.received = False
        self._is_asked = True
        self.body = IncomingBody(self.resume_body)
        if not isinstance(body, bytes) or len(body) > PIECE_BYTES:
            transport.write(head)
            self._upload = self.loop.create_task(self._send_body(head, body))
        elif len(body) <= INLINE_BODY_BYTES:
            transport.write(head + body)
        else:
            transport.writelines((head, body))

    async def read_head(self, until: float, expiry_reason: str) -> ResponseHead:
        """Wait for the head of the answer, at most `until` (seconds of the loop's clock).

        Raises `UpstreamError`; its text is `expiry_reason` when the time is over.
        """
        self.expiry_reason, self.deadline = expiry_reason, until
        if until < self._sweep.armed_for:
            self._sweep.arm(until)
        try:
            while self._head is None:
                if self._failure is not None:
                    raise self._failure
                self._waiter = self.loop.create_future()
                await self._waiter
        finally:
            self._waiter = None
            self.deadline = NEVER
        return self._head

    async def pass_on(self, sink: Sink, idle: float) -> bool:
        """Call `sink` with the bytes of the body as they arrive (`IncomingBody.pass_on`). Raises
        `UpstreamError`, also when none come for `idle` seconds, and what `sink` raises."""
        self.expiry_reason, self._idle = silent_for(idle), idle
        self._sweep.set(self, self.loop.time() + idle)
        try:
            return await self.body.pass_on(sink)
        finally:
            self.deadline = self._idle = NEVER

    async def read(self, idle: float) -> bytes:
        """Return the next bytes of the body; b"" at its end. Raises `UpstreamError`, also when none
        come for `idle` seconds.

        Time in which nothing is read, because the client does not read, is not the provider's
        silence.
        """
        body = self.body
        if body.is_ready:
            return await body.read()
        self.expiry_reason = silent_for(idle)
        self._sweep.set(self, self.loop.time() + idle)
        try:
            return await body.read()
        finally:
            self.deadline = NEVER

    def rest(self) -> None:
        """Stay idle at `home` until the next request, for some seconds. Be cut if none can follow:
        the answer did not end, was not read to its end, or ends the connection.

        Bytes that arrive before the next request belong to none: they close the connection."""
        body = self.body
        if not self._may_stay or not body.is_complete or body.pieces:
            self.abort()
            return
        self._is_asked = False
        self._upload = None
        self.home.append(self)
        until = self.deadline = self.loop.time() + KEEP_ALIVE_SECONDS
        if until < self._sweep.armed_for:
            self._sweep.arm(until)

    def expire(self) -> None:
        """Give up what is waited for, or a connection that was kept for long."""
        if self._is_asked:
            self._fail(UpstreamError(Fault.TIMEOUT, self.expiry_reason, sent=True))
        self.abort()

    def abort(self) -> None:
        """Cut the connection, and what is still written to it."""
        if self._upload is not None:
            self._upload.cancel()
        super().abort()

    async def start_tls(self, context: object, server_name: str) -> None:
        """Speak TLS from here on, to the other end of a tunnel. Raises `OSError`."""
        assert self.transport is not None  # noqa: S101 - the tunnel was opened just now
        self._is_asked = False
        tunnel = await self.loop.start_tls(
            self.transport, self, context, server_hostname=server_name  # type: ignore[arg-type]
        )  # fmt: skip
        self.transport = tunnel

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Watch the deadlines of this connection."""
        super().connection_made(transport)
        self._sweep.add(self)

    def data_received(self, data: bytes) -> None:
        """Read on in the answer."""
        if self._is_between_chunks and (piece := only_chunk(data)):
            # As most of a stream. The parser need not see it: its state after it is the same.
            self.deadline = self.loop.time() + self._idle
            if self.body.receive(piece, data):
                self.pause_body()
            return
        if not self._is_asked:  # it answers nothing: such as a 408 before an idle close
            self._may_stay = False
            self.abort()
            return
        self.received = True
        if self._parser is None:
            data = self._read_usual(data)
            if not data:
                return
            self._parser = HttpResponseParser(self)
        self._unframed_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._may_stay = False
            self._fail(UpstreamError(Fault.PROTOCOL, INVALID, sent=True))
            self.abort()
            return
        self._is_between_chunks = (
            self.is_chunk_over and data.endswith(b"\r\n") and not self.body.is_complete
        )
        if self._idle is not NEVER:
            self.deadline = self.loop.time() + self._idle
            self.body.deliver()
        # A head is bounded by its fields as well; this bounds what the parser holds.
        if self._unframed_bytes > MAX_HEAD_BYTES and not self.body.is_complete:
            self._fail(UpstreamError(Fault.PROTOCOL, INVALID, sent=True))
            self.abort()

    def _read_usual(self, data: bytes) -> bytes:
        """Read an answer of the usual form without a parser. Return the bytes that are left for the
        parser: all of any other answer, the chunks of a usual one, and what follows it."""
        if self._head is None:
            if self._method in _UNUSUAL_METHODS:
                return data
            head = None if self._form is None else self._form.find(data)
            if head is None and (head := head_of_any_form(data)) is None:
                return data
            self._form = head.form
            self._may_stay = True
            self._begin_answer(head)
            data, length = data[len(head.raw) :], head.length
            if length is None:
                return _CHUNKED_HEAD + data
            if len(data) == length:  # as of most: it arrived with its head
                self.body.fill(data)
                if self._upload is not None:
                    self._judge_upload()
                return b""
            self._bytes_left = length
        taken = data[: self._bytes_left]
        self._bytes_left -= len(taken)
        if taken and self.body.feed(taken):
            self.pause_body()
        if not self._bytes_left and not self.body.is_complete:
            self._complete()
        if self._idle is not NEVER:
            self.deadline = self.loop.time() + self._idle
            self.body.deliver()
        return data[len(taken) :]

    def eof_received(self) -> None:
        """End a body that only this ends."""
        self._end_of_input(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what was waited for."""
        self._end_of_input(exc)
        self._sweep.discard(self)
        if not self._is_asked and self in self.home:
            self.home.remove(self)
        if self._upload is not None:
            self._upload.cancel()
        super().connection_lost(exc)

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Nothing may follow an answer before the next request."""
        self._check_incomplete()

    def on_status(self, text: bytes) -> None:
        """Add to the reason."""
        self._status_text += text

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a field of the head. Trailers are not passed on (RFC 9110 section 6.5.1)."""
        if self._head is None:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Judge the head, unless it is an interim one."""
        assert self._parser is not None  # noqa: S101 - it calls
        self._check_incomplete()
        if self._head is not None:
            return  # it was read without the parser
        status = self._parser.get_status_code()
        fields, self._fields = self._fields, []
        text, self._status_text = self._status_text, b""
        if sum([len(name) + len(value) + 4 for name, value in fields]) > MAX_HEAD_BYTES:
            raise ValueError(INVALID)
        if 100 <= status < 200 and status != _SWITCHING:
            self._unframed_bytes = 0
            return
        if not 200 <= status <= 599:
            self._fail(UpstreamError(Fault.PROTOCOL, f"its status is {status}", sent=True))
            raise ValueError(INVALID)
        if len(text.translate(None, _CONTROL)) < len(text):
            raise ValueError(INVALID)
        self._unframed_bytes = 0
        head = head_of_fields(status, text.decode("utf-8", "surrogateescape"), fields)
        self._frame(head)
        self._begin_answer(head)
        if self._method == "HEAD" or (self._method == "CONNECT" and status < 300):
            self._complete()

    def on_body(self, data: bytes) -> None:
        """Add to the body."""
        if self.body.is_complete:
            self._may_stay = False  # the answer to a HEAD has none
            return
        self._unframed_bytes = 0
        if self.body.feed(data):
            self.pause_body()

    def on_message_complete(self) -> None:
        """End the answer, unless it is an interim one, or ended before."""
        if self._head is not None and not self.body.is_complete:
            self._complete()

    def _check_incomplete(self) -> None:
        if self.body.is_complete:
            raise ValueError("an answer to nothing")

    def _frame(self, head: ResponseHead) -> None:
        """Find what ends the body (RFC 9112 section 6.3), and whether the connection may stay.

        Keeping connections is an option of HTTP/1.0 that many of its servers claim and do not have:
        the next request would wait for ever.
        """
        assert self._parser is not None  # noqa: S101 - it calls
        self._ends_by_close = head.ends_by_close and self._method != "HEAD"
        modern = self._parser.get_http_version() == "1.1"
        self._may_stay = modern and self._parser.should_keep_alive() and not self._ends_by_close

    def _begin_answer(self, head: ResponseHead) -> None:
        if self.tls is not None and self.transport is not None:
            self.tls.remember(self.transport.get_extra_info("ssl_object"))
            self.tls = None
        self._head = head
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _complete(self) -> None:
        self.body.finish()
        self._judge_upload()

    def _judge_upload(self) -> None:
        if self._upload is not None and not self._upload.done():
            self._may_stay = False  # the rest of the request would be taken for the next one

    def _end_of_input(self, exc: Exception | None) -> None:
        self._may_stay = False
        if self._ends_by_close and exc is None and self._failure is None:
            self.body.finish()
        elif self._head is not None:
            self._fail(UpstreamError(Fault.CLOSED, "it broke off in its answer", sent=True))
        else:
            why = "it closed without an answer" if exc is None else "the connection was reset"
            self._fail(UpstreamError(Fault.CLOSED, why, sent=True))

    def _fail(self, error: UpstreamError) -> None:
        self.body.fail(error)
        if self._failure is None:
            self._failure = error
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _send_body(self, head: bytes, body: bytes | AsyncIterable[bytes]) -> None:
        try:
            if isinstance(body, bytes):
                view = memoryview(body)
                for start in range(0, len(body), PIECE_BYTES):
                    await self.write(view[start : start + PIECE_BYTES])
                return
            chunked = b"\r\ntransfer-encoding: chunked\r\n" in head.lower()
            async for piece in body:
                await self.write(chunk_of(piece) if chunked else piece)
            if chunked:
                await self.write(LAST_CHUNK)
        except ConnectionError:
            pass  # what reads the answer finds the connection closed
        except Exception:  # noqa: BLE001 - whatever kept the body from arriving
            self._fail(UpstreamError(Fault.CLOSED, "the request body broke off", sent=True))
            super().abort()
