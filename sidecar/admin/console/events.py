"""Events for open tabs: the configuration changed, keys were used, something was paused.

A stream of JSON lines. Each carries only the changes since the line before, collected for
`BATCH_SECONDS`, so that a busy process sends a tab a few lines a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from msgspec import Struct, field

from sidecar.records import CallRecord

HEARTBEAT_SECONDS = 15.0
"""A line is sent this often although nothing happened, so that a lost connection is noticed."""
BATCH_SECONDS = 0.25
"""Seconds for which changes are collected."""
LIVE_INTERVAL_SECONDS = 1.0
"""Seconds between two updates of a tab that shows the live view."""
MAX_LISTENERS = 32


class News(NamedTuple):
    """Changes for a tab: of the configuration, and the keys that were used."""

    config: bool
    keys: set[str]


class Listener(Struct, eq=False):
    """One tab, and the changes that were not sent to it yet."""

    keys: set[str] = set()
    config: bool = False
    live: bool = False
    """True when the tab shows the live view."""
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    async def news(self) -> News:
        """Wait for changes, at most until the next line is due, and return them."""
        with suppress(TimeoutError):
            await asyncio.wait_for(
                self.woken.wait(), LIVE_INTERVAL_SECONDS if self.live else HEARTBEAT_SECONDS
            )
            await asyncio.sleep(BATCH_SECONDS)
        self.woken.clear()
        found = News(self.config, self.keys)
        self.config, self.keys = False, set()
        return found


class Events:
    """All listeners."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self.closed = False

    @contextmanager
    def listening(self, *, live: bool = False) -> Iterator[Listener]:
        """Listen until the block ends."""
        listener = Listener(live=live)
        self._listeners.append(listener)
        try:
            yield listener
        finally:
            self._listeners.remove(listener)

    @property
    def full(self) -> bool:
        """Return whether there are `MAX_LISTENERS`."""
        return len(self._listeners) >= MAX_LISTENERS

    def reloaded(self, _accepted: bool) -> None:  # noqa: FBT001 - a listener's signature
        """Record that a changed file was accepted or refused."""
        self._note(_note_config)

    def steered(self) -> None:
        """Record that something was paused or resumed."""
        self._note(_note_config)

    def calls_finished(self, *records: CallRecord) -> None:
        """Record finished calls; cheap without listeners, because every call comes here."""
        if self._listeners and (keys := {record.key for record in records if record.key}):
            self._note(lambda listener: listener.keys.update(keys))

    def close(self) -> None:
        """End every stream, because the process ends."""
        self.closed = True
        self._note(_note_config)

    def _note(self, note: Callable[[Listener], None]) -> None:
        for listener in self._listeners:
            note(listener)
            listener.woken.set()


def _note_config(listener: Listener) -> None:
    listener.config = True
