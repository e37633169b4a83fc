"""The event that ends a broken stream of the responses API."""

from __future__ import annotations

import json
import math

from sidecar import ErrorKind, LocalReply

_LATER = "rate_limit_exceeded"
"""The code with which Codex parses "try again in 7s" in the message and retries."""


def failed_response(reply: LocalReply, error: bytes, call_id: str) -> bytes:
    """Return a `response.failed` event.

    Codex reads the message in its `response`, the SDKs raise at its `error`, which is that of the
    JSON body `error`. For the codes `insufficient_quota`, `server_is_overloaded` and `slow_down`,
    Codex shows a text of its own in place of the message, so they are not used.
    """
    code, message = reply.kind.name.lower(), reply.message
    if reply.retry_after is not None:
        code = _LATER
        message = f"{message}; try again in {max(1, math.ceil(reply.retry_after))}s"
    elif reply.kind is ErrorKind.RATE_LIMITED:
        code = _LATER
    response = {
        "id": f"resp_{call_id}", "object": "response", "created_at": 0, "status": "failed",
        "error": {"code": code, "message": message}, "incomplete_details": None, "model": "",
        "output": [], "parallel_tool_calls": False, "tool_choice": "auto", "tools": [],
        "usage": None,
    }  # fmt: skip
    event = {
        "type": "response.failed", "sequence_number": 0, "response": response,
        "error": json.loads(error)["error"],
    }  # fmt: skip
    return b"event: response.failed\ndata: " + json.dumps(event).encode() + b"\n\n"
