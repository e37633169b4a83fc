"""Requests of agents and of the admin side as they arrive, and responses as they are written."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from time import time
from typing import Any, Protocol

from msgspec import Struct
from multidict import CIMultiDict, CIMultiDictProxy

from sidecar.http.headers import Fields, HeadFields, decoded, encoded, has, lines_of
from sidecar.http.wire.framing import INLINE_BODY_BYTES, LAST_CHUNK, IncomingBody, chunk_of
from sidecar.records import program_of

_WITHOUT_BODY = frozenset({*range(100, 200), 204, 304})
_DATES = (b"Date: ", b"date: ")
_VERSIONS = frozenset({"1.0", "1.1"})


class ResponseSink(Protocol):
    """A connection that responses are written to, by its `task`."""

    loop: asyncio.AbstractEventLoop
    task: asyncio.Task[None] | None
    transport: asyncio.Transport | None
    is_full: bool
    caller_lookup: Any

    async def drained(self) -> None:
        """Wait until the client has read enough. Raises `ConnectionError` when it is gone."""


class RequestHead:
    """The header fields of a request but for its `Content-Length`, and what is derived from them.

    Clients send the same fields with request after request. Their connection keeps the latest
    head, and requests with equal fields share it.

    Attributes:
        fields: The fields, as on the wire.
        headers: The fields by name.
        version: The version of HTTP.
        is_http10: Whether the client cannot read chunks, nor interim answers.
        is_served: Whether requests of this version are answered.
        size: The bytes that the fields take.
        program: The first product of the `User-Agent`; "" without one.
        caller: What the proxy derived from the fields; None before.
    """

    __slots__ = (
        "caller", "fields", "headers", "is_http10", "is_served", "program", "size", "version",
    )  # fmt: skip

    def __init__(self, version: str, fields: Fields) -> None:
        self.version = version
        self.is_http10 = version == "1.0"
        self.is_served = version in _VERSIONS
        self.fields = fields
        self.headers = CIMultiDictProxy(CIMultiDict(decoded(fields)))
        self.size = sum([len(name) + len(value) + 4 for name, value in fields])
        self.program = program_of(self.headers.get("User-Agent", ""))
        self.caller: object = None


class AgentRequest(Struct, eq=False):
    """A request whose head has arrived.

    Attributes:
        raw_path: The request target, as on the wire.
        headers: The header fields by name, but for `Content-Length`.
        keep_alive: Whether another request may follow on the connection.
        response: The response that has begun; None before.
    """

    connection: ResponseSink
    method: str
    raw_path: str
    head: RequestHead
    headers: CIMultiDictProxy[str]
    content: IncomingBody
    keep_alive: bool
    response: RelayedResponse | None = None

    @property
    def is_http10(self) -> bool:
        """Return whether the client cannot read chunks, nor interim answers."""
        return self.head.is_http10

    @property
    def transport(self) -> asyncio.Transport | None:
        """Return the client's connection; None once it is closed."""
        return self.connection.transport

    @property
    def body_exists(self) -> bool:
        """Return whether the head announces a body."""
        return bool(self.content.length) or "Transfer-Encoding" in self.headers


