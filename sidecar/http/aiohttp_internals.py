"""The one module that touches private names of aiohttp: the protocol of the admin side."""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web
from aiohttp.web_protocol import _ErrInfo

from sidecar.errors import ErrorKind, LocalReply
from sidecar.http.responses import plain


class AdminServerProtocol(web.RequestHandler):
    """One connection of the admin side."""

    _head_timer: asyncio.TimerHandle | None = None

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


HEAD_TIMEOUT_SECONDS = 15.0
"""Seconds for the head of a request to arrive, once it has begun."""

log = logging.getLogger("sidecar.http.server")
