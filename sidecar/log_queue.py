"""Write log lines in a thread of its own, so that a log which nobody reads never stops the service.

Lines wait in a bounded queue. When it is full they are dropped and counted, and a line reports the
number once the log is read again.
"""

from __future__ import annotations

import io
import json
import os
import select
import sys
import time
from collections import deque
from threading import Condition, Thread

MAX_QUEUE_BYTES = 1 << 20
"""About 3,000 lines of calls."""
WRITE_BYTES = 1 << 16
"""Bytes written together; more would only be in the pipe's way."""


class LogQueue(io.TextIOBase):
    """A text stream over the file descriptor `handle`, whose `write` never blocks or raises.

    `handle` is left open. `max_bytes` bounds what waits, besides the piece being written.
    """

    def __init__(self, handle: int, max_bytes: int = MAX_QUEUE_BYTES) -> None:
        super().__init__()
        self._handle = handle
        self._max_bytes = max_bytes
        self._is_terminal = _is_terminal(handle)
        self._pieces: deque[bytes] = deque()
        self._bytes = 0
        self._writing = False
        self._closing = False
        self._dropped = 0
        self._reported = 0
        self._changed = Condition()
        self._thread = Thread(target=self._run, name="sidecar-log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """The number of lines dropped since the start."""
        return self._dropped

    def writable(self) -> bool:
        """Return True: it is a stream to write to."""
        return True

    def isatty(self) -> bool:
        """Return whether the lines go to a terminal."""
        return self._is_terminal

    def fileno(self) -> int:
        """Return the file descriptor that is written to."""
        return self._handle

    def write(self, text: str) -> int:
        """Queue `text`, or drop it when the queue is full."""
        piece = text.encode("utf-8", "backslashreplace")
        with self._changed:
            if self._bytes + len(piece) > self._max_bytes or self._closing:
                self._dropped += text.count("\n")
            elif piece:
                self._pieces.append(piece)
                self._bytes += len(piece)
                self._changed.notify_all()
        return len(text)

    def finish(self, patience: float) -> bool:
        """Take no more lines, wait at most `patience` seconds until all are written, and return
        whether they are."""
        until = time.monotonic() + patience
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            while self._pieces or self._writing:
                left = until - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
        return True

    def _run(self) -> None:
        while (piece := self._next()) is not None:
            written = _write_all(self._handle, piece)
            with self._changed:
                self._writing = False
                if not written:
                    self._dropped += piece.count(b"\n")
                elif not self._pieces:
                    self._report()
                self._changed.notify_all()

    def _next(self) -> bytes | None:
        """Return the next bytes to write, joined from what waits; None at the end."""
        with self._changed:
            while not self._pieces and not self._closing:
                self._changed.wait()
            parts: list[bytes] = []
            size = 0
            while self._pieces and size < WRITE_BYTES:
                part = self._pieces.popleft()
                parts.append(part)
                size += len(part)
            self._bytes -= size
            self._writing = bool(parts)
            return b"".join(parts) or None

    def _report(self) -> None:
        """Queue a line with the number of lines dropped since the last such line, if any."""
        missing = self._dropped - self._reported
        if not missing:
            return
        self._reported = self._dropped
        text = f"{missing} log lines were dropped, because nobody read the log"
        if self._is_terminal:
            line = f"{time.strftime('%H:%M:%S')} warning: {text}"
        else:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
            line = json.dumps(
                {"time": stamp, "level": "warning", "logger": "sidecar", "message": text}
            )
        piece = f"{line}\n".encode()
        self._pieces.append(piece)
        self._bytes += len(piece)


def open_standard_streams() -> None:
    """Open `/dev/null` in place of standard streams that were closed at start.

    A database or a socket would otherwise get their numbers, and whatever is printed.
    """
    for handle in (0, 1, 2):
        try:
            os.fstat(handle)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: this one
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _is_terminal(handle: int) -> bool:
    try:
        return os.isatty(handle)
    except OSError:
        return False


def _write_all(handle: int, data: bytes) -> bool:
    """Write `data`, blocking; return False when the other end is gone or the descriptor is bad."""
    view = memoryview(data)
    while view:
        try:
            try:
                view = view[os.write(handle, view) :]
            except BlockingIOError:  # a process that shares it made it non-blocking
                select.select([], [handle], [])
        except (OSError, ValueError):  # ValueError: more than select can watch
            return False
    return True
