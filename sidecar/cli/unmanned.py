"""What can be said of a call when no process runs: by the file and this shell's environment.

Loaded when it is needed: the scheduler brings the whole server along.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from sidecar import pricelist
from sidecar.affinity import Affinity
from sidecar.board import Board
from sidecar.cli.common import note, open_config, the_key, vault_for
from sidecar.config import Snapshot
from sidecar.explain import explain
from sidecar.foresight import Outlook, supposed
from sidecar.live import LiveCalls
from sidecar.prices import Prices
from sidecar.retries import RetryBudget
from sidecar.scheduler import Scheduler, Sources


def explain_by_file(name: str, asked: dict[str, str], config: Path, state: Path) -> dict[str, Any]:
    """What `explain` says, of a process that might be started now."""
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
