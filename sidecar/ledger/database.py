"""The ledger's SQLite file: open, migrate, write, tidy, and set a broken one aside.

Blocking, for one thread. The calling code decides when to write and how to handle an error: every
function may raise sqlite3.Error or OSError unless its docstring differs.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import date, tzinfo
from itertools import groupby
from pathlib import Path
from time import gmtime, strftime

from sidecar.errors import SidecarError
from sidecar.files import OTHERS, create_private, prepare
from sidecar.ledger import model, rollups
from sidecar.ledger import rollups as counts
from sidecar.ledger.anomalies import Spike, find_spikes
from sidecar.ledger.call_rows import call_row
from sidecar.ledger.late_usage import write_learned
from sidecar.ledger.migrations import MIGRATIONS, VERSION
from sidecar.ledger.model import Batch, Contents, Keep, NewProgram, day_of
from sidecar.ledger.reader import APPLICATION, FILE, load
from sidecar.ledger.schema import SCHEMA
from sidecar.records import CallRecord

Row = tuple[model.SqlValue, ...]

LOG = logging.getLogger("sidecar.ledger")
DAY_SECONDS = 86_400.0
NEVER = float("inf")
DELETE_CHUNK_ROWS = 1000
"""Rows deleted, or pages freed, in one step: a write waits for at most one step."""
SPARE_PAGES = 256
"""Free pages that are not worth a vacuum."""
BROKEN_CODES = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
"""SQLite's codes for a file that is damaged or lacks our tables."""


_NULLS: dict[None, None] = {}
# Without an adapter for None, sqlite3 raises and drops an AttributeError for each NULL of a row.
sqlite3.register_adapter(type(None), _NULLS.get)


class NewerState(SidecarError):
    """Raised if a later version of Sidecar wrote the file, which stays unchanged."""


class ForeignDatabase(SidecarError):
    """Raised if the file is no ledger of Sidecar."""


