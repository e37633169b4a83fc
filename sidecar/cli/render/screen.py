"""The screen of `sidecar top`: one frame a second until a key ends it."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from rich.console import Console
from rich.live import Live as Screen

from sidecar.admin.api_types.live import LiveState
from sidecar.cli.client import ProcessError, RunningProcess
from sidecar.cli.render.top import ScreenSize, frame

REDRAW_SECONDS = 1.0
"""Seconds between two frames."""
TOP_TIMEOUT_SECONDS = 3.0
"""Seconds for an answer of the process, after which it is said to have stopped."""
MIN_COLUMNS = 40
_STOPPED = "the process stopped or hangs; this is the last frame"


def draw(live: RunningProcess, view: LiveState, *, once: bool) -> None:
    """Draw `view`, and the following ones unless `once` is set or the output is no terminal."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 10_000  # no limit for a pipe
    if once or not console.is_terminal:
        console.print(frame(view, ScreenSize(max(console.width, MIN_COLUMNS))))
    else:
        _watch(live, view, console)


def _watch(live: RunningProcess, view: LiveState, console: Console) -> None:
    """Draw until the user ends it, also while the process is stopped."""
    # The screen must be restored, also where a script that ignores Ctrl-C has started this.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)  # Ctrl-Z would leave the screen as it is
    stopped = ""
    # A frame reads the encoding of the real output.
    live_screen = Screen(console=console, screen=True, auto_refresh=False, redirect_stdout=False)
    with _keys() as ends, live_screen as screen:
        while True:
            size = ScreenSize(console.width, console.height)
            screen.update(frame(view, size, stopped=stopped), refresh=True)
            if ends(REDRAW_SECONDS):
                return
            try:
                view = live.get("/api/live", LiveState, timeout=TOP_TIMEOUT_SECONDS)
                stopped = ""
            except ProcessError:
                since = time.strftime("%H:%M:%S")
                stopped = stopped or f"no answer since {since}: {_STOPPED}"


def _end(*_: object) -> NoReturn:
    raise SystemExit(0)


@contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """Yield a function that waits for so many seconds, or a key, and returns whether to end."""
    if not sys.stdin.isatty():
        yield _only_wait
        return
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def ends(seconds: float) -> bool:
        ready, _, _ = select.select([descriptor], [], [], seconds)
        pressed = os.read(descriptor, 64) if ready else b" "
        return not pressed or b"q" in pressed.lower()

    try:
        tty.setcbreak(descriptor)
        yield ends
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _only_wait(seconds: float) -> bool:
    time.sleep(seconds)
    return False
