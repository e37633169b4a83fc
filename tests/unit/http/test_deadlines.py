"""One timer expires every connection whose deadline has passed, and no other."""

from __future__ import annotations

import asyncio

from virtual_time import run

from sidecar.http.wire.deadlines import NEVER, DeadlineSweep


class Waiting:
    def __init__(self, sweep: DeadlineSweep) -> None:
        self.deadline = NEVER
        self.expired_at: list[float] = []
        sweep.add(self)

    def expire(self) -> None:
        self.expired_at.append(asyncio.get_running_loop().time())


def test_connections_expire_at_their_own_deadlines_each_once() -> None:
    async def main() -> list[list[float]]:
        sweep = DeadlineSweep(asyncio.get_running_loop())
        connections = [Waiting(sweep) for _ in range(4)]
        for connection, at in zip(connections, (30.0, 10.0, 20.0, NEVER), strict=True):
            sweep.set(connection, at)
        await asyncio.sleep(100)
        return [each.expired_at for each in connections]

    expired = run(main)
    assert [[round(at, 2) for at in each] for each in expired] == [[30.0], [10.0], [20.0], []]


def test_deadline_that_moves_or_ends_does_not_expire() -> None:
    async def main() -> tuple[list[float], list[float], list[float]]:
        sweep = DeadlineSweep(asyncio.get_running_loop())
        moved, ended, gone = Waiting(sweep), Waiting(sweep), Waiting(sweep)
        for each in (moved, ended, gone):
            sweep.set(each, 10.0)
        await asyncio.sleep(5)
        sweep.set(moved, 15.0)
        ended.deadline = NEVER
        sweep.discard(gone)
        await asyncio.sleep(100)
        return moved.expired_at, ended.expired_at, gone.expired_at

    moved, ended, gone = run(main)
    assert [round(at, 2) for at in moved] == [15.0]
    assert (ended, gone) == ([], [])


def test_deadline_set_while_another_expires_is_kept() -> None:
    class Renewing(Waiting):
        def __init__(self, sweep: DeadlineSweep) -> None:
            super().__init__(sweep)
            self.sweep = sweep

        def expire(self) -> None:
            super().expire()
            if len(self.expired_at) < 3:
                self.sweep.set(self, asyncio.get_running_loop().time() + 7)

    async def main() -> list[float]:
        sweep = DeadlineSweep(asyncio.get_running_loop())
        renewing = Renewing(sweep)
        sweep.set(renewing, 7.0)
        await asyncio.sleep(100)
        return renewing.expired_at

    assert [round(at, 1) for at in run(main)] == [7.0, 14.0, 21.0]


def test_one_timer_serves_ten_thousand_connections() -> None:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        sweep = DeadlineSweep(loop)
        armed = 0
        call_at = loop.call_at

        def counted(*args: object, **options: object) -> asyncio.TimerHandle:
            nonlocal armed
            armed += 1
            return call_at(*args, **options)  # type: ignore[arg-type]

        loop.call_at = counted  # type: ignore[method-assign]
        for number in range(10_000):
            sweep.set(Waiting(sweep), 600.0 + number / 1000)
        return armed

    assert run(main) == 1
