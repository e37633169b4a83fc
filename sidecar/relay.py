"""Passes an answer on as it arrives, while a copy feeds the meter.

A JSON answer of known length goes out in one write; everything else piece by piece. A cut answer
is never ended cleanly: it gets the dialect's error event where one may stand, and then the
connection closes. No bytes of our own are put into a healthy stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from enum import Enum

from aiohttp import web
from multidict import CIMultiDict

from sidecar.dialect import Dialect, Endpoint, Meter
from sidecar.errors import Refusal, UpstreamError
from sidecar.hiding import Hiding
from sidecar.upstream import Reply

WHOLE = 1 << 20
"""Answers up to this size are collected and written at once."""
LINGER = 5.0
"""Seconds that a cut stream's last bytes get to reach a slow client."""


class Relayed(web.StreamResponse):
    """A response whose headers are the upstream's: none are invented but `Date`, if missing."""

    def __init__(
        self, status: int, reason: str | None, headers: Sequence[tuple[str, str]], *, at_once: bool
    ) -> None:
        super().__init__(status=status, reason=reason or None, headers=CIMultiDict(headers))
        # With a whole body at hand, head and body leave in one write.
        self._send_headers_immediately = not at_once

    async def _prepare_headers(self) -> None:
        absent = [name for name in ("Content-Type", "Server") if name not in self.headers]
        await super()._prepare_headers()
        for name in absent:
            self.headers.popall(name, None)


class End(Enum):
    """How a relayed answer ended."""

    WHOLE = "whole"
    """The upstream ended it properly, and all of it was passed on."""
    CUT = "cut"
    """The upstream broke off."""
    LEFT = "left"
    """It never came to its end: the client left, or the call was ended from here."""


class Relay:
    """One answer on its way to one client.

    `end` and `fault` tell afterwards how it went; `first_byte` is monotonic seconds, and `passed`
    the bytes of the body so far.
    """

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self._loop = asyncio.get_running_loop()
        self._response: web.StreamResponse | None = None
        self._hiding: Hiding | None = None
        self.end = End.LEFT
        self.fault = ""
        self.first_byte: float | None = None
        self.passed = 0

    @property
    def started(self) -> bool:
        """Whether bytes of an answer may have gone out, so that no other one can follow."""
        return self._response is not None

    async def send(
        self, status: int, reason: str, headers: Sequence[tuple[str, str]], body: bytes,
        length: int | None = None,
    ) -> web.StreamResponse:  # fmt: skip
        """Send a whole answer in one write. `length` is what a body that is not sent (HEAD, 304)
        would have had."""
        self.first_byte = self.first_byte or self._loop.time()
        response = self._response = Relayed(status, reason, headers, at_once=True)
        response.content_length = len(body) if length is None else length
        self.passed = len(body)
        await response.prepare(self._request)
        await response.write_eof(body)
        self.end = End.WHOLE
        return response

    async def run(
        self, reply: Reply, headers: Sequence[tuple[str, str]], meter: Meter,
        hiding: Hiding | None = None,
    ) -> web.StreamResponse:  # fmt: skip
        """Pass `reply` on to its end, without what `hiding` takes out. Raises `UpstreamError` only
        while nothing has gone out; afterwards a break is `end` CUT, and `cut` must follow."""
        self._hiding = hiding
        # What is taken out changes how long it is.
        length = reply.length if hiding is None else None
        if length is not None and length <= WHOLE:
            body, _ = await reply.read_all(WHOLE)
            meter.feed(body)
            return await self.send(reply.status, reply.reason, headers, body, length)
        response = self._response = Relayed(reply.status, reply.reason, headers, at_once=False)
        if length is not None:
            response.content_length = length
        await response.prepare(self._request)
        try:
            await self._pump(reply, response, meter)
        except UpstreamError as error:
            self.end, self.fault = End.CUT, str(error)
            return response
        if meter.expects_end and not meter.finished:
            self.end, self.fault = End.CUT, "its stream ended before its answer did"
            return response
        await self._let_go(response)
        await response.write_eof()
        self.end = End.WHOLE
        return response

    async def _pump(self, reply: Reply, response: web.StreamResponse, meter: Meter) -> None:
        write, hiding = response.write, self._hiding
        while data := await reply.read():
            if self.first_byte is None:
                self.first_byte = self._loop.time()
            self.passed += len(data)
            meter.feed(data)
            if hiding is not None:
                data = hiding.feed(data)
            await write(data)

    async def _let_go(self, response: web.StreamResponse) -> None:
        """Send what was held of a stream that is over."""
        if self._hiding is not None and (rest := self._hiding.rest()):
            await response.write(rest)

    async def cut(self, dialect: Dialect, endpoint: Endpoint, meter: Meter, why: Refusal,
                  call_id: str) -> web.StreamResponse:  # fmt: skip
        """End a started answer so that no client can take it for whole."""
        response = self._response
        transport = self._request.transport
        if response is None:
            raise RuntimeError("nothing was started that could be cut")
        if transport is None or transport.is_closing():
            return response
        await self._let_go(response)
        if meter.at_boundary and _takes_events(response.headers):
            event = dialect.error_event(endpoint, why, call_id)
            if event:
                await response.write(event)
        # close() sends what is buffered and then FIN, without the last chunk; abort() would lose
        # it, so it is only for a client that does not read.
        transport.close()
        self._loop.call_later(LINGER, transport.abort)
        return response


def is_event_stream(reply: Reply) -> bool:
    """Whether an answer is server-sent events that can be read."""
    return _takes_events(reply.fields)


def _takes_events(headers: Mapping[str, str]) -> bool:
    content_type = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return content_type == "text/event-stream" and "Content-Encoding" not in headers
