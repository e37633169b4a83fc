"""What happened: when each key was seen, used and refused, who owns what was created, every call.

Memory first: every answer comes from memory and every note returns at once; a thread keeps the
file behind it. It counts no limits and knows no prices, and a broken disk never reaches a caller.

    path of a call ──▶ Ledger (memory) ──▶ Store (a thread) ──▶ Database (sidecar.db)
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from msgspec import structs

from sidecar.config.model import Snapshot
from sidecar.ledger.anomalies import Spike
from sidecar.ledger.database import DAY_SECONDS
from sidecar.ledger.model import (
    OBJECT_COUNT,
    OBJECT_DAYS,
    Checkpoint,
    Contents,
    Forgotten,
    Keep,
    KeyState,
    Learned,
    ObjectKey,
    Objects,
    Owner,
    Renamed,
)
from sidecar.ledger.reader import read_times
from sidecar.ledger.writer import LedgerWriter
from sidecar.records import NEVER_USED, CallRecord, KeyTimes, PeriodCount, later, program_of

__all__ = ["KeyTimes", "Ledger", "Owner", "program_of", "read_times"]

LOG = logging.getLogger("sidecar.ledger")
FLUSH_TIMEOUT_SECONDS = 5.0
"""Seconds that opening and closing wait for the disk; then the process goes on without it."""
SAVE_SECONDS = 2.0
"""How long closing waits for what is unwritten to be saved for the next start."""
MAX_ID_CHARS = 256


class Ledger:
    """The books of one process, kept under `state`; `wall` gives seconds since the epoch.

    All calls are made from the event loop between `open` and `close`; none but those two and
    `flush` waits for anything, and none raises because of the disk.
    """

    def __init__(self, state: Path, *, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._keys: dict[str, KeyState] = {}
        self._objects: Objects = {}
        self._untold: dict[str, list[tuple[ObjectKey, Owner, float, Learned]]] = {}
        """What was learnt of calls whose own rows are still to come, by their ids."""
        self._digests: dict[str, tuple[bytes, ...]] = {}
        self._restore: Callable[[Iterable[PeriodCount]], None] = lambda _: None
        self._counts: tuple[PeriodCount, ...] = ()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._store = LedgerWriter(state, wall=wall, opened=self._opened)

    async def __aenter__(self) -> Ledger:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Read the file into memory, or go on without it after a few seconds."""
        self._loop = asyncio.get_running_loop()
        self._store.start()
        await self.flush()

    async def close(self) -> None:
        """Write what waits and close the file; gives up on a stuck disk after a few seconds."""
        if not await _patiently(self._store.stop()):
            LOG.warning("the ledger was not written to its end: %s", self.warning or "disk stuck")
            await _patiently(self._store.saved(), SAVE_SECONDS)

    async def flush(self) -> bool:
        """Write now what waits; whether all of it is on disk."""
        return await _patiently(self._store.flush())

    @property
    def healthy(self) -> bool:
        """Whether the file keeps up with memory."""
        return self._store.healthy

    @property
    def failures(self) -> int:
        """How often writing failed since the start."""
        return self._store.failures

    @property
    def dropped(self) -> int:
        """How many calls were lost because too many waited for the disk."""
        return self._store.dropped

    @property
    def warning(self) -> str:
        """What is wrong with the file now; "" when nothing is."""
        return self._store.warning

    @property
    def spikes(self) -> Mapping[str, Spike]:
        """The keys whose use of today is far above their habit, as of the last minute."""
        return self._store.notices.spikes

    def seen(self, key: str, program: str = "") -> None:
        """A client presented this key; `program` is its User-Agent, whole or already cut."""
        state = self._state(key)
        state.last_seen = later(state.last_seen, self._wall())
        if state.last_used is None:
            state.program = program_of(program) or state.program
        self._store.key(key, state)

    def used(self, key: str, program: str = "") -> None:
        """An upstream served this key (answered below 400), which `program` presented."""
        state = self._state(key)
        state.program = program_of(program) or state.program
        state.last_used = later(state.last_used, self._wall())
        self._store.key(key, state)

    def refused(self, key: str) -> None:
        """We refused this key a call."""
        state = self._state(key)
        state.last_refused = later(state.last_refused, self._wall())
        self._store.key(key, state)

    def times(self, key: str) -> KeyTimes:
        """When this key was last seen, used and refused; all None for one that never was."""
        state = self._keys.get(key)
        return NEVER_USED if state is None else state.times()

    def finished(self, record: CallRecord) -> None:
        """Keep one row for a finished call; the same call told again changes nothing."""
        self._store.step(record)
        for entry in self._untold.pop(record.call_id, ()):
            self._store.learned(*entry)

    def checkpoint(self, record: CallRecord) -> None:
        """Keep what is to be said of a call that has not ended, should it never end here."""
        self._store.step(Checkpoint(record))

    def count(self, count: PeriodCount) -> None:
        """Keep how much of a limit by the calendar was used."""
        self._store.count(count)

    def restore_counts(self, restore: Callable[[Iterable[PeriodCount]], None]) -> None:
        """Have `restore` told of the counts of earlier processes: now, and again when the file
        could be read only later."""
        self._restore = restore
        restore(self._counts)

    def remember(self, kind: str, object_id: str, owner: Owner) -> None:
        """An answer says that `owner` created this object; kept for 90 days, the newest 50,000."""
        if len(object_id) > MAX_ID_CHARS:
            return
        entry = (owner, self._wall())
        if owner.claim is not None:
            self._untold[owner.claim.call_id] = []
        self._objects.pop((kind, object_id), None)
        self._objects[kind, object_id] = entry
        if len(self._objects) > OBJECT_COUNT:
            del self._objects[next(iter(self._objects))]
        self._store.object((kind, object_id), *entry)

    def learned(self, kind: str, object_id: str, learned: Learned) -> None:
        """An answer told what an object used: book it for the call that made it. Both are written
        together, so that no restart in between books it again."""
        owner, created = self._objects[kind, object_id]
        owner = replace(owner, claim=None)
        self._objects[kind, object_id] = (owner, created)
        entry = ((kind, object_id), owner, created, learned)
        untold = self._untold.get(learned.claim.call_id)
        if untold is None:
            self._store.learned(*entry)
        else:
            untold.append(entry)

    def owner(self, kind: str, object_id: str) -> Owner | None:
        """Who created this object; None when nobody is known to have."""
        owner, created = self._objects.get((kind, object_id), (None, 0.0))
        return owner if self._wall() - created < OBJECT_DAYS * DAY_SECONDS else None

    def reconcile(self, snapshot: Snapshot) -> None:
        """Follow the configuration: a key's state stays with its name, else goes with its hash."""
        self._store.keep = Keep(snapshot.keep_days, snapshot.keep_bytes, snapshot.timezone)
        self._digests = {
            name: tuple(text.digest for text in key.hashes) for name, key in snapshot.keys.items()
        }
        self._follow_renames()
        self._note_digests()
        self._forget_the_long_gone(self._wall() - snapshot.keep_days * DAY_SECONDS)

    def _state(self, key: str) -> KeyState:
        state = self._keys.get(key)
        if state is None:
            digest = next(iter(self._digests.get(key, ())), None)
            state = self._keys[key] = KeyState(digest)
        return state

    def _follow_renames(self) -> None:
        orphans = {
            state.digest: name
            for name, state in self._keys.items()
            if name not in self._digests and state.digest is not None
        }
        for name, digests in self._digests.items():
            for old in [orphans.pop(digest) for digest in digests if digest in orphans]:
                state = self._state(name)
                state.absorb(self._keys.pop(old))
                self._store.key(name, state)
                self._store.step(Renamed(old, name))
                self._rename_claims(old, name)

    def _rename_claims(self, old: str, new: str) -> None:
        for key, (owner, created) in self._objects.items():
            if owner.claim is not None and owner.claim.key == old:
                claim = structs.replace(owner.claim, key=new)
                self._objects[key] = entry = (replace(owner, claim=claim), created)
                self._store.object(key, *entry)

    def _note_digests(self) -> None:
        for name, digests in self._digests.items():
            state = self._keys.get(name)
            if state is not None and digests and state.digest != digests[0]:
                state.digest = digests[0]
                self._store.key(name, state)

    def _forget_the_long_gone(self, before: float) -> None:
        gone = [
            name
            for name, state in self._keys.items()
            if name not in self._digests and state.latest() < before
        ]
        for name in gone:
            del self._keys[name]
            self._store.step(Forgotten(name))

    def _opened(self, contents: Contents) -> None:
        """From the store's thread: the file was opened and held this."""
        try:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._merge, contents)
        except RuntimeError:
            LOG.debug("the ledger was opened after the event loop had ended")

    def _merge(self, contents: Contents) -> None:
        """Take in what the file knows, and have written what only memory knows."""
        for key, (owner, created) in self._objects.items() - contents.objects.items():
            self._store.object(key, owner, created)
        self._objects = contents.objects | self._objects
        self._counts = tuple(contents.counts.values())
        self._restore(self._counts)
        for name, state in contents.keys.items():
            self._state(name).absorb(state)
        for name, state in self._keys.items():
            if state != contents.keys.get(name):
                self._store.key(name, state)
        if self._digests:
            self._follow_renames()
            self._note_digests()


async def _patiently(future: Future[bool], seconds: float | None = None) -> bool:
    max_wait = FLUSH_TIMEOUT_SECONDS if seconds is None else seconds
    try:
        return await asyncio.wait_for(asyncio.wrap_future(future), max_wait)
    except TimeoutError:
        return False
