"""Relays a response to the client as it arrives, and feeds the same bytes to the meter.

A response of known, small length is sent in one write, any other piece by piece. A truncated
response is never ended cleanly: it gets an error event if the dialect has one and it fits there,
and then the connection closes.

A response that HTTP ended properly is complete, even without the dialect's terminal event. If only
the close of the connection ends it (RFC 9112 section 6.3), the terminal event is required. Nothing
is inserted between the bytes of a complete response.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from enum import Enum

from msgspec import Struct

from sidecar.errors import Fault, LocalReply, UpstreamError
from sidecar.http.body_memory import HeldBody
from sidecar.http.client import MAX_INLINE_RESPONSE_BYTES, Reply
from sidecar.http.headers import HeadFields
from sidecar.http.wire.agent_messages import AgentRequest, RelayedResponse
from sidecar.plugin_api.dialect import Dialect, Endpoint, Meter
from sidecar.proxy.in_flight import LiveCall
from sidecar.proxy.metering import ResponseMeter
from sidecar.proxy.stream.error_masking import ErrorEventMask
from sidecar.proxy.stream.filter import StreamFilter
from sidecar.proxy.stream.transforming import ResponseTransforms
from sidecar.routing.call import Call
from sidecar.scheduling.lease import Lease

MAX_TRANSFORMED_BYTES = 64 << 20
"""Bytes of a response other than a stream that are read before it is transformed."""
_ENDED_EARLY = "its stream ended before its answer did"
LINGER_SECONDS = 5.0
"""Seconds for which a slow client may read the last bytes of a truncated response."""


class RelayEnd(Enum):
    """The end of a relayed response."""

    COMPLETE = "whole"
    """The upstream completed it, and all of it was sent to the client."""
    TRUNCATED = "cut"
    """The upstream's response broke off."""
    CLIENT_LEFT = "left"
    """The response did not end: the client disconnected, or Sidecar ended the call."""


COMPLETE, TRUNCATED = RelayEnd.COMPLETE, RelayEnd.TRUNCATED
"""Bound here, as Python 3.11 takes 0.2 µs to find a member of an enum."""


