"""Holds the configuration in force, and replaces it whole when the file changes, or not at all.

Watches the file's directory (editors replace files, orchestrators swap links) and looks at the
file itself every second, in case no event comes. Parsing happens off the event loop. A refused
edit leaves everything as it was and is hard to overlook.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from watchfiles import awatch

from sidecar.config import Snapshot
from sidecar.credentials import Vault
from sidecar.errors import ConfigError, Place, Problem
from sidecar.loading import difference, load, stays_in_force
from sidecar.plugins import Registry

POLL = 1.0
"""Seconds between two looks at the file when no event comes."""
SETTLE = 0.2
"""Seconds that the content must stay the same: a half-written file can be valid, with keys
missing."""
MAXIMUM_SIZE = 4 << 20

log = logging.getLogger("sidecar.config")


@dataclass(frozen=True, slots=True)
class Standing:
    """How the configuration stands: the digest in force and since when (wall-clock seconds), and
    what is wrong with a newer edit, if it was refused."""

    digest: str
    accepted_at: float
    problems: tuple[str, ...] = ()
    refused_at: float | None = None
    stays: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a look at the file came to."""

    accepted: bool
    problems: tuple[str, ...] = ()
    difference: tuple[str, ...] = ()


Listener = Callable[[Snapshot], None]


@dataclass(slots=True)
class Configuration:
    """The configuration in force and its file. `copy` is where the last accepted text is kept;
    `wall` is the time of day; `listeners` hear of every accepted snapshot, in order."""

    file: Path
    copy: Path
    registry: Registry
    vault: Vault
    wall: Callable[[], float]
    told: Callable[[bool], None]
    listeners: list[Listener] = field(default_factory=list)
    _current: Snapshot | None = None
    _standing: Standing | None = None
    _seen: bytes | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def current(self) -> Snapshot:
        """The configuration in force."""
        if self._current is None:
            raise RuntimeError("no configuration was loaded yet")
        return self._current

    @property
    def standing(self) -> Standing:
        """How it stands."""
        if self._standing is None:
            raise RuntimeError("no configuration was loaded yet")
        return self._standing

    def start(self) -> None:
        """Load the file, or else the last accepted copy, loudly. Blocking.

        Raises `ConfigError` when neither can be used.
        """
        try:
            text = read_file(self.file)
            snapshot = self._build(text)
        except ConfigError as error:
            self._start_from_copy(error)
            return
        self._accept(snapshot, text)

    def _start_from_copy(self, refused: ConfigError) -> None:
        try:
            text = read_file(self.copy)
            snapshot = self._build(text)
        except ConfigError:
            raise refused from None
        self._accept(snapshot, text)
        with suppress(ConfigError):
            self._seen = read_file(self.file)
        self._refuse(refused, self._seen or b"")

    async def reload(self) -> Loaded:
        """Look at the file now, and take it over if it is good. Never raises."""
        async with self._lock:
            try:
                text = await self._settled()
            except ConfigError as error:
                return self._refused_once(error, None)
            if text == self._seen:
                return Loaded(not self.standing.problems, self.standing.problems)
            try:
                snapshot = await asyncio.to_thread(self._build, text)
            except ConfigError as error:
                return self._refused_once(error, text)
            changes = difference(self.current(), snapshot)
            self._accept(snapshot, text)
            for line in changes or ["nothing that matters changed"]:
                log.info("%s: %s", self.file.name, line)
            return Loaded(accepted=True, difference=tuple(changes))

    async def watch(self) -> None:
        """Take over every good edit, for ever."""
        async with asyncio.TaskGroup() as tasks:
            changed = asyncio.Event()
            tasks.create_task(self._notice(changed))
            tasks.create_task(self._poll(changed))
            while True:
                await changed.wait()
                changed.clear()
                await self.reload()

    async def _notice(self, changed: asyncio.Event) -> None:
        """Set `changed` whenever anything happens in the directory: with no filter by name, since
        a swapped link changes another name than the file's."""
        while True:
            with suppress(OSError, RuntimeError):
                async for _ in awatch(
                    self.file.parent, watch_filter=None, recursive=False, debounce=100, step=50
                ):
                    changed.set()
            await asyncio.sleep(POLL)

    async def _poll(self, changed: asyncio.Event) -> None:
        # No stamp yet: an edit made between the first load and this look must not be missed.
        stamp: tuple[int, ...] | None = None
        while True:
            await asyncio.sleep(POLL)
            now = _stamp(self.file)
            if now != stamp:
                stamp = now
                changed.set()
            stale = await asyncio.to_thread(self.vault.stale)
            if stale:
                await asyncio.to_thread(self.vault.renew, stale)

    async def _settled(self) -> bytes:
        text = read_file(self.file)
        while True:
            await asyncio.sleep(SETTLE)
            again = read_file(self.file)
            if again == text:
                return text
            text = again

    def _build(self, text: bytes) -> Snapshot:
        snapshot = understand(text, self.file, self.registry)
        self.vault.load(snapshot)
        return snapshot

    def _accept(self, snapshot: Snapshot, text: bytes) -> None:
        self._current = snapshot
        self._seen = text
        self._standing = Standing(snapshot.digest, self.wall())
        self.told(True)
        for warning in snapshot.warnings:
            log.warning("%s", warning)
        for listener in self.listeners:
            listener(snapshot)
        with suppress(OSError):
            _keep(self.copy, text)

    def _refused_once(self, error: ConfigError, text: bytes | None) -> Loaded:
        """Say so, unless this very content was refused before."""
        again = text == self._seen and bool(self.standing.problems)
        self._seen = text
        if not again:
            self._refuse(error, text or b"")
        return Loaded(accepted=False, problems=self.standing.problems)

    def _refuse(self, error: ConfigError, text: bytes) -> None:
        now = self.wall()
        problems = tuple(map(str, error.problems))
        stays = tuple(stays_in_force(self.current(), text))
        standing = self.standing
        self._standing = Standing(standing.digest, standing.accepted_at, problems, now, stays)
        self.told(False)
        for problem in problems:
            log.error("%s", problem)
        log.error("%s", in_force(self.standing))


