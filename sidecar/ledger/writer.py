"""The thread that keeps the ledger's file at most a second behind memory.

The disk never holds up or fails a call: what cannot be written stays in memory, within a bound, and
is written when the disk recovers.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock, Thread

from sidecar.errors import SidecarError
from sidecar.ledger.anomalies import AnomalyNotices
from sidecar.ledger.database import (
    Database,
    ForeignDatabase,
    is_broken,
    open_database,
    open_file,
    set_aside,
)
from sidecar.ledger.model import (
    Batch,
    Contents,
    Keep,
    KeyState,
    Learned,
    ObjectKey,
    Owner,
    Step,
    day_of,
)
from sidecar.ledger.reader import FILE, read_contents
from sidecar.records import CallRecord, PeriodCount

LOG = logging.getLogger("sidecar.ledger")
UNWRITTEN_FILE = "unwritten.db"
"""Changes that could not be written before a stop, in a small ledger of its own."""
BATCH_SECONDS = 0.1
"""Seconds that changes are gathered before they are written together. A record may have waited for
its caller before, and a busy machine wakes the thread late: their sum stays below a second."""
RETRY_SECONDS = 1.0
"""Seconds between tries while the file cannot be written."""
STUCK_AFTER_SECONDS = 10.0
"""Seconds after which a write that has not returned counts as a failure."""
CHECK_SECONDS = 60.0
TIDY_SECONDS = 600.0
WARN_EVERY_SECONDS = 60.0
MAX_PENDING_STEPS = 20_000
"""Calls that are pending in memory at most; more are dropped and counted."""


class LedgerWriter:
    """The writing thread. Every method may be called from the event loop.

    `opened` is called, in the thread, with the contents of the file each time it is opened, and
    once when opening first fails. `wall` returns seconds since the epoch.
    """

    def __init__(
        self, state: Path, *, wall: Callable[[], float], opened: Callable[[Contents], None]
    ) -> None:
        self.keep = Keep()
        self.notices = AnomalyNotices()
        self.failures = 0
        self.dropped = 0
        self.warning = ""
        self._state = state
        self._wall = wall
        self._opened = opened
        self._database: Database | None = None
        self._took_over = False
        self._lock = Lock()
        self._batch = Batch()
        self._in_hand = Batch()
        self._flushes: list[Future[bool]] = []
        self._stopped: Future[bool] = Future()
        self._work, self._flush_now, self._stop = Event(), Event(), Event()
        self._busy_since: float | None = None
        self._warned = float("-inf")
        self._tidied = self._looked = float("-inf")
        self._thread = Thread(target=self._run, name="sidecar-ledger", daemon=True)

    @property
    def healthy(self) -> bool:
        """Return whether the last write succeeded, none is stuck and the thread is alive."""
        busy = self._busy_since
        stuck = busy is not None and time.monotonic() - busy > STUCK_AFTER_SECONDS
        return self._thread.is_alive() and not self.warning and not stuck

    def start(self) -> None:
        """Start the thread, which opens the file."""
        self._thread.start()

    def stop(self) -> Future[bool]:
        """Write what is pending, close the file and end the thread. The result is whether all is
        written."""
        self._stop.set()
        self._flush_now.set()
        self._work.set()
        return self._stopped

    def flush(self) -> Future[bool]:
        """Write what is pending now. The result is whether all is written."""
        future: Future[bool] = Future()
        with self._lock:
            self._flushes.append(future)
        self._flush_now.set()
        self._work.set()
        return future

    def saved(self) -> Future[bool]:
        """Save what is unwritten after `stop`, also while the thread is stuck in a write."""
        future: Future[bool] = Future()

        def save() -> None:
            self._save_unwritten()
            self._answer([future], written=True)

        Thread(target=save, name="sidecar-ledger-save", daemon=True).start()
        return future

    def _save_unwritten(self) -> None:
        """Save pending changes in a file for the next start; log what is lost."""
        with self._lock:
            batch = self._in_hand.then(self._batch)
            self._in_hand = self._batch = Batch()
        calls = sum(isinstance(step, CallRecord) for step in batch.steps)
        if not len(batch):
            return
        try:
            save_unwritten(self._state, batch, self.keep)
        except (sqlite3.Error, OSError, SidecarError) as error:
            self.dropped += calls
            LOG.error(
                "%d finished calls lost, the ledger cannot be written: %s; %s",
                calls,
                self.warning,
                error,
            )
            return
        LOG.warning(
            "ledger not written before the stop; %d finished calls saved in %s for the next start",
            calls, self._state / UNWRITTEN_FILE,
        )  # fmt: skip

    def key(self, name: str, state: KeyState) -> None:
        """Store the changed state of a key."""
        if self._batch.keys.get(name) is state:
            return  # the thread reads a state after it has taken its batch: it gets this change
        with self._lock:
            self._batch.keys[name] = state
        self._notice()

    def object(self, key: ObjectKey, owner: Owner, created: float) -> None:
        """Store an object that was created, or seen again."""
        with self._lock:
            self._batch.objects[key] = (owner, created)
        self._notice()

    def learned(self, key: ObjectKey, owner: Owner, created: float, learned: Learned) -> None:
        """Store an object and its usage, always together."""
        with self._lock:
            self._batch.objects[key] = (owner, created)
            self._batch.steps.append(learned)
        self._notice()

    def count(self, count: PeriodCount) -> None:
        """Store a count that outlives the process."""
        with self._lock:
            self._batch.counts[count.name] = count
        self._notice()

    def steps(self, steps: Sequence[Step]) -> None:
        """Store what is written once, in order."""
        with self._lock:
            room = max(0, MAX_PENDING_STEPS - len(self._batch.steps))
            self._batch.steps += steps[:room]
        if len(steps) > room:
            self._drop(len(steps) - room)
        self._notice()

    def _notice(self) -> None:
        if not self._work.is_set():
            self._work.set()

    def _drop(self, count: int) -> None:
        self.dropped += count
        self._warn(f"{count} rows lost, {self.dropped} in all")

    def _run(self) -> None:
        more = self._turn()
        while not self._stop.is_set():
            if not more:
                self._work.wait(TIDY_SECONDS)
                self._flush_now.wait(RETRY_SECONDS if self.warning else BATCH_SECONDS)
            more = self._turn()
        self._turn()
        self._close()
        self._save_unwritten()
        self._answer([self._stopped], written=not self.warning)

    def _turn(self) -> bool:
        """Write once what is pending. Returns whether there is more to tidy."""
        batch, flushes = self._take()
        self._busy_since = time.monotonic()
        more = self._attempt(batch)
        self._busy_since = None
        self._answer(flushes, written=not self.warning)
        return more

    def _attempt(self, batch: Batch) -> bool:
        """Write `batch`, or put it back. Returns whether there is more to tidy."""
        try:
            database = self._open()
            self.notices.log_new_programs(database.write(batch, self.keep))
            batch = self._in_hand = Batch()  # written: it must not be written again
            self._recovered()
            self._look(database)
            return self._tidy(database)
        except Exception as error:  # noqa: BLE001 - the thread outlives whatever a disk or a row does
            self._failed(error)
            if _may_pass(error):
                self._put_back(batch)
            else:
                self._drop(len(batch))
        return False

    def _open(self) -> Database:
        if self._database is None:
            self._database = open_database(self._state, self._wall())
            if not self._took_over:  # later, calls in flight are this process's own
                self._replay(self._database)
                self._database.record_interrupted()
                self._took_over = True
            self._opened(self._database.load())
        return self._database

    def _replay(self, database: Database) -> None:
        found = replay_unwritten(self._state, database, self._wall())
        if found:
            LOG.info("%d calls that were unwritten at the last stop are in the ledger now", found)

    def _look(self, database: Database) -> None:
        """Check every `CHECK_SECONDS` for keys that are far above their baseline."""
        if time.monotonic() - self._looked >= CHECK_SECONDS:
            self._looked = time.monotonic()
            self.notices.update(database.spikes(day_of(self._wall(), self.keep.zone)))

    def _tidy(self, database: Database) -> bool:
        if time.monotonic() - self._tidied < TIDY_SECONDS:
            return False
        more = database.tidy(self.keep, self._wall())
        if not more:
            self._tidied = time.monotonic()
        return more and not self._stop.is_set()

    def _take(self) -> tuple[Batch, list[Future[bool]]]:
        self._work.clear()
        self._flush_now.clear()
        with self._lock:
            batch, self._batch = self._batch, Batch()
            self._in_hand = batch
            flushes, self._flushes = self._flushes, []
        return batch, flushes

    def _put_back(self, batch: Batch) -> None:
        with self._lock:
            self._batch = batch.then(self._batch)
            self._in_hand = Batch()
            surplus = len(self._batch.steps) - MAX_PENDING_STEPS
            del self._batch.steps[MAX_PENDING_STEPS:]
        if surplus > 0:
            self._drop(surplus)
        self._work.set()

    def _failed(self, error: Exception) -> None:
        self.failures += 1
        self.warning = f"{self._state / FILE}: {error}"
        self._close()
        if self.failures == 1:
            self._opened(read_contents(self._state))  # it may still be readable
        if is_broken(error):
            self._set_aside(error)
        self._warn("calls are served, their records stay in memory")

    def _recovered(self) -> None:
        if self.warning:
            LOG.info("ledger %s is written again", self._state / FILE)
        self.warning = ""
        self._warned = float("-inf")

    def _warn(self, consequence: str) -> None:
        """Log the present error, at most once a minute."""
        now = time.monotonic()
        if now - self._warned >= WARN_EVERY_SECONDS:
            self._warned = now
            LOG.warning("the ledger cannot be written: %s; %s", self.warning, consequence)

    def _set_aside(self, error: Exception) -> None:
        try:
            set_aside(self._state / FILE, self._wall(), error)
        except OSError as refused:
            self.warning = f"{self._state / FILE}: {error}, and it cannot be renamed: {refused}"

    def _close(self) -> None:
        database, self._database = self._database, None
        if database is None:
            return
        try:
            database.close()
        except sqlite3.Error as error:
            LOG.debug("closing the ledger: %s", error)

    @staticmethod
    def _answer(flushes: list[Future[bool]], *, written: bool) -> None:
        for future in flushes:
            if future.set_running_or_notify_cancel():
                future.set_result(written)


def _may_pass(error: Exception) -> bool:
    """Return whether the same rows can be written later: the disk is at fault, and no row."""
    return isinstance(error, sqlite3.OperationalError | OSError | SidecarError) or is_broken(error)


def save_unwritten(state: Path, batch: Batch, keep: Keep) -> None:
    """Write `batch` to a small ledger of its own, for the next start.

    Raises `sqlite3.Error` or `OSError`.
    """
    database = open_file(state / UNWRITTEN_FILE)
    try:
        database.write(batch, keep)
    finally:
        database.close()


def replay_unwritten(state: Path, database: Database, now: float) -> int:
    """Write what was saved to `database`, remove the file, and return the number of calls.

    `now` is seconds since the epoch. A damaged file is set aside. Replaying twice changes nothing:
    a call that has a row already keeps it.
    """
    path = state / UNWRITTEN_FILE
    if not path.exists():
        return 0
    try:
        saved = open_file(path)
        try:
            contents, calls, under_way = saved.load_all()
        finally:
            saved.close()
    except (ForeignDatabase, sqlite3.DatabaseError) as error:
        if not is_broken(error):
            raise
        set_aside(path, now, error)
        return 0
    database.merge(contents, calls, under_way)
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            Path(f"{path}{suffix}").unlink()
    return len(calls)
