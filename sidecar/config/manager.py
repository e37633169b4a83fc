"""Hold the configuration in force, and replace it whole when the file changes.

Watches the file's directory (editors replace files, orchestrators swap links) and checks the file
every second, in case no event comes. Parsing runs off the event loop. A rejected edit changes
nothing, and is logged, counted and shown.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct, field, structs

from sidecar.config.ca_files import unusable_authorities
from sidecar.config.credentials import Vault
from sidecar.config.history import Versions
from sidecar.config.loader import difference, load, stays_in_force
from sidecar.config.model import Snapshot
from sidecar.config.status import ConfigStatus, ReloadEvent, ReloadResult, in_force
from sidecar.config.yaml.nodes import gc_paused
from sidecar.config.yaml.source import MAX_FILE_BYTES
from sidecar.errors import ConfigError, Problem, SourceLocation
from sidecar.files import NotRegularFile, content_digest, read_regular
from sidecar.plugin_api.manager import Registry

POLL_SECONDS = 1.0
"""The time between two checks of the file when no event comes."""
_RECENT_SECONDS = 1.0
"""A file that changed before this many seconds and looks as it did has the same content: the clock
of a file system may not advance between two writes that follow at once."""
SETTLE_SECONDS = 0.2
"""The time that the content must stay the same: a half-written file can be valid, with keys
missing."""
MAX_RELOAD_EVENTS = 50
"""The most reloads that `history` holds."""

log = logging.getLogger("sidecar.config")


ConfigListener = Callable[[Snapshot], None]


class ConfigManager(Struct):
    """The configuration in force and its file.

    `versions` keeps the accepted texts; `wall` is seconds since the epoch. `on_result`
    are called with whether each changed text was accepted, `listeners` with every accepted
    snapshot, in order. `preparers` are called with a snapshot before, in a thread, for work that
    would delay the event loop. `building` is entered there for the time that a snapshot is made
    while calls run. `with_children` adds the child keys, which no file has, to a
    snapshot. `history` has the latest reloads, oldest first. `in_force` is None before the first
    configuration.
    """

    file: Path
    versions: Versions
    registry: Registry
    vault: Vault
    wall: Callable[[], float]
    on_result: list[Callable[[bool], None]] = []
    preparers: list[ConfigListener] = []
    listeners: list[ConfigListener] = []
    building: Callable[[], AbstractContextManager[None]] = gc_paused
    with_children: Callable[[Snapshot], Snapshot] = lambda snapshot: snapshot
    history: deque[ReloadEvent] = field(default_factory=lambda: deque(maxlen=MAX_RELOAD_EVENTS))
    in_force: Snapshot | None = None
    _accepted: Snapshot | None = None
    _status: ConfigStatus | None = None
    _seen: bytes | None = None
    _noticed: Stamp | None = None
    _text: bytes = b""
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def current(self) -> Snapshot:
        """Return the configuration in force. Raises `RuntimeError` before the first one."""
        if self.in_force is None:
            raise RuntimeError("no configuration was loaded yet")
        return self.in_force

    @property
    def text(self) -> bytes:
        """The accepted text that is in force."""
        return self._text

    @property
    def status(self) -> ConfigStatus:
        """The status of the configuration."""
        if self._status is None:
            raise RuntimeError("no configuration was loaded yet")
        return self._status

    def start(self) -> None:
        """Load the file, or else the newest accepted version, with errors in the log. Blocking.

        Raises `ConfigError` when neither can be used.
        """
        try:
            text = read_file(self.file)
            snapshot = self._build(text)
        except ConfigError as error:
            self._start_from_version(error)
            return
        changes = self._since_last_time(snapshot)
        self._accept(snapshot, text, changes)
        self._keep(text, changes)

    def _start_from_version(self, refused: ConfigError) -> None:
        text = self.versions.newest()
        try:
            snapshot = None if text is None else self._build(text)
        except ConfigError:
            snapshot = None
        if text is None or snapshot is None:
            raise refused
        self._accept(snapshot, text, ())
        with suppress(ConfigError):
            self._seen = read_file(self.file)
        self._refuse(refused, stays_in_force(self.current(), self._seen or b""))

    def _since_last_time(self, snapshot: Snapshot) -> Sequence[str]:
        """Return the effective changes made while no process ran."""
        before = self.versions.newest()
        if before is None or content_digest(before) == snapshot.digest:
            return ()
        with suppress(ConfigError):
            return difference(build_snapshot(before, self.file, self.registry), snapshot)
        return ()

    async def reload(
        self, settled: bytes | None = None, built: Snapshot | None = None
    ) -> ReloadResult:
        """Read the file now, and accept it if it is valid. Never raises.

        Waits until the content stays the same, unless it is `settled`: that was written
        whole. `built` is the snapshot of `settled`, where the caller has built it
        already.
        """
        async with self._lock:
            try:
                text = await self._settled(settled)
            except ConfigError as error:
                return await self._refused_once(error, None)
            if text == self._seen:
                return ReloadResult(not self.status.problems, self.status.problems)
            try:
                known = built if text == settled else None
                snapshot, changes = await asyncio.to_thread(self._replacement, text, known)
            except ConfigError as error:
                return await self._refused_once(error, text)
            replaced = [self.current()]
            self._accept(snapshot, text, changes)
            await asyncio.to_thread(self._keep, text, changes)
            await asyncio.to_thread(_free, replaced)
            for line in changes or ["no effective change"]:
                log.info("%s: %s", self.file.name, line)
            return ReloadResult(accepted=True, difference=tuple(changes))

    async def watch(self) -> None:
        """Accept every valid edit, until cancelled."""
        changed, stop = asyncio.Event(), threading.Event()
        noticed = partial(asyncio.get_running_loop().call_soon_threadsafe, self._notice, changed)
        watched = (self.file.parent, noticed, stop)
        threading.Thread(target=_watch_folder, args=watched, name="sidecar-config").start()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._poll(changed))
                while True:
                    await changed.wait()
                    changed.clear()
                    await self.reload()
        finally:
            stop.set()

    def _notice(self, changed: asyncio.Event) -> None:
        """Set `changed` if the file may be another after an event in its directory."""
        now = _stamp(self.file)
        if now is None or now != self._noticed or self.wall() - now.changed < _RECENT_SECONDS:
            changed.set()
        self._noticed = now

    async def _poll(self, changed: asyncio.Event) -> None:
        # None at first: an edit between the first load and the first check must not be missed.
        stamp: Stamp | None = None
        while True:
            await asyncio.sleep(POLL_SECONDS)
            now = _stamp(self.file)
            # A file that could not be read may be readable again without a change.
            if now != stamp or self._seen is None:
                stamp = now
                changed.set()
            await self.vault.renew_stale()

    async def _settled(self, known: bytes | None) -> bytes:
        text = read_file(self.file)
        while text not in (known, self._seen):  # these have stayed the same before
            await asyncio.sleep(SETTLE_SECONDS)
            again = read_file(self.file)
            if again == text:
                break
            text = again
        return text

    def _build(self, text: bytes, known: Snapshot | None = None) -> Snapshot:
        snapshot = known or build_snapshot(text, self.file, self.registry)
        self.vault.load(snapshot)
        # Warnings, not errors: a key must be revocable without a usable certificate.
        unusable = (structs.replace(each, warning=True) for each in unusable_authorities(snapshot))
        return structs.replace(snapshot, warnings=(*snapshot.warnings, *unusable))

    def _replacement(self, text: bytes, known: Snapshot | None) -> tuple[Snapshot, Sequence[str]]:
        """Return the snapshot of a changed text, for which the parts have prepared, and its
        effective changes."""
        with self.building():
            snapshot = self._build(text, known)
            for prepare in self.preparers:
                prepare(snapshot)
            return snapshot, difference(self.current(), snapshot)

    def _accept(self, snapshot: Snapshot, text: bytes, changes: Sequence[str]) -> None:
        now = self.wall()
        self._accepted = snapshot
        self._seen = self._text = text
        self._status = ConfigStatus(snapshot.digest, now)
        self.history.append(ReloadEvent(now, accepted=True, difference=tuple(changes)))
        self._report_result(accepted=True)
        for warning in snapshot.warnings:
            log.warning("%s", warning)
        self.announce()
        self.vault.put_in_force(snapshot)
        self.vault.announce()

    def announce(self) -> None:
        """Put the accepted configuration in force with the child keys of now."""
        if self._accepted is None:
            raise RuntimeError("no configuration was loaded yet")
        self.in_force = self.with_children(self._accepted)
        for listener in self.listeners:
            listener(self.in_force)

    def _report_result(self, *, accepted: bool) -> None:
        for listener in self.on_result:
            listener(accepted)

    def _keep(self, text: bytes, changes: Sequence[str]) -> None:
        with suppress(OSError):
            self.versions.keep(text, self.status.accepted_at, changes)

    async def _refused_once(self, error: ConfigError, text: bytes | None) -> ReloadResult:
        """Record a rejected text, unless the same text was rejected before."""
        again = text == self._seen and bool(self.status.problems)
        self._seen = text
        if not again:
            stays = await asyncio.to_thread(stays_in_force, self.current(), text or b"")
            self._refuse(error, stays)
        return ReloadResult(accepted=False, problems=self.status.problems)

    def _refuse(self, error: ConfigError, stays: Sequence[str]) -> None:
        """Record a rejected text; `stays` has a line for each thing that it would have taken
        away."""
        now = self.wall()
        problems = tuple(map(str, error.problems))
        before = self.status
        self._status = ConfigStatus(before.digest, before.accepted_at, problems, now, tuple(stays))
        self.history.append(ReloadEvent(now, accepted=False, problems=problems))
        self._report_result(accepted=False)
        for problem in problems:
            log.error("%s", problem)
        log.error("%s", in_force(self.status))


def _free(replaced: list[Snapshot]) -> None:
    """Free a replaced configuration key by key: thousands at once would hold the interpreter for
    longer than a call should wait."""
    snapshot = replaced.pop()
    parts = [*snapshot.by_digest.values(), *snapshot.keys.values()]
    del snapshot
    while parts:
        parts.pop()


def build_snapshot(text: bytes, file: Path, registry: Registry) -> Snapshot:
    """Return the snapshot of a text. Raises `ConfigError` with every problem and plugin's veto."""
    snapshot = load(text, file=str(file), registry=registry)
    place = SourceLocation(str(file), 1)
    vetoes = tuple(Problem(place, veto) for veto in registry.check(snapshot))
    if vetoes:
        raise ConfigError(vetoes)
    return snapshot


