"""Opens the books for a command, as new as the running process can make them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sidecar.cli.common import note
from sidecar.cli.live import LiveError, find_live
from sidecar.reading import open_to_read


@contextmanager
def open_books(state: Path) -> Iterator[sqlite3.Connection]:
    """The books under `state`; if a process writes them, it is asked to write what waits first.

    Raises `NoBooks` when there is nothing to read.
    """
    try:
        live = find_live(state)
        written = live is None or live.post("api", "flush")["written"]
    except LiveError as error:
        note(str(error))
        written = False
    if not written:
        note("the books may lack the latest calls: the running process could not write them")
    with open_to_read(state) as books:
        yield books
