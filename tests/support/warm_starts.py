"""Start `sidecar` as a process that has its imports already: a fifth of the processor time.

One process imports the whole product, and forks for each start. What is forked is a process as any
other: it has arguments, a folder, an environment and standard streams of its own, gets signals, can
be killed, and ends as Python does. A test of the start itself uses `SIDECAR` of `cli_runner`.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, Any, NoReturn

HEAD_BYTES = 8
PACKAGES = ("sidecar", "sidecar_transforms", "sidecar_vendors")
READ_BY_PYTHON = ("PYTHONIOENCODING", "PYTHONPATH", "PYTHONUTF8", "LANG", "LC_")
"""The beginnings of variables that Python reads at its start, which a fork comes too late for."""

_ORDERS = threading.Lock()
"""Held while an order is sent: threads share the link."""


class WarmProcess:
    """A started process, with what tests use of `subprocess.Popen`."""

    def __init__(self, report: IO[bytes]) -> None:
        self._report = report
        self.pid = int(report.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self._status_within(0)

    def wait(self, timeout: float | None = None) -> int:
        status = self._status_within(timeout)
        if status is None:
            raise subprocess.TimeoutExpired("sidecar", timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _status_within(self, seconds: float | None) -> int | None:
        if self.returncode is None and select.select([self._report], [], [], seconds)[0]:
            self.returncode = int(self._report.readline())
            self._report.close()
        return self.returncode


def warm_start(
    words: Sequence[str], folder: Path, environ: Mapping[str, str], streams: Sequence[int]
) -> WarmProcess:
    """Start `sidecar WORDS` with three streams, as file descriptors."""
    assert not any(name.startswith(READ_BY_PYTHON) for name in environ), "this needs a cold start"
    order = json.dumps([list(words), str(folder), dict(environ)]).encode()
    told, tells = os.pipe()
    try:
        with _ORDERS:
            link = _forking_process()
            socket.send_fds(link, [b"%*d" % (HEAD_BYTES, len(order))], [*streams, tells])
            link.sendall(order)
    finally:
        os.close(tells)
    return WarmProcess(os.fdopen(told, "rb", buffering=0))


@cache
def _forking_process() -> socket.socket:
    ours, theirs = socket.socketpair()
    environ = {"PATH": os.environ["PATH"]}
    process = subprocess.Popen(
        [sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()], env=environ
    )
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _fork_for_each_order(link: socket.socket) -> None:
    """Return in each process that is ordered; the process that forks them ends here."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those that report need no `waitpid`
    while True:
        length, fds, _, _ = socket.recv_fds(link, HEAD_BYTES, 4)
        if not length:
            os._exit(0)
        order = json.loads(_read(link, int(length)))
        if os.fork() == 0:
            break
        for fd in fds:
            os.close(fd)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    link.close()
    *streams, report = fds
    if child := os.fork():
        _report_on(child, report, streams)
    os.close(report)
    _become(order, streams)


def _read(link: socket.socket, length: int) -> bytes:
    found = b""
    while len(found) < length:
        found += link.recv(length - len(found))
    return found


def _report_on(child: int, report: int, streams: Sequence[int]) -> NoReturn:
    """Write the id of the process, and its status as soon as it has ended."""
    for fd in (0, 1, 2, *streams):
        os.close(fd)
    os.write(report, b"%d\n" % child)
    _, status = os.waitpid(child, 0)
    os.write(report, b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _become(order: Any, streams: Sequence[int]) -> None:
    words, folder, environ = order
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
        os.close(fd)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = ["sidecar", *words]
    sys.stdin = _opened(0, "r", sys.stdin)
    sys.stdout = _opened(1, "w", sys.stdout)
    sys.stderr = _opened(2, "w", sys.stderr, buffering=1)


def _opened(number: int, mode: str, old: Any, buffering: int = -1) -> Any:
    return os.fdopen(
        number, mode, buffering, encoding=old.encoding, errors=old.errors, closefd=False
    )


def _import_everything() -> None:
    for package in map(import_module, PACKAGES):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(".__main__"):
                import_module(module.name)


if __name__ == "__main__":
    _import_everything()
    gc.freeze()  # else each fork copies what a garbage collection, such as its last, only counts
    _fork_for_each_order(socket.socket(fileno=int(sys.argv[1])))
    sys.modules["sidecar.cli"].main()