def read_file(path: Path) -> bytes:
    """Return the file's bytes. Raises `ConfigError` with the reason when it cannot be read."""
    try:
        text = read_regular(path, MAX_FILE_BYTES + 1)
    except NotRegularFile:
        raise _unreadable(path, "is not a regular file") from None
    except OSError as error:
        raise _unreadable(path, f"cannot be read: {error.strerror}") from None
    if len(text) > MAX_FILE_BYTES:
        raise _unreadable(path, f"is larger than {MAX_FILE_BYTES >> 20} MiB")
    return text


def _unreadable(path: Path, why: str) -> ConfigError:
    return ConfigError((Problem(SourceLocation(str(path), 1), f"the file {why}"),))


class Stamp(NamedTuple):
    """The times (seconds since the epoch, nanoseconds), size and number of a file.

    The change time changes even when size and modification time were reset.
    """

    changed: float
    changed_ns: int
    modified_ns: int
    size: int
    inode: int


def _watch_folder(folder: Path, noticed: Callable[[], object], stop: threading.Event) -> None:
    """Call `noticed` after every event in the folder, until `stop`. Runs in a thread of its own:
    the watcher's asynchronous form imports another framework, which a start does without.

    No filter by name: a swapped link changes another name than the file's.
    """
    from watchfiles import watch  # slow to import, and commands do without

    while not stop.is_set():
        with suppress(OSError, RuntimeError):
            for _ in watch(
                folder, watch_filter=None, recursive=False, debounce=100, step=100,
                stop_event=stop, raise_interrupt=False,
            ):  # fmt: skip
                noticed()
        stop.wait(POLL_SECONDS)


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return Stamp(found.st_ctime, found.st_ctime_ns, found.st_mtime_ns, found.st_size, found.st_ino)
