"""HTTP responses that both listeners send."""

from __future__ import annotations

import json

from sidecar.errors import ErrorKind, LocalReply, ProxyError
from sidecar.http import headers
from sidecar.http.wire.agent_messages import AgentRequest, LocalResponse


def refuse_upgrade(request: AgentRequest) -> None:
    """Raise `ProxyError` (426) on a request for a websocket, which clients answer by using plain
    HTTP at once. Any other upgrade is only an offer (Java's HTTP client makes one of h2c with every
    call), and passing it over is an answer too (RFC 9110 section 7.8)."""
    if "websocket" in request.headers.get("Upgrade", "").lower():
        raise ProxyError(
            ErrorKind.UPGRADE_REQUIRED,
            "websockets are not served here; use plain HTTP with streaming",
        )


def send_continue(request: AgentRequest) -> None:
    """Send `100 Continue` to a client that waits for it before its body (`Expect`). HTTP/1.0 has no
    interim responses."""
    if request.is_http10:
        return
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def plain(why: LocalReply) -> LocalResponse:
    """Return a local reply that belongs to no dialect, in a shape that most clients can read."""
    body = json.dumps(_plain_error(why)).encode()
    error = {headers.ERROR: why.kind.name.lower()}
    return LocalResponse(body, status=why.kind.status, headers=error)


def refuse_message(kind: ErrorKind | None) -> LocalResponse:
    """Return the answer to a message that is no request, to an error of Sidecar's own, or (None) to
    a version of HTTP that is not served."""
    if kind is None:
        why = LocalReply(ErrorKind.BAD_REQUEST, "only HTTP/1.1 and HTTP/1.0 are served here")
    elif kind is ErrorKind.BAD_REQUEST:
        why = LocalReply(kind, "the request is not valid HTTP/1.1")
    else:
        why = LocalReply(kind, "an error in Sidecar itself; its log tells more")
    return plain(why)


def _plain_error(why: LocalReply) -> dict[str, object]:
    code = why.kind.name.lower()
    error = {"type": code, "code": code, "message": why.message, "param": None}
    return {"type": "error", "error": error}
