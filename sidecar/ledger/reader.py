"""Read the ledger's file, without changing it, also while a process writes.

Blocking. Reports over it are in `sidecar.ledger.reports`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sidecar.errors import SidecarError
from sidecar.ledger import model, rollups
from sidecar.ledger.migrations import VERSION
from sidecar.ledger.model import Contents, KeyState, read_owner
from sidecar.records import KeyTimes

FILE = "sidecar.db"
APPLICATION = 0x53434152
"""Marks the file as Sidecar's (`PRAGMA application_id`)."""
UNWRITABLE = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}


class NoLedger(SidecarError):
    """Raised if there is no readable ledger. The message has the reason and the repair."""


@contextmanager
def open_to_read(state: Path) -> Iterator[sqlite3.Connection]:
    """Open the ledger under `state` as one snapshot, however long it is read.

    Raises `NoLedger` when there is none, or it is damaged or of another version.
    """
    path = state / FILE
    if not path.exists():
        raise NoLedger(f"there is no ledger in {state} yet; it is created by: sidecar serve")
    try:
        with closing(_connect(state)) as connection:
            _check(connection, path)
            yield connection
    except (sqlite3.Error, OSError) as error:
        raise NoLedger(f"{path} cannot be read: {error}") from error


def read_times(state: Path) -> dict[str, KeyTimes]:
    """Return the times of every recorded key; {} without a readable ledger. Never raises."""
    return {name: key.times() for name, key in read_contents(state).keys.items()}


def read_contents(state: Path) -> Contents:
    """Return what a ledger holds, also one that cannot be written; empty when it is not
    readable."""
    try:
        with closing(_connect(state)) as connection:
            return load(connection)
    except (sqlite3.Error, OSError):
        return Contents()


def load(connection: sqlite3.Connection) -> Contents:
    """Return what memory needs; not the calls."""
    keys = connection.execute(model.SELECT_KEYS)
    objects = connection.execute(model.SELECT_OBJECTS)
    kept = [rollups.from_row(*row) for row in connection.execute(rollups.SELECT)]
    return Contents(
        {name: KeyState(*rest) for name, *rest in keys},
        {(kind, id_): (read_owner(*owner), made) for kind, id_, *owner, made in objects},
        {count.name: count for count in kept},
    )


def _connect(state: Path) -> sqlite3.Connection:
    """Connect without leaving files behind.

    With a log the writer's log is read too. Without one SQLite would create an empty log, and fail
    where it may not: `immutable` avoids both.
    """
    uri = (state / FILE).absolute().as_uri()
    if (state / f"{FILE}-wal").exists():
        try:
            return _snapshot(f"{uri}?mode=ro")
        except sqlite3.Error as error:
            if error.sqlite_errorcode & 0xFF not in UNWRITABLE:
                raise
    return _snapshot(f"{uri}?mode=ro&immutable=1")


def _snapshot(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=1.0, isolation_level=None)
    try:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    mark = int(connection.execute("PRAGMA application_id").fetchone()[0])
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if mark != APPLICATION:
        raise NoLedger(f"{path} belongs to another program; `sidecar serve` creates a new ledger")
    if version > VERSION:
        raise NoLedger(f"{path} was written by a later version of Sidecar; use that version")
    if version < VERSION:
        raise NoLedger(
            f"{path} was written by an earlier version of Sidecar; `sidecar serve` migrates it"
        )
