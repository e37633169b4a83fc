"""Reading that stops while nobody takes what came, without a price for who never stops it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from email.utils import formatdate

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpVersion11
from aiohttp.web_protocol import _ErrInfo

from sidecar.errors import ErrorKind, LocalReply
from sidecar.http.headers import Fields, has, head_of, lines_of
from sidecar.http.responses import plain
from sidecar.http.wire.framing import INLINE_BODY_BYTES


class Pausing(BaseProtocol):
    """Has the library's parser look for held bytes only where it can hold any.

    The library has it look after every read. But one that was paused once may hold bytes later,
    when reading goes on: a pause between two pieces stops it only in the piece after them.
    """

    was_paused = False

    def pause_reading(self) -> None:
        """Take no more, until what came was read."""
        self.was_paused = True
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001 - the library's
        """Go on, if ever it stopped."""
        if self.was_paused:
            super().resume_reading(resume_parser)


class AgentServerProtocol(Pausing, web.RequestHandler):
    """One connection."""

    opened: OnOpened | None = None
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Also tell who wants to know."""
        super().connection_made(transport)
        if self.opened is not None:
            self.opened(self)

    def data_received(self, data: bytes) -> None:
        """Also bound the time that a head may take."""
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
        """Also forget the timer."""
        if self._head_timer is not None:
            self._head_timer.cancel()
        super().connection_lost(exc)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Also leave the library's name and version out of our own answers."""
        if not resp.prepared:
            resp.headers.setdefault("Server", "sidecar")
        return await super().finish_response(request, resp, start_time)

    def _break_body(self) -> None:
        """Tell who reads a body that its chunks stopped being chunks: the library does not."""
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
        """Answer in our own words; `exc` and `message` quote the request and go nowhere."""
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


_WITHOUT_BODY = frozenset({*range(100, 200), 204, 304})


class RelayedResponse(web.StreamResponse):
    """An answer whose head is the upstream's, written by us: none of its fields changes, and none
    is invented but `Date`, if missing, and what frames it.

    `length` is that of its body; chunks frame one of unknown length. `ends_by_close`: nothing
    does, for a client of HTTP/1.0, and only a reset tells it of a break.
    """

    ends_by_close = False

    def __init__(self, status: int, reason: str, fields: Fields, length: int | None) -> None:
        super().__init__(status=status, reason=reason or None)
        self._fields = fields
        self._length = length

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the head, once."""
        if self.prepared:
            return self._payload_writer
        head = self._begin(request)
        writer = request.writer
        await writer.write(head)
        if self._chunked:
            writer.enable_chunking()
        return writer

    async def send(self, request: web.BaseRequest, body: bytes) -> None:
        """Send all of it, and little of it in one piece."""
        head = self._begin(request)
        write = request.writer.write
        if len(body) <= INLINE_BODY_BYTES:
            await write(head + body)
        else:
            await write(head)
            await write(body)
        await self.write_eof()

    def _begin(self, request: web.BaseRequest) -> bytes:
        """The head; from here on it counts as sent."""
        self._req, self._payload_writer = request, request.writer
        status, length, modern = self.status, self._length, request.version >= HttpVersion11
        lines = lines_of(self._fields)
        if not has(b"date", lines):
            lines += b"Date: %b\r\n" % formatdate(usegmt=True).encode()
        stays = request.keep_alive if self._keep_alive is None else self._keep_alive
        if status in _WITHOUT_BODY:
            pass
        elif length is not None:
            lines += b"Content-Length: %d\r\n" % length
        elif request.method != "HEAD":
            self._chunked = modern
            self.ends_by_close = not modern
            stays = stays and modern
            lines += b"Transfer-Encoding: chunked\r\n" if modern else b""
        self._keep_alive = stays
        if stays != modern:
            lines += b"Connection: keep-alive\r\n" if stays else b"Connection: close\r\n"
        version = request.version
        return head_of(f"HTTP/{version.major}.{version.minor} {status} {self.reason}", lines)


OnOpened = Callable[[web.RequestHandler], object]

HEAD_TIMEOUT_SECONDS = 15.0
"""Seconds for the head of a request to arrive, once it has begun."""

log = logging.getLogger("sidecar.http.server")
