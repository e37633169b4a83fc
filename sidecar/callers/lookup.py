"""Has somebody look who holds a connection, and gives each record its caller: no call waits.

One thread looks, one connection at a time. A call is answered whether or not the look has ended;
only its record is told a moment later when it has not. What is looked at stands elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Protocol
from weakref import WeakKeyDictionary

from msgspec.structs import replace

from sidecar.callers.linux import Gone, SocketAddress
from sidecar.records import Caller, CallRecord

MAX_WAITING = 256
"""Connections that wait for their look; the callers of more stay unknown, and are counted."""
CALLER_LOOKUP_TIMEOUT_SECONDS = 0.25
"""Seconds that a finished call's record waits for the end of a look."""

log = logging.getLogger("sidecar.callers")

OnAttributed = Callable[[CallRecord], None]


class Finder(Protocol):
    """How one operating system is asked. Used from one thread; may block and may raise."""

    fresh: float
    """Seconds for which a connection's caller is taken to be where it was: processes move between
    directories, and branches change under them."""

    def find(self, peer: SocketAddress, own: SocketAddress, gone: Gone) -> Caller:
        """The process of this user at the far end of a connection; an empty `Caller` for none.
        It may stop looking once the connection is `gone`."""


class CallerLookup:
    """One look at a connection. `caller` is what is known by now: until the look is `done`, what
    an earlier one found, or None."""

    __slots__ = ("began", "caller", "done", "waiting")

    def __init__(self, began: float, caller: Caller | None) -> None:
        self.began = began
        self.caller = caller
        self.done = False
        self.waiting: list[str] = []


class ClientConnection(Protocol):
    """A connection that a client made; `transport` is None once it is closed."""

    transport: asyncio.Transport | None


_Job = tuple[CallerLookup, SocketAddress, SocketAddress, Gone]


class Callers:
    """The looks of one process; a context manager, entered and used in the event loop.

    `clock` is monotonic. Without a `finder` nobody looks, and every caller is None.
    """

    def __init__(self, clock: Callable[[], float], finder: Finder | None) -> None:
        self._results = {"found": 0, "unknown": 0, "skipped": 0}
        self._clock = clock
        self._finder = finder
        self._sightings: WeakKeyDictionary[ClientConnection, CallerLookup] = WeakKeyDictionary()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._held: dict[str, tuple[CallRecord, CallerLookup, OnAttributed]] = {}
        self._none_held = asyncio.Event()
        self._none_held.set()
        self._loop: asyncio.AbstractEventLoop

    def __enter__(self) -> Callers:
        """Begin to look."""
        self._loop = asyncio.get_running_loop()
        if self._finder is not None:
            # A daemon: a look at a dead network disk must not keep the process from ending.
            args = (self._finder,)
            Thread(target=self._run, args=args, name="sidecar-callers", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Look no longer; records that still wait are told as they are."""
        with suppress(Empty):
            while True:
                self._jobs.get_nowait()
        self._jobs.put(None)
        for call_id in list(self._held):
            self._release(call_id)

    @property
    def held(self) -> int:
        """How many records of finished calls wait for the end of a look."""
        return len(self._held)

    def results(self) -> Iterator[tuple[tuple[str], int]]:
        """How many looks named a process, named none, and were not made because too many waited."""
        return (((result,), count) for result, count in self._results.items())

    def start_lookup(self, connection: ClientConnection) -> CallerLookup | None:
        """What is known, or will be, of who holds the far end of a connection; None when nobody
        looks. To be called as soon as the connection is made, since some are short, and with each
        call."""
        finder = self._finder
        if finder is None:
            return None
        last = self._sightings.get(connection)
        now = self._clock()
        if last is not None and now - last.began < finder.fresh:
            return last
        peer, own = _end(connection, "peername"), _end(connection, "sockname")
        if peer is None or own is None:
            return last  # the client left already
        if self._jobs.qsize() >= MAX_WAITING:
            self._results["skipped"] += 1
            return last
        sighting = CallerLookup(now, None if last is None else last.caller)
        self._sightings[connection] = sighting
        self._jobs.put((sighting, peer, own, partial(_gone, connection)))
        return sighting

    def complete(
        self, record: CallRecord, sighting: CallerLookup | None, tell: OnAttributed
    ) -> None:
        """Have `record` told, once, with its caller: now, or as soon as the look has ended, or as
        it is when that takes longer than `FETCH_TIMEOUT_SECONDS` or this process ends."""
        if sighting is None or sighting.done:
            tell(_attributed(record, sighting))
        else:
            self._hold(record, sighting, tell)

    async def settle(self) -> None:
        """Wait until the records that are held at this moment are told: `FETCH_TIMEOUT_SECONDS` at
        most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CALLER_LOOKUP_TIMEOUT_SECONDS):
                await self._none_held.wait()

    def _hold(self, record: CallRecord, sighting: CallerLookup, tell: OnAttributed) -> None:
        self._none_held.clear()
        self._held[record.call_id] = (record, sighting, tell)
        sighting.waiting.append(record.call_id)
        if sighting.done:  # in this very moment: see `_run`
            self._release(record.call_id)
        else:
            self._loop.call_later(CALLER_LOOKUP_TIMEOUT_SECONDS, self._release, record.call_id)

    def _release(self, call_id: str) -> None:
        held = self._held.pop(call_id, None)
        if held is not None:
            record, sighting, tell = held
            tell(_attributed(record, sighting))
        if not self._held:
            self._none_held.set()

    def _run(self, finder: Finder) -> None:
        """The thread."""
        while (job := self._jobs.get()) is not None:
            sighting, peer, own, gone = job
            caller = _find(finder, peer, own, gone)
            self._results["found" if caller.pid else "unknown"] += 1
            if caller.pid or sighting.caller is None:
                sighting.caller = caller
            sighting.done = True
            if sighting.waiting:  # after `done`, as `_hold` asks the other way round
                self._wake(sighting)

    def _wake(self, sighting: CallerLookup) -> None:
        # The loop may have ended; then everything was told.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._release_all, sighting)

    def _release_all(self, sighting: CallerLookup) -> None:
        for call_id in sighting.waiting:
            self._release(call_id)


def _find(finder: Finder, peer: SocketAddress, own: SocketAddress, gone: Gone) -> Caller:
    try:
        return Caller() if gone() else finder.find(peer, own, gone)
    except Exception as error:  # noqa: BLE001 - the thread outlives whatever a system may say
        log.debug("a caller could not be found: %s", error)
        return Caller()


def _attributed(record: CallRecord, sighting: CallerLookup | None) -> CallRecord:
    if sighting is None or record.caller is sighting.caller:
        return record
    return replace(record, caller=sighting.caller)


def _gone(connection: ClientConnection) -> bool:
    return connection.transport is None


def _end(connection: ClientConnection, name: str) -> SocketAddress | None:
    """`peername` or `sockname`, of TCP."""
    transport = connection.transport
    address = None if transport is None else transport.get_extra_info(name)
    return (address[0], address[1]) if isinstance(address, tuple) else None
