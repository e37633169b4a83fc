"""`sidecar status | models`: the state of the process, and the models that keys may use."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from sidecar.admin.api_types.config import ProcessStatus, ReloadReport
from sidecar.admin.api_types.entities import ModelUse, ModelUses
from sidecar.cli.client import ProcessError, find_process
from sidecar.cli.options import (
    config_option,
    fail,
    json_option,
    note,
    open_config,
    state_option,
    the_key,
)
from sidecar.cli.params import KEY
from sidecar.cli.render.limiters import network_text, pause_text, subscription_text
from sidecar.humanize import span, when

NOT_RUNNING = 3
"""Exit status of `sidecar status`: no process runs."""
STATUS_TIMEOUT_SECONDS = 30.0
"""Seconds to wait for the providers' own lists of models."""


@click.command("status")
@json_option
@state_option
def status_command(as_json: bool, state: Path) -> None:
    """Show what the running process serves.

    Shows which version of the file is in force, too.

    \b
    Example:
      sidecar status

    Exit status: 0 healthy; 1 the last edit was refused; 3 no process runs.
    """
    try:
        live = find_process(state)
        if live is not None:
            live.post(ReloadReport, "api", "reload")  # includes an edit of the last second
        status = None if live is None else live.get("/api/status", ProcessStatus)
    except ProcessError as error:
        fail(str(error), NOT_RUNNING)
    if status is None:
        fail(f"no process runs with the state {state}; start one: sidecar serve", NOT_RUNNING)
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(status), indent=2))
    else:
        _show(status)
    raise SystemExit(1 if status.config.error else 0)


def _show(status: ProcessStatus) -> None:
    config, now = status.config, time.time()
    click.echo(f"sidecar {status.version}, process {status.pid}")
    click.echo(f"agents    {', '.join(status.listen)}")
    click.echo(f"admin     {status.admin}")
    click.echo(f"serving   {config.file}, the file of {when(config.accepted_at, now)}")
    waiting = f", {status.waiting} of them waiting" if status.waiting else ""
    click.echo(f"calls     {status.in_flight} in flight{waiting}")
    for hold in status.holds:
        click.echo(f"paused    {pause_text(hold, now)}")
    if not status.network.up:
        click.echo(f"network   {network_text(status.network)}")
    click.echo("".join(map("{}\n".format, _shared_lines(status))), nl=False)
    for window in status.subscriptions:
        click.echo(f"plan      {subscription_text(window)} (key {window.key})")
    click.echo(f"prices    {status.prices}")
    for provider in status.providers:
        if not provider.available:
            click.echo(f"provider  {provider.name} is unavailable: {provider.reason}")
    for problem in status.plugin_problems:
        click.echo(f"plugin    {problem}")
    if not status.ledger.healthy:
        click.echo("ledger    cannot be written; calls are served, their records stay in memory")
    if config.error:
        click.echo(f"REFUSED   the edit of {when(config.error_at or 0, now)} is not in force:")
        for line in [*config.error.splitlines(), *config.stays]:
            click.echo(f"          {line}")


def _shared_lines(status: ProcessStatus) -> Iterator[str]:
    """Yield the state of the server of shared state, and the processes that have another file."""
    shared = status.shared
    if shared is None:
        return
    if not shared.up:
        yield f"shared    DOWN for {span(shared.seconds)}: the server {shared.failure}"
        return
    took = f"{shared.latency * 1000:.1f} ms a lease"
    yield f"shared    limits hold for all processes ({shared.processes}), {took}"
    for node in status.nodes:
        this = ", this one" if node.is_this else ""
        other = "" if node.digest == status.config.digest else ", ANOTHER FILE"
        yield f"          {node.host}{this}: version {node.version}, file {node.digest[:12]}{other}"


@click.command("models")
@click.option("--key", "name", type=KEY, help="Only what this key may use.")
@json_option
@config_option
@state_option
def models_command(name: str | None, as_json: bool, config: Path, state: Path) -> None:
    """List the models that keys may use, and which keys.

    The running process asks the providers. Without one, the names in the file are listed.

    \b
    Example:
      sidecar models --key codex
    """
    live = find_process(state)
    if live is None:
        rows = _by_file(config, name)
    else:
        query = {} if name is None else {"key": name}
        rows = live.get("/api/models", ModelUses, timeout=STATUS_TIMEOUT_SECONDS, **query).models
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(rows), indent=2))
        return
    from sidecar.cli.render.tables import print_table

    print_table(("model", "keys"), [(row.id, ", ".join(row.keys)) for row in rows])


def _by_file(config: Path, name: str | None) -> list[ModelUse]:
    from sidecar.routing.allowed_models import offered_models

    snapshot = open_config(config).snapshot
    keys = list(snapshot.keys.values()) if name is None else [the_key(snapshot, name)]
    found: dict[str, list[str]] = {}
    for key in keys:
        for pattern in offered_models(key):
            found.setdefault(pattern, []).append(key.name)
    note("no process runs: these are the patterns in the file")
    return [ModelUse(id=pattern, keys=who) for pattern, who in found.items()]
