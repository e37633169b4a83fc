"""What tabs are told as it happens: that the configuration changed, that keys were used, that
something was paused.

A stream of JSON lines. It carries only what changed since the line before, gathered for a moment,
so that a busy sidecar costs a listening tab a few lines a second and no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from sidecar.records import CallRecord

HEARTBEAT_SECONDS = 15.0
"""Seconds after which a line goes out although nothing happened: a lost connection is noticed."""
BATCH_SECONDS = 0.25
"""Seconds that changes are gathered."""
LIVE_INTERVAL_SECONDS = 1.0
"""Seconds between two looks at the calls of the moment, for a tab that shows them."""
MAX_LISTENERS = 32


@dataclass(slots=True, eq=False)
class Listener:
    """One tab: what it has not been told yet."""

    keys: set[str] = field(default_factory=set)
    config: bool = False
    live: bool = False
    """Whether it shows the calls of the moment."""
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    async def news(self) -> tuple[bool, set[str]]:
        """Wait for something to tell, or a beat: whether the configuration changed, and the keys
        that were used."""
        with suppress(TimeoutError):
            await asyncio.wait_for(
                self.woken.wait(), LIVE_INTERVAL_SECONDS if self.live else HEARTBEAT_SECONDS
            )
            await asyncio.sleep(BATCH_SECONDS)
        self.woken.clear()
        told = (self.config, self.keys)
        self.config, self.keys = False, set()
        return told


class Events:
    """Everybody who listens."""

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
        """Whether no more can listen."""
        return len(self._listeners) >= MAX_LISTENERS

    def reloaded(self, _accepted: bool) -> None:  # noqa: FBT001 - a listener's signature
        """A changed file was accepted or refused."""
        self._tell(_note_config)

    def steered(self) -> None:
        """Something was paused, or goes on."""
        self._tell(_note_config)

    def call_finished(self, record: CallRecord) -> None:
        """A call is over; called for every call, so it does next to nothing when nobody listens."""
        if self._listeners and record.key:
            self._tell(lambda listener: listener.keys.add(record.key))

    def close(self) -> None:
        """Let everybody go: the process ends."""
        self.closed = True
        self._tell(_note_config)

    def _tell(self, note: Callable[[Listener], None]) -> None:
        for listener in self._listeners:
            note(listener)
            listener.woken.set()


def _note_config(listener: Listener) -> None:
    listener.config = True
