"""How a stream of the responses API that we have to end says that it failed."""

from __future__ import annotations

import json
import math

from sidecar import ErrorKind, LocalReply

_LATER = "rate_limit_exceeded"
"""The code with which Codex reads "try again in 7s" out of the message, and does so."""


def failed_response(reply: LocalReply, error: bytes, call_id: str) -> bytes:
    """`response.failed` with our words in the response, where Codex reads them, and `error` (the
    JSON body of our error) beside it, at which the SDKs raise.

    The response's own code is none of those for which Codex has a sentence of its own, since that
    would hide ours: `insufficient_quota`, `server_is_overloaded`, `slow_down`.
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