def is_broken(error: Exception) -> bool:
    """Return whether an error means that the file itself is unusable."""
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
        """Return what memory needs; not the calls."""
        return load(self._connection)

    def write(self, batch: Batch, keep: Keep) -> list[NewProgram]:
        """Write all of `batch` in one transaction; a call that has a row already is skipped.

        Returns the programs that used a key for the first time, after others had used it.
        """
        if _identity(self._path) != self._identity:
            raise FileNotFoundError(f"{self._path} was removed or replaced while in use")
        with self._transaction() as connection:
            _write_states(connection, batch)
            if not batch.steps:
                return []
            self._note_zone(str(keep.zone or ""))
            before = _last_call(connection)
            _write_steps(connection, batch.steps, keep.zone, before)  # a step may delete a key
            return _roll_up(connection, before)

    def load_all(self) -> tuple[Contents, list[Row], list[Row]]:
        """Return what memory needs, the rows of finished calls, and those of calls in flight."""
        calls = self._connection.execute(model.SELECT_CALLS).fetchall()
        return self.load(), calls, self._connection.execute(model.SELECT_UNDER_WAY).fetchall()

    def merge(self, contents: Contents, calls: list[Row], under_way: list[Row]) -> None:
        """Write the contents of another ledger to this one; existing rows stay."""
        batch = Batch(contents.keys, contents.objects, [], contents.counts)
        with self._transaction() as connection:
            before = _last_call(connection)
            _write_states(connection, batch)
            connection.executemany(model.INSERT_UNDER_WAY, under_way)
            connection.executemany(model.INSERT_CALL, calls)
            _roll_up(connection, before)

    def record_interrupted(self) -> None:
        """Record the calls that were in flight when the previous process died."""
        with self._transaction() as connection:
            before = _last_call(connection)
            rows = connection.execute(model.SELECT_UNDER_WAY).fetchall()
            connection.executemany(model.INSERT_CALL, rows)
            connection.execute(model.DELETE_UNDER_WAY)
            _roll_up(connection, before)

    def _note_zone(self, name: str) -> None:
        """Store the time zone of the days; "" is the machine's."""
        if name != self._zone:
            self._connection.execute(rollups.SET_TIMEZONE, (name,))
            self._zone = name

    def spikes(self, today: date) -> dict[str, Spike]:
        """Return the keys whose usage of today is far above their baseline."""
        return find_spikes(self._connection, today)

    def tidy(self, keep: Keep, now: float) -> bool:
        """Delete one chunk of what is too old or too much. Returns whether there is more to
        delete."""
        return self._delete(keep, now) or self._give_back()

    def close(self) -> None:
        """Checkpoint the write-ahead log and close the file."""
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
                    (model.DELETE_SURPLUS_OBJECTS, (DELETE_CHUNK_ROWS, model.MAX_OBJECTS)),
                    (rollups.DELETE_OLDEST_DAY, (days_before,)),
                    (rollups.DELETE_OLD_PROGRAMS, (now - keep.days_kept * DAY_SECONDS,)),
                )
            ]
            if too_big and not any(gone):
                gone += [connection.execute(rollups.DELETE_OLDEST_DAY, ("9999",)).rowcount]
            connection.execute(counts.DELETE_OLD, (now - counts.COUNT_KEPT_DAYS * DAY_SECONDS,))
        return any(gone)

    def _used_bytes(self) -> int:
        used = self._pragma("page_count") - self._pragma("freelist_count")
        return used * self._pragma("page_size")

    def _give_back(self) -> bool:
        """Vacuum one chunk while a quarter of the file, and more than `SPARE_PAGES`, is free."""
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
    """Open the ledger under `state`, creating what is missing.

    A file that is damaged, empty or foreign is renamed, with a warning, and a new one is created.

    Raises `NewerState` when a later version wrote the file.
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
    """Rename a broken ledger and its log, so that a new one can take its place."""
    aside = f"{path}.corrupt-{strftime('%Y%m%dT%H%M%SZ', gmtime(now))}"
    for suffix in ("", "-wal", "-shm", "-journal"):
        part = Path(f"{path}{suffix}")
        if part.exists():
            part.replace(f"{aside}{suffix}")
    LOG.warning("%s cannot be used (%s); kept as %s, a new ledger is created", path, why, aside)


def open_file(path: Path) -> Database:
    """Open the ledger at `path`, created or migrated where needed. Raises `ForeignDatabase`,
    `NewerState`."""
    _claim(path)
    connection = sqlite3.connect(path, timeout=5.0, isolation_level=None)
    try:
        _migrate(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA journal_size_limit = 16777216")
        connection.execute(rollups.NAME_NODE)
        database = Database(connection, path)
        database.load()  # detects damage while the file can still be set aside
    except BaseException:
        connection.close()
        raise
    return database


def _claim(path: Path) -> None:
    """Make the file private before SQLite opens it. Raises `ForeignDatabase` for anything but a
    file with contents."""
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
    """Create the tables of a new file, or bring those of an earlier version to this one.

    Each step is one transaction.
    """
    mark = int(connection.execute("PRAGMA application_id").fetchone()[0])
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    fresh = not connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    if mark != APPLICATION and not fresh:
        raise ForeignDatabase("it belongs to another program")
    if version > VERSION:
        raise NewerState(
            f"{path} was written by a later version of Sidecar; no call is recorded until that"
            " version is installed again or the file is moved away"
        )
    if fresh:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    steps = enumerate(MIGRATIONS[version:], start=version + 1)
    for number, step in [(VERSION, SCHEMA)] if fresh else steps:
        marks = f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {number};"
        connection.executescript(f"BEGIN IMMEDIATE; {step} {marks} COMMIT;")


def _write_states(connection: sqlite3.Connection, batch: Batch) -> None:
    if batch.keys:
        keys = (model.key_row(name, state) for name, state in batch.keys.items())
        connection.executemany(model.UPSERT_KEY, keys)
    if batch.objects:
        objects = (model.object_row(key, *value) for key, value in batch.objects.items())
        connection.executemany(model.UPSERT_OBJECT, objects)
    if batch.counts:
        connection.executemany(counts.UPSERT, map(counts.to_row, batch.counts.values()))


def _write_steps(
    connection: sqlite3.Connection, steps: Sequence[model.Step], zone: tzinfo | None, before: int
) -> None:
    """Write the steps in their order; finished calls that follow one another, together."""
    for kind, group in groupby(steps, type):
        if kind is CallRecord:
            calls = [call_row(step, zone) for step in group if isinstance(step, CallRecord)]
            _write_calls(connection, calls)
        else:
            for step in group:
                _write_step(connection, step, zone, before)


def _write_calls(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Write rows of finished calls. An empty value that all of them have stands in the statement,
    which is faster than to bind it in each."""
    columns = list(zip(*rows, strict=True))
    literals = tuple([
        model.EMPTY_VALUES[value]
        if value in model.EMPTY_VALUES and column.count(value) == len(rows)
        else "?"
        for value, column in zip(rows[0], columns, strict=True)
    ])  # fmt: skip
    bound = [column for column, literal in zip(columns, literals, strict=True) if literal == "?"]
    _write_rows(connection, model.insert_calls(literals), list(zip(*bound, strict=True)))


