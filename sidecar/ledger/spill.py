"""Keep what could not be written to the ledger before a stop, for the next start.

It is stored in a small ledger beside the one that was locked or broken. Replaying it twice changes
nothing: a call that has a row already keeps it. Blocking.
"""

from __future__ import annotations

import logging
import sqlite3
from contextlib import suppress
from pathlib import Path

from sidecar.ledger.database import Database, ForeignDatabase, is_broken, open_file, set_aside
from sidecar.ledger.model import Batch, Keep

log = logging.getLogger("sidecar.ledger")

FILE = "unwritten.db"


def save(state: Path, batch: Batch, keep: Keep) -> None:
    """Write `batch` to the file for the next start. Raises `sqlite3.Error` or `OSError`."""
    database = open_file(state / FILE)
    try:
        database.write(batch, keep)
    finally:
        database.close()


def replay(state: Path, database: Database, now: float) -> int:
    """Write what was saved to `database`, remove the file, and return the number of calls.

    `now` is seconds since the epoch. A file that is damaged is set aside.
    """
    path = state / FILE
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
