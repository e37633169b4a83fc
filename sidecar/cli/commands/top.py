"""`sidecar top`: the live calls, redrawn each second."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import click
import msgspec

from sidecar.admin.api_types.live import LiveState
from sidecar.cli.client import ProcessError, find_process
from sidecar.cli.options import fail, json_option, state_option

NOT_RUNNING = 3
"""Exit status: no process runs."""


@click.command("top")
@click.option("--once", is_flag=True, help="Print one frame and end.")
@json_option
@state_option
def top_command(once: bool, as_json: bool, state: Path) -> None:
    """Watch calls, limits, vendors' quotas and cooldowns.

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
    from sidecar.cli.render.screen import draw  # slow to import

    draw(live, view, once=once)
