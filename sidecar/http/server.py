"""The HTTP server of the admin side: aiohttp's low-level server with explicit limits.

A request that cannot be parsed is answered and logged without any of its text, as a malformed
header may hold a key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import HttpVersion10, HttpVersion11, web

from sidecar.errors import ErrorKind, LocalReply
from sidecar.http.aiohttp_internals import AdminServerProtocol
from sidecar.http.responses import plain

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
