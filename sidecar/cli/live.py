"""Talks to the running process, over the unix socket that only this user can open."""

from __future__ import annotations

import http.client
import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

TIMEOUT = 10.0
SOCKET = "admin.sock"


class LiveError(Exception):
    """The process answered with an error; the text is its own."""


@dataclass(frozen=True, slots=True)
class Live:
    """The process that serves with this state."""

    path: Path

    def get(self, path: str, **query: str) -> Any:
        """A JSON answer. Raises `LiveError`."""
        return self._ask("GET", f"{path}?{urlencode(query)}" if query else path)

    def post(self, *parts: str) -> Any:
        """The JSON answer to an order. Raises `LiveError`."""
        return self._ask("POST", "/" + "/".join(quote(part, safe="") for part in parts))

    def _ask(self, method: str, target: str) -> Any:
        connection = _Connection(self.path)
        try:
            connection.request(method, target)
            answer = connection.getresponse()
            body = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise LiveError(f"the process at {self.path} does not answer: {error}") from None
        finally:
            connection.close()
        if answer.status != http.HTTPStatus.OK:
            raise LiveError(str(body.get("error", {}).get("message", answer.status)))
        return body


def find_live(state: Path) -> Live | None:
    """The process that serves with this state; None when there is none."""
    path = state / SOCKET
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(TIMEOUT)
        try:
            probe.connect(str(path))
        except OSError:
            return None
    return Live(path)


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(str(self._path))
