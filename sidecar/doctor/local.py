"""Check this machine: the file, its permissions, ports, file watching and the clock."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from watchfiles import awatch

from sidecar.admin.api_types.config import ProcessStatus
from sidecar.callers import find_finder
from sidecar.config.ca_files import unusable_authorities
from sidecar.config.credentials import references
from sidecar.config.model import Address, SecretSource, ServerConfig
from sidecar.doctor.results import CheckResult, Installation, Level
from sidecar.files import OTHERS, create_private, socket_of
from sidecar.humanize import plural

WATCH_TIMEOUT_SECONDS = 3.0
"""The time in which a change of the file must be noticed."""
MAX_CLOCK_DIFFERENCE_SECONDS = 60.0
_CHANGE_BY_OTHERS = 0o022
_SHARED_REPAIR = "start it, or correct its URL and restart; Sidecar connects again by itself"


def check_file(at: Installation) -> Iterator[CheckResult]:
    """Find problems and warnings of the configuration file, and an edit that is not in force."""
    if at.snapshot is None:
        repair = f"create it with: sidecar init --config {quote(str(at.config))}"
        if at.config.exists():
            repair = "correct it with: sidecar edit"
        for problem in at.problems:
            yield CheckResult("configuration", Level.FAIL, problem, repair)
        return
    for unusable in unusable_authorities(at.snapshot):
        yield CheckResult("configuration", Level.FAIL, str(unusable), unusable.next)
    warnings = [*map(str, at.snapshot.warnings), *(f"plugin {p}" for p in at.registry.problems)]
    for warning in warnings:
        yield CheckResult("configuration", Level.WARN, warning, "look at it with: sidecar check")
    if at.status is not None and at.status.config.error:
        what = f"process {at.status.pid} refused the last edit of the file"
        yield CheckResult("configuration", Level.FAIL, what, "look at it with: sidecar status")
    if not warnings:
        sizes = (plural(len(at.snapshot.keys), "key"), plural(len(at.snapshot.groups), "group"))
        what = f"{at.config} is valid: {', '.join(sizes)}"
        yield CheckResult("configuration", Level.PASS, what)


def check_process(at: Installation) -> Iterator[CheckResult]:
    """Find whether a process runs and can write its ledger."""
    status = at.status
    if status is None:
        yield CheckResult("process", Level.WARN, f"no process runs with the state {at.state}",
                      "start one: sidecar serve")  # fmt: skip
        return
    if not status.ledger.healthy:
        repair = f"free some space on the disk of {at.state}, or repair its permissions"
        yield CheckResult("process", Level.FAIL, "the ledger cannot be written", repair)
    yield from _shared(status)
    serves = Path(status.config.file)
    if serves.resolve() != at.config.resolve():
        what = f"process {status.pid} serves another file: {serves}"
        yield CheckResult("process", Level.WARN, what, "name that file with --config, or stop it")
    else:
        yield CheckResult("process", Level.PASS, f"process {status.pid} serves this file")


def _shared(status: ProcessStatus) -> Iterator[CheckResult]:
    """Find whether the server of shared state works, and whether all processes have one file."""
    if status.shared is None:
        return
    if not status.shared.up:
        what = f"the server of state.shared {status.shared.failure}"
        yield CheckResult("process", Level.FAIL, what, _SHARED_REPAIR)
    for node in status.nodes:
        if node.digest != status.config.digest:
            what = f"a process on {node.host} shares limits but has another file"
            yield CheckResult("process", Level.WARN, what, "give all processes the same file")


def check_permissions(at: Installation) -> Iterator[CheckResult]:
    """Find files that other users can read or change."""
    places = [(at.config, "600"), (at.state, "700")]
    place = socket_of(at.state)
    if place is not None:
        places.append((place, "600"))
    if at.snapshot is not None:
        files = {ref.argument for ref in references(at.snapshot)
                 if ref.source is SecretSource.FILE}  # fmt: skip
        places += [(Path(name).expanduser(), "600") for name in sorted(files)]
    for path, mode in places:
        found = _status(path)
        if found is not None:
            yield _permissions_of(path, found, mode)


def _permissions_of(path: Path, found: os.stat_result, mode: str) -> CheckResult:
    if found.st_uid not in {os.geteuid(), 0}:
        what = f"{path} belongs to another user, who can change it"
        return CheckResult("permissions", Level.FAIL, what, f"sudo chown $USER {quote(str(path))}")
    if found.st_mode & OTHERS:
        what = f"other users can {_verbs(found.st_mode)} {path}"
        return CheckResult("permissions", Level.FAIL, what, f"chmod {mode} {quote(str(path))}")
    return CheckResult("permissions", Level.PASS, f"only you can use {path}")


def _verbs(mode: int) -> str:
    return "change" if mode & _CHANGE_BY_OTHERS else "read"


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def check_ports(at: Installation) -> Iterator[CheckResult]:
    """Find ports of the file that are in use by another process. A process that `--listen` and
    `--admin` put elsewhere needs none of them."""
    server = at.snapshot.server if at.snapshot is not None else ServerConfig()
    addresses = (*server.listen, server.admin)
    if at.status is not None and not any(_is_listener(at, at.status, each) for each in addresses):
        for url in (*at.status.listen, at.status.admin):
            what = f"process {at.status.pid} listens on {_host(url)}"
            yield CheckResult("ports", Level.PASS, what)
        return
    for address in addresses:
        if address.port:
            yield _port(at, address)


def _port(at: Installation, address: Address) -> CheckResult:
    why_not = _why_taken(address)
    if not why_not:
        return CheckResult("ports", Level.PASS, f"{address} is free")
    if at.status is not None and _is_listener(at, at.status, address):
        return CheckResult("ports", Level.PASS, f"process {at.status.pid} listens on {address}")
    finder = find_finder()
    holder = None if finder is None else finder.listener(address.port)
    if why_not != os.strerror(errno.EADDRINUSE):
        what, repair = (
            f"{address} cannot be listened on: {why_not}",
            "write another server: listen:",
        )
        level = Level.WARN if address.host == "::1" else Level.FAIL
        return CheckResult("ports", level, what, repair)
    who = "a process that is not visible to you"
    if holder is not None and holder.pid:
        who = f"process {holder.pid} ({holder.program or 'unknown program'})"
    repair = "stop that process, or write another address under server:"
    return CheckResult("ports", Level.FAIL, f"{address} is in use by {who}", repair)


def _is_listener(at: Installation, status: ProcessStatus, address: Address) -> bool:
    return at.is_ours(address.host, address.port) or _host(status.admin) == str(address)


def _host(url: str) -> str:
    return url.partition("://")[2].rstrip("/")


def _why_taken(address: Address) -> str:
    """Return why no listener can be opened there; "" when one can."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address.host, address.port))
            probe.listen(1)
    except OSError as error:
        return error.strerror or str(error)
    return ""