class Relay:
    """Relays one response to one client.

    Attributes:
        end: How the response ended.
        fault: The reason, if it was truncated; else "".
        first_byte: The time of its first byte, in monotonic seconds.
        passed: The bytes of the body that have arrived.
        response: The response whose bytes may have been sent, so that no other can follow; None
            before.
    """

    # Most calls set few of these: the rest costs nothing in the class.
    response: RelayedResponse | None = None
    end = RelayEnd.CLIENT_LEFT
    fault = ""
    first_byte: float | None = None
    passed = 0
    _meter: Meter
    _hiding: StreamFilter | None = None
    _masking: ErrorEventMask | None = None
    _transforms: ResponseTransforms | None = None
    _changing: tuple[StreamFilter | ResponseTransforms, ...] = ()
    _put: Callable[[bytes, bytes], bool]
    _may_be_cut = True
    """Whether a response whose bytes have all arrived may prove to be truncated."""
    _keeps_ordinary = False
    """Whether an event that the meter finds ordinary stays as it is. Never so for the first."""

    def __init__(self, request: AgentRequest) -> None:
        self._request = request

    async def send(
        self, status: int, reason: str, headers: HeadFields, body: bytes,
        length: int | None = None,
    ) -> RelayedResponse:  # fmt: skip
        """Send a whole response in one write. `length` is the declared length of a body that is not
        sent (HEAD)."""
        self.first_byte = self.first_byte or self._request.connection.loop.time()
        if length is None and self._request.method != "HEAD":
            length = len(body)
        response = RelayedResponse(status, reason, headers, length)
        self.response = response
        self.passed = len(body)
        if not response.send(self._request, body):
            await response.drained()
        self.end = COMPLETE
        return response

    async def begin(self, headers: HeadFields) -> None:
        """Send the head of a stream, with status 200, before a provider has answered. Then call
        `run` for the response, or `fail` for an error."""
        response = RelayedResponse(200, "OK", headers, None)
        self.response = response
        await response.prepare(self._request)

    async def ping(self, data: bytes) -> None:
        """Send a ping, which clients ignore, between the head and the response."""
        assert self.response is not None  # noqa: S101 - it was begun
        await self.response.write(data)

    async def fail(self, event: bytes) -> RelayedResponse:
        """End with an error event a stream that was begun and has no response."""
        assert self.response is not None  # noqa: S101 - it was begun
        self.response.end(event)
        self.end = COMPLETE
        return self.response

    async def run(
        self, reply: Reply, headers: HeadFields, meter: Meter,
        hiding: StreamFilter | None = None, masking: ErrorEventMask | None = None,
        transforms: ResponseTransforms | None = None,
    ) -> RelayedResponse:  # fmt: skip
        """Relay `reply` to its end, filtered by `hiding`, masked by `masking` and changed by
        `transforms`.

        Raises `UpstreamError` only if nothing was sent. Later, a response that breaks off sets
        `end` to `TRUNCATED`; the calling code must then call `truncate`.
        """
        self._meter, self._hiding, self._masking = meter, hiding, masking
        if transforms is not None and transforms.is_whole:
            return await self._send_transformed(reply, headers, meter, transforms)
        self._transforms = transforms
        # Removing and changing events changes the length.
        length = reply.length if hiding is None and transforms is None else None
        if length is not None and length <= MAX_INLINE_RESPONSE_BYTES and self.response is None:
            body, _ = await reply.read_all(MAX_INLINE_RESPONSE_BYTES)
            meter.feed(body)
            if masking is not None:
                body = self._filtered(body)
            return await self.send(reply.status, reply.head.reason, headers, body, length)
        if hiding is not None or transforms is not None:
            self._changing = tuple(filter(None, (hiding, transforms)))
        # Of these, only what follows the last byte shows whether they are complete.
        self._may_be_cut = transforms is not None or _ends_by_close(reply)
        response = self.response or await self._start(reply, headers, length)
        self._put = response.put
        try:
            while not await reply.pass_on(self._pass_on):
                await response.drained()
            if not response.is_complete:
                if _ends_by_close(reply) and meter.unfinished:
                    raise UpstreamError(Fault.CLOSED, _ENDED_EARLY, sent=True)
                self._end_body(response, b"")
        except UpstreamError as error:
            self.end, self.fault = TRUNCATED, str(error)
        return response

    def _end_body(self, response: RelayedResponse, data: bytes) -> None:
        """Send the last bytes, what the filters held, and the end. Raises `UpstreamError` if the
        transforms fail."""
        response.end(data + self._held(complete=True))
        self.end = COMPLETE

    async def _start(
        self, reply: Reply, headers: HeadFields, length: int | None
    ) -> RelayedResponse:
        """Send the head, with the bytes that were held. Raises `UpstreamError` if the transforms
        fail at the first bytes."""
        begun = b""
        if self._transforms is not None or reply.peeked:
            data = await reply.read()
            begun = self._changed(data, is_ordinary=self._meter.feed(data) is True)
        response = RelayedResponse(reply.status, reply.head.reason, headers, length)
        self.response = response
        await response.prepare(self._request, begun)
        return response

    async def _send_transformed(
        self, reply: Reply, headers: HeadFields, meter: Meter, transforms: ResponseTransforms
    ) -> RelayedResponse:
        """Send a response that is no stream: whole, so that a failure is a local reply."""
        body, whole = await reply.read_all(MAX_TRANSFORMED_BYTES)
        meter.feed(body)
        if not whole:
            raise UpstreamError(Fault.PROTOCOL, "its answer is too large to transform", sent=True)
        body = await transforms.whole(self._filtered(body))
        reason = reply.head.reason if transforms.status == reply.status else ""
        return await self.send(transforms.status, reason, headers, body)

    def _filtered(self, body: bytes) -> bytes:
        """Return a whole body, masked and without the events that are hidden."""
        for part in (self._masking, self._hiding):
            if part is not None:
                body = part.feed(body) + part.rest()
        return body

    def _pass_on(self, data: bytes, chunk: bytes = b"", *, is_last: bool = False) -> bool:
        """Meter and send the next bytes, in the chunk that they came in if they stay as they are;
        the last ones with the end. Return False if the client reads slowly."""
        is_ordinary = self._meter.feed(data) is True  # a plugin may return what it likes
        if is_ordinary and self._keeps_ordinary and not is_last:
            self.passed += len(data)
            return self._put(data, chunk)
        changed = self._changed(data, is_ordinary=is_ordinary)
        if is_last and not self._may_be_cut and self.response is not None:
            self._end_body(self.response, changed)
            return True
        return self._put(changed, chunk if changed is data else b"")

    def _changed(self, data: bytes, *, is_ordinary: bool) -> bytes:
        """Return what the next bytes are for the client. `is_ordinary` is whether the meter found
        that they are one event, which reports no error."""
        if self.first_byte is None:
            self.first_byte = self._request.connection.loop.time()
        self.passed += len(data)
        masking = self._masking
        if masking is not None and not (is_ordinary and masking.is_between_events):
            data = masking.feed(data)
        for part in self._changing:
            data = part.feed(data)
        between = masking is None or masking.is_between_events
        self._keeps_ordinary = between and not self._changing
        return data

    def _held(self, *, complete: bool) -> bytes:
        """Return the bytes that the filters held, after the last byte of the stream. Raises
        `UpstreamError` if the transforms fail at them."""
        rest = b"" if self._masking is None else self._masking.rest()
        if self._hiding is not None:
            rest = self._hiding.feed(rest) + self._hiding.rest()
        if self._transforms is not None:
            rest = self._transforms.feed(rest) + self._transforms.end(complete=complete)
        return rest

    async def truncate(self, dialect: Dialect, endpoint: Endpoint, meter: Meter, why: LocalReply,
                  call_id: str) -> RelayedResponse:  # fmt: skip
        """End a response that has begun so that no client takes it for complete."""
        response = self.response
        transport = self._request.transport
        if response is None:
            raise RuntimeError("nothing was started that could be cut")
        if transport is None or transport.is_closing() or response.is_complete:
            return response
        with suppress(UpstreamError):  # a transform that failed has no rest
            if held := self._held(complete=False):
                await response.write(held)
        event = b""
        if meter.at_boundary or self._transforms is not None:
            event = dialect.error_event(endpoint, why, call_id)
            if event:
                await response.write(event)
                if dialect.has_failed_end(endpoint):
                    response.end()
        if response.ends_by_close and not event:
            _reset(transport)
            return response
        # close() sends the buffered bytes and then FIN, without a last chunk. abort() would drop
        # those bytes, so it is only for a client that does not read.
        transport.close()
        self._request.connection.loop.call_later(LINGER_SECONDS, transport.abort)
        return response


class Passage(Struct, eq=False):
    """The state of one request. Each step sets its part, and the last one settles them.

    Attributes:
        sent: The call as a transform changed it for the provider; None if none did.
        lease: To be settled after the response; None if it has ended.
    """

    request: AgentRequest
    live: LiveCall
    held: HeldBody
    relay: Relay
    sent: Call | None = None
    meter: ResponseMeter | None = None
    lease: Lease | None = None


def _ends_by_close(reply: Reply) -> bool:
    """Return whether only the end of the connection ends the body (RFC 9112 section 6.3)."""
    return reply.length is None and not reply.is_chunked


def _reset(transport: asyncio.Transport) -> None:
    """Reset a connection (RST): after FIN the client would take the response for complete."""
    transport.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    transport.abort()
