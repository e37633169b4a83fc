"""What every program of a client does: it takes orders on its input, one a line, as JSON, and
prints what the client returned or raised."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any

HELLO = "Say PONG-7"
ADD = {
    "name": "add",
    "description": "Add two numbers",
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    },
}
"""A tool as OpenAI describes its functions."""


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


_loop = asyncio.new_event_loop()  # one for all orders: clients keep their connections in it


def finished(work: Coroutine[Any, Any, Any]) -> Any:
    """Return what a coroutine returns."""
    return _loop.run_until_complete(work)


def obey(**scenarios: Callable[[str], Any]) -> None:
    """Carry out each order: set its `environ`, then call its scenario with its model."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a client prints is no result
    for line in sys.stdin:
        order = json.loads(line)
        os.environ.update(order["environ"])
        try:
            result = {"text": str(scenarios[order["scenario"]](order["model"]))}
        except Exception as error:  # noqa: BLE001 - what a client raises is the result
            result = {"raised": type(error).__name__, "message": str(error)}
        print(json.dumps(result), file=out, flush=True)
