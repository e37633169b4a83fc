"""The admin side's HTTP server: aiohttp's low-level server with explicit limits.

The one module with private names of aiohttp. A request that cannot be parsed is answered and logged
without any of its text, as a malformed header may hold a key.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import HttpVersion10, HttpVersion11, web
from aiohttp.web_protocol import _ErrInfo

from sidecar.errors import ErrorKind, LocalReply
from sidecar.http.responses import plain


class AdminServerProtocol(web.RequestHandler):
    """One connection of the admin side."""

    _head_timer: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """Also start the timer for the head of a request."""
        super().data_received(data)
        if self._messages and isinstance(self._messages[-1][0], _ErrInfo):
            self._break_body()
        waiting = self._waiter is not None and not self._waiter.done()
        if waiting and self._head_timer is None:
            self._head_timer = self._loop.call_later(HEAD_TIMEOUT_SECONDS, self._give_up_head)
        elif not waiting and self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def connection_lost(self, exc: BaseException | None) -> None:
        """Also cancel the timer."""
        if self._head_timer is not None:
            self._head_timer.cancel()
        super().connection_lost(exc)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Also omit the library's name and version from responses."""
        if not resp.prepared:
            resp.headers.setdefault("Server", "sidecar")
        return await super().finish_response(request, resp, start_time)

    def _break_body(self) -> None:
        """Raise an error in the reader of a body with malformed chunks, as the library does not."""
        request = self._current_request
        if request is None or request.content.is_eof():
            return
        # The handler answers, and nothing on this connection can be understood any more.
        self._messages.pop()
        self.close()
        request.content.set_exception(web.RequestPayloadError("not valid HTTP/1.1"))
        request.content.feed_eof()

    def _give_up_head(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - the library passes it
    ) -> web.StreamResponse:
        """Answer without the texts of `exc` and `message`, which quote the request."""
        log.debug("a request could not be handled: %s", type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer was begun already")
        bad = 400 <= status < 500
        refusal = (
            LocalReply(ErrorKind.BAD_REQUEST, "the request is not valid HTTP/1.1")
            if bad
            else LocalReply(ErrorKind.INTERNAL, "an error in Sidecar itself; its log tells more")
        )
        response = plain(refusal)
        response.force_close()
        return response


HEAD_TIMEOUT_SECONDS = 15.0
"""Seconds for the head of a request to arrive, once it has begun."""

log = logging.getLogger("sidecar.http.server")


Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
KEEP_ALIVE_SECONDS = 90.0
"""Seconds that an idle connection is kept."""
MAX_HEAD_LINE_BYTES = 64 * 1024

# A request line without a version is read as HTTP/0.9, which has neither headers nor bodies.
_VERSIONS = frozenset({HttpVersion10, HttpVersion11})


async def _unversioned() -> web.StreamResponse:
    response = plain(
        LocalReply(ErrorKind.BAD_REQUEST, "only HTTP/1.1 and HTTP/1.0 are served here")
    )
    response.force_close()
    return response


class HttpServer(web.Server):
    """Create one protocol for each connection."""

    def __init__(self, handler: Handler) -> None:
        def handle(request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
            message = request._message  # noqa: SLF001
            if message.chunked:
                # The library takes trailers for fields of the next request on this connection.
                request._message = message._replace(should_close=True)  # noqa: SLF001
            return handler(request) if request.version in _VERSIONS else _unversioned()

        super().__init__(handle, handler_cancellation=True)

    def __call__(self) -> AdminServerProtocol:
        """Return the protocol of a new connection."""
        protocol = AdminServerProtocol(
            self,
            loop=self._loop,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            access_log=None,  # type: ignore[arg-type]  # None is what turns it off
            auto_decompress=False,
            max_line_size=MAX_HEAD_LINE_BYTES,
            max_field_size=MAX_HEAD_LINE_BYTES,
            lingering_time=2.0,
        )
        # The parser stops one request early where a body came after its head was taken. Who does
        # not notice would leave the requests behind it unread.
        protocol._max_msg_queue_size -= 1  # noqa: SLF001
        return protocol
