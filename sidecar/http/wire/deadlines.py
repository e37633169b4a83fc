"""One timer for the deadlines of all connections, in place of one or two for each request."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Protocol

NEVER = float("inf")
_GRAIN_SECONDS = 0.001
"""A loop may call this much too early."""


class Timed(Protocol):
    """A connection that waits for something: until `deadline`, in seconds of the loop's clock."""

    deadline: float

    def expire(self) -> None:
        """Give up what is waited for."""


class DeadlineSweep:
    """Expires connections whose deadline has passed.

    The timer is armed for the soonest deadline set since it last fired. A deadline that moves later
    costs an assignment: the timer fires in vain then, once, and is armed anew. What each call sets
    is set as `set` does it, without a call.

    Attributes:
        armed_for: When the timer fires. A deadline before it needs `arm`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._connections: set[Timed] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.armed_for = NEVER

    @property
    def connections(self) -> tuple[Timed, ...]:
        """Those that are open."""
        return tuple(self._connections)

    def add(self, connection: Timed) -> None:
        """Watch a connection until `discard`."""
        self._connections.add(connection)

    def discard(self, connection: Timed) -> None:
        """Forget a connection that is closed."""
        self._connections.discard(connection)

    def set(self, connection: Timed, at: float) -> None:
        """Have a connection expire at this time, unless its deadline is moved before."""
        connection.deadline = at
        if at < self.armed_for:
            self.arm(at)

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self.armed_for = None, NEVER

    def arm(self, at: float) -> None:
        """Have the timer fire at this time."""
        if self._timer is not None:
            self._timer.cancel()
        self.armed_for = at
        self._timer = self._loop.call_at(at, self._sweep)

    def _sweep(self) -> None:
        self._timer, self.armed_for = None, NEVER
        now = self._loop.time() + _GRAIN_SECONDS
        for connection in self.connections:
            if connection.deadline <= now:
                connection.deadline = NEVER
                connection.expire()
        soonest = min((each.deadline for each in self._connections), default=NEVER)
        if soonest < self.armed_for:
            self.arm(soonest)


@lru_cache(maxsize=256)
def silent_for(seconds: float) -> str:
    """Return the reason of a failure to continue in time."""
    return f"silent for {seconds:g} s (timeouts.idle)"


@lru_cache(maxsize=256)
def no_answer_within(seconds: float) -> str:
    """Return the reason of a failure to answer in time."""
    return f"no answer within {seconds:g} s (timeouts.first_byte)"
