"""`sidecar check` and `sidecar schema`: is the file right, and what may it say?"""

from __future__ import annotations

import json
from pathlib import Path

import click

from sidecar.cli.common import REFUSED, config_option, need_file, note, open_config, vault_for
from sidecar.config import Snapshot
from sidecar.loading import describe, schema
from sidecar.plugins import discover


@click.command("check")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--full", is_flag=True, help="Print the file with every default written out.")
@click.option("--strict", is_flag=True, help="Let warnings count as errors.")
@config_option
def check_command(file: Path | None, full: bool, strict: bool, config: Path) -> None:
    """Say everything that is wrong with a configuration, each with its place.

    \b
    Examples:
      sidecar check
      sidecar check new.yaml --strict
      sidecar check --full

    Exit status: 0 when it is good; 2 when it is not, or with --strict when there are warnings.
    """
    path = config if file is None else file
    need_file(path)
    opened = open_config(path)
    warnings = [str(warning) for warning in opened.snapshot.warnings]
    warnings += [f"{path}: warning: plugin {problem}" for problem in opened.registry.problems]
    warnings += unavailable(opened.snapshot)
    for warning in warnings:
        click.echo(warning, err=True)
    if full:
        click.echo(describe(opened.snapshot), nl=False)
    if strict and warnings:
        raise SystemExit(REFUSED)
    snapshot = opened.snapshot
    note(
        f"{path}: good; {len(snapshot.keys)} keys, {len(snapshot.groups)} groups, "
        f"{len(snapshot.providers)} providers"
    )


def unavailable(snapshot: Snapshot) -> list[str]:
    """A warning for each provider without a credential."""
    vault = vault_for(snapshot)
    return [
        f"{provider.place}: warning: provider {provider.name} is unavailable: {why_not}"
        for provider in snapshot.providers.values()
        if (why_not := vault.unavailable(provider))
    ]


@click.command("schema")
def schema_command() -> None:
    """Print the JSON Schema of the configuration, for editors.

    \b
    Example (the first line of the file then helps your editor):
      sidecar schema > ~/.config/sidecar/schema.json
      # yaml-language-server: $schema=schema.json
    """
    click.echo(json.dumps(schema(discover()), indent=2))
