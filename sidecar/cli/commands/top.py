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
from sidecar.cli.client import Live, LiveError, find_live
from sidecar.cli.options import fail, json_option, state_option
from sidecar.cli.render.top import Size, frame

REDRAW_SECONDS = 1.0
"""Seconds between two frames."""
TOP_TIMEOUT_SECONDS = 3.0
"""Seconds for an answer of the process, after which it is said to have stopped."""
MIN_COLUMNS = 40
_STOPPED = "the process stopped or hangs; this is its last frame"


def draw(live: Live, view: LiveState, *, once: bool) -> None:
    """Draw `view`, and what follows it unless it is wanted `once` or on no terminal."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 10_000  # a pipe wants everything
    if once or not console.is_terminal:
        console.print(frame(view, Size(max(console.width, MIN_COLUMNS))))
    else:
        _watch(live, view, console)


def _watch(live: Live, view: LiveState, console: Console) -> None:
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
                if ends(REDRAW_SECONDS):
                    return
                try:
                    view, stopped = (
                        live.get("/api/live", LiveState, timeout=TOP_TIMEOUT_SECONDS),
                        "",
                    )
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


NOT_RUNNING = 3
"""Exit status: no process runs."""


@click.command("top")
@click.option("--once", is_flag=True, help="Print one frame and end.")
@json_option
@state_option
def top_command(once: bool, as_json: bool, state: Path) -> None:
    """Watch the calls that run and wait, the limits, the vendors' quotas, and what is shut.

    Drawn anew each second; q or Ctrl-C ends it. Where the output is no terminal, one frame is
    printed, as with --once; --json prints what a frame is drawn from.

    \b
    Examples:
      sidecar top
      sidecar top --once

    Exit status: 0; 3 when no process runs.
    """
    live = find_live(state)
    if live is None:
        fail(f"no process runs with the state {state}; start one: sidecar serve", NOT_RUNNING)
    try:
        view = live.get("/api/live", LiveState)
    except LiveError as error:
        fail(str(error), NOT_RUNNING)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # not every terminal knows a bar
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(view), indent=2))
        return
    from sidecar.cli.commands.top import draw

    draw(live, view, once=once)