def understand(text: bytes, file: Path, registry: Registry) -> Snapshot:
    """What the text means, once no plugin vetoes it. Raises `ConfigError` with every problem."""
    snapshot = load(text, file=str(file), registry=registry)
    place = Place(str(file), 1)
    vetoes = tuple(Problem(place, veto) for veto in registry.check(snapshot))
    if vetoes:
        raise ConfigError(vetoes)
    return snapshot


def in_force(standing: Standing) -> str:
    """What a refused edit means for now: which file is in force, and what therefore stays."""
    since = _time(standing.accepted_at)
    stays = "".join(f"; {line}" for line in standing.stays)
    return f"REFUSED: the file of {since} stays in force{stays}"


def _time(moment: float) -> str:
    from datetime import datetime

    return datetime.fromtimestamp(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def read_file(path: Path) -> bytes:
    """The file's bytes. Raises `ConfigError` saying why it cannot be read."""
    try:
        # A pipe must not block us; it is told apart after opening.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _unreadable(path, "is not a regular file")
            text = file.read(MAXIMUM_SIZE + 1)
    except OSError as error:
        raise _unreadable(path, f"cannot be read: {error.strerror}") from None
    if len(text) > MAXIMUM_SIZE:
        raise _unreadable(path, f"is larger than {MAXIMUM_SIZE >> 20} MiB")
    return text


def digest_of(text: bytes) -> str:
    """What a snapshot's `digest` is for this text."""
    return hashlib.sha256(text).hexdigest()


def _unreadable(path: Path, why: str) -> ConfigError:
    return ConfigError((Problem(Place(str(path), 1), f"the file {why}"),))


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    # The change time moves even when size and modification time were put back.
    return found.st_ctime_ns, found.st_mtime_ns, found.st_size, found.st_ino


def _keep(path: Path, text: bytes) -> None:
    """Put a 0600 copy in place, whole or not at all."""
    new = path.with_suffix(".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    new.replace(path)
