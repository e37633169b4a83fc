"""Bounds the memory that all request bodies take together.

Memory is reserved for a body before the body is read. If the ceiling is reached, calls wait: first
in order are calls that have got a lease, then interactive ones, then the others by arrival. While a
call waits for a lease, a large body is in an unlinked file.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO

from msgspec import Struct

from sidecar.errors import ErrorKind, ProxyError

log = logging.getLogger("sidecar.bodies")

MAX_CEILING_BYTES = 1 << 30
"""The default ceiling is a quarter of this machine's memory, and at most this."""
INTERACTIVE_SHARE = 0.25
"""The part of the ceiling that only interactive calls, and those that hold a lease, may use."""
FILE_BYTES = 1 << 20
"""Bodies of more bytes go to a file while their call waits for a lease."""
FILE_AFTER_SECONDS = 0.25
"""Seconds that a call waits for a lease before its body is moved to a file."""
STEP_BYTES = 1 << 18
"""Bytes by which the reservation for a body of unknown length grows."""
SETTING = "server.body_memory"
RETRY_AFTER_SECONDS = 2.0
CGROUP = Path("/sys/fs/cgroup")


def default_ceiling() -> int:
    """Return a quarter of the memory this process may use, at most `MAX_CEILING_BYTES`."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # absent, or "max"
            total = min(total, int((CGROUP / name).read_text()))
    return min(total // 4, MAX_CEILING_BYTES)


class _Waiter(Struct, eq=False):
    size: int
    rank: int
    grows: bool
    future: asyncio.Future[None]

    @property
    def order(self) -> tuple[int, bool]:
        """The sort key: by rank; of equal ranks, calls that hold memory already go first."""
        return self.rank, not self.grows


class _Stored(Struct, frozen=True):
    """A file with the received bytes, followed by the decoded ones where those differ."""

    file: IO[bytes]
    wire: int
    plain: int


class BodyMemory:
    """The memory of all request bodies of one process.

    `ceiling` is in bytes; None is the default. `folder` has the bodies of waiting calls. `clock`
    returns monotonic seconds.
    """

    def __init__(self, ceiling: int | None, folder: Path, clock: Callable[[], float]) -> None:
        self.ceiling = ceiling or default_ceiling()
        open_to_all = self.ceiling * (1.0 - INTERACTIVE_SHARE)
        self._bounds = (self.ceiling, self.ceiling, open_to_all)
        """The bytes up to which a body may be added, by its rank."""
        self.folder = folder
        self.clock = clock
        self.held = 0
        self.in_files = 0
        self._holders = 0
        self._waiters: list[_Waiter] = []

    @property
    def waiting(self) -> int:
        """Return the number of calls that wait for memory."""
        return len(self._waiters)

    async def take(self, size: int, rank: int, max_wait: float, *, grows: bool) -> bool:
        """Wait at most `max_wait` seconds for `size` bytes; return whether they are granted.

        `rank` orders waiting calls: 0 before 1 (interactive) before 2. `grows` is whether the
        caller holds memory already.
        """
        if self.take_at_once(size, rank, grows=grows):
            return True
        waiter = _Waiter(size, rank, grows, asyncio.get_running_loop().create_future())
        place = sum(each.order <= waiter.order for each in self._waiters)
        self._waiters.insert(place, waiter)
        self._serve_waiters()
        try:
            async with asyncio.timeout(max(0.0, max_wait)):
                await waiter.future
        except TimeoutError:
            return waiter.future.done() and not waiter.future.cancelled()
        except asyncio.CancelledError:
            if waiter.future.done() and not waiter.future.cancelled():
                self.give_back(size, last=not grows)
            raise
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
                self._serve_waiters()
        return True

    def take_at_once(self, size: int, rank: int, *, grows: bool) -> bool:
        """Take `size` bytes if they are free and no call waits; return whether they were."""
        held = self.held
        if self._waiters or (held and held + size > self._bounds[rank]):
            return False
        self.held = held + size
        self._holders += not grows
        return True

    def give_back(self, size: int, *, last: bool) -> None:
        """Release `size` bytes; `last` is whether their holder has none left."""
        self.held -= size
        self._holders -= last
        if self._waiters:
            self._serve_waiters()

    def _serve_waiters(self) -> None:
        while self._waiters:
            waiter = self._waiters[0]
            if self.held and self.held + waiter.size > self._bounds[waiter.rank]:
                # Bodies that all wait to grow would block each other: admit the first.
                growing = [each for each in self._waiters if each.grows]
                if not growing or len(growing) < self._holders:
                    return
                waiter = growing[0]
            self._waiters.remove(waiter)
            if not waiter.future.done():
                self.held += waiter.size
                self._holders += not waiter.grows
                waiter.future.set_result(None)


class HeldBody:
    """The body of one request: in memory, or in a file while its call waits for a lease.

    Attributes:
        rank: The place among waiting calls: 0 before 1 (interactive) before 2.
        max_wait: Seconds that the call may wait for memory.
        wire: The body as sent; None if it is streamed.
        plain: The decoded body.
        size: The length of the decoded body, else of the body as sent. It stays after `release`.
        stored: The file that has the body; None while it is in memory.
        waited: Seconds that the call waited for memory.
    """

    # No struct, as `LiveCall` is none: most of these are set for each call.
    _reserved = 0
    stored: _Stored | None = None
    rank = 2
    max_wait = 0.0
    wire: bytes | None = None
    plain = b""
    size = 0
    waited = 0.0

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory

    async def reserve(self, size: int) -> None:
        """Reserve memory for `size` bytes in all. Raises `ProxyError` if there is none in time."""
        if self.reserve_at_once(size):
            return
        clock = self._memory.clock
        began = clock()
        more, grows = size - self._reserved, self._reserved > 0
        granted = await self._memory.take(more, self.rank, self.max_wait - self.waited, grows=grows)
        self.waited += clock() - began
        if not granted:
            raise ProxyError(
                ErrorKind.OVERLOADED,
                f"the bodies of the calls of this moment take all of the "
                f"{self._memory.ceiling >> 20} MiB that they may ({SETTING})",
                retry_after=RETRY_AFTER_SECONDS,
            )
        self._reserved = size

    def reserve_at_once(self, size: int) -> bool:
        """Reserve memory for `size` bytes in all if that takes no wait; return whether it did."""
        reserved = self._reserved
        if size <= reserved:
            return True
        if not self._memory.take_at_once(size - reserved, self.rank, grows=reserved > 0):
            return False
        self._reserved = size
        return True

    def keep(self, wire: bytes, plain: bytes) -> None:
        """Hold these bytes, and give back what was reserved beyond them."""
        self.wire, self.plain = wire, plain
        self.size = held = len(wire)
        if plain is not wire:
            self.size = len(plain) or held
            held += len(plain)
        if held < self._reserved:
            self._shrink(held)

    def release(self) -> None:
        """Forget the bytes: the body is not sent again."""
        reserved = self._reserved
        if reserved:
            self._reserved = 0
            self._memory.give_back(reserved, last=True)
        if self.wire:
            self.wire = self.plain = b""
        if self.stored is not None:
            self._drop_file()

    @property
    def reserved(self) -> int:
        """The bytes of memory that are reserved for the body."""
        return self._reserved

    @property
    def is_large(self) -> bool:
        """Return whether the body is moved to a file while its call waits."""
        return self._reserved > FILE_BYTES

    async def store(self) -> None:
        """Move a large body to a file; it stays in memory when that fails."""
        wire, plain = self.wire, self.plain
        if wire is None or not self.is_large:
            return
        try:
            file = await asyncio.to_thread(_write, self._memory.folder, wire, plain)
        except OSError as error:
            log.warning("the body of a waiting call stays in memory: %s", error)
            return
        self.stored = file
        self._memory.in_files += file.wire + file.plain
        self.wire, self.plain = b"", b""
        if self._reserved:
            self._shrink(0)

    async def restore(self, *, copy: bool) -> None:
        """Read the bytes back into memory; with `copy`, reserve memory for an edited copy.

        The call has its lease, so it goes before others. Raises `ProxyError` if there is no room in
        time.
        """
        self.rank = 0
        if self.stored is not None:
            await self._read_back(self.stored)
        if copy and self.wire:
            own = len(self.wire) + (0 if self.plain is self.wire else len(self.plain))
            await self.reserve(own + self.size)

    async def _read_back(self, file: _Stored) -> None:
        await self.reserve(file.wire + file.plain)
        wire, plain = await asyncio.to_thread(_read, file)
        self._drop_file()
        self.keep(wire, plain)

    def _shrink(self, size: int) -> None:
        before, self._reserved = self._reserved, size
        self._memory.give_back(before - size, last=size == 0)

    def _drop_file(self) -> None:
        file, self.stored = self.stored, None
        if file is not None:
            self._memory.in_files -= file.wire + file.plain
            file.file.close()


@asynccontextmanager
async def stored_while_waiting(held: HeldBody) -> AsyncIterator[None]:
    """Move a large body to a file if the context takes long; it must be restored afterwards."""
    if not held.is_large:
        yield
        return

    async def later() -> None:
        await asyncio.sleep(FILE_AFTER_SECONDS)
        await held.store()

    task = asyncio.create_task(later())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def _write(folder: Path, wire: bytes, plain: bytes) -> _Stored:
    """Write a body to a new file of this user alone, which has no name."""
    file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - lives with its body
    parts = (wire,) if plain is wire else (wire, plain)
    for part in parts:
        view = memoryview(part)
        while view:
            view = view[file.write(view) :]
    return _Stored(file, len(wire), sum(map(len, parts)) - len(wire))


def _read(stored: _Stored) -> tuple[bytes, bytes]:
    """Return the bytes as they came, and the decoded ones."""
    stored.file.seek(0)
    wire = stored.file.read(stored.wire)
    return wire, stored.file.read(stored.plain) if stored.plain else wire
