"""Opens and closes the listeners, and restricts sockets, state and configuration to this user."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol

from msgspec import structs

from sidecar.config.model import Address
from sidecar.config.model import ServerConfig as Settings
from sidecar.config.schema.addresses import is_loopback
from sidecar.config.schema.addresses import listen as listen_addresses
from sidecar.config.schema.parsers import InvalidValue
from sidecar.errors import SidecarError

BACKLOG = 128
"""The backlog: connections that the operating system holds until they are accepted."""
SHUTDOWN_SECONDS = 2.0
"""Seconds for connections to close after their calls have ended."""

log = logging.getLogger("sidecar")


class ServerProtocols(Protocol):
    """Makes the protocol of each new connection, and closes all of them at the end."""

    def __call__(self) -> asyncio.BaseProtocol:
        """Return the protocol of a new connection."""

    def pre_shutdown(self) -> None:
        """Close connections that are idle."""

    async def shutdown(self, seconds: float, /) -> None:
        """Close every connection; a running request has these seconds to end."""


class StartError(SidecarError):
    """The process cannot start. The message names the cause and the repair."""


async def _nothing() -> None:
    return None


@asynccontextmanager
async def listening(
    server: ServerProtocols,
    addresses: Sequence[Address],
    drain: Callable[[], Awaitable[None]] = _nothing,
) -> AsyncIterator[list[str]]:
    """Serve on `addresses` and yield their URLs. On exit: stop accepting, `drain`, close.

    An IPv6 loopback address that this machine does not have is left out. Raises `StartError`.
    """
    sockets: list[asyncio.Server] = []
    try:
        yield await _bind(server, addresses, sockets)
        for each in sockets:
            each.close()
        server.pre_shutdown()
        await drain()
    finally:
        for each in sockets:
            each.close()
        await server.shutdown(SHUTDOWN_SECONDS)


async def _bind(
    server: ServerProtocols, addresses: Sequence[Address], sockets: list[asyncio.Server]
) -> list[str]:
    loop = asyncio.get_running_loop()
    urls: list[str] = []
    port = 0
    for address in addresses:
        # Port 0 means one free port, the same on every address.
        wanted = address.port or port
        try:
            bound = await loop.create_server(server, address.host, wanted, backlog=BACKLOG)
        except OSError as error:
            if urls and address.host == "::1":
                log.debug("no IPv6 loopback here: %s", error.strerror)
                continue
            why = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror
            raise StartError(
                f"cannot listen on {address}: {why}; is another Sidecar running? Choose another "
                "address with --listen or --admin, or in the file with server: {listen, admin}"
            ) from None
        sockets.append(bound)
        port = bound.sockets[0].getsockname()[1]
        urls.append(f"http://{Address(address.host, port)}")
    return urls


@asynccontextmanager
async def listening_unix(server: ServerProtocols, path: Path) -> AsyncIterator[None]:
    """Serve on a unix socket that only this user can open."""
    bound: asyncio.Server | None = None
    try:
        path.unlink(missing_ok=True)  # noqa: ASYNC240 - once, at start
        before = os.umask(0o177)
        try:
            loop = asyncio.get_running_loop()
            bound = await loop.create_unix_server(server, path, backlog=BACKLOG)
        except OSError as error:
            # Traffic does not need it; only our own commands do.
            log.warning("commands cannot reach this process: %s: %s", path, error)
        finally:
            os.umask(before)
        yield
    finally:
        if bound is not None:
            bound.close()
        await server.shutdown(SHUTDOWN_SECONDS)
        path.unlink(missing_ok=True)  # noqa: ASYNC240 - once, at the end


def parse_addresses(text: str) -> tuple[Address, ...]:
    """Return what the file would mean by `text`, and by `:PORT` 127.0.0.1. Raises `StartError`."""
    try:
        return listen_addresses(f"127.0.0.1{text}" if text.startswith(":") else text)
    except InvalidValue as error:
        raise StartError(f"{text!r}: {error.what}; {error.next}") from None


def overridden(server: Settings, listen: str | None, admin: str | None) -> Settings:
    """The addresses of the file or of the command line; a public one only when the file allows it.
    Raises `StartError`."""
    if listen is not None:
        server = structs.replace(server, listen=parse_addresses(listen))
    if admin is not None:
        server = structs.replace(server, admin=parse_addresses(admin)[0])
    public = [a for a in (*server.listen, server.admin) if not is_loopback(a.host)]
    if public and not server.allow_remote:
        raise StartError(
            f"{public[0]} can be reached from other machines; if that is meant, set "
            "server.allow_remote: true (keys then travel unencrypted)"
        )
    return server


def make_private(directory: Path) -> None:
    """Create a directory for this user alone, or close an open one and log that. Raises
    `StartError`."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_IMODE(directory.stat().st_mode) & 0o077:
            directory.chmod(0o700)
            log.warning("%s was open to other users; it is closed now", directory)
    except OSError as error:
        raise StartError(
            f"the state directory {directory} cannot be used: {error.strerror}; choose another "
            "with --state"
        ) from None


def warn_if_open(file: Path) -> None:
    """Warn when other users can read or change the configuration."""
    with suppress(OSError):
        if stat.S_IMODE(file.stat().st_mode) & 0o077:
            log.warning("%s can be read by other users; repair it with: chmod 600 '%s'", file, file)
