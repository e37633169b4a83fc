"""An installation as the checks see it, and the results of the checks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path

from msgspec import Struct

from sidecar.admin.api_types.config import ProcessStatus
from sidecar.config.credentials import Vault
from sidecar.config.loader import plugin_paths
from sidecar.config.manager import build_snapshot, read_file
from sidecar.config.model import Address, CredentialRef, SecretSource, ServerConfig, Snapshot
from sidecar.config.schema.addresses import is_loopback
from sidecar.errors import ConfigError
from sidecar.plugin_api.manager import Registry, discover


class Level(StrEnum):
    """The outcome of a check."""

    PASS = "pass"  # noqa: S105 - no password
    WARN = "warn"
    FAIL = "fail"


class CheckResult(Struct, frozen=True, omit_defaults=True):
    """The result of one check: `what` was found, and the `repair` where something is wrong."""

    check: str
    level: Level
    what: str
    repair: str = ""


class Installation(Struct):
    """The parts of an installation that the checks look at.

    `status` is that of the process with this state; None when none runs. `snapshot` is None for an
    invalid file, whose `problems` are then given. `home` is the user's home directory,
    `folder` the working directory.
    """

    config: Path
    state: Path
    environ: Mapping[str, str]
    home: Path
    folder: Path
    status: ProcessStatus | None
    registry: Registry
    snapshot: Snapshot | None
    problems: tuple[str, ...]
    vault: Vault
    wall: Callable[[], float] = time.time

    @property
    def listeners(self) -> list[Address]:
        """The addresses for agents: those of the process, else those of the file."""
        if self.status is not None:
            hosts = (url.partition("://")[2].rstrip("/") for url in self.status.listen)
            ends = [host.rpartition(":") for host in hosts]
            return [Address(host.strip("[]"), int(port)) for host, _, port in ends]
        server = self.snapshot.server if self.snapshot is not None else ServerConfig()
        return list(server.listen)

    def is_ours(self, host: str, port: int) -> bool:
        """Return whether clients on this machine reach this Sidecar at `host` and `port`."""
        everywhere = {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound
        return any(
            each.port == port
            and (host == each.host or (is_loopback(host) and (is_loopback(each.host)
                                                              or each.host in everywhere)))
            for each in self.listeners
        )  # fmt: skip


def look_at(
    config: Path, state: Path, environ: Mapping[str, str], status: ProcessStatus | None
) -> Installation:
    """Read the file and resolve its credentials, as a process started in this environment would."""
    registry, snapshot = discover(), None
    problems: tuple[str, ...] = ()
    vault = Vault(environ, lambda: 0.0)
    try:
        text = read_file(config)
        registry = discover([config.parent / name for name in plugin_paths(text)])
        snapshot = build_snapshot(text, config, registry)
        vault.load(snapshot)
    except ConfigError as error:
        problems = tuple(map(str, error.problems))
    return Installation(
        config, state, environ, Path.home(), Path.cwd(), status, registry, snapshot, problems, vault
    )  # fmt: skip


def shown_reference(ref: CredentialRef) -> str:
    """Return a reference for messages: of a command only the program."""
    return f"command:{ref.argv[0]}" if ref.source is SecretSource.COMMAND else ref.name
