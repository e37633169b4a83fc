"""Names every way in which a provider can fail below HTTP, in words that tell what to change.

A library's error is never quoted: its text may hold what was on the wire.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from sidecar.config.model import Timeouts
from sidecar.errors import Fault, UpstreamError


def failed_head(error: Exception, timeouts: Timeouts, *, sent: bool) -> UpstreamError:
    """What kept an attempt from getting the head of an answer. `sent`: there was a connection, so
    that the request may have gone out."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        why = f"no connection within {timeouts.connect:g} s (timeouts.connect)"
        return UpstreamError(Fault.TIMEOUT, why, sent=False)
    if isinstance(error, TimeoutError):
        why = f"no answer within {timeouts.first_byte:g} s (timeouts.first_byte)"
        return UpstreamError(Fault.TIMEOUT, why, sent=sent)
    return named(error, sent=sent and not isinstance(error, ValueError))


_NAMES: tuple[tuple[type[BaseException], Fault, Callable[[BaseException], str]], ...] = (
    (TimeoutError, Fault.TIMEOUT, str),
    (
        aiohttp.ClientConnectorCertificateError,
        Fault.TLS,
        lambda e: f"its certificate was not accepted: {getattr(e, 'certificate_error', '')}",
    ),
    (aiohttp.ClientSSLError, Fault.TLS, lambda _: "the TLS handshake failed"),
    (aiohttp.ClientConnectorDNSError, Fault.CONNECT, lambda _: "its name does not resolve"),
    (aiohttp.ClientProxyConnectionError, Fault.CONNECT, lambda _: "the proxy cannot be reached"),
    (aiohttp.ClientHttpProxyError, Fault.CONNECT, lambda _: "the proxy refused"),
    (
        aiohttp.ClientConnectorError,
        Fault.CONNECT,
        lambda e: f"the connection failed: {getattr(e, 'strerror', None) or 'unreachable'}",
    ),
    (aiohttp.ServerDisconnectedError, Fault.CLOSED, lambda _: "it closed without an answer"),
    (aiohttp.ClientPayloadError, Fault.CLOSED, lambda _: "it broke off in its answer"),
    (aiohttp.ClientResponseError, Fault.PROTOCOL, lambda _: "its answer was not valid HTTP"),
    (HttpProcessingError, Fault.PROTOCOL, lambda _: "its answer was not valid HTTP"),
    (OSError, Fault.CLOSED, lambda _: "the connection was reset"),
)


_NO_WAY_OUT = frozenset({errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTUNREACH})


def _is_offline(error: BaseException) -> bool:
    """Whether the operating system says that there is no way out, or no name server to ask."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return getattr(error.os_error, "errno", None) == socket.EAI_AGAIN
    return isinstance(error, OSError) and error.errno in _NO_WAY_OUT


def named(error: BaseException, *, sent: bool) -> UpstreamError:
    """Our name for a library's error; never its text, which may quote what was on the wire."""
    for kind, fault, text in _NAMES:
        if isinstance(error, kind):
            return UpstreamError(fault, text(error), sent=sent, offline=_is_offline(error))
    return UpstreamError(Fault.PROTOCOL, f"{type(error).__name__}", sent=sent)
