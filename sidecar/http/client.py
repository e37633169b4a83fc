"""Sends one prepared request to a provider, and reads the response.

It follows no redirects, keeps no cookies, reads no netrc and decodes no response. It uses a proxy
of the environment only if the provider's configuration requests one. It sends a request again only
if a kept connection was closed before the request was read. It has no code for single vendors, and
no queue.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

from msgspec import Struct
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from sidecar.config.model import Provider
from sidecar.errors import Fault, UpstreamError
from sidecar.http.headers import decoded, has, lines_of
from sidecar.http.wire.connection_pool import ConnectionPool, Destination, proxy_fields
from sidecar.http.wire.deadlines import no_answer_within
from sidecar.http.wire.framing import Sink
from sidecar.http.wire.response_head import ResponseHead, head_of_fields, media_type_of
from sidecar.http.wire.tls import ResumingContext, client_context
from sidecar.http.wire.upstream_protocol import UpstreamConnection
from sidecar.masking import CredentialMask

Body = bytes | AsyncIterable[bytes] | None

REPLAY_SECONDS = 0.1
"""If a kept connection closes within this time of the first write, the provider had closed it
before and did not read the request. Later, the request may have been served and billed."""
MAX_INLINE_RESPONSE_BYTES = 1 << 20
"""Responses up to this size are relayed in one write."""
_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_MAX_WAYS = 1000
"""Addresses to which the way is kept; all are found again when there are more."""
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ENDS_A_TARGET = re.compile(r"[\0- \x7f]")


class Reply(Struct, eq=False):
    """A provider's response whose head has arrived. Its body is read piece by piece.

    Attributes:
        head: The head, with what was masked or dropped; the next four are taken from it.
        status: The status, of three digits.
        content_type: The Content-Type in lower case; "" for none.
        coding: The content coding, in lower case; "" for none.
        length: The declared length of the body in bytes; None without one.
        peeked: Bytes of the body that were read ahead: `read` returns them first.
        mask: Masks the credential that was sent; None if there is none.
    """

    _connection: UpstreamConnection
    _idle: float
    head: ResponseHead
    status: int
    content_type: str
    coding: str
    length: int | None
    peeked: bytes = b""
    mask: CredentialMask | None = None
    _fields: CIMultiDictProxy[str] | None = None
    _is_closed: bool = False

    def mask_head(self, mask: CredentialMask) -> None:
        """Mask the credential in the header fields and the reason; keep `mask` for the body."""
        self.mask, head = mask, self.head
        raw = head.raw or b"".join(
            [head.reason.encode("utf-8", "surrogatepass"), *chain.from_iterable(head.fields)]
        )
        if mask.may_hold(raw):
            masked = [(mask.mask(name), mask.mask(value)) for name, value in head.fields]
            self.replace_head(mask.mask_text(head.reason), masked)

    def replace_head(self, reason: str, fields: list[tuple[bytes, bytes]]) -> None:
        """Replace the reason and the header fields, and what is read from them."""
        head = self.head = head_of_fields(self.status, reason, fields)
        self.content_type, self.coding, self.length = head.content_type, head.coding, head.length
        self._fields = None

    @property
    def media_type(self) -> str:
        """Return the Content-Type without parameters."""
        return media_type_of(self.content_type)

    @property
    def is_chunked(self) -> bool:
        """Return whether chunks frame the body."""
        return b"chunked" in self.head.transfer_coding

    @property
    def fields(self) -> CIMultiDictProxy[str]:
        """The header fields by name. They are decoded when they are first read, as few calls need
        them."""
        if self._fields is None:
            self._fields = CIMultiDictProxy(CIMultiDict(decoded(self.head.fields)))
        return self._fields

    def peek(self) -> bytes:
        """Return the bytes that `read` returns next, if any have arrived."""
        if not self.peeked:
            self.peeked = self._connection.body.take()
        return self.peeked

    async def read(self) -> bytes:
        """Return the next bytes as they arrive; b"" at a proper end. Raises `UpstreamError`."""
        if self.peeked:
            peeked, self.peeked = self.peeked, b""
            return peeked
        return await self._connection.read(self._idle)

    async def pass_on(self, sink: Sink) -> bool:
        """Call `sink` with the bytes as they arrive. Return True at a proper end, and False once
        `sink` returned False. Raises `UpstreamError`, and what `sink` raises."""
        if self.peeked:
            peeked, self.peeked = self.peeked, b""
            if not sink(peeked):
                return False
        return await self._connection.pass_on(sink, self._idle)

    async def hold(self, enough: Callable[[bytes], bool], most: int, seconds: float) -> bool:
        """Read into `peeked` until `enough` is true of a piece, of those that are there first;
        return whether the body has ended.

        Stops after about `most` bytes, and after `seconds`. Raises `UpstreamError`.
        """
        held, left = [self.peeked], most - len(self.peeked)
        if self.peeked and enough(self.peeked):
            return False
        body = self._connection.body
        try:
            # Most often the beginning came with the head: no timer is needed then.
            while left > 0 and body.is_ready and (piece := await body.read()):
                held.append(piece)
                left -= len(piece)
                if enough(piece):
                    return False
            if left <= 0 or body.is_drained:
                return left > 0
            async with asyncio.timeout(seconds):
                while left > 0 and (piece := await body.read()):
                    held.append(piece)
                    left -= len(piece)
                    if enough(piece):
                        return False
        except TimeoutError:
            return False
        finally:
            self.peeked = b"".join(held)
        return left > 0

    async def read_all(self, maximum: int) -> tuple[bytes, bool]:
        """Return the body up to about `maximum` bytes, and whether that is all of it."""
        body = self._connection.body
        if body.is_complete:
            return self.peeked + body.take(), True  # all of it came with the head
        pieces: list[bytes] = []
        size = 0
        while size <= maximum:
            piece = await self.read()
            if not piece:
                return pieces[0] if len(pieces) == 1 else b"".join(pieces), True
            pieces.append(piece)
            size += len(piece)
        return b"".join(pieces), False

    def close(self) -> None:
        """Release the connection: it is kept if the body was read to its end, else cut at once."""
        if not self._is_closed:
            self._is_closed = True
            self._connection.rest()


class SendState(Struct):
    """The progress of a request, to be read after a cancellation.

    `sent` is true if the provider may work on the request.
    """

    sent: bool = False


class Upstream:
    """The connections that all attempts share."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._contexts: dict[str | None, ResumingContext] = {}
        self._ways: dict[tuple[str, str | None, str | None], _Way] = {}

    async def send(
        self, provider: Provider, method: str, url: str, lines: bytes, body: Body,
        state: SendState, *, at_least_once: bool = False,
    ) -> Reply:  # fmt: skip
        """Send a request with these lines of header fields; return the response when its head has
        arrived.

        If a kept connection closes at once without a byte of a response, the request is sent again
        on a new one, but once only. With `at_least_once` the time does not matter. The calling code
        must close the response. Raises `UpstreamError`.
        """
        try:
            way = self._ways.get((url, provider.ca_file, provider.proxy))
            if way is None:
                way = self._new_way(provider, url)
            head = request_head(method, way.target, lines, body, way.endpoint)
        except ValueError as error:
            raise cannot_be_written(error) from None
        timeouts = provider.timeouts
        began = self._loop.time()
        until = began + timeouts.first_byte
        connection = way.idle_connection()
        is_kept = connection is not None
        while True:
            if connection is None:
                connection = await self._pool.connect(way.endpoint, timeouts, until)
            state.sent = True
            try:
                connection.send(method, head, body or b"")
                read = await connection.read_head(until, no_answer_within(timeouts.first_byte))
                return Reply(
                    connection, timeouts.idle, read, read.status, read.content_type, read.coding,
                    read.length,
                )  # fmt: skip
            except BaseException as error:
                connection.abort()
                again = is_kept and (body is None or isinstance(body, bytes))
                soon = at_least_once or self._loop.time() - began <= REPLAY_SECONDS
                if not (again and soon and _was_unread(connection, error)):
                    raise
            state.sent, is_kept, connection = False, False, None
            until = self._loop.time() + timeouts.first_byte

    def _new_way(self, provider: Provider, url: str) -> _Way:
        """Return the way to an address, and keep it. Raises `ValueError` for an address that no
        request can name."""
        target = target_of(url)
        tls = self._context(provider.ca_file) if target.is_tls else None
        proxy = _proxy_of_environment(target) if provider.proxy == "env" else provider.proxy
        endpoint = Destination(target.host, target.port, tls, proxy)
        way = _Way(target, endpoint, self._pool.idle(endpoint))
        if provider.proxy != "env":  # the environment may change
            if len(self._ways) >= _MAX_WAYS:
                self._ways.clear()
            self._ways[url, provider.ca_file, provider.proxy] = way
        return way

    def _context(self, ca_file: str | None) -> ResumingContext:
        context = self._contexts.get(ca_file)
        if context is None:
            context = self._contexts[ca_file] = client_context(ca_file)
        return context


