"""Options and failure messages that the commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click
from msgspec import Struct

from sidecar.errors import ConfigError
from sidecar.humanize import suggestion

if TYPE_CHECKING:  # slow imports, which `sidecar statusline` does without
    from sidecar.config.credentials import Vault
    from sidecar.config.model import Group, Key, Snapshot
    from sidecar.plugin_api.manager import Registry

F = TypeVar("F", bound=Callable[..., Any])


def default_config() -> Path:
    """Return `routes.yaml` in the user's configuration directory; never the working directory."""
    from platformdirs import user_config_path

    return user_config_path("sidecar") / "routes.yaml"


def default_state() -> Path:
    """Return the user's state directory."""
    from platformdirs import user_state_path

    return user_state_path("sidecar")


def config_option(function: F) -> F:
    """Add `--config FILE`."""
    return click.option(
        "--config", "config", type=click.Path(path_type=Path), envvar="SIDECAR_CONFIG",
        default=default_config, help="The configuration file  [env: SIDECAR_CONFIG; default: "
        "routes.yaml in your configuration directory]",
    )(function)  # fmt: skip


def state_option(function: F) -> F:
    """Add `--state DIR`."""
    return click.option(
        "--state", "state", type=click.Path(path_type=Path), envvar="SIDECAR_STATE",
        default=default_state, help="Where the process keeps its state  [env: SIDECAR_STATE; "
        "default: your state directory]",
    )(function)  # fmt: skip


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

REFUSED = 2
"""Exit status: the configuration is wrong or missing, or a change of it was refused."""
NOT_RUNNING = 3
"""Exit status: no process runs."""


class OpenedConfig(Struct, frozen=True):
    """A configuration file, read and checked."""

    path: Path
    text: bytes
    registry: Registry
    snapshot: Snapshot


def need_file(config: Path) -> None:
    """Stop with status 2, naming `sidecar init`, when there is no file."""
    if not config.exists():
        fail(f"there is no configuration at {config}; create one with: sidecar init")


def open_config(config: Path) -> OpenedConfig:
    """Read and check the file; print every problem and stop with status 2 if it is wrong."""
    from sidecar.config.manager import build_snapshot, read_file

    need_file(config)
    try:
        text = read_file(config)
        registry = registry_for(config, text)
        return OpenedConfig(config, text, registry, build_snapshot(text, config, registry))
    except ConfigError as error:
        note(str(error))
        raise SystemExit(REFUSED) from None


def registry_for(config: Path, text: bytes) -> Registry:
    """Return the plugins, with the local ones that the file names."""
    from sidecar.config.loader import plugin_paths
    from sidecar.plugin_api.manager import discover

    return discover([config.parent / name for name in plugin_paths(text)])


def vault_for(snapshot: Snapshot) -> Vault:
    """Return the credentials of this shell's environment; the process may have others."""
    from sidecar.config.credentials import Vault

    vault = Vault(os.environ, lambda: 0.0)
    vault.load(snapshot)
    return vault


def fail(message: str, status: int = REFUSED) -> NoReturn:
    """Print what is wrong and stop."""
    click.echo(f"sidecar: {message}", err=True)
    raise SystemExit(status)


def the_key(snapshot: Snapshot, name: str) -> Key:
    """Return the key of that name, or stop with status 2."""
    if name not in snapshot.keys:
        hint = suggestion(name, snapshot.keys, otherwise="there is none yet")
        fail(f'there is no key "{name}"; {hint} (all of them: sidecar keys list)')
    return snapshot.keys[name]


def the_group(snapshot: Snapshot, name: str) -> Group:
    """Return the group of that name, or stop with status 2."""
    if name not in snapshot.groups:
        hint = suggestion(name, snapshot.groups, otherwise="there is none yet")
        fail(f'there is no group "{name}"; {hint}')
    return snapshot.groups[name]


def note(message: str) -> None:
    """Print a note that is no part of the result, on stderr."""
    click.echo(message, err=True)
