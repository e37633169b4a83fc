"""`sidecar explain`: where a call would go, and what would become of it now."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click

from sidecar import pricelist
from sidecar.affinity import Affinity
from sidecar.board import Board
from sidecar.cli import words
from sidecar.cli.common import (
    config_option,
    json_option,
    note,
    open_config,
    state_option,
    the_key,
    vault_for,
)
from sidecar.cli.counts import COUNT
from sidecar.cli.live import find_live
from sidecar.cli.names import KEY
from sidecar.cli.ways import explained
from sidecar.config import Snapshot
from sidecar.explain import explain
from sidecar.foresight import Outlook, supposed
from sidecar.live import LiveCalls
from sidecar.prices import Prices
from sidecar.retries import RetryBudget
from sidecar.scheduler import Scheduler, Sources


@click.command("explain")
@click.option("--key", "name", type=KEY, required=True, help="The key that would call.")
@click.option("--model", required=True, help="The model it would ask for.")
@click.option("--session", metavar="ID", help="The conversation it would belong to.")
@click.option("--size", type=COUNT, help="Bytes of its request, such as 120k.")
@click.option("--max-output", type=COUNT, help="The bound on its output, in tokens.")
@json_option
@config_option
@state_option
def explain_command(
    name: str, model: str, session: str | None, size: int | None, max_output: int | None,
    as_json: bool, config: Path, state: Path,
) -> None:  # fmt: skip
    """Show what would become of a call now: where it may go, and what stands on the way.

    Asks the running process; without one, goes by the file and this shell's environment, and knows
    nothing of what is used.

    \b
    Examples:
      sidecar explain --key codex --model gpt-5-mini
      sidecar explain --key codex --model gpt-5-mini --size 120k --json
    """
    given = {"model": model, "session": session, "size": size, "max_output": max_output}
    asked = {field: str(value) for field, value in given.items() if value is not None}
    live = find_live(state)
    if live is None:
        found = _by_file(name, asked, config, state)
    else:
        found = live.get(f"/api/explain?{urlencode({'key': name} | asked)}")
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        for line in explained(found):
            click.echo(words.printable(line))


def _by_file(name: str, asked: dict[str, str], config: Path, state: Path) -> dict[str, Any]:
    opened = open_config(config)
    call = supposed(the_key(opened.snapshot, name), asked)
    usable = vault_for(opened.snapshot).usable
    outlook = _outlook(opened.snapshot, state)
    note("no process runs: this goes by the file and this shell's environment")
    return explain(call, opened.registry.dialects, usable, outlook)


def _outlook(snapshot: Snapshot, state: Path) -> Outlook:
    """What can be seen without a process: the limits as they are written, and what is paused."""
    clock = time.monotonic
    prices = Prices(pricelist.load(), time.time)
    prices.reconcile(snapshot)
    sources = Sources(clock, time.time, lambda: 0.0, _no_timer)
    scheduler = Scheduler(sources, prices, _forget, state)
    scheduler.limits.reconcile(snapshot)
    live = LiveCalls(clock, time.time)
    board = Board(scheduler, live, RetryBudget(clock), time.time, known=False)
    return Outlook(board, Affinity(clock))


def _forget(_: object) -> None:
    """Nothing is counted here."""


def _no_timer(*_: object) -> Any:
    raise AssertionError("nobody waits without a process")
