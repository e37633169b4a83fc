"""Local replies in the shape of Google's errors."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from sidecar import ErrorKind, LocalReply

_RPC = "type.googleapis.com/google.rpc."
_STATUS: Mapping[ErrorKind, tuple[int, str]] = {
    ErrorKind.INVALID_KEY: (401, "UNAUTHENTICATED"),
    ErrorKind.FORBIDDEN: (403, "PERMISSION_DENIED"),
    ErrorKind.KEY_DISABLED: (403, "PERMISSION_DENIED"),
    ErrorKind.MODEL_NOT_ALLOWED: (403, "PERMISSION_DENIED"),
    ErrorKind.NOT_FOUND: (404, "NOT_FOUND"),
    ErrorKind.RATE_LIMITED: (429, "RESOURCE_EXHAUSTED"),
    # From no other status do Google's clients conclude that a retry does not help.
    ErrorKind.BUDGET_SPENT: (429, "RESOURCE_EXHAUSTED"),
    ErrorKind.INTERNAL: (500, "INTERNAL"),
    # Google does not use 502; its clients handle 503.
    ErrorKind.UPSTREAM_UNREACHABLE: (503, "UNAVAILABLE"),
    ErrorKind.UPSTREAM_INVALID: (503, "UNAVAILABLE"),
    ErrorKind.UNAVAILABLE: (503, "UNAVAILABLE"),
    ErrorKind.DRAINING: (503, "UNAVAILABLE"),
    ErrorKind.OVERLOADED: (503, "UNAVAILABLE"),
    ErrorKind.CREDENTIAL_REJECTED: (502, "UNAVAILABLE"),
    ErrorKind.UPSTREAM_TIMEOUT: (504, "DEADLINE_EXCEEDED"),
}


_NO_RETRY_SECONDS = 86_400
"""A delay that stops retries: clients give up at once above five minutes, and without any delay
they retry ten times."""


def status_of(reply: LocalReply) -> int:
    """Return the HTTP status of a local reply."""
    return _shape(reply)[0]


def _shape(reply: LocalReply) -> tuple[int, str]:
    status, word = _STATUS.get(reply.kind, (reply.kind.status, "INVALID_ARGUMENT"))
    return reply.upstream_status or status, word


def error_body(reply: LocalReply, call_id: str) -> bytes:
    """Return `{"error": {code, message, status, details}}`.

    The details name Sidecar as the domain, and the delay after which to retry.
    """
    code, status = _shape(reply)
    info = {"reason": reply.kind.name, "domain": "sidecar", "metadata": {"call": call_id}}
    details: list[dict[str, object]] = [{"@type": f"{_RPC}ErrorInfo", **info}]
    delay = _delay(reply, code)
    if delay is not None:
        seconds = f"{max(1, math.ceil(delay))}s"
        details.append({"@type": f"{_RPC}RetryInfo", "retryDelay": seconds})
    error = {"code": code, "message": reply.message, "status": status, "details": details}
    return json.dumps({"error": error}).encode()


def _delay(reply: LocalReply, code: int) -> float | None:
    """Return the seconds after which to retry; a long time if a retry does not help.

    Google's clients retry every 429 and 5xx without a delay.
    """
    if reply.retry_after is not None:
        return reply.retry_after
    if reply.retryable or (code < 500 and code != 429):
        return None
    return _NO_RETRY_SECONDS if reply.opens_in is None else reply.opens_in
