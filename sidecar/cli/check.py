"""`sidecar check` and `sidecar schema`: is the file right, and what may it say?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from sidecar.authorities import unusable_authorities
from sidecar.cli.common import (
    REFUSED,
    Opened,
    config_option,
    need_file,
    note,
    open_config,
    registry_for,
    state_option,
    vault_for,
)
from sidecar.cli.live import LiveError, find_live
from sidecar.cli.pricecheck import unpriced_models
from sidecar.cli.words import plural
from sidecar.config import Snapshot
from sidecar.loading import describe, schema
from sidecar.reload import digest_of, read_file
from sidecar.standing import Standing, in_force
from sidecar.state import OTHERS


@click.command("check")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--full", is_flag=True, help="Print the file with every default written out.")
@click.option("--strict", is_flag=True, help="Let warnings count as errors.")
@config_option
@state_option
def check_command(file: Path | None, full: bool, strict: bool, config: Path, state: Path) -> None:
    """Say everything that is wrong with a configuration, each with its place, and what a process
    that serves it makes of it.

    \b
    Examples:
      sidecar check
      sidecar check new.yaml --strict
      sidecar check --full

    Exit status: 0 when it is good; 2 when it is not, or with --strict when there are warnings.
    """
    path = config if file is None else file
    need_file(path)
    process = _process(path, state)
    try:
        opened = open_config(path)
    except SystemExit:
        _note_standing(process, b"")
        raise
    unusable = unusable_authorities(opened.snapshot)
    warnings = warnings_of(opened, process)
    for line in (*map(str, unusable), *warnings):
        note(line)
    if file is None and path.stat().st_mode & OTHERS:
        note(f"{path}: other users can read or change it; repair it with: chmod 600 '{path}'")
    if full:
        click.echo(describe(opened.snapshot), nl=False)
    if unusable or (strict and warnings):
        raise SystemExit(REFUSED)
    snapshot = opened.snapshot
    note(
        f"{path}: good; {plural(len(snapshot.keys), 'key')}, "
        f"{plural(len(snapshot.groups), 'group')}, {plural(len(snapshot.providers), 'provider')}"
    )
    _note_standing(process, opened.text)


@dataclass(frozen=True, slots=True)
class _Process:
    """What the running process says. `status` is None when it serves another file, or there is
    none; `credentials` maps each reference that it holds, and that means the same in the checked
    file, to why it cannot be had ("" when it can)."""

    status: dict[str, Any] | None = None
    credentials: Mapping[str, str] = field(default_factory=dict)


def warnings_of(opened: Opened, process: _Process) -> list[str]:
    """What is not wrong, and yet not as it should be."""
    warnings = [str(warning) for warning in opened.snapshot.warnings]
    plugins = [f"{opened.path}: warning: plugin {told}" for told in opened.registry.problems]
    unpriced = [str(problem) for problem in unpriced_models(opened.snapshot)]
    return warnings + plugins + _unavailable(opened.snapshot, process) + unpriced


def _note_standing(process: _Process, text: bytes) -> None:
    """Say whether a process that serves this file is at this text (b"" for a wrong one), or what
    it goes on with instead. Nothing when none serves it."""
    status = process.status
    if status is None:
        return
    config = status["config"]
    if config["error"]:
        stays = tuple(config["stays"])
        note(in_force(Standing(config["digest"], config["accepted_at"], stays=stays)))
    elif config["digest"] == digest_of(text):
        note(f"process {status['pid']} serves it")


def _process(path: Path, state: Path) -> _Process:
    """Ask the process with this state, once it has looked at the file that it serves, as it would
    by itself within a second."""
    try:
        live = find_live(state)
        if live is None:
            return _Process()
        status: dict[str, Any] = live.get("/api/status")
        is_same = Path(status["config"]["file"]).resolve() == path.resolve()
        if is_same:
            live.post("api", "reload")
            status = live.get("/api/status")
    except LiveError as error:
        note(str(error))
        return _Process()
    held = [item for each in status["providers"] for item in each["credentials"].items()]
    # A relative path in another file is another file.
    credentials = {ref: why for ref, why in held if is_same or not ref.startswith("file:")}
    return _Process(status if is_same else None, credentials)


def _unavailable(snapshot: Snapshot, process: _Process) -> list[str]:
    """Return a warning for each provider without a credential. What the running process has counts
    more than what this shell has."""
    vault = vault_for(snapshot)
    found = []
    for provider in snapshot.providers.values():
        names = [ref.name for ref in provider.credentials]
        own = [vault.why_unusable(provider, ref) for ref in provider.credentials]
        why_not = [process.credentials.get(name, why) for name, why in zip(names, own, strict=True)]
        if why_not and all(why_not):
            where = " in the running process" if set(names) <= process.credentials.keys() else ""
            what = f"provider {provider.name} is unavailable{where}: {'; '.join(why_not)}"
            found.append(f"{provider.place}: warning: {what}")
    return found


@click.command("schema")
@config_option
def schema_command(config: Path) -> None:
    """Print the JSON Schema of the configuration, for editors. The plugins that your own file
    names are part of it.

    \b
    Example (the first line of the file then helps your editor):
      sidecar schema > ~/.config/sidecar/schema.json
      # yaml-language-server: $schema=schema.json
    """
    registry = registry_for(config, read_file(config) if config.exists() else b"")
    click.echo(json.dumps(schema(registry), indent=2))
