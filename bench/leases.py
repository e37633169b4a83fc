"""What letting calls through costs, and how it grows with those who wait. Microseconds.

Four scopes (key, group, provider, everything), five limits. Run: `python bench/leases.py`.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from argparse import ArgumentParser
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from sidecar import Serving, Vendor
from sidecar.config.model import Provider, Route, Urgency
from sidecar.errors import SourceLocation
from sidecar.routing.candidates import Candidate
from sidecar.scheduling.admission import Admission
from sidecar.scheduling.lease import AdmissionOption, Lease, Waiter
from sidecar.scheduling.limiter import Limiter, LimitUnit, demand_of
from sidecar.scheduling.windows import ConcurrencyLimit, SlidingWindow

WAITING = (0, 1, 100, 10_000)
GOAL = 10.0
"""Microseconds of a lease and its end, where nobody waits."""
PATIENCE = 3600.0
NEED = demand_of(1500, 300)
KEYS = 20


class Acme(Vendor):
    name = title = "acme"


HERE = SourceLocation("routes.yaml", 1)
CANDIDATE = Candidate(Route(Provider("acme", Acme(), "", (), HERE), HERE), None, Serving(), "m")


class Room:
    """Limits that never run out but for those of the busy keys, where `waiting` calls stand.

    Those are shut by the key's own limit (`apart`), or by the slots that all calls share.
    """

    def __init__(self, *, apart: bool) -> None:
        self._clock = 0.0
        self._loop = asyncio.get_running_loop()
        self.admission = Admission(self._now, self._call_at)
        self._shared: tuple[Limiter, ...] = (
            SlidingWindow("group", "rpm", LimitUnit.CALLS, "group", 10**9),
            SlidingWindow("provider", "rpm", LimitUnit.CALLS, "provider", 10**9),
            SlidingWindow("provider", "tpm", LimitUnit.TOKENS, "provider", 10**12),
            ConcurrencyLimit("all", "concurrency", LimitUnit.CALLS, "all", 10**9 if apart else 1),
        )
        narrow = 1 if apart else 10**9
        self._busy = [
            ConcurrencyLimit(f"busy {n}", "concurrency", LimitUnit.CALLS, "busy", narrow)
            for n in range(KEYS)
        ]
        self._idle = ConcurrencyLimit("idle", "concurrency", LimitUnit.CALLS, "idle", 10**9)
        self.tasks: list[asyncio.Task[None]] = []
        self.granted: list[Lease] = []
        self._number = 0

    def _now(self) -> float:
        """A clock of its own: a hundred calls a second, so that windows slide as they do."""
        self._clock += 0.005
        return self._clock

    def _call_at(self, at: float, *call: Any) -> asyncio.TimerHandle:
        """A timer of the loop, whose own clock shows the hours that the machine has run."""
        return self._loop.call_later(at - self._clock, *call)

    def idle(self) -> Waiter:
        """A call of a key that nothing keeps."""
        return self._asks("idle", self._idle)

    def busy(self) -> Waiter:
        """A call of one of the keys that have to wait, in turn."""
        self._number += 1
        number = self._number % KEYS
        return self._asks(f"busy {number}", self._busy[number])

    def _asks(self, key: str, own: Limiter) -> Waiter:
        every = (AdmissionOption(CANDIDATE, (own, *self._shared), NEED),)
        return self.admission.new_waiter(key, 1.0, Urgency.NORMAL, every, lambda: every)

    async def fill(self, waiting: int) -> None:
        """Take what there is, and have so many calls wait for it."""
        for _ in range(KEYS):
            lease = self.admission.try_lease(self.busy())
            if lease is not None:
                self.granted.append(lease)
        for _ in range(waiting):
            self.wait()
        await asyncio.sleep(0)

    def wait(self) -> None:
        """One more waits."""
        self.tasks.append(asyncio.get_running_loop().create_task(self._lease(self.busy())))

    async def _lease(self, waiter: Waiter) -> None:
        self.granted.append(await self.admission.acquire(waiter, PATIENCE))

    async def empty(self) -> None:
        """Everybody leaves."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def pass_by(room: Room, times: int) -> float:
    """A lease and its end, of calls that those who wait do not hold up."""
    at_once, used = room.admission.try_lease, demand_of(1400, 200)
    began = time.process_time()
    for _ in range(times):
        lease = at_once(room.idle())
        assert lease is not None
        lease.settle(used)
    return time.process_time() - began


async def hand_over(room: Room, times: int) -> float:
    """A call ends, the next one in line goes, and another one comes to wait."""
    used = demand_of(1400, 200)
    began = time.process_time()
    for _ in range(times):
        room.granted.pop().settle(used)
        room.wait()
        await asyncio.sleep(0)
    return time.process_time() - began


async def come_and_go(room: Room, times: int) -> float:
    """A call comes, finds that it has to wait, and its client leaves."""
    began = time.process_time()
    for _ in range(times):
        room.wait()
        await asyncio.sleep(0)
        task = room.tasks.pop()
        task.cancel()
        await asyncio.sleep(0)
    return time.process_time() - began


Operation = Callable[[Room, int], Awaitable[float]]
ROWS: Sequence[tuple[str, Operation, bool]] = (
    ("lease and settle, past those who wait for something else", pass_by, True),
    ("one ends, the next in line goes, another comes", hand_over, False),
    ("one comes to wait, and leaves", come_and_go, False),
)


async def measure(operation: Operation, waiting: int, times: int, *, apart: bool) -> float:
    """Microseconds of the processor for one operation: the least disturbed of five rounds."""
    room = Room(apart=apart)
    await room.fill(waiting)
    gc.collect()
    gc.disable()
    try:
        await operation(room, times // 10)
        return min([await operation(room, times) / times * 1e6 for _ in range(5)])
    finally:
        gc.enable()
        await room.empty()


async def table(times: int) -> bool:
    """Print it; whether the goal is met."""
    print(f"{'µs, with so many waiting':58}" + "".join(f"{n:>9,}" for n in WAITING))
    met = True
    for title, operation, apart in ROWS:
        cells = []
        for waiting in WAITING:
            if waiting == 0 and operation is hand_over:
                cells.append(f"{'–':>9}")
                continue
            cost = await measure(operation, waiting, times, apart=apart)
            cells.append(f"{cost:9.1f}")
            if waiting == 0 and operation is pass_by:
                met = cost <= GOAL
        print(f"{title:58}" + "".join(cells))
    print(f"goal: lease and settle in {GOAL:g} µs where nobody waits: {'met' if met else 'MISSED'}")
    return met


def main() -> int:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5000, help="operations of a round")
    parser.add_argument("--gate", action="store_true", help="exit 1 when the goal is missed")
    options = parser.parse_args()
    met = asyncio.run(table(options.times))
    return int(options.gate and not met)


if __name__ == "__main__":
    sys.exit(main())
