"""What the console's handlers work with, and how they decline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from sidecar.admin.console.events import Events
from sidecar.admin.console.sessions import Sessions
from sidecar.admin.introspect.dry_run import Forecaster
from sidecar.admin.introspect.pauses import PauseControl
from sidecar.callers import Callers
from sidecar.config.credentials import Vault
from sidecar.config.manager import ConfigManager, read_file
from sidecar.config.model import Group, Key, Provider, Snapshot
from sidecar.errors import ConfigError, ErrorKind, ProxyError, SidecarError
from sidecar.ledger.ledger import Ledger
from sidecar.plugin_api.manager import Registry
from sidecar.pricing.prices import Prices
from sidecar.proxy.in_flight import LiveCalls
from sidecar.routing import candidates
from sidecar.routing.model_list import ModelList
from sidecar.scheduling.pauses import CONSOLE
from sidecar.scheduling.scheduler import Scheduler


@dataclass(slots=True)
class Parts:
    """The running process, as far as the console looks at it. `wall` is seconds since the epoch;
    `addresses` is where it
    listens, `state` the directory that its books lie in."""

    configuration: ConfigManager
    vault: Vault
    registry: Registry
    ledger: Ledger
    prices: Prices
    live: LiveCalls
    callers: Callers
    outlook: Forecaster
    steering: PauseControl
    catalog: ModelList
    usable: candidates.Usable
    sessions: Sessions
    events: Events
    state: Path
    wall: Callable[[], float]
    started: float
    addresses: dict[str, Any] = field(default_factory=dict)
    editing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def scheduler(self) -> Scheduler:
        """What counts and lets through."""
        return self.outlook.board.scheduler

    @property
    def snapshot(self) -> Snapshot:
        """The configuration in force."""
        return self.configuration.current()


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One request to the API: what stood in the path's gaps, the query, the body, the digest of the
    file that the caller has seen, and from where it is asked."""

    request: web.BaseRequest
    names: tuple[str, ...] = ()
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    seen: str | None = None
    by: str = CONSOLE


class ApiError(SidecarError):
    """The API says no: a status, one word for programs, a sentence, and what helps to go on."""

    def __init__(self, status: int, code: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.details = details

    def answer(self) -> web.Response:
        """As JSON."""
        error = {"code": self.code, "message": str(self), **self.details}
        return web.json_response({"error": error}, status=self.status)


def find_key(snapshot: Snapshot, name: str) -> Key:
    """The key of that name. Raises `ProxyError` (404)."""
    key = snapshot.keys.get(name)
    if key is None:
        raise ProxyError(ErrorKind.NOT_FOUND, f'there is no key "{name[:80]}"')
    return key


def find_group(snapshot: Snapshot, name: str) -> Group:
    """The group of that name. Raises `ProxyError` (404)."""
    group = snapshot.groups.get(name)
    if group is None:
        raise ProxyError(ErrorKind.NOT_FOUND, f'there is no group "{name[:80]}"')
    return group


def find_provider(snapshot: Snapshot, name: str) -> Provider:
    """The provider of that name. Raises `ProxyError` (404)."""
    provider = snapshot.providers.get(name)
    if provider is None:
        raise ProxyError(ErrorKind.NOT_FOUND, f'there is no provider "{name[:80]}"')
    return provider


def on_disk(parts: Parts) -> bytes:
    """The file as it is now; empty when it cannot be read."""
    try:
        return read_file(parts.configuration.file)
    except ConfigError:
        return b""
