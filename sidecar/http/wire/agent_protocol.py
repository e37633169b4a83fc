"""Connections of agents and of the admin side: one task for each request, one at a time.

`request_reader` reads the requests; this module serves those of a known version of HTTP, and closes
connections. No response and no log line quotes a request that cannot be parsed: a malformed header
may hold a key.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from sidecar.errors import ErrorKind
from sidecar.http.wire.agent_messages import (
    AgentRequest,
    LocalResponse,
    RelayedResponse,
    RequestHead,
)
from sidecar.http.wire.deadlines import NEVER, DeadlineSweep
from sidecar.http.wire.framing import IncomingBody
from sidecar.http.wire.request_reader import RequestReader

KEEP_ALIVE_SECONDS = 90.0
"""Seconds that an idle connection is kept."""
HEAD_TIMEOUT_SECONDS = 15.0
"""Seconds for the head of a request to arrive, once it has begun."""
LINGER_SECONDS = 2.0
"""Seconds for which the bytes of a client are read and dropped before its connection closes. An
immediate close would reset the connection, and the client could lose the response (RFC 9112 section
9.6)."""

AgentResponse = RelayedResponse | LocalResponse
AgentHandler = Callable[[AgentRequest], Awaitable[AgentResponse]]
Refuse = Callable[[ErrorKind | None], LocalResponse]
"""Makes the response to a malformed request, to an internal error, or (None) to a version of HTTP
that is not served. A request line without a version is read as HTTP/0.9."""

log = logging.getLogger("sidecar.http.server")


class AgentServer:
    """Makes a protocol for every connection, of the agents or of the admin side; `opened` is called
    with each."""

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


class AgentConnection(RequestReader):
    """One connection of a client."""

    def __init__(self, server: AgentServer) -> None:
        super().__init__(server.loop)
        self._server = server
        self._current: AgentRequest | None = None
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
        data = self._read_repeated(data)
        if data:
            self._parse(data)
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

    # One request at a time.

    def _next(self) -> None:
        if self._queue:
            self.deadline = NEVER
            self.task = self.loop.create_task(self._serve(self._queue.popleft()))
        elif self._in_head and self.deadline - self.loop.time() > HEAD_TIMEOUT_SECONDS:
            self._server.sweep.set(self, self.loop.time() + HEAD_TIMEOUT_SECONDS)

    async def _serve(self, request: AgentRequest | None) -> None:
        """Answer one request; None stands for bytes that are no HTTP."""
        self._current, server, stays = request, self._server, False
        try:
            if request is None:
                await self._answer_nonsense()
            else:
                if server.closing:
                    request.keep_alive = False
                handle = server.handler if request.head.is_served else self._refuse_version
                response = await handle(request)
                if isinstance(response, LocalResponse):
                    response = await response.send(request)
                # It says so only if the request was read to its end, and no stop has begun.
                stays = response.is_complete and request.keep_alive
        except ConnectionError:
            self.abort()  # the client left
            return
        except Exception as error:
            log.exception("a request could not be handled: %s", type(error).__name__)
            await self._answer_failure(request)
        finally:
            self.task = self._current = None
        if not stays:
            self._close(request)
            return
        until = self.deadline = self.loop.time() + KEEP_ALIVE_SECONDS
        if until < server.sweep.armed_for:
            server.sweep.arm(until)
        if self._queue or self._in_head or self._is_reading_paused:
            self._next()
            self._adjust_reading()

    async def _answer_nonsense(self) -> None:
        body = IncomingBody(self._adjust_reading)
        head = RequestHead("1.1", [])
        broken = AgentRequest(self, "", "", head, head.headers, body, keep_alive=False)
        await self._server.refuse(ErrorKind.BAD_REQUEST).send(broken)

    async def _refuse_version(self, request: AgentRequest) -> AgentResponse:
        request.keep_alive = False
        return self._server.refuse(None)

    async def _answer_failure(self, request: AgentRequest | None) -> None:
        """Answer a request that could not be handled; cut the connection if that is too late."""
        if request is None or request.response is not None:
            self.abort()
            return
        request.keep_alive = False
        try:
            await self._server.refuse(ErrorKind.INTERNAL).send(request)
        except ConnectionError:
            self.abort()  # the client left

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
