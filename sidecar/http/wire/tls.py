"""TLS to providers: verified, and resumed where the provider allows it."""

from __future__ import annotations

import ssl
import sys
from typing import Any

from sidecar.config.ca_files import why_unusable
from sidecar.errors import Fault, UpstreamError

MAX_SESSIONS = 256


class ResumingContext(ssl.SSLContext):
    """A context that begins a connection with the last session of the same server.

    The event loop has no argument for a session; it calls `wrap_bio`, which has one. A session is
    used only for the name whose certificate was verified when it began.
    """

    def __init__(self, protocol: int) -> None:  # noqa: ARG002 - ssl.SSLContext takes it in __new__
        super().__init__()
        self._sessions: dict[str, ssl.SSLSession] = {}

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """Wrap a connection, and offer to resume."""
        name = options.get("server_hostname")
        if name is not None:
            options.setdefault("session", self._sessions.get(name))
        return super().wrap_bio(*args, **options)

    def remember(self, tls: ssl.SSLObject) -> None:
        """Keep the session of a connection on which an answer was read: by then TLS 1.3 has sent
        its tickets."""
        name, session = tls.server_hostname, tls.session
        if not isinstance(name, str) or session is None:
            return
        if len(self._sessions) >= MAX_SESSIONS and name not in self._sessions:
            self._sessions.clear()
        self._sessions[name] = session


def client_context(ca_file: str | None) -> ResumingContext:
    """Return a context that trusts the system's authorities, and those of `ca_file`.

    Raises `UpstreamError` when that file cannot be used. Blocking.
    """
    context = ResumingContext(ssl.PROTOCOL_TLS_CLIENT)  # which verifies certificates and names
    if sys.version_info >= (3, 13):  # as ssl.create_default_context()
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    context.load_default_certs()
    if ca_file is not None:
        why_not = why_unusable(ca_file)
        if why_not:
            raise UpstreamError(Fault.TLS, f"ca_file {ca_file} {why_not}", sent=False)
        context.load_verify_locations(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context
