"""Passes an answer on as it arrives, while a copy feeds the meter.

A JSON answer of known length goes out in one write; everything else piece by piece. A cut answer
is never ended cleanly: it gets the dialect's error event where one may stand, and then the
connection closes. What ended properly passes as it is, even if the dialect's own end is missing;
only where closing the connection is all that ends it, that end must be there. No bytes of our own
are put into a healthy stream.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from enum import Enum

from sidecar.errors import LocalReply, UpstreamError
from sidecar.http.client import MAX_INLINE_RESPONSE_BYTES, Reply
from sidecar.http.headers import Fields
from sidecar.http.wire.agent_messages import AgentRequest, RelayedResponse
from sidecar.plugin_api.dialect import Dialect, Endpoint, Meter
from sidecar.proxy.stream.error_masking import ErrorEventMask
from sidecar.proxy.stream.filter import StreamFilter

LINGER_SECONDS = 5.0
"""Seconds that a cut stream's last bytes get to reach a slow client."""


class RelayEnd(Enum):
    """End of a relayed response."""

    COMPLETE = "whole"
    """The upstream completed it, and all of it was sent to the client."""
    TRUNCATED = "cut"
    """The upstream closed before the end."""
    CLIENT_LEFT = "left"
    """No end was reached: the client disconnected, or Sidecar ended the call."""


class Relay:
    """Relay of one response to one client.

    `end` and `fault` hold the result; `first_byte` is in monotonic seconds, `passed` the bytes of
    the body so far.
    """

    def __init__(self, request: AgentRequest) -> None:
        self._request = request
        self._loop = asyncio.get_running_loop()
        self._response: RelayedResponse | None = None
        self._headers: Fields = ()
        self._hiding: StreamFilter | None = None
        self._masking: ErrorEventMask | None = None
        self.end = RelayEnd.CLIENT_LEFT
        self.fault = ""
        self.first_byte: float | None = None
        self.passed = 0

    @property
    def started(self) -> bool:
        """True when bytes of a response may have been sent: no other response can follow."""
        return self._response is not None

    async def send(
        self, status: int, reason: str, headers: Fields, body: bytes,
        length: int | None = None,
    ) -> RelayedResponse:  # fmt: skip
        """Send a whole answer in one write. `length` is what a body that is not sent (HEAD)
        would have had."""
        self.first_byte = self.first_byte or self._loop.time()
        if length is None and self._request.method != "HEAD":
            length = len(body)
        response = RelayedResponse(status, reason, headers, length)
        self._response, self._headers = response, headers
        self.passed = len(body)
        await response.send(self._request, body)
        self.end = RelayEnd.COMPLETE
        return response

    async def begin(self, headers: Fields) -> None:
        """Send the head of a stream before the provider has answered, always with status 200. `run`
        continues with the response, `fail` with an error."""
        response = RelayedResponse(200, "OK", headers, None)
        self._response, self._headers = response, headers
        await response.prepare(self._request)

    async def ping(self, data: bytes) -> None:
        """Send something that means nothing, between the head and the answer."""
        assert self._response is not None  # noqa: S101 - it was begun
        await self._response.write(data)

    async def fail(self, event: bytes) -> RelayedResponse:
        """End a stream that was begun, and had nothing of an answer, with an error event."""
        assert self._response is not None  # noqa: S101 - it was begun
        await self._response.write(event)
        await self._response.write_eof()
        self.end = RelayEnd.COMPLETE
        return self._response

    async def run(
        self, reply: Reply, headers: Fields, meter: Meter,
        hiding: StreamFilter | None = None, masking: ErrorEventMask | None = None,
    ) -> RelayedResponse:  # fmt: skip
        """Pass `reply` on to its end, without what `hiding` takes out and `masking` masks. Raises
        `UpstreamError` only while nothing has gone out; afterwards a break is `end` CUT, and `cut`
        must follow."""
        self._hiding, self._masking = hiding, masking
        # What is taken out changes how long it is.
        length = reply.length if hiding is None else None
        if length is not None and length <= MAX_INLINE_RESPONSE_BYTES and not self.started:
            body, _ = await reply.read_all(MAX_INLINE_RESPONSE_BYTES)
            meter.feed(body)
            if masking is not None:
                body = masking.feed(body) + masking.rest()
            return await self.send(reply.status, reply.reason, headers, body, length)
        response = self._response
        if response is None:
            response = RelayedResponse(reply.status, reply.reason, headers, length)
            self._response, self._headers = response, headers
            await response.prepare(self._request)
        try:
            await self._pump(reply, response, meter)
        except UpstreamError as error:
            self.end, self.fault = RelayEnd.TRUNCATED, str(error)
            return response
        if _ends_by_close(reply) and meter.unfinished:
            self.end, self.fault = RelayEnd.TRUNCATED, "its stream ended before its answer did"
            return response
        await self._let_go(response)
        await response.write_eof()
        self.end = RelayEnd.COMPLETE
        return response

    async def _pump(self, reply: Reply, response: RelayedResponse, meter: Meter) -> None:
        write, hiding, masking = response.write, self._hiding, self._masking
        while data := await reply.read():
            if self.first_byte is None:
                self.first_byte = self._loop.time()
            self.passed += len(data)
            meter.feed(data)
            if masking is not None:
                data = masking.feed(data)
            if hiding is not None:
                data = hiding.feed(data)
            await write(data)

    async def _let_go(self, response: RelayedResponse) -> None:
        """Send what was held of a stream that is over."""
        rest = b"" if self._masking is None else self._masking.rest()
        if self._hiding is not None:
            rest = self._hiding.feed(rest) + self._hiding.rest()
        if rest:
            await response.write(rest)

    async def truncate(self, dialect: Dialect, endpoint: Endpoint, meter: Meter, why: LocalReply,
                  call_id: str) -> RelayedResponse:  # fmt: skip
        """End a started answer so that no client can take it for whole."""
        response = self._response
        transport = self._request.transport
        if response is None:
            raise RuntimeError("nothing was started that could be cut")
        if transport is None or transport.is_closing():
            return response
        await self._let_go(response)
        event = b""
        if meter.at_boundary:
            event = dialect.error_event(endpoint, why, call_id)
            if event:
                await response.write(event)
        if response.ends_by_close and not event:
            _reset(transport)
            return response
        # close() sends what is buffered and then FIN, without the last chunk; abort() would lose
        # it, so it is only for a client that does not read.
        transport.close()
        self._loop.call_later(LINGER_SECONDS, transport.abort)
        return response


def _ends_by_close(reply: Reply) -> bool:
    """Return whether only the end of the connection ends the body (RFC 9112 section 6.3)."""
    coding = reply.fields.get("Transfer-Encoding", "").lower()
    return reply.length is None and "chunked" not in coding


def _reset(transport: asyncio.Transport) -> None:
    """End a connection by RST, as FIN would say that all was well."""
    transport.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    transport.abort()
