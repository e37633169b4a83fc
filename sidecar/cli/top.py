"""`sidecar top`: the calls of this moment, drawn anew each second."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import click

from sidecar.cli.common import fail, json_option, state_option
from sidecar.cli.live import LiveError, find_live

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
        view = live.get("/api/live")
    except LiveError as error:
        fail(str(error), NOT_RUNNING)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # not every terminal knows a bar
    if as_json:
        click.echo(json.dumps(view, indent=2))
        return
    from sidecar.cli.screen import draw

    draw(live, view, once=once)
