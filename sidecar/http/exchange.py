"""One request on one connection, until the head of its answer.

Connections, TLS, names and the parsing of answers are aiohttp's. What its client does for each
request besides (cookies, redirects, middlewares, a task that writes) took as long as everything
that Sidecar does for a small call; a request whose body is at hand is written here instead.
"""

from __future__ import annotations

import asyncio
import re
from functools import lru_cache
from typing import Any, NamedTuple

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from sidecar.http.aiohttp_internals import (
    INLINE_BODY_BYTES,
    Connection,
    Connector,
    ReleasableConnection,
    Tls,
    reused_at,
    unrepeatable,
)
from sidecar.http.headers import Fields, has, head_of, lines_of

_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = bytes({*range(0x20), 0x7F} - {0x09})
_ENDS_A_TARGET = re.compile(r"[\0- \x7f]")
REPLAY_SECONDS = 0.1
"""A kept connection that closes within this time of the first write had been closed before: its
request was not read. Later, it may have been served, and paid for."""


class Head(NamedTuple):
    """An answer whose head has arrived: `raw` are its fields as they were on the wire."""

    status: int
    reason: str
    fields: CIMultiDictProxy[str]
    raw: tuple[tuple[bytes, bytes], ...]
    body: aiohttp.StreamReader
    held: ReleasableConnection


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


async def send_request(
    connector: Connector, tls: Tls, method: str, url: URL, headers: Fields, body: bytes,
    limits: aiohttp.ClientTimeout, max_wait: float,
) -> Head:  # fmt: skip
    """Send a request and wait for the head of its answer: `patience` seconds for all of it, which
    `limits.connect` says as well.

    Raises what aiohttp's client would, and `HttpProcessingError` for what is no HTTP;
    `TimeoutError` when the head does not come.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + max_wait
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
    if len(body) <= INLINE_BODY_BYTES:
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