class RelayedResponse:
    """A response with the upstream's header fields, unchanged.

    Only the fields that frame the body are added, and `Date` if it is missing.

    Attributes:
        length: The length of the body; None for unknown, which is then sent in chunks.
        ends_by_close: Whether only the close of the connection ends the body (HTTP/1.0). A reset
            then marks it as truncated.
        is_complete: Whether it was written to its end.
    """

    ends_by_close = False
    is_complete = False
    _chunked = False
    _connection: ResponseSink

    def __init__(self, status: int, reason: str, fields: HeadFields, length: int | None) -> None:
        self.status = status
        self._reason = reason or _reason_of(status)
        self._fields = fields
        self._length = length

    async def prepare(self, request: AgentRequest, begun: bytes = b"") -> None:
        """Send the head; in one piece with the bytes of the body that are there already."""
        self._begin(request, begun, is_whole=False)
        if self._connection.is_full:
            await self._connection.drained()

    def send(self, request: AgentRequest, body: bytes) -> bool:
        """Send all of it; a small body in one piece with its head. Return False if the client reads
        slowly: await `drained` then. Raises `ConnectionError` when the client is gone."""
        self._begin(request, body, is_whole=True)
        self.is_complete = True
        return not self._connection.is_full

    async def write(self, data: bytes) -> None:
        """Send the next bytes of the body, and wait for a client that reads slowly."""
        if not self.put(data):
            await self.drained()

    def put(self, data: bytes, chunk: bytes = b"") -> bool:
        """Send the next bytes of the body; `chunk` has them as one chunk, if there is one. Return
        False if the client reads slowly: await `drained` then. Raises `ConnectionError` when the
        client is gone."""
        connection = self._connection
        transport = connection.transport
        if data:
            # `_open_transport`, without a call for each piece of a stream.
            if transport is None or transport.is_closing():
                raise ConnectionResetError("the client left")
            if self._chunked:
                data = chunk or chunk_of(data)
            transport.write(data)
        return not connection.is_full

    async def drained(self) -> None:
        """Wait until the client has read enough. Raises `ConnectionError` when it is gone."""
        await self._connection.drained()

    def end(self, data: bytes = b"") -> None:
        """End the body, in one write with its last bytes. Raises `ConnectionError` when the client
        is gone."""
        if self._chunked:
            data = _last_chunks(data)
        if data:
            self._open_transport().write(data)
        self.is_complete = True

    def _open_transport(self) -> asyncio.Transport:
        """Return what is written to. Raises `ConnectionError` when the client is gone."""
        transport = self._connection.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client left")
        return transport

    def _begin(self, request: AgentRequest, data: bytes, *, is_whole: bool) -> None:
        """Send the head, and the first bytes of the body or the whole of it. Raises
        `ConnectionError` when the client is gone; the head counts as sent even then."""
        request.response, self._connection = self, request.connection
        modern, length = not request.head.is_http10, self._length
        # The unread rest of a body would be parsed as the next request (RFC 9112 section 9.6).
        stays = request.keep_alive and request.content.is_complete
        fields = self._fields
        lines = fields if isinstance(fields, bytes) else lines_of(fields)
        if not lines.startswith(_DATES) and lines.find(b"\nDate: ") < 0 and not has(b"date", lines):
            lines += _date_line(int(time()))
        if self.status in _WITHOUT_BODY:
            pass
        elif length is not None:
            lines += b"Content-Length: %d\r\n" % length
        elif request.method != "HEAD":
            self._chunked = modern
            self.ends_by_close = not modern
            stays = stays and modern
            lines += b"Transfer-Encoding: chunked\r\n" if modern else b""
        if not stays:
            request.keep_alive = False
        if stays != modern:
            lines += b"Connection: keep-alive\r\n" if stays else b"Connection: close\r\n"
        if self._chunked and is_whole:
            data = _last_chunks(data)
        elif self._chunked and data:
            data = chunk_of(data)
        first, transport = _status_line(self.status, self._reason, modern), self._open_transport()
        if len(data) <= INLINE_BODY_BYTES:
            transport.write(b"%b%b\r\n%b" % (first, lines, data))
        else:
            transport.writelines((b"%b%b\r\n" % (first, lines), data))


class LocalResponse:
    """A response of our own. `closes`: its connection ends with it."""

    def __init__(
        self, body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None,
        closes: bool = False,
    ) -> None:  # fmt: skip
        self.body = body
        self.status = status
        self.headers = CIMultiDict({"Content-Type": "application/json", **(headers or {})})
        self.closes = closes

    async def send(self, request: AgentRequest) -> RelayedResponse:
        """Write all of it."""
        if self.closes:
            request.keep_alive = False
        fields = encoded([*self.headers.items(), ("Server", "sidecar")])
        response = RelayedResponse(self.status, "", fields, len(self.body))
        if not response.send(request, b"" if request.method == "HEAD" else self.body):
            await response.drained()
        return response


def _last_chunks(data: bytes) -> bytes:
    return chunk_of(data) + LAST_CHUNK if data else LAST_CHUNK


@lru_cache(maxsize=1)
def _date_line(seconds: int) -> bytes:
    return b"Date: %b\r\n" % formatdate(seconds, usegmt=True).encode()


@lru_cache(maxsize=256)
def _status_line(status: int, reason: str, modern: bool) -> bytes:  # noqa: FBT001 - by position
    version = "1.1" if modern else "1.0"
    return f"HTTP/{version} {status} {reason}\r\n".encode("utf-8", "surrogateescape")


def _reason_of(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
