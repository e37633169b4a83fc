"""One request on one connection, until the head of its answer.

Connections, TLS, names and the parsing of answers are aiohttp's. What its client does for each
request besides (cookies, redirects, middlewares, a task that writes) took as long as everything
that Sidecar does for a small call; a request whose body is at hand is written here instead.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from functools import lru_cache, partial
from typing import Any, NamedTuple, Protocol

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpResponseParser, HttpVersion11
from multidict import CIMultiDictProxy
from yarl import URL

from sidecar.fields import Fields, has, head_of, lines_of
from sidecar.pausing import Pausing

Tls = ssl.SSLContext | bool
"""True for the system's own certificates."""
MAXIMUM_HEAD = 64 * 1024
AT_ONCE = 1 << 14
"""Bodies up to this size are copied behind their head: one piece is written faster than two."""
_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = bytes({*range(0x20), 0x7F} - {0x09})
_ENDS_A_TARGET = re.compile(r"[\0- \x7f]")

unrepeatable: ContextVar[bool | None] = ContextVar("unrepeatable", default=False)
"""Whether the running task must not send its request again should it fail: its connection is a new
one, or something came back. None until a new connection is there. Set beforehand, it has the task
get a new one."""
reused_at: ContextVar[float] = ContextVar("reused_at")
"""When the running task's request began to be written to a connection that was kept, in seconds of
the loop's clock."""
REPLAY_SECONDS = 0.1
"""A kept connection that closes within this time of the first write had been closed before: its
request was not read. Later, it may have been served, and paid for."""


class Held(Protocol):
    """What an answer is read from, to be let go once: `release` to keep it, else `close`."""

    def release(self) -> object:
        """Give it back for the next request."""

    def close(self) -> object:
        """Cut it."""


class Head(NamedTuple):
    """An answer whose head has arrived: `raw` are its fields as they were on the wire."""

    status: int
    reason: str
    fields: CIMultiDictProxy[str]
    raw: tuple[tuple[bytes, bytes], ...]
    body: aiohttp.StreamReader
    held: Held


class Connection(Pausing, ResponseHandler):
    """Also tells who reads a body that its chunks stopped being chunks, or that a reset ended what
    only a proper end completes: the library does not. He would wait until `timeouts.idle`, or take
    a part for the whole.

    `begun`: it was lost when a part of a head had come.
    """

    begun = False

    def set_exception(self, exc: Any, *cause: Any) -> None:
        """The connection failed."""
        body = self._payload
        super().set_exception(exc, *cause)
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(aiohttp.ClientPayloadError(), exc)

    def connection_lost(self, exc: BaseException | None) -> None:
        """It is gone; `exc` says why, unless the other side closed it properly."""
        body = self._payload
        if body is not None and not body.is_eof():
            if exc is not None:
                body.set_exception(aiohttp.ClientPayloadError(), exc)
        elif self._parser is not None:
            with suppress(Exception):  # the library's parser reads on where a head stops
                self.begun = self._parser.feed_eof() is not None
        super().connection_lost(exc)

    def feed_data(self, data: Any, size: int = 0) -> None:
        """Take the head of an answer. Keeping connections is an option of HTTP/1.0 that many of its
        servers claim and do not have: the next request would wait for ever."""
        if data[0].version < HttpVersion11:
            self.force_close()
        super().feed_data(data, size)

    def expect(self, method: str) -> None:
        """Read what comes as the answer to a request.

        By a parser of its own: one that read an answer before has that one's trailers, which it
        takes for fields of the next head, and the beginning of whatever came behind it.
        """
        self._skip_payload = without = method == "HEAD"
        self.was_paused = False
        self._parser = HttpResponseParser(
            self, self._loop, self._read_bufsize, payload_exception=aiohttp.ClientPayloadError,
            response_with_body=not without, read_until_eof=True, auto_decompress=False,
            max_line_size=MAXIMUM_HEAD, max_field_size=MAXIMUM_HEAD,
        )  # fmt: skip
        if self._tail:
            self._drain_tail()

    def rest(self) -> None:
        """Read nothing any longer: what comes unasked, however little, is then seen before the
        connection is used again."""
        self._parser = None

    def give_up(self) -> None:
        """Nobody waits for the head of an answer any longer, unless it came in this very moment."""
        if not self._buffer:
            self.set_exception(TimeoutError())


