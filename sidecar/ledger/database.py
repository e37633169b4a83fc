"""The ledger's SQLite file: opened, migrated, written, tidied, and set aside when it is broken.

Blocking, and for one thread. It does not decide when to write or what to do about an error:
every function may raise sqlite3.Error or OSError, unless it says otherwise.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date, tzinfo
from pathlib import Path
from time import gmtime, strftime

from sidecar.errors import SidecarError
from sidecar.files import OTHERS, create_private, prepare
from sidecar.ledger import model, rollups
from sidecar.ledger import rollups as counts
from sidecar.ledger.anomalies import Spike, find_spikes
from sidecar.ledger.call_rows import call_row
from sidecar.ledger.late_usage import write_learned
from sidecar.ledger.migrations import MIGRATIONS
from sidecar.ledger.model import Batch, Contents, Keep, NewProgram, day_of
from sidecar.ledger.reader import APPLICATION, FILE, load
from sidecar.records import CallRecord

Row = tuple[model.SqlValue, ...]

LOG = logging.getLogger("sidecar.ledger")
DAY_SECONDS = 86_400.0
NEVER = float("inf")
DELETE_CHUNK_ROWS = 1000
"""Rows deleted, or pages given back, at a time: tidying never holds a write up for long."""
SPARE_PAGES = 256
"""Empty pages that are not worth giving back."""
BROKEN_CODES = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
"""What SQLite says of a file that is damaged or lacks our tables."""


class NewerState(SidecarError):
    """The file was written by a later version of Sidecar; it is left as it is."""


class ForeignDatabase(SidecarError):
    """The file is not a ledger of Sidecar's."""


def is_broken(error: Exception) -> bool:
    """Whether an error means that the file itself is of no more use."""
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, ForeignDatabase) or (code is not None and code & 0xFF in BROKEN_CODES)


class Database:
    """An open ledger file."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._identity = _identity(path)
        self._zone: str | None = None

    def load(self) -> Contents:
        """Everything that memory needs; not the calls."""
        return load(self._connection)

    def write(self, batch: Batch, keep: Keep) -> list[NewProgram]:
        """Write all of it or nothing; a call whose row is there is passed over.

        Tells which programs used a key for the first time that others had used before.
        """
        if _identity(self._path) != self._identity:
            raise FileNotFoundError(f"{self._path} was removed or replaced while in use")
        with self._transaction() as connection:
            _write_states(connection, batch)
            if not batch.steps:
                return []
            self._note_zone(str(keep.zone or ""))
            before = _last_call(connection)
            for step in batch.steps:  # after the keys, of which a step may take one away
                _write_step(connection, step, keep.zone, before)
            return _roll_up(connection, before)

    def everything(self) -> tuple[Contents, list[Row], list[Row]]:
        """Return what memory needs, and the rows of the calls that ended and of those that ran."""
        calls = self._connection.execute(model.SELECT_CALLS).fetchall()
        return self.load(), calls, self._connection.execute(model.SELECT_UNDER_WAY).fetchall()

    def absorb(self, contents: Contents, calls: list[Row], under_way: list[Row]) -> None:
        """Write the contents of another ledger to this one; what is there already is kept."""
        batch = Batch(contents.keys, contents.objects, [], contents.counts)
        with self._transaction() as connection:
            before = _last_call(connection)
            _write_states(connection, batch)
            connection.executemany(model.INSERT_UNDER_WAY, under_way)
            connection.executemany(model.INSERT_CALL, calls)
            _roll_up(connection, before)

    def take_over(self) -> None:
        """Put the calls on the books that ran when the process died that kept them before."""
        with self._transaction() as connection:
            before = _last_call(connection)
            rows = connection.execute(model.SELECT_UNDER_WAY).fetchall()
            connection.executemany(model.INSERT_CALL, rows)
            connection.execute(model.DELETE_UNDER_WAY)
            _roll_up(connection, before)

    def _note_zone(self, name: str) -> None:
        """Say by whose midnight the days on the books begin; "" is the machine's."""
        if name != self._zone:
            self._connection.execute(rollups.SET_TIMEZONE, (name,))
            self._zone = name

    def spikes(self, today: date) -> dict[str, Spike]:
        """The keys whose use of today is far above their habit."""
        return find_spikes(self._connection, today)

    def tidy(self, keep: Keep, now: float) -> bool:
        """Delete a piece of what is too old or too much; whether there is more to do."""
        return self._delete(keep, now) or self._give_back()

    def close(self) -> None:
        """Fold the write-ahead log into the file and let go of it."""
        with closing(self._connection):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _delete(self, keep: Keep, now: float) -> bool:
        calls_before = now - keep.days * DAY_SECONDS
        days_before = day_of(now - keep.days_kept * DAY_SECONDS, keep.zone).isoformat()
        too_big = self._used_bytes() > keep.bytes
        with self._transaction() as connection:
            gone = [
                connection.execute(statement, parameters).rowcount
                for statement, parameters in (
                    (
                        model.DELETE_OLD_CALLS,
                        (NEVER if too_big else calls_before, DELETE_CHUNK_ROWS),
                    ),
                    (
                        model.DELETE_OLD_OBJECTS,
                        (now - model.OBJECT_DAYS * DAY_SECONDS, DELETE_CHUNK_ROWS),
                    ),
                    (model.DELETE_SURPLUS_OBJECTS, (DELETE_CHUNK_ROWS, model.OBJECT_COUNT)),
                    (rollups.DELETE_OLDEST_DAY, (days_before,)),
                    (rollups.DELETE_OLD_PROGRAMS, (now - keep.days_kept * DAY_SECONDS,)),
                )
            ]
            if too_big and not any(gone):
                gone += [connection.execute(rollups.DELETE_OLDEST_DAY, ("9999",)).rowcount]
            connection.execute(counts.DELETE_OLD, (now - counts.DAYS * DAY_SECONDS,))
        return any(gone)

    def _used_bytes(self) -> int:
        used = self._pragma("page_count") - self._pragma("freelist_count")
        return used * self._pragma("page_size")

    def _give_back(self) -> bool:
        """Shrink the file a little while a quarter of it, and not just a little, lies empty."""
        free = self._pragma("freelist_count")
        if free < SPARE_PAGES or free * 4 < self._pragma("page_count"):
            return False
        self._connection.execute(f"PRAGMA incremental_vacuum({DELETE_CHUNK_ROWS})").fetchall()
        return True

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
            self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


