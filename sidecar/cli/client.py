"""Client of the running process, over the unix socket that only this user can open."""

from __future__ import annotations

import errno
import http.client
import socket
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Struct

from sidecar.admin.api_types.config import ErrorResponse, ProcessStatus
from sidecar.config.model import ServerConfig, Snapshot
from sidecar.config.schema.addresses import local_url
from sidecar.errors import SidecarError
from sidecar.files import is_held, socket_of

TIMEOUT_SECONDS = 10.0
"""Seconds for an answer: a reload waits until the file has settled, and reads all of it."""
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ECONNREFUSED})
"""Errors of a socket on which no process listens."""


T = TypeVar("T")


class ProcessError(SidecarError):
    """The process answered with an error, or not at all; the text has the reason."""


class RunningProcess(Struct, frozen=True):
    """The process that serves with this state."""

    path: Path

    def get(
        self, path: str, answer: type[T], *, timeout: float = TIMEOUT_SECONDS, **query: str
    ) -> T:
        """Return a JSON answer within `timeout` seconds. Raises `ProcessError`."""
        target = f"{path}?{urlencode(query)}" if query else path
        return self._ask("GET", target, answer, timeout)

    def post(
        self, answer: type[T], *parts: str, timeout: float = TIMEOUT_SECONDS, **query: str
    ) -> T:
        """Return the JSON answer to a POST within `timeout` seconds. Raises `ProcessError`."""
        target = "/" + "/".join(quote(part, safe="") for part in parts)
        target += f"?{urlencode(query)}" if query else ""
        return self._ask("POST", target, answer, timeout)

    def send(self, path: str, body: msgspec.Struct, answer: type[T]) -> T:
        """Return the JSON answer to a POST with a body. Raises `ProcessError`."""
        return self._ask("POST", path, answer, TIMEOUT_SECONDS, msgspec.json.encode(body))

    def _ask(
        self, method: str, target: str, answer: type[T], timeout: float, body: bytes | None = None
    ) -> T:
        connection = _Connection(self.path, timeout)
        try:
            connection.request(method, target, body)
            response = connection.getresponse()
            content = response.read()
            if response.status == http.HTTPStatus.OK:
                return msgspec.json.decode(content, type=answer)
            message = msgspec.json.decode(content, type=ErrorResponse).error.message
        except (OSError, http.client.HTTPException, msgspec.MsgspecError) as error:
            raise ProcessError(f"the process at {self.path} does not answer: {error}") from None
        finally:
            connection.close()
        raise ProcessError(message)


def find_process(state: Path) -> RunningProcess | None:
    """Return the process that serves with this state; None when there is none.

    Raises `ProcessError` when one may run that does not answer.
    """
    path = socket_of(state)
    if path is None:
        if not is_held(state):
            return None
        raise ProcessError(
            f"the process with {state} cannot be asked: the location of its socket is unknown"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(TIMEOUT_SECONDS)
        try:
            probe.connect(str(path))
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise ProcessError(
                f"the process at {path} cannot be asked: {error.strerror or error}"
            ) from None
    return RunningProcess(path)


def base_of(snapshot: Snapshot | None, state: Path | None = None) -> str:
    """Return the base URL for agents: that of the process with this state, else that of the
    file, else the usual one."""
    server = ServerConfig() if snapshot is None else snapshot.server
    base = f"http://{server.listen[0]}"
    with suppress(ProcessError):
        live = None if state is None else find_process(state)
        if live is not None:
            base = (live.get("/api/status", ProcessStatus).listen or [base])[0]
    return local_url(base)


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
