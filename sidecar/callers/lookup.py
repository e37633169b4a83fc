"""Look up the caller of each connection, and add it to the records of its calls.

A process that called a moment ago is found at once. Others are looked up in a thread, one
connection at a time. No call waits for it; only the record of a finished call does, for a moment.
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

from msgspec.structs import replace

from sidecar.callers.linux import Gone, SocketAddress
from sidecar.records import Caller, CallRecord

MAX_WAITING = 256
"""Connections in the queue. The caller of a further one stays unknown, which is counted."""
CALLER_LOOKUP_TIMEOUT_SECONDS = 0.25
"""Seconds for which the record of a finished call waits for its lookup."""

log = logging.getLogger("sidecar.callers")

OnAttributed = Callable[[CallRecord], None]


class Finder(Protocol):
    """Find processes on one operating system. Used from one thread, but for `find_recent`. May
    block and may raise."""

    fresh: float
    """Seconds for which a lookup is reused for its connection. The directory of a process and its
    branch may change."""

    def find(self, peer: SocketAddress, own: SocketAddress, gone: Gone) -> Caller:
        """Return the process of this user at the other end of a connection.

        Args:
            peer: The other end.
            own: This end.
            gone: Returns whether the connection is closed; the search may stop then.
        Returns:
            An empty `Caller` if there is none.
        """

    def find_recent(self, peer: SocketAddress, own: SocketAddress) -> Caller | None:
        """Return what `find` does, if it takes a few microseconds and no file system can delay it;
        else None. Used in the event loop, beside the thread."""

    def close(self) -> None:
        """Close what `find_recent` has open."""

    def listener(self, port: int) -> Caller:
        """Return the process of this user that listens on a port; an empty `Caller` if none."""


class CallerLookup:
    """One lookup of a connection.

    Until it is `done`, `caller` is the result of the lookup before; None if there was none.
    Calls from `fresh_until` (monotonic seconds) on need another lookup.
    """

    __slots__ = ("caller", "done", "fresh_until", "waiting")

    def __init__(self, fresh_until: float, caller: Caller | None) -> None:
        self.fresh_until = fresh_until
        self.caller = caller
        self.done = False
        self.waiting: list[str] = []


class ClientConnection(Protocol):
    """A connection that a client made; `transport` is None once it is closed. It keeps its latest
    lookup."""

    transport: asyncio.Transport | None
    caller_lookup: CallerLookup | None


_Job = tuple[CallerLookup, SocketAddress, SocketAddress, Gone]


class Callers:
    """The caller lookups of this process: a context manager, used in the event loop.

    Args:
        clock: Returns monotonic seconds.
        finder: None to disable lookups; every caller is None then.
    """

    def __init__(self, clock: Callable[[], float], finder: Finder | None) -> None:
        self._results = {"found": 0, "unknown": 0, "skipped": 0}
        self._found_at_once = 0  # counted apart, as the thread counts the others
        self._clock = clock
        self._finder = finder
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._held: dict[str, tuple[CallRecord, CallerLookup, OnAttributed]] = {}
        self._none_held = asyncio.Event()
        self._none_held.set()
        self._loop: asyncio.AbstractEventLoop

    def __enter__(self) -> Callers:
        """Start the thread."""
        self._loop = asyncio.get_running_loop()
        if self._finder is not None:
            # A daemon, so that reading a dead network disk does not keep the process alive.
            args = (self._finder,)
            Thread(target=self._run, args=args, name="sidecar-callers", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the thread, and report waiting records without their caller."""
        if self._finder is not None:
            self._finder.close()
        with suppress(Empty):
            while True:
                self._jobs.get_nowait()
        self._jobs.put(None)
        for call_id in list(self._held):
            self._release(call_id)

    @property
    def held(self) -> int:
        """The number of records that wait for their lookup."""
        return len(self._held)

    def results(self) -> Iterator[tuple[tuple[str], int]]:
        """Yield the number of lookups by result: "found", "unknown", "skipped" (queue full)."""
        for result, count in self._results.items():
            yield (result,), count + (self._found_at_once if result == "found" else 0)

    def start_lookup(self, connection: ClientConnection) -> CallerLookup | None:
        """Begin a lookup of a connection, and return it; its latest one if it cannot be queued.

        Call it when the connection is accepted, because some are short, and with each call whose
        connection has no fresh one. None if lookups are disabled.
        """
        finder = self._finder
        if finder is None:
            return None
        last = connection.caller_lookup
        peer, own = _end(connection, "peername"), _end(connection, "sockname")
        if peer is None or own is None:
            return last  # the client left already
        caller = _find_recent(finder, peer, own)
        if caller is None and self._jobs.qsize() >= MAX_WAITING:
            self._results["skipped"] += 1
            return last
        lookup = CallerLookup(self._clock() + finder.fresh, None if last is None else last.caller)
        connection.caller_lookup = lookup
        if caller is None:
            self._jobs.put((lookup, peer, own, partial(_gone, connection)))
        else:
            lookup.caller, lookup.done = caller, True
            self._found_at_once += 1
        return lookup

    def complete(
        self, record: CallRecord, lookup: CallerLookup | None, tell: OnAttributed
    ) -> CallRecord | None:
        """Return the record with its caller, if the lookup is done.

        Else return None, and call `tell` with the record when it is; without the caller after
        `CALLER_LOOKUP_TIMEOUT_SECONDS` or when this process ends.
        """
        if lookup is None or lookup.done:
            return _attributed(record, lookup)
        self._hold(record, lookup, tell)
        return None

    async def settle(self) -> None:
        """Wait until no record waits, for at most `CALLER_LOOKUP_TIMEOUT_SECONDS`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CALLER_LOOKUP_TIMEOUT_SECONDS):
                await self._none_held.wait()

    def _hold(self, record: CallRecord, lookup: CallerLookup, tell: OnAttributed) -> None:
        self._none_held.clear()
        self._held[record.call_id] = (record, lookup, tell)
        lookup.waiting.append(record.call_id)
        if lookup.done:  # `_finish` may have set it since: see there
            self._release(record.call_id)
        else:
            self._loop.call_later(CALLER_LOOKUP_TIMEOUT_SECONDS, self._release, record.call_id)

    def _release(self, call_id: str) -> None:
        held = self._held.pop(call_id, None)
        if held is not None:
            record, lookup, tell = held
            tell(_attributed(record, lookup))
        if not self._held:
            self._none_held.set()

    def _run(self, finder: Finder) -> None:
        """Look up queued connections until None comes: the body of the thread."""
        while (job := self._jobs.get()) is not None:
            self._finish(finder, *job)
            del job  # it would keep a closed connection until the next lookup

    def _finish(
        self, finder: Finder, lookup: CallerLookup, peer: SocketAddress, own: SocketAddress,
        gone: Gone,
    ) -> None:  # fmt: skip
        caller = _find(finder, peer, own, gone)
        self._results["found" if caller.pid else "unknown"] += 1
        if caller.pid or lookup.caller is None:
            lookup.caller = caller
        lookup.done = True
        if lookup.waiting:  # after `done`: `_hold` appends first and then reads `done`
            self._wake(lookup)

    def _wake(self, lookup: CallerLookup) -> None:
        # A closed event loop has released every record.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._release_all, lookup)

    def _release_all(self, lookup: CallerLookup) -> None:
        for call_id in lookup.waiting:
            self._release(call_id)


def _find(finder: Finder, peer: SocketAddress, own: SocketAddress, gone: Gone) -> Caller:
    try:
        return Caller() if gone() else finder.find(peer, own, gone)
    except Exception as error:  # noqa: BLE001 - the thread must survive every error
        log.debug("caller lookup failed: %s", error)
        return Caller()


def _find_recent(finder: Finder, peer: SocketAddress, own: SocketAddress) -> Caller | None:
    try:
        return finder.find_recent(peer, own)
    except Exception as error:  # noqa: BLE001 - the thread may find it
        log.debug("lookup of a recent caller failed: %s", error)
        return None


def _attributed(record: CallRecord, lookup: CallerLookup | None) -> CallRecord:
    if lookup is None or record.caller is lookup.caller:
        return record
    return replace(record, caller=lookup.caller)


def _gone(connection: ClientConnection) -> bool:
    return connection.transport is None


def _end(connection: ClientConnection, name: str) -> SocketAddress | None:
    """Return `peername` or `sockname`; None if the connection is closed or is not TCP."""
    transport = connection.transport
    address = None if transport is None else transport.get_extra_info(name)
    return (address[0], address[1]) if isinstance(address, tuple) else None
