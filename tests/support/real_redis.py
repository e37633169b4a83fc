"""A real Redis server of a test's own: in memory, on a socket."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

PROGRAM = shutil.which("redis-server") or shutil.which("valkey-server")
needs_redis = pytest.mark.skipif(
    PROGRAM is None or find_spec("redis") is None,
    reason="there is no redis-server here (apt-get install redis-server), or no client of it (pip"
    " install redis): nothing was shared",
)


class RealRedis:
    """A server that a test stops, kills and starts."""

    def __init__(self, folder: str, options: tuple[str, ...], file: tuple[str, ...] = ()) -> None:
        self.path = Path(folder) / "s"
        self.url = f"unix://{self.path}"
        self._command = [
            PROGRAM or "", *file, "--port", "0", "--unixsocket", str(self.path), "--dir", folder,
        ]  # fmt: skip
        if "--sentinel" not in options:
            self._command += ["--save", "", "--appendonly", "no"]
        self._command += options
        self._process: subprocess.Popen[bytes]
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        _until_open(self.path)

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self.path.unlink(missing_ok=True)


@contextmanager
def real_redis(*options: str, file: str = "") -> Iterator[RealRedis]:
    """Run a server. Its folder's name is short, as the path of a socket must be."""
    with tempfile.TemporaryDirectory(prefix="redis") as folder:
        server = RealRedis(folder, options, (file,) if file else ())
        try:
            yield server
        finally:
            server.kill()


@contextmanager
def all_answered(url: str) -> Iterator[Callable[[], None]]:
    """Return a function that waits until the server, on a socket, has answered all that was sent to
    it before, and has sent the messages that follow."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(url.removeprefix("unix://"))

        def receive() -> None:
            for _ in range(3):  # it reads all clients, then writes to all, in each turn of its loop
                client.sendall(b"PING\r\n")
                assert client.recv(7) == b"+PONG\r\n"

        yield receive


@contextmanager
def redis_server(*options: str) -> Iterator[str]:
    """Run a server; its URL."""
    with real_redis(*options) as server:
        yield server.url


def _until_open(path: Path) -> None:
    for _ in range(1000):
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(path))
            except OSError:
                time.sleep(0.01)
            else:
                return
    raise AssertionError("redis-server does not start")
