"""A clock that the test sets, and the timers that fire by it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Any


class HandTimer:
    def __init__(self, ring: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        self.ring = ring
        self.arguments = arguments
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class HandClock:
    """Monotonic seconds; `call_at` is as an event loop's."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timers: list[tuple[float, int, HandTimer]] = []
        self._numbers = itertools.count()

    def __call__(self) -> float:
        return self.now

    def call_at(self, when: float, ring: Callable[..., None], *arguments: Any) -> HandTimer:
        timer = HandTimer(ring, arguments)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Let time pass; timers ring in their order, each at its own moment."""
        until = self.now + seconds
        while self._timers and self._timers[0][0] <= until:
            when, _, timer = heapq.heappop(self._timers)
            self.now = max(self.now, when)
            if not timer.cancelled:
                timer.ring(*timer.arguments)
        self.now = until


async def turns(number: int = 3) -> None:
    """Let every task that can go on do so."""
    for _ in range(number):
        await asyncio.sleep(0)