class Connector(aiohttp.TCPConnector):
    """Remembers, for the task that asked, whether its connection is a new one."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        made: Callable[..., ResponseHandler] = Connection
        self._factory = partial(made, loop=self._loop)
        self._targets: dict[tuple[URL, Tls], aiohttp.ClientRequest] = {}

    def target(self, url: URL, tls: Tls) -> aiohttp.ClientRequest:
        """What the library knows a connection to this origin by."""
        known = (url.origin(), tls)
        found = self._targets.get(known)
        if found is None:
            if len(self._targets) >= 1024:
                self._targets.clear()
            found = self._targets[known] = aiohttp.ClientRequest(
                "GET", known[0], loop=self._loop, ssl=tls
            )
        return found

    async def _get(self, *args: Any, **kwargs: Any) -> Any:
        """A kept connection, but never one on which something came unasked (such as a 408 before
        an idle close): it would be taken for the next call's answer."""
        if unrepeatable.get():
            return None
        while kept := await super()._get(*args, **kwargs):
            if kept.protocol is None or not kept.protocol.should_close:
                break
            kept.close()
        if kept:
            reused_at.set(self._loop.time())
        return kept

    def _release(self, key: Any, protocol: Any, **how: Any) -> None:
        protocol.rest()
        super()._release(key, protocol, **how)

    async def _create_connection(self, *args: Any, **kwargs: Any) -> ResponseHandler:
        unrepeatable.set(None)
        made = await super()._create_connection(*args, **kwargs)
        unrepeatable.set(True)
        return made


async def onward(body: aiohttp.StreamReader) -> bytes:
    """The next bytes of a body; what came before it broke comes before that is told. The library
    forgets what nobody had read by then."""
    if body.exception() is not None and (rest := body._read_nowait(-1)):  # noqa: SLF001
        return rest
    return await body.readany()


def was_sent() -> bool:
    """Whether the running task's latest request can have reached anybody: it had a connection."""
    return unrepeatable.get() is not None


def may_resend(*, at_least_once: bool) -> bool:
    """Return whether the running task may send its request again on a new connection, after the
    one it had was closed: a kept one, without a byte of an answer, and soon enough that nothing
    can have been served. `at_least_once`: however late."""
    if unrepeatable.get() is not False:
        return False
    elapsed = asyncio.get_running_loop().time() - reused_at.get()
    return at_least_once or elapsed <= REPLAY_SECONDS


async def ask(
    connector: Connector, tls: Tls, method: str, url: URL, headers: Fields, body: bytes,
    limits: aiohttp.ClientTimeout, patience: float,
) -> Head:  # fmt: skip
    """Send a request and wait for the head of its answer: `patience` seconds for all of it, which
    `limits.connect` says as well.

    Raises what aiohttp's client would, and `HttpProcessingError` for what is no HTTP;
    `TimeoutError` when the head does not come.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + patience
    head = request_head(method, url, headers, len(body))
    try:
        connection = await connector.connect(connector.target(url, tls), [], limits)
    except TimeoutError as error:
        if loop.time() >= until:
            raise
        raise aiohttp.ConnectionTimeoutError from error
    try:
        return await _answered(connection, method, head, body, until)
    except BaseException:
        connection.close()
        raise


async def _answered(connection: Any, method: str, head: bytes, body: bytes, until: float) -> Head:
    protocol: Connection = connection.protocol
    transport = protocol.transport
    if transport is None:
        raise aiohttp.ServerDisconnectedError
    protocol.expect(method)
    if len(body) <= AT_ONCE:
        transport.write(head + body)
    else:
        transport.writelines((head, body))
    loop = asyncio.get_running_loop()
    timer = loop.call_at(until, protocol.give_up)
    try:
        while True:
            message, payload = await protocol.read()
            if not 100 <= message.code <= 199 or message.code == 101:
                break
            unrepeatable.set(True)
            if loop.time() >= until:  # it came just when nobody was to wait any longer
                raise TimeoutError
    except (aiohttp.ClientError, OSError):
        if protocol.begun:
            unrepeatable.set(True)
        raise
    finally:
        timer.cancel()
    return Head(
        message.code, message.reason, message.headers, message.raw_headers, payload, connection
    )


def wrong(head: Head) -> str:
    """Why an answer is none; "" when it is one. The library reads over characters that must not be
    passed on."""
    if not 200 <= head.status <= 599:
        return f"its status is {head.status}"
    parts = [part for pair in head.raw for part in pair]
    text = b"".join((*parts, head.reason.encode("utf-8", "surrogateescape")))
    return (
        "its answer was not valid HTTP" if len(text.translate(None, _CONTROL)) < len(text) else ""
    )


def request_head(method: str, url: URL, headers: Fields, length: int) -> bytes:
    """The head of a request with a body of `length` bytes. Raises `ValueError` rather than write
    one that says something else than its fields."""
    if not _TOKEN.fullmatch(method):
        raise ValueError("a method is one word")
    lines = lines_of(headers)
    host, path = _place(url)
    if not has(b"host", lines):
        lines = b"Host: %b\r\n%b" % (host.encode(), lines)
    if length or method not in _WITHOUT_BODY:
        lines += b"Content-Length: %d\r\n" % length
    return head_of(f"{method} {path} HTTP/1.1", lines)


@lru_cache(maxsize=1024)
def _place(url: URL) -> tuple[str, str]:
    """The `Host` and the target of a request for a URL."""
    if _ENDS_A_TARGET.search(url.raw_path_qs):
        raise ValueError("an address holds what would end it")
    return url.host_port_subcomponent or "", url.raw_path_qs