async def check_watching(at: Installation) -> CheckResult:
    """Find whether a change in the file's folder is noticed at once."""
    folder = at.config.parent
    try:
        noticed = await _is_noticed(folder, f".{at.config.name}.doctor-{os.getpid()}")
    except PermissionError:
        what = f"{folder} cannot be written, so no command can change the file"
        return CheckResult("file watching", Level.WARN, what, f"chmod u+w {quote(str(folder))}")
    except (OSError, RuntimeError):
        noticed = False
    if noticed:
        return CheckResult("file watching", Level.PASS, f"changes in {folder} are noticed at once")
    what = f"changes in {folder} are not notified; a process sees them within a second all the same"
    repair = "raise fs.inotify.max_user_watches and max_user_instances, or use a local disk"
    return CheckResult("file watching", Level.WARN, what, repair)


async def _is_noticed(folder: Path, name: str) -> bool:
    changes = awatch(folder, watch_filter=None, recursive=False, debounce=50, step=10)
    first = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0)  # the watch begins before the change
    try:
        create_private(folder / name, b"")
        (folder / name).unlink()
        return bool(await asyncio.wait_for(first, WATCH_TIMEOUT_SECONDS))
    except TimeoutError:
        return False
    finally:
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await changes.aclose()


def check_clock(at: Installation) -> CheckResult:
    """Find whether the clock is behind the files that were written before."""
    now, written = at.wall(), [at.config, at.state, *at.state.glob("*.db*")]
    times = [found.st_mtime for path in written if (found := _status(path)) is not None]
    ahead = max(times, default=now) - now
    if ahead > MAX_CLOCK_DIFFERENCE_SECONDS:
        return clock_finding(ahead, "its own files were written")
    return CheckResult("clock", Level.PASS, "the clock is not behind Sidecar's files")


def clock_finding(ahead: float, what: str) -> CheckResult:
    """Return the finding of a clock that is wrong by `ahead` seconds, compared with `what`."""
    side = "behind" if ahead > 0 else "ahead of"
    text = f"the clock is {abs(ahead):.0f} seconds {side} the time at which {what}"
    repair = "set it: budgets, daily limits, expiry and certificates depend on it"
    return CheckResult("clock", Level.FAIL, text, repair)