def _write_rows(connection: sqlite3.Connection, statement: str, rows: Sequence[Row]) -> None:
    """Write rows of calls. Rows with a value that SQLite rejects are few: only then are all of them
    made acceptable, and written again, as the statement allows."""
    try:
        connection.executemany(statement, rows)
    except (OverflowError, UnicodeEncodeError):
        connection.executemany(statement, [tuple(map(model.sql_value, row)) for row in rows])


def _write_step(
    connection: sqlite3.Connection, step: model.Step, zone: tzinfo | None, before: int
) -> None:
    match step:
        case model.Checkpoint(record):
            _write_rows(connection, model.INSERT_UNDER_WAY, [call_row(record, zone)])
        case model.Renamed(old, new):
            names = {"old": model.sql_value(old), "new": model.sql_value(new)}
            for statement in rollups.RENAME:
                connection.execute(statement, names)
        case model.Learned():
            write_learned(connection, step, before)
        case model.Forgotten(name):
            connection.execute(model.DELETE_KEY, (model.sql_value(name),))


def _last_call(connection: sqlite3.Connection) -> int:
    """Return the number of the newest row of a call."""
    return int(connection.execute(rollups.LAST_CALL).fetchone()[0])


def _roll_up(connection: sqlite3.Connection, before: int) -> list[NewProgram]:
    """Add the calls whose rows follow the row `before` to the daily sums. Returns the new
    programs."""
    sums = connection.execute(rollups.SELECT_SUMS, (before,)).fetchall()
    connection.executemany(rollups.ADD_SUMS, [row[:-2] for row in sums])
    earliest = min([row[-2] for row in sums], default=NEVER)
    if connection.execute(rollups.SELECT_ANY_PARTS, (earliest,)).fetchone():
        connection.execute(rollups.ADD_PARTS, (before,))
    used: dict[tuple[str, str], tuple[float, float]] = {}
    for _, key, _, _, _, program, *_, first, last in sums:
        if key and program:
            begun, ended = used.get((key, program), (first, last))
            used[key, program] = min(begun, first), max(ended, last)
    return _note_programs(connection, used)


def _note_programs(
    connection: sqlite3.Connection, used: Mapping[tuple[str, str], tuple[float, float]]
) -> list[NewProgram]:
    """Record the programs that used keys, with their first and last times. Returns the new ones of
    keys that others had used."""
    known: dict[str, list[str]] = {}
    found = []
    for key, program in sorted(used, key=lambda each: (used[each][0], each)):
        if key not in known:
            known[key] = [name for (name,) in connection.execute(rollups.SELECT_PROGRAMS, (key,))]
        if program not in known[key]:
            if known[key]:
                found.append(NewProgram(key, program, tuple(known[key])))
            known[key].append(program)
    connection.executemany(rollups.ADD_PROGRAM, [(*pair, *times) for pair, times in used.items()])
    return found


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino
