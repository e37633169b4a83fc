"""Connections to providers: made once, kept while idle, through a proxy where one is configured."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from base64 import b64encode
from collections.abc import Sequence
from typing import NamedTuple

from aiohappyeyeballs import AddrInfoType, start_connection
from yarl import URL

from sidecar.config.model import Timeouts
from sidecar.errors import Fault, UpstreamError
from sidecar.http.wire.deadlines import DeadlineSweep, no_answer_within
from sidecar.http.wire.tls import ResumingContext
from sidecar.http.wire.upstream_protocol import UpstreamConnection

NAME_SECONDS = 60.0
"""Seconds that the addresses of a name are used without asking again."""
MAX_NAMES = 256
FALLBACK_SECONDS = 0.25
"""Seconds until the next address of a name is tried besides (RFC 8305 section 5)."""
_NO_WAY_OUT = frozenset({errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTUNREACH})


class Destination(NamedTuple):
    """Where a connection leads. `tls` is None for plain HTTP; `proxy` is a URL."""

    host: str
    port: int
    tls: ResumingContext | None
    proxy: str | None


class ConnectionPool:
    """Makes connections, and keeps those that are idle; `close` cuts all of them."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._sweep = DeadlineSweep(self._loop)
        self._idle: dict[Destination, list[UpstreamConnection]] = {}
        self._addresses: dict[tuple[str, int], tuple[float, Sequence[AddrInfoType]]] = {}
        self._proxy_tls: ssl.SSLContext | None = None

    def idle(self, endpoint: Destination) -> list[UpstreamConnection]:
        """Return the idle connections to a destination: the list in which they stay."""
        shelf = self._idle.get(endpoint)
        if shelf is None:
            shelf = self._idle[endpoint] = []
        return shelf

    async def connect(
        self, endpoint: Destination, timeouts: Timeouts, until: float
    ) -> UpstreamConnection:
        """Make a new connection, within `timeouts.connect` and not after `until` (seconds of the
        loop's clock). Raises `UpstreamError`."""
        connect_until = self._loop.time() + timeouts.connect
        try:
            async with asyncio.timeout_at(min(connect_until, until)):
                if endpoint.proxy is None:
                    made = await self._direct(endpoint.host, endpoint.port, endpoint.tls)
                else:
                    made = await self._by_proxy(endpoint, URL(endpoint.proxy), until)
        except TimeoutError:
            why = no_answer_within(timeouts.first_byte)
            if connect_until <= until:
                why = f"no connection within {timeouts.connect:g} s (timeouts.connect)"
            raise UpstreamError(Fault.TIMEOUT, why, sent=False) from None
        made.tls = endpoint.tls
        made.home = self.idle(endpoint)
        return made

    async def close(self) -> None:
        """Cut every connection."""
        self._sweep.close()
        for each in self._sweep.connections:
            if isinstance(each, UpstreamConnection):
                each.abort()
        await asyncio.sleep(0)  # the loop closes their sockets

    async def _direct(
        self, host: str, port: int, tls: ssl.SSLContext | None
    ) -> UpstreamConnection:  # fmt: skip
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            offline = getattr(error, "errno", None) == socket.EAI_AGAIN
            raise UpstreamError(
                Fault.CONNECT, "its name does not resolve", sent=False, offline=offline
            ) from None
        try:
            sock = await start_connection(
                addresses, happy_eyeballs_delay=FALLBACK_SECONDS, interleave=1
            )
            _, connection = await self._loop.create_connection(
                lambda: UpstreamConnection(self._loop, self._sweep),
                sock=sock, ssl=tls, server_hostname=host if tls is not None else None,
            )  # fmt: skip
        except OSError as error:
            raise connection_failure(error) from None
        return connection

    async def _by_proxy(
        self, endpoint: Destination, proxy: URL, until: float
    ) -> UpstreamConnection:
        tls = self._tls_to_proxy() if proxy.scheme == "https" else None
        try:
            connection = await self._direct(proxy.host or "", proxy.port or 0, tls)
        except UpstreamError as error:
            raise UpstreamError(
                error.fault, "the proxy cannot be reached", sent=False, offline=error.offline
            ) from None
        if endpoint.tls is None:
            return connection
        try:
            await self._tunnel(connection, endpoint, proxy, until)
        except BaseException:
            connection.abort()
            raise
        return connection

    async def _tunnel(
        self, connection: UpstreamConnection, endpoint: Destination, proxy: URL, until: float
    ) -> None:
        assert endpoint.tls is not None  # noqa: S101 - a tunnel is for TLS alone
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        place = f"{host}:{endpoint.port}".encode()
        lines = b"".join(b"%b: %b\r\n" % field for field in proxy_fields(proxy))
        head = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (place, place, lines)
        connection.send("CONNECT", head, b"")
        try:
            answer = await connection.read_head(until, "")
        except UpstreamError:
            raise UpstreamError(Fault.CONNECT, "the proxy refused", sent=False) from None
        if answer.status >= 300:
            raise UpstreamError(Fault.CONNECT, "the proxy refused", sent=False)
        try:
            await connection.start_tls(endpoint.tls, endpoint.host)
        except OSError as error:
            raise connection_failure(error) from None

    def _tls_to_proxy(self) -> ssl.SSLContext:
        if self._proxy_tls is None:
            self._proxy_tls = ssl.create_default_context()
        return self._proxy_tls

    async def _resolve(self, host: str, port: int) -> Sequence[AddrInfoType]:
        known, now = self._addresses.get((host, port)), self._loop.time()
        if known is not None and now < known[0]:
            return known[1]
        found: Sequence[AddrInfoType] = await self._loop.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )
        if len(self._addresses) >= MAX_NAMES:
            self._addresses.clear()
        self._addresses[host, port] = now + NAME_SECONDS, found
        return found


def connection_failure(error: OSError) -> UpstreamError:
    """Return the failure that an error of the operating system, or of TLS, stands for. Its text is
    not quoted but for what is known to hold nothing of the request."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = f"its certificate was not accepted: {error}"
        return UpstreamError(Fault.TLS, why, sent=False)
    if isinstance(error, ssl.SSLError):
        return UpstreamError(Fault.TLS, "the TLS handshake failed", sent=False)
    why = f"the connection failed: {error.strerror or 'unreachable'}"
    return UpstreamError(Fault.CONNECT, why, sent=False, offline=error.errno in _NO_WAY_OUT)


def proxy_fields(proxy: URL) -> list[tuple[bytes, bytes]]:
    """Return the fields that a request to this proxy needs."""
    if proxy.user is None:
        return []
    pair = f"{proxy.user}:{proxy.password or ''}".encode()
    return [(b"Proxy-Authorization", b"Basic " + b64encode(pair))]
