"""HTTP responses that both listeners send."""

from __future__ import annotations

from aiohttp import HttpVersion11, web

from sidecar.errors import ErrorKind, LocalReply, ProxyError
from sidecar.http import headers
from sidecar.records import program_of


def user_agent_of(request: web.BaseRequest) -> str:
    """The client program, as it names itself; "" when it does not."""
    return program_of(request.headers.get("User-Agent", ""))


def refuse_upgrade(request: web.BaseRequest) -> None:
    """Raise `ProxyError` (426) on a request for a websocket, which clients answer by using plain
    HTTP at once. Any other upgrade is only an offer (Java's HTTP client makes one of h2c with every
    call), and passing it over is an answer too (RFC 9110 section 7.8)."""
    if "websocket" in request.headers.get("Upgrade", "").lower():
        raise ProxyError(
            ErrorKind.UPGRADE_REQUIRED,
            "websockets are not served here; use plain HTTP with streaming",
        )


def send_continue(request: web.BaseRequest) -> None:
    """Send `100 Continue` to a client that waits for it before its body (`Expect`). HTTP/1.0 has no
    interim responses."""
    if request.version < HttpVersion11:
        return
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def plain(why: LocalReply) -> web.Response:
    """Return a local reply that belongs to no dialect, in a shape that most clients can read."""
    code = why.kind.name.lower()
    error = {"type": code, "code": code, "message": why.message, "param": None}
    response = web.json_response({"type": "error", "error": error}, status=why.kind.status)
    response.headers[headers.ERROR] = code
    return response
