"""The ledger: the times of each key, the owners of created objects, and every finished call.

All reads are from memory, and all writes return at once: a thread writes them to the file. The
ledger counts no limits and computes no prices. An error of the disk never fails a call.

    path of a call ──▶ Ledger (memory) ──▶ LedgerWriter (a thread) ──▶ Database (sidecar.db)
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType

from msgspec import structs

from sidecar.config.model import Key, Snapshot
from sidecar.ledger.anomalies import Spike
from sidecar.ledger.database import DAY_SECONDS
from sidecar.ledger.model import (
    MAX_OBJECTS,
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
from sidecar.ledger.shared_times import SharedTimes
from sidecar.ledger.writer import LedgerWriter
from sidecar.records import (
    NEVER_USED,
    CallRecord,
    KeyTimes,
    Outcome,
    PeriodCount,
    program_of,
)

__all__ = ["KeyTimes", "Ledger", "Owner", "program_of", "read_times"]

LOG = logging.getLogger("sidecar.ledger")
FLUSH_TIMEOUT_SECONDS = 5.0
"""Seconds that opening and closing wait for the disk; then the process continues without it."""
SAVE_SECONDS = 2.0
"""Seconds that closing waits until unwritten changes are saved for the next start."""
MAX_ID_CHARS = 256
_UNSERVED = frozenset({Outcome.CLIENT_ERROR, Outcome.UPSTREAM_ERROR})
"""The outcomes of calls that no provider served, whatever the status."""


class Ledger:
    """The ledger of one process, stored under `state`.

    All methods are called from the event loop between `open` and `close`. Only these two and
    `flush` wait, and none raises because of the disk.

    `wall` returns seconds since the epoch. `before_flush` is called before what is pending is
    written.
    """

    def __init__(self, state: Path, *, wall: Callable[[], float] = time.time) -> None:
        self.before_flush: Callable[[], None] = lambda: None
        self._wall = wall
        self._keys: dict[str, KeyState] = {}
        self._objects: Objects = {}
        self._early_usage: dict[str, list[tuple[ObjectKey, Owner, float, Learned]]] = {}
        """Usage learned of calls whose own rows are still to come, by call id."""
        self._snapshot: Snapshot | None = None
        self._restore: Callable[[Iterable[PeriodCount]], None] = lambda _: None
        self._counts: tuple[PeriodCount, ...] = ()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._shared: SharedTimes | None = None
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
        """Read the file into memory, or continue without it after `FLUSH_TIMEOUT_SECONDS`."""
        self._loop = asyncio.get_running_loop()
        self._store.start()
        await self.flush()

    async def close(self) -> None:
        """Write what is pending and close the file; give up on a stuck disk after a few seconds."""
        if not await _wait_for(self._store.stop()):
            LOG.warning(
                "ledger not written before the stop (%s); saving pending changes for later",
                self.warning or "the disk does not answer",
            )
            await _wait_for(self._store.saved(), SAVE_SECONDS)

    async def flush(self) -> bool:
        """Write what is pending now. Returns whether all of it is on disk."""
        self.before_flush()
        return await _wait_for(self._store.flush())

    @property
    def healthy(self) -> bool:
        """Return whether the file keeps up with memory."""
        return self._store.healthy

    @property
    def failures(self) -> int:
        """Return the number of failed writes since the start."""
        return self._store.failures

    @property
    def dropped(self) -> int:
        """Return the number of calls lost because too many were pending."""
        return self._store.dropped

    @property
    def warning(self) -> str:
        """Return the present error of the file; "" when there is none."""
        return self._store.warning

    @property
    def spikes(self) -> Mapping[str, Spike]:
        """Return the keys whose usage of today is far above their baseline, as of the last
        minute."""
        return self._store.notices.spikes

    def note_times(self, call: CallRecord) -> None:
        """Note when the key of a call was seen, used and refused, once the call has ended or while
        it is in flight."""
        name = call.key
        if not name:
            return
        state, ended = self._keys.get(name) or self._state(name), call.started + call.duration
        is_served = 0 < call.status < 400 and call.outcome not in _UNSERVED
        if is_served or state.last_used is None:
            state.program = program_of(call.program) or state.program
        state.last_seen = max(state.last_seen or 0.0, call.started)
        if is_served:
            state.last_used = max(state.last_used or 0.0, ended)
        if call.refusal is not None and call.outcome is not Outcome.UPSTREAM_ERROR:
            state.last_refused = max(state.last_refused or 0.0, ended)
        self._store.key(name, state)
        if is_served and self._shared is not None:
            self._shared.publish(name, state.times())

    def times(self, key: str) -> KeyTimes:
        """Return when this key was last seen, used and refused; all None for an unknown key."""
        state = self._keys.get(key)
        return NEVER_USED if state is None else state.times()

    def times_of_all(self, key: str) -> KeyTimes:
        """Return the times of a key as `times`, with its latest use by any process."""
        own = self.times(key)
        return own if self._shared is None else self._shared.latest(key, own)

    def share(self, shared: SharedTimes) -> None:
        """Have the latest use of each key by any process from now on."""
        self._shared = shared
        for key, state in self._keys.items():
            shared.publish(key, state.times())

    def finished(self, *records: CallRecord) -> None:
        """Record each finished call in one row; the same call a second time changes nothing."""
        self._store.steps(records)
        if self._early_usage:
            for record in records:
                for entry in self._early_usage.pop(record.call_id, ()):
                    self._store.learned(*entry)

    def checkpoint(self, record: CallRecord) -> None:
        """Note the times of the key of a call in flight, and record the call in case the process
        dies before it ends. One that waits for its first attempt needs no record."""
        self.note_times(record)
        if record.provider:
            self._store.steps([Checkpoint(record)])

    def count(self, count: PeriodCount) -> None:
        """Record the usage of a calendar limit."""
        self._store.count(count)

    def restore_counts(self, restore: Callable[[Iterable[PeriodCount]], None]) -> None:
        """Call `restore` with the counts of earlier processes: now, and again when the file becomes
        readable only later."""
        self._restore = restore
        restore(self._counts)

    def remember(self, kind: str, object_id: str, owner: Owner) -> None:
        """Record that `owner` created this object; kept for 90 days, the newest 50,000."""
        if len(object_id) > MAX_ID_CHARS:
            return
        entry = (owner, self._wall())
        if owner.claim is not None:
            self._early_usage[owner.claim.call_id] = []
        self._objects.pop((kind, object_id), None)
        self._objects[kind, object_id] = entry
        if len(self._objects) > MAX_OBJECTS:
            del self._objects[next(iter(self._objects))]
        self._store.object((kind, object_id), *entry)

    def learned(self, kind: str, object_id: str, learned: Learned) -> None:
        """Record the usage of an object for the call that created it.

        Both are written in one transaction, so that a restart in between does not record it twice.
        """
        owner, created = self._objects[kind, object_id]
        owner = structs.replace(owner, claim=None)
        self._objects[kind, object_id] = (owner, created)
        entry = ((kind, object_id), owner, created, learned)
        early = self._early_usage.get(learned.claim.call_id)
        if early is None:
            self._store.learned(*entry)
        else:
            early.append(entry)

    def owner(self, kind: str, object_id: str) -> Owner | None:
        """Return the owner of this object; None when it is unknown."""
        owner, created = self._objects.get((kind, object_id), (None, 0.0))
        return owner if self._wall() - created < OBJECT_DAYS * DAY_SECONDS else None

    def claimed(self) -> Iterator[ObjectKey]:
        """Yield the objects whose usage is still to come."""
        for named, (owner, _) in self._objects.items():
            if owner.claim is not None:
                yield named

    def reconcile(self, snapshot: Snapshot) -> None:
        """Follow the configuration: a key's state follows its name, else its hash."""
        before, self._snapshot = self._snapshot, snapshot
        self._store.keep = Keep(snapshot.keep_days, snapshot.keep_bytes, snapshot.timezone)
        if before is None or before.keys is not snapshot.keys:
            self._follow_keys(snapshot)
        self._forget_the_long_gone(snapshot, self._wall() - snapshot.keep_days * DAY_SECONDS)

    def _state(self, key: str) -> KeyState:
        state = self._keys.get(key)
        if state is None:
            configured = None if self._snapshot is None else self._snapshot.keys.get(key)
            state = self._keys[key] = KeyState(None if configured is None else _digest(configured))
        return state

    def _follow_keys(self, snapshot: Snapshot) -> None:
        """Have the states of keys follow their names, and the digests of their secrets."""
        for old in [name for name in self._keys if name not in snapshot.keys]:
            found = snapshot.by_digest.get(self._keys[old].digest or b"")
            if found is not None and found[0].name in snapshot.keys:
                self._rename(old, found[0].name)
        for name, state in self._keys.items():
            key = snapshot.keys.get(name)
            if key is not None and key.hashes and state.digest != _digest(key):
                state.digest = _digest(key)
                self._store.key(name, state)

    def _rename(self, old: str, name: str) -> None:
        state = self._state(name)
        state.merge(self._keys.pop(old))
        self._store.key(name, state)
        if self._shared is not None:
            self._shared.publish(name, state.times())
        self._store.steps([Renamed(old, name)])
        self._rename_claims(old, name)

    def _rename_claims(self, old: str, new: str) -> None:
        for key, (owner, created) in self._objects.items():
            if owner.claim is not None and owner.claim.key == old:
                claim = structs.replace(owner.claim, key=new)
                self._objects[key] = entry = (structs.replace(owner, claim=claim), created)
                self._store.object(key, *entry)

    def _forget_the_long_gone(self, snapshot: Snapshot, before: float) -> None:
        gone = [
            name
            for name, state in self._keys.items()
            if name not in snapshot.keys and state.latest() < before
        ]
        for name in gone:
            del self._keys[name]
            self._store.steps([Forgotten(name)])

    def _opened(self, contents: Contents) -> None:
        """Pass the contents of the file, opened by the writer's thread, to the event loop."""
        try:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._merge, contents)
        except RuntimeError:
            LOG.debug("ledger opened after the event loop had ended")

    def _merge(self, contents: Contents) -> None:
        """Merge the contents of the file into memory, and write what only memory has."""
        for key, (owner, created) in self._objects.items() - contents.objects.items():
            self._store.object(key, owner, created)
        self._objects = contents.objects | self._objects
        self._counts = tuple(contents.counts.values())
        self._restore(self._counts)
        for name, state in contents.keys.items():
            self._state(name).merge(state)
        for name, state in self._keys.items():
            if state != contents.keys.get(name):
                self._store.key(name, state)
        if self._snapshot is not None:
            self._follow_keys(self._snapshot)


def _digest(key: Key) -> bytes | None:
    """Return the digest of a key's current secret; None if it has none."""
    return key.hashes[0].digest if key.hashes else None


async def _wait_for(future: Future[bool], seconds: float | None = None) -> bool:
    max_wait = FLUSH_TIMEOUT_SECONDS if seconds is None else seconds
    try:
        return await asyncio.wait_for(asyncio.wrap_future(future), max_wait)
    except TimeoutError:
        return False
