"""`sidecar top`: the live calls, redrawn each second."""

from __future__ import annotations

import io
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import click
import msgspec
from rich.console import Console
from rich.live import Live as Screen

from sidecar.admin.api_types.live import LiveState
from sidecar.cli.client import ProcessError, RunningProcess, find_process
from sidecar.cli.options import fail, json_option, state_option
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
    signal.signal(signal.SIGTERM, _end)  # the screen must be restored,
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)  # and Ctrl-Z would leave it as it is
    stopped = ""
    try:
        # A frame reads the encoding of the real output.
        live_screen = Screen(
            console=console, screen=True, auto_refresh=False, redirect_stdout=False
        )
        with _keys() as ends, live_screen as screen:
            while True:
                size = ScreenSize(console.width, console.height)
                screen.update(frame(view, size, stopped=stopped), refresh=True)
                if ends(REDRAW_SECONDS):
                    return
                try:
                    view, stopped = (
                        live.get("/api/live", LiveState, timeout=TOP_TIMEOUT_SECONDS),
                        "",
                    )
                except ProcessError:
                    since = time.strftime("%H:%M:%S")
                    stopped = stopped or f"no answer since {since}: {_STOPPED}"
    except KeyboardInterrupt:
        return


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


NOT_RUNNING = 3
"""Exit status: no process runs."""


@click.command("top")
@click.option("--once", is_flag=True, help="Print one frame and end.")
@json_option
@state_option
def top_command(once: bool, as_json: bool, state: Path) -> None:
    """Watch running and waiting calls, limits, vendors' quotas and cooldowns.

    Redrawn each second; q or Ctrl-C ends it. Without a terminal one frame is printed, as with
    --once; --json prints the data of a frame.

    \b
    Examples:
      sidecar top
      sidecar top --once

    Exit status: 0; 3 when no process runs.
    """
    live = find_process(state)
    if live is None:
        fail(f"no process runs with the state {state}; start one: sidecar serve", NOT_RUNNING)
    try:
        view = live.get("/api/live", LiveState)
    except ProcessError as error:
        fail(str(error), NOT_RUNNING)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # not every terminal has these characters
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(view), indent=2))
        return
    from sidecar.cli.commands.top import draw

    draw(live, view, once=once)
