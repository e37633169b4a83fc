"""The agents' listener: one task for each request, one request at a time on a connection.

The parser is httptools' (llhttp). This module adds what the parser does not decide: the size of a
head, the versions that are served, the body of a request that offers an upgrade, and the end of a
connection. No response and no log line quotes a request that cannot be parsed: a malformed header
may hold a key.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from sidecar.errors import ErrorKind
from sidecar.http.wire.agent_messages import (
    AgentRequest,
    LocalResponse,
    RelayedResponse,
    RequestHead,
)
from sidecar.http.wire.deadlines import NEVER, DeadlineSweep
from sidecar.http.wire.framing import (
    HELD_BODY_BYTES,
    MAX_HEAD_BYTES,
    FramingError,
    IncomingBody,
    ParserEvents,
    WireProtocol,
)

KEEP_ALIVE_SECONDS = 90.0
"""Seconds that an idle connection is kept."""
HEAD_TIMEOUT_SECONDS = 15.0
"""Seconds for the head of a request to arrive, once it has begun."""
LINGER_SECONDS = 2.0
"""Seconds for which the bytes of a client are read and dropped before its connection closes. An
immediate close would reset the connection, and the client could lose the response (RFC 9112 section
9.6)."""
QUEUED_REQUEST_BYTES = 1 << 10
"""Bytes that a pipelined request counts for besides its body. Reading continues behind the running
request until `HELD_BODY_BYTES` are queued: only a connection that is read shows that its client
left."""

AgentResponse = RelayedResponse | LocalResponse
AgentHandler = Callable[[AgentRequest], Awaitable[AgentResponse]]
Refuse = Callable[[ErrorKind | None], LocalResponse]
"""Makes the response to a malformed request, to an internal error, or (None) to a version of HTTP
that is not served. A request line without a version is read as HTTP/0.9."""
_VERSIONS = frozenset({"1.0", "1.1"})

log = logging.getLogger("sidecar.http.server")


class AgentServer:
    """Makes a protocol for every connection; `opened` is called with each."""

    def __init__(
        self, handler: AgentHandler, refuse: Refuse,
        opened: Callable[[AgentConnection], object] | None = None,
    ) -> None:  # fmt: skip
        self.handler = handler
        self.refuse = refuse
        self.opened = opened
        self.closing = False
        self.loop = asyncio.get_running_loop()
        self.sweep = DeadlineSweep(self.loop)
        self.connections: set[AgentConnection] = set()

    def __call__(self) -> AgentConnection:
        """Return the protocol of a new connection."""
        return AgentConnection(self)

    def pre_shutdown(self) -> None:
        """Close connections as soon as they have nothing in hand."""
        self.closing = True
        for connection in list(self.connections):
            connection.close_soon()

    async def shutdown(self, seconds: float, /) -> None:
        """Close every connection; a running request has these seconds to end."""
        self.pre_shutdown()
        tasks = {each.task for each in self.connections if each.task is not None}
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=seconds)
        for connection in list(self.connections):
            connection.abort()
        self.sweep.close()
        await asyncio.sleep(0)  # the loop closes their sockets


class AgentConnection(WireProtocol, ParserEvents):
    """One connection of a client."""

    def __init__(self, server: AgentServer) -> None:
        super().__init__(server.loop)
        self._server = server
        self._parser: HttpRequestParser | None = HttpRequestParser(self)
        self._target = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._head = RequestHead("", [])
        self._unframed_bytes = 0
        self._in_head = False
        self._replayed_head = False
        self._arriving: AgentRequest | None = None
        self._queue: deque[AgentRequest | None] = deque()
        self._current: AgentRequest | None = None
        self.task: asyncio.Task[None] | None = None
        self.deadline = NEVER

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first request."""
        super().connection_made(transport)
        server = self._server
        server.connections.add(self)
        server.sweep.add(self)
        server.sweep.set(self, self.loop.time() + KEEP_ALIVE_SECONDS)
        if server.opened is not None:
            server.opened(self)

    def data_received(self, data: bytes) -> None:
        """Read on; start what has arrived."""
        if self._parser is None:
            return  # nothing is read any more, and the answer is to reach the client
        self._unframed_bytes += len(data)
        try:
            self._feed(data)
        except HttpParserError:
            self._break()
        else:
            if self._unframed_bytes > MAX_HEAD_BYTES:
                self._break()
        if self.task is None:
            self._next()
        if self._arriving is not None or self._queue or self._is_reading_paused:
            self._adjust_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the running request: the client left."""
        self._parser = None
        for each in (self._current, self._arriving):
            if each is not None:
                each.content.fail(ConnectionResetError("the client left"))
        if self.task is not None:
            self.task.cancel()
        self._server.connections.discard(self)
        self._server.sweep.discard(self)
        super().connection_lost(exc)

    def expire(self) -> None:
        """Close a connection that was idle, or whose head did not arrive, for too long."""
        self.abort()

    def close_soon(self) -> None:
        """Close the connection, after the answer to the request in hand if there is one."""
        if self._current is not None:
            self._current.keep_alive = False
        if self.task is None and self._arriving is None and self.transport is not None:
            self.transport.close()

    def send(self, *pieces: bytes) -> None:
        """Write at once. Raises `ConnectionError` when the client is gone."""
        if self.transport is None or self.transport.is_closing():
            raise ConnectionResetError("the client left")
        if len(pieces) == 1:
            self.transport.write(pieces[0])
        else:
            self.transport.writelines(pieces)

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Bound the time that the head may take."""
        if not self._replayed_head:
            self._target, self._fields = b"", []
            self._in_head = True

    def on_url(self, url: bytes) -> None:
        """Add to the target."""
        if not self._replayed_head:
            self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a field of the head. Trailers are read over."""
        if self._in_head:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Queue the request."""
        if self._replayed_head:
            self._replayed_head = False
            return
        parser = self._parser
        assert parser is not None  # noqa: S101 - it calls
        fields, self._in_head, self._unframed_bytes = self._fields, False, 0
        length, version = _take_length(fields), parser.get_http_version()
        if fields != self._head.fields or version != self._head.version:
            self._head = RequestHead(version, fields)
            _check_fields(fields, version)
        if len(self._target) + self._head.size > MAX_HEAD_BYTES:
            raise FramingError("the head is too large")
        self._arriving = request = AgentRequest(
            self, parser.get_method().decode(), self._target.decode("latin-1"), self._head,
            IncomingBody(self._adjust_reading, length), keep_alive=parser.should_keep_alive(),
        )  # fmt: skip
        self._queue.append(request)

    def on_body(self, body: bytes) -> None:
        """Add to the body."""
        self._unframed_bytes = 0
        if self._arriving is not None:
            self._arriving.content.feed(body)

    def on_message_complete(self) -> None:
        """End the request."""
        parser, request = self._parser, self._arriving
        self._unframed_bytes = 0
        if request is None or parser is None or parser.should_upgrade():
            return  # what follows an offer to upgrade is read by _pass_over_upgrade
        request.content.finish()
        self._arriving = None
        if not request.keep_alive:
            self._parser = None

    def _feed(self, data: bytes) -> None:
        while self._parser is not None and data:
            try:
                self._parser.feed_data(data)
            except HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                self._pass_over_upgrade()
            else:
                return

    def _pass_over_upgrade(self) -> None:
        """Read the body of a request that offers to upgrade: passing over the offer is an answer
        too (RFC 9110 section 7.8), but the parser has stopped behind the head.

        A second parser is given a head that frames the same body, without the offer.
        """
        request = self._arriving
        assert request is not None  # noqa: S101 - it was queued with its head
        if request.method == "CONNECT":  # what follows is not HTTP
            self._break()
            return
        framing = [
            b"%b: %b\r\n" % field
            for field in request.head.fields
            if field[0].lower() == b"transfer-encoding"
        ]
        if (length := request.content.length) is not None:
            framing.append(b"Content-Length: %d\r\n" % length)
        if request.keep_alive and request.is_http10:
            framing.append(b"Connection: keep-alive\r\n")
        self._parser = HttpRequestParser(self)
        self._replayed_head = True
        self._parser.feed_data(
            b"POST / HTTP/%b\r\n%b\r\n" % (request.head.version.encode(), b"".join(framing))
        )

    def _break(self) -> None:
        """Read nothing any more: it is not HTTP."""
        if self._parser is None:
            return  # it came after a request that closes its connection
        self._parser = None
        request, self._arriving = self._arriving, None
        if request is not None:
            request.keep_alive = False
            request.content.fail(FramingError("the request body is not valid HTTP/1.1"))
        else:
            self._queue.append(None)

    # One request at a time.

    def _next(self) -> None:
        if self._queue:
            self.deadline = NEVER
            self.task = self.loop.create_task(self._serve(self._queue.popleft()))
        elif self._in_head and self.deadline - self.loop.time() > HEAD_TIMEOUT_SECONDS:
            self._server.sweep.set(self, self.loop.time() + HEAD_TIMEOUT_SECONDS)

    async def _serve(self, request: AgentRequest | None) -> None:
        """Answer one request; None stands for what is none."""
        self._current = request
        try:
            if request is None:
                stays = await self._answer_nonsense()
            else:
                stays = await self._answer(request)
        except ConnectionError:
            self.abort()  # the client left
            return
        finally:
            self.task = self._current = None
        if not stays or (self._server.closing and not self._queue):
            self._close(request)
            return
        self._server.sweep.set(self, self.loop.time() + KEEP_ALIVE_SECONDS)
        if self._queue or self._in_head or self._is_reading_paused:
            self._next()
            self._adjust_reading()

    async def _answer_nonsense(self) -> bool:
        body = IncomingBody(self._adjust_reading)
        broken = AgentRequest(self, "", "", RequestHead("1.1", []), body, keep_alive=False)
        await self._server.refuse(ErrorKind.BAD_REQUEST).send(broken)
        return False

    async def _answer(self, request: AgentRequest) -> bool:
        """Answer one request. Return whether another may follow."""
        if self._server.closing:
            request.keep_alive = False
        try:
            if request.head.version in _VERSIONS:
                response = await self._server.handler(request)
            else:
                request.keep_alive = False
                response = self._server.refuse(None)
            if isinstance(response, LocalResponse):
                response = await response.send(request)
        except ConnectionError:
            raise
        except Exception as error:
            log.exception("a request could not be handled: %s", type(error).__name__)
            if request.response is not None:
                raise ConnectionAbortedError("an answer was begun already") from None
            request.keep_alive = False
            response = await self._server.refuse(ErrorKind.INTERNAL).send(request)
        return response.is_complete and request.keep_alive and request.content.is_complete

    def _close(self, request: AgentRequest | None) -> None:
        """Close once the client has what was written: read on for a while if it may still send."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        complete = request is not None and request.content.is_complete
        self._parser, self._arriving = None, None
        if complete and not self._queue:
            transport.close()
            return
        self._queue.clear()
        self.resume_body()
        with suppress(OSError, RuntimeError):
            transport.write_eof()
        self._server.sweep.set(self, self.loop.time() + LINGER_SECONDS)

    def _adjust_reading(self) -> None:
        """Stop reading while many requests wait, or much of a body is unread."""
        arriving = self._arriving
        unread = 0 if arriving is None else arriving.content.size
        waiting = len(self._queue) * QUEUED_REQUEST_BYTES
        waiting += sum([each.content.size for each in self._queue if each is not None])
        if waiting > HELD_BODY_BYTES or unread > HELD_BODY_BYTES:
            self.pause_body()
        else:
            self.resume_body()


def _take_length(fields: list[tuple[bytes, bytes]]) -> int | None:
    """Remove the `Content-Length`, of which the parser admits one, and return it."""
    for at, (name, value) in enumerate(fields):
        if len(name) == 14 and name.lower() == b"content-length":
            del fields[at]
            return int(value)
    return None


def _check_fields(fields: list[tuple[bytes, bytes]], version: str) -> None:
    """Raise `FramingError` for a head that two readers could understand differently: one with two
    hosts, or with a transfer coding that does not end the body (RFC 9112 sections 3.2 and 6.1)."""
    hosts = 0
    for name, value in fields:
        if len(name) == 4 and name.lower() == b"host":
            hosts += 1
        elif (
            len(name) == 17
            and name.lower() == b"transfer-encoding"
            and (value.lower().strip() != b"chunked" or version != "1.1")
        ):
            raise FramingError("an unknown transfer coding")
    if hosts > 1:
        raise FramingError("two hosts")