def open_database(state: Path, now: float) -> Database:
    """Open the ledger under `state`, making what is missing.

    A file that is damaged, empty or not ours is renamed, with a warning, and a fresh one begun.
    Raises `NewerState` for one that this version does not understand.
    """
    prepare(state)
    path = state / FILE
    try:
        return open_file(path)
    except (ForeignDatabase, sqlite3.DatabaseError) as error:
        if not is_broken(error):
            raise
        set_aside(path, now, error)
    return open_file(path)


def set_aside(path: Path, now: float, why: Exception) -> None:
    """Rename a broken ledger and its log, so that a fresh one can take its place."""
    aside = f"{path}.corrupt-{strftime('%Y%m%dT%H%M%SZ', gmtime(now))}"
    for suffix in ("", "-wal", "-shm", "-journal"):
        part = Path(f"{path}{suffix}")
        if part.exists():
            part.replace(f"{aside}{suffix}")
    LOG.warning("%s cannot be used (%s); kept as %s, a fresh one is begun", path, why, aside)


def open_file(path: Path) -> Database:
    """Open the ledger at `path`, made or migrated where needed. Raises `ForeignDatabase`,
    `NewerState`."""
    _claim(path)
    connection = sqlite3.connect(path, timeout=5.0, isolation_level=None)
    try:
        _migrate(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA journal_size_limit = 16777216")
        database = Database(connection, path)
        database.load()  # so that damage shows now, while the file can still be set aside
    except BaseException:
        connection.close()
        raise
    return database


def _claim(path: Path) -> None:
    """Make the file ours alone before SQLite opens it. Raises `ForeignDatabase` for what is no
    ledger."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        create_private(path, b"")
        return
    if not stat.S_ISREG(found.st_mode):
        raise ForeignDatabase("it is not a regular file")
    if found.st_size == 0:
        raise ForeignDatabase("it is empty")
    if found.st_mode & OTHERS and found.st_uid == os.geteuid():
        path.chmod(stat.S_IMODE(found.st_mode) & ~OTHERS)


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the tables up to this version, each step whole or not at all."""
    mark = int(connection.execute("PRAGMA application_id").fetchone()[0])
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    fresh = not connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    if mark != APPLICATION and not fresh:
        raise ForeignDatabase("it belongs to another program")
    if version > len(MIGRATIONS):
        raise NewerState(
            f"{path} was written by a later version of Sidecar; nothing is kept until that version"
            " is installed again or the file is moved away"
        )
    if fresh:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    for number, step in enumerate(MIGRATIONS[version:], start=version + 1):
        marks = f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {number};"
        connection.executescript(f"BEGIN IMMEDIATE; {step} {marks} COMMIT;")


def _write_states(connection: sqlite3.Connection, batch: Batch) -> None:
    keys = (model.key_row(name, state) for name, state in batch.keys.items())
    objects = (model.object_row(key, *value) for key, value in batch.objects.items())
    connection.executemany(model.UPSERT_KEY, keys)
    connection.executemany(model.UPSERT_OBJECT, objects)
    connection.executemany(counts.UPSERT, map(counts.to_row, batch.counts.values()))


def _write_step(
    connection: sqlite3.Connection, step: model.Step, zone: tzinfo | None, before: int
) -> None:
    match step:
        case CallRecord():
            connection.execute(model.INSERT_CALL, call_row(step, zone))
        case model.Checkpoint(record):
            connection.execute(model.INSERT_UNDER_WAY, call_row(record, zone))
        case model.Renamed(old, new):
            names = {"old": model.sql_value(old), "new": model.sql_value(new)}
            for statement in rollups.RENAME:
                connection.execute(statement, names)
        case model.Learned():
            write_learned(connection, step, before)
        case model.Forgotten(name):
            connection.execute(model.DELETE_KEY, (model.sql_value(name),))


def _last_call(connection: sqlite3.Connection) -> int:
    """The number of the newest row of a call."""
    return int(connection.execute(rollups.LAST_CALL).fetchone()[0])


def _roll_up(connection: sqlite3.Connection, before: int) -> list[NewProgram]:
    """Add the calls whose rows were written after the row `before` to the books by day."""
    connection.execute(rollups.ADD_CALLS, (before,))
    fresh = connection.execute(rollups.SELECT_NEW_PROGRAMS, (before,)).fetchall()
    known: dict[str, list[str]] = {}
    told = []
    for key, program in fresh:
        if key not in known:
            known[key] = [name for (name,) in connection.execute(rollups.SELECT_PROGRAMS, (key,))]
        if known[key]:
            told.append(NewProgram(key, program, tuple(known[key])))
        known[key].append(program)
    connection.execute(rollups.ADD_PROGRAMS, (before,))
    return told


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino
