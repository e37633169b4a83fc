"""`sidecar explain` without a process: the file and this shell's environment answer."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from sidecar.admin.api_types.live import Explanation
from sidecar.admin.introspect.dry_run import Forecaster, HypotheticalCall
from sidecar.admin.introspect.explain import explain
from sidecar.admin.introspect.live import LiveView
from sidecar.cli.options import note, open_config, the_key, vault_for
from sidecar.config.model import Snapshot
from sidecar.pricing import price_list
from sidecar.pricing.prices import Prices
from sidecar.proxy.in_flight import LiveCalls
from sidecar.proxy.stream.transforming import TransformNotes
from sidecar.routing.affinity import Affinity
from sidecar.scheduling.lease import Sources
from sidecar.scheduling.scheduler import Scheduler


def explain_by_file(name: str, asked: dict[str, str], config: Path, state: Path) -> Explanation:
    """Return the explanation that a process started now would give."""
    opened = open_config(config)
    call = HypotheticalCall.from_query(the_key(opened.snapshot, name), asked)
    usable = vault_for(opened.snapshot).usable
    outlook = _forecaster(opened.snapshot, state)
    note("no process runs: this is based on the file and this shell's environment")
    return explain(call, opened.registry.dialects, usable, outlook)


def _forecaster(snapshot: Snapshot, state: Path) -> Forecaster:
    """Return a dry run without a process: the limits of the file, and what is paused."""
    clock = time.monotonic
    prices = Prices(price_list.load(), time.time)
    prices.reconcile(snapshot)
    sources = Sources(clock, time.time, lambda: 0.0, _no_timer)
    scheduler = Scheduler(sources, prices, _forget, state)
    scheduler.reconcile_limits(snapshot)
    live = LiveCalls(clock, time.time)
    board = LiveView(scheduler, live, time.time, known=False)
    return Forecaster(board, Affinity(clock), TransformNotes())


def _forget(_: object) -> None:
    """Ignore a count."""


def _no_timer(*_: object) -> Any:
    raise AssertionError("no call waits without a process")