def _was_unread(connection: UpstreamConnection, error: BaseException) -> bool:
    """Return whether a connection was closed without a byte of an answer."""
    is_closed = isinstance(error, UpstreamError) and error.fault is Fault.CLOSED
    return is_closed and not connection.received


@asynccontextmanager
async def open_upstream() -> AsyncIterator[Upstream]:
    """The connections, cut at the end."""
    pool = ConnectionPool()
    try:
        yield Upstream(pool)
    finally:
        await pool.close()


class Target(NamedTuple):
    """The parts of a URL for a request: `place` is the `Host`, `path` the rest of the URL."""

    host: str
    port: int
    is_tls: bool
    place: str
    path: str


class _Way(Struct, frozen=True):
    """Where requests to one address go: what they name, to which destination, and the connections
    that are idle there."""

    target: Target
    endpoint: Destination
    idle: list[UpstreamConnection]

    def idle_connection(self) -> UpstreamConnection | None:
        """Take the connection that was put back last, if one can be used."""
        idle = self.idle
        while idle:
            kept = idle.pop()
            if kept.transport is not None and not kept.transport.is_closing():
                return kept
        return None


@lru_cache(maxsize=1024)
def target_of(address: str) -> Target:
    """Return the parts of an address. Raises `ValueError` for one that no request can name."""
    url = URL(address, encoded=True)
    if url.host is None or url.port is None or url.scheme not in {"http", "https"}:
        raise ValueError("an address has no host")
    if _ENDS_A_TARGET.search(url.raw_path_qs):
        raise ValueError("an address holds what would end it")
    place = url.host_port_subcomponent or ""
    return Target(url.raw_host or url.host, url.port, url.scheme == "https", place, url.raw_path_qs)


