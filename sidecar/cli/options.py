"""The options that many commands share, and where the files are without them.

Imports next to nothing: a command that has to be quick can use them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def default_config() -> Path:
    """`routes.yaml` in the user's configuration directory; never the working directory."""
    from platformdirs import user_config_path

    return user_config_path("sidecar") / "routes.yaml"


def default_state() -> Path:
    """The user's state directory."""
    from platformdirs import user_state_path

    return user_state_path("sidecar")


def config_option(function: F) -> F:
    """`--config FILE`."""
    return click.option(
        "--config", "config", type=click.Path(path_type=Path), envvar="SIDECAR_CONFIG",
        default=default_config, help="The configuration file  [env: SIDECAR_CONFIG; default: "
        "routes.yaml in your configuration directory]",
    )(function)  # fmt: skip


def state_option(function: F) -> F:
    """`--state DIR`."""
    return click.option(
        "--state", "state", type=click.Path(path_type=Path), envvar="SIDECAR_STATE",
        default=default_state, help="Where the process keeps its state  [env: SIDECAR_STATE; "
        "default: your state directory]",
    )(function)  # fmt: skip


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
