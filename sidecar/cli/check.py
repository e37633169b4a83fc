"""`sidecar check` and `sidecar schema`: is the file right, and what may it say?"""

from __future__ import annotations

import json
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
    try:
        opened = open_config(path)
    except SystemExit:
        note_standing(path, state, b"")
        raise
    unusable = unusable_authorities(opened.snapshot)
    warnings = warnings_of(opened)
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
    note_standing(path, state, opened.text)


def warnings_of(opened: Opened) -> list[str]:
    """What is not wrong, and yet not as it should be."""
    warnings = [str(warning) for warning in opened.snapshot.warnings]
    plugins = [f"{opened.path}: warning: plugin {told}" for told in opened.registry.problems]
    return warnings + plugins + unavailable(opened.snapshot)


def note_standing(path: Path, state: Path, text: bytes) -> None:
    """Say whether a process that serves this file is at this text (b"" for a wrong one), or what
    it goes on with instead. Nothing when none serves it."""
    try:
        status = _status_with(path, state)
    except LiveError as error:
        note(str(error))
        return
    if status is None:
        return
    config = status["config"]
    if config["error"]:
        stays = tuple(config["stays"])
        note(in_force(Standing(config["digest"], config["accepted_at"], stays=stays)))
    elif config["digest"] == digest_of(text):
        note(f"process {status['pid']} serves it")


def _status_with(path: Path, state: Path) -> dict[str, Any] | None:
    """The status of the process that serves this file, once it has looked at it, as it would by
    itself within a second; None when there is none."""
    live = find_live(state)
    if live is None or Path(live.get("/api/status")["config"]["file"]).resolve() != path.resolve():
        return None
    live.post("api", "reload")
    status: dict[str, Any] = live.get("/api/status")
    return status


def unavailable(snapshot: Snapshot) -> list[str]:
    """A warning for each provider without a credential."""
    vault = vault_for(snapshot)
    return [
        f"{provider.place}: warning: provider {provider.name} is unavailable: {why_not}"
        for provider in snapshot.providers.values()
        if (why_not := vault.unavailable(provider))
    ]


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
