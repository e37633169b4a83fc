"""What commands have in common: how the file is read, how failures are told."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import click

from sidecar.cli.options import config_option as config_option
from sidecar.cli.options import default_config as default_config
from sidecar.cli.options import default_state as default_state
from sidecar.cli.options import json_option as json_option
from sidecar.cli.options import state_option as state_option
from sidecar.config import Group, Key, Snapshot
from sidecar.credentials import Vault
from sidecar.errors import ConfigError
from sidecar.loading import plugin_paths
from sidecar.plugins import Registry, discover
from sidecar.reload import read_file, understand

REFUSED = 2
"""Exit status: the configuration is wrong or missing, or a change of it was refused."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A configuration file, read and understood."""

    path: Path
    text: bytes
    registry: Registry
    snapshot: Snapshot


def need_file(config: Path) -> None:
    """Stop with status 2, naming `sidecar init`, when there is no file."""
    if not config.exists():
        fail(f"there is no configuration at {config}; write one with: sidecar init")


def open_config(config: Path) -> Opened:
    """Read and check the file; print every problem and stop with status 2 if it is wrong."""
    need_file(config)
    try:
        text = read_file(config)
        registry = registry_for(config, text)
        return Opened(config, text, registry, understand(text, config, registry))
    except ConfigError as error:
        note(str(error))
        raise SystemExit(REFUSED) from None


def registry_for(config: Path, text: bytes) -> Registry:
    """The plugins, with the local ones that the file names."""
    return discover([config.parent / name for name in plugin_paths(text)])


def vault_for(snapshot: Snapshot) -> Vault:
    """The credentials as this shell sees them, which may be more or less than the process has."""
    vault = Vault(os.environ, lambda: 0.0)
    vault.load(snapshot)
    return vault


def fail(message: str, status: int = REFUSED) -> NoReturn:
    """Say what is wrong and stop."""
    click.echo(f"sidecar: {message}", err=True)
    raise SystemExit(status)


def the_key(snapshot: Snapshot, name: str) -> Key:
    """The key of that name, or status 2."""
    if name not in snapshot.keys:
        hint = _hint(name, snapshot.keys)
        fail(f'there is no key "{name}"; {hint} (all of them: sidecar keys list)')
    return snapshot.keys[name]


def the_group(snapshot: Snapshot, name: str) -> Group:
    """The group of that name, or status 2."""
    if name not in snapshot.groups:
        fail(f'there is no group "{name}"; {_hint(name, snapshot.groups)}')
    return snapshot.groups[name]


def _hint(name: str, there: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, there, n=1)
    known = ", ".join(list(there)[:10]) or "none yet"
    return f'did you mean "{near[0]}"?' if near else f"there is: {known}"


def note(message: str) -> None:
    """Something to know that is no part of the result: on stderr."""
    click.echo(message, err=True)