def _proxy_of_environment(target: Target) -> str | None:
    from urllib.request import getproxies, proxy_bypass  # slow to import, and seldom needed

    if proxy_bypass(target.host):
        return None
    return getproxies().get("https" if target.is_tls else "http")


def request_head(
    method: str, target: Target, lines: bytes, body: Body, endpoint: Destination
) -> bytes:
    """Return the head of a request, which frames its body.

    Raises `ValueError` rather than write one that says something else than its fields.
    """
    place = ""
    if not lines.startswith(b"Host: ") and not has(b"host", lines):
        lines = b"Host: %b\r\n%b" % (target.place.encode(), lines)
    if endpoint.proxy is not None and endpoint.tls is None:
        lines += lines_of(proxy_fields(URL(endpoint.proxy)))
        place = target.place
    first = _request_line(method, target.path, place)
    if isinstance(body, bytes) and body:
        return b"%b%bContent-Length: %d\r\n\r\n" % (first, lines, len(body))
    if body is None or isinstance(body, bytes):
        if method not in _WITHOUT_BODY:
            lines += b"Content-Length: 0\r\n"
    elif not has(b"content-length", lines):
        lines += b"Transfer-Encoding: chunked\r\n"
    return b"%b%b\r\n" % (first, lines)


@lru_cache(maxsize=256)
def _request_line(method: str, path: str, place: str) -> bytes:
    """Return the first line of a request; `place` is what a proxy of plain HTTP must be told (RFC
    9112 section 3.2.2). Raises `ValueError`."""
    if not _TOKEN.fullmatch(method):
        raise ValueError("a method is one word")
    url = f"http://{place}{path}" if place else path
    return f"{method} {url} HTTP/1.1\r\n".encode("utf-8", "surrogateescape")


def cannot_be_written(why: ValueError) -> UpstreamError:
    """Return the error for a request that would say something else than its parts."""
    return UpstreamError(Fault.PROTOCOL, f"the request cannot be written: {why}", sent=False)


def is_event_stream(reply: Reply) -> bool:
    """Return whether an answer is server-sent events that can be read."""
    return media_type_of(reply.content_type) == "text/event-stream" and not reply.coding
