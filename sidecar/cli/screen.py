"""Draws what the process shows, once or anew each second, until somebody says that it is enough.

Loaded when it is needed: a command that draws nothing starts without it.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from rich.console import Console
from rich.live import Live as Screen

from sidecar.cli.frames import Size, frame
from sidecar.cli.live import Live, LiveError

EACH = 1.0
"""Seconds between two frames."""
PATIENCE = 3.0
"""Seconds for an answer of the process, after which it is said to have stopped."""
NARROWEST = 40
_STOPPED = "the process stopped or hangs; this is its last frame"


def draw(live: Live, view: dict[str, Any], *, once: bool) -> None:
    """Draw `view`, and what follows it unless it is wanted `once` or on no terminal."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 10_000  # a pipe wants everything
    if once or not console.is_terminal:
        console.print(frame(view, Size(max(console.width, NARROWEST))))
    else:
        _watch(live, view, console)


def _watch(live: Live, view: dict[str, Any], console: Console) -> None:
    """Draw until somebody says that it is enough; over a stop of the process, too."""
    signal.signal(signal.SIGTERM, _end)  # the screen must be given back,
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)  # and not be left behind by Ctrl-Z
    stopped = ""
    try:
        # Frames ask the real output what it can show.
        live_screen = Screen(
            console=console, screen=True, auto_refresh=False, redirect_stdout=False
        )
        with _keys() as ends, live_screen as screen:
            while True:
                size = Size(console.width, console.height)
                screen.update(frame(view, size, stopped=stopped), refresh=True)
                if ends(EACH):
                    return
                try:
                    view, stopped = live.get("/api/live", timeout=PATIENCE), ""
                except LiveError:
                    since = time.strftime("%H:%M:%S")
                    stopped = stopped or f"no answer since {since}: {_STOPPED}"
    except KeyboardInterrupt:
        return


def _end(*_: object) -> NoReturn:
    raise SystemExit(0)


@contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """A function that waits for so many seconds, or until a key is pressed: whether to end."""
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
