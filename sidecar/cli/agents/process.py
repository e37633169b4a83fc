"""The agent's process, and the heartbeat that keeps its key alive."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

from sidecar.admin.api_types.entities import ChildKeyInfo
from sidecar.agents.launch import Launch
from sidecar.child_keys import ChildOrder
from sidecar.cli.client import ProcessError, find_process
from sidecar.cli.options import note

HEARTBEAT_SECONDS = 60.0
NOT_INSTALLED, NOT_EXECUTABLE = 127, 126
"""Exit statuses of shells."""
_PASSED_ON = ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
_FROM_THE_TERMINAL = ("SIGINT", "SIGQUIT")


class Heartbeat:
    """Renews the key of a run, from a thread, until `stop`.

    A heartbeat is the order itself: a service that lost the key creates it again.
    """

    def __init__(self, state: Path, order: ChildOrder) -> None:
        self._state = state
        self._order = order
        self._now = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def now(self) -> None:
        """Renew the key at once: this process was stopped for a while."""
        self._now.set()

    def stop(self) -> None:
        """End, so that the key is not created again."""
        self._stopped = True
        self._now.set()
        if self._thread.is_alive():
            self._thread.join()

    def _beat(self) -> None:
        while True:
            self._now.wait(HEARTBEAT_SECONDS)
            self._now.clear()
            if self._stopped:
                return
            # The terminal is the agent's; a service that is gone shows in the agent's own calls.
            with suppress(ProcessError):
                live = find_process(self._state)
                if live is not None:
                    live.send("/api/child-keys", self._order, ChildKeyInfo)


def run_agent(prepared: Launch, heartbeat: Heartbeat) -> int:
    """Run the agent with this terminal, and return its exit status: 128 and the signal's number
    for one that a signal ended."""
    started: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, _: FrameType | None) -> None:
        for process in started:
            process.send_signal(number)

    def from_the_terminal(number: int, frame: FrameType | None) -> None:
        if not _in_foreground():  # else the terminal has sent it to the agent, too
            pass_on(number, frame)

    for name in _PASSED_ON:
        _handle(name, pass_on)
    for name in _FROM_THE_TERMINAL:
        _handle(name, from_the_terminal)
    _handle("SIGCONT", lambda *_: heartbeat.now())
    try:
        process = subprocess.Popen(prepared.argv, env=prepared.environ)
    except FileNotFoundError:
        note(f"sidecar: {prepared.argv[0]} is not installed, or not in PATH")
        return NOT_INSTALLED
    except OSError as error:
        note(f"sidecar: {prepared.argv[0]}: {error.strerror}")
        return NOT_EXECUTABLE
    started.append(process)
    heartbeat.start()
    status = process.wait()
    return status if status >= 0 else 128 - status


def _handle(name: str, handler: Callable[[int, FrameType | None], None]) -> None:
    number = getattr(signal, name, None)  # some systems lack some of them
    if number is not None:
        signal.signal(number, handler)


def _in_foreground() -> bool:
    """Return whether this process group has the terminal."""
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return False
