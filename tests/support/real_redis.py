"""A real Redis server of a test's own: in memory, on a socket."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

needs_redis = pytest.mark.skipif(
    shutil.which("redis-server") is None or find_spec("redis") is None,
    reason="there is no redis-server here (apt-get install redis-server), or no client of it (pip"
    " install redis): nothing was shared",
)


@contextmanager
def redis_server(*options: str) -> Iterator[str]:
    """Run a server; its URL. The folder is short, as the path of a socket must be."""
    with tempfile.TemporaryDirectory(prefix="redis") as folder:
        path = Path(folder) / "s"
        process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", str(path), "--save", "",
             "--dir", folder, "--appendonly", "no", *options],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            _until_open(path)
            yield f"unix://{path}"
        finally:
            process.kill()
            process.wait()


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
