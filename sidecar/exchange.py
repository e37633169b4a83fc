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
from contextvars import ContextVar
from functools import lru_cache, partial
from typing import Any, NamedTuple, Protocol

import aiohttp
from aiohttp.client_proto import ResponseHandler
from multidict import CIMultiDictProxy
from yarl import URL

from sidecar.fields import Pairs, has, head_of, lines_of

Tls = ssl.SSLContext | bool
"""True for the system's own certificates."""
MAXIMUM_HEAD = 64 * 1024
AT_ONCE = 1 << 14
"""Bodies up to this size are copied behind their head: one piece is written faster than two."""
_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

fresh: ContextVar[bool | None] = ContextVar("fresh", default=False)
"""Whether the connection that the running task asked for last is a new one; None until that is
there."""


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


class Connection(ResponseHandler):
    """Also tells who reads a body that its chunks stopped being chunks: the library does not, and
    he would wait until `timeouts.idle`."""

    def set_exception(self, exc: Any, *cause: Any) -> None:
        """The connection failed."""
        body = self._payload
        super().set_exception(exc, *cause)
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(aiohttp.ClientPayloadError(), exc)

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001 - the library's
        """Only what was paused: the library has its parser look at nothing after every read."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def expect(self, method: str) -> None:
        """Read what comes as the answer to a request; one parser does for all with a body."""
        without = method == "HEAD"
        if self._parser is None or without or self._skip_payload:
            self.set_response_params(
                skip_payload=without, read_until_eof=True, auto_decompress=False,
                max_line_size=MAXIMUM_HEAD, max_field_size=MAXIMUM_HEAD,
            )  # fmt: skip

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
        while kept := await super()._get(*args, **kwargs):
            if kept.protocol is None or not kept.protocol.should_close:
                break
            kept.close()
        return kept

    async def _create_connection(self, *args: Any, **kwargs: Any) -> ResponseHandler:
        fresh.set(None)
        made = await super()._create_connection(*args, **kwargs)
        fresh.set(True)
        return made


def was_sent() -> bool:
    """Whether the running task's latest request can have reached anybody: it had a connection."""
    return fresh.get() is not None


async def ask(
    connector: Connector, tls: Tls, method: str, url: URL, headers: Pairs, body: bytes,
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
    timer = asyncio.get_running_loop().call_at(until, protocol.give_up)
    try:
        while True:
            message, payload = await protocol.read()
            if not 100 <= message.code <= 199 or message.code == 101:
                break
    finally:
        timer.cancel()
    return Head(
        message.code, message.reason, message.headers, message.raw_headers, payload, connection
    )


def request_head(method: str, url: URL, headers: Pairs, length: int) -> bytes:
    """The head of a request with a body of `length` bytes. Raises `ValueError` rather than write
    one that says something else than its fields."""
    if not _TOKEN.fullmatch(method):
        raise ValueError("a method is one word")
    lines = lines_of(headers)
    host, path = _place(url)
    if not has("host", lines):
        lines = f"Host: {host}\r\n{lines}"
    if length or method not in _WITHOUT_BODY:
        lines += f"Content-Length: {length}\r\n"
    return head_of(f"{method} {path} HTTP/1.1", lines)


@lru_cache(maxsize=1024)
def _place(url: URL) -> tuple[str, str]:
    """The `Host` and the target of a request for a URL."""
    return url.host_port_subcomponent or "", url.raw_path_qs
