"""The gate of a shared limit: what this process knows of the room that other nodes leave there.

Each process still counts its own calls by its own window. The gate comes after the window. It is
open until the engine denies a lease at this limit. Then calls wait in the gate's queue, in their
usual order, until the engine wakes this node or time may have made room. One call asks again, and
the rest follow its success, as after a cooldown.
"""

from __future__ import annotations

from sidecar.scheduling.limiter import NEVER, Limiter, LimitUnit
from sidecar.scheduling.windows import BudgetWindow, CountingLimiter
from sidecar.shared.scopes import Denied

RECHECK_SECONDS = 2.0
"""Seconds after which a call that waits for an event asks again, as wake messages may be lost."""


class Gate(Limiter):
    """The limiter of a limit that is shared with other processes.

    Attributes:
        window: The window that counts this process's own calls.
        limit_id: The name of the limit on the engine.
        at_rest: Whether the gate is open.
    """

    __slots__ = (
        "_asking", "_opens_at", "_retry_at", "_settled", "_used", "_woken", "at_rest", "limit_id",
        "window",
    )  # fmt: skip

    counts_turns = False

    def __init__(self, limit_id: str, window: CountingLimiter) -> None:
        super().__init__(window.scope, window.kind, window.unit, "")
        self.limit_id = limit_id
        self.window = window
        self.at_rest = True
        self._asking: object | None = None
        self._retry_at = [0.0, 0.0, 0.0]
        self._opens_at = 0.0
        self._settled = self._used = self._woken = 0

    @property
    def name(self) -> str:
        """The reason to wait, for people."""
        name = self.window.name
        if isinstance(self.window, BudgetWindow) and self.spent:  # by all of them together
            name = self.window.spent_name
        return f"{name}, which other processes share"

    @name.setter
    def name(self, _: str) -> None:
        """Ignore it: the window has the name."""

    @property
    def counts_sent(self) -> bool:
        """Return whether a request that was sent and failed counts, as in the window."""
        return self.window.counts_sent

    @counts_sent.setter
    def counts_sent(self, _: bool) -> None:
        """Ignore it: the window decides."""

    @property
    def spent(self) -> bool:  # type: ignore[override]
        """Return whether all processes together had spent the budget at the last denial."""
        return self.unit is LimitUnit.MONEY and self._settled >= self.window.limit > 0

    @property
    def is_closed(self) -> bool:
        """Return whether the engine denied a lease here, and no call has got one since. This node
        then has a place in the limit's queue on the engine."""
        return not self.at_rest

    @property
    def is_idle(self) -> bool:
        """Return whether no call of this process waits or asks here."""
        return not self.queue and not self.window.queue and self._asking is None

    def remaining(self, now: float) -> int:
        """Return the rest of the limit for all processes, as of the last denial."""
        return self.window.limit - max(self._used, self.window.limit - self.window.remaining(now))

    def allows(self, amount: int, urgency: int, now: float) -> bool:
        """Return whether a call may ask the engine now."""
        if self.at_rest or not amount:
            return True
        return self._asking is None and now >= self._retry_at[urgency]

    def available_at(self, amount: int, urgency: int, now: float) -> float:
        """Return when the engine may have room, as of the last denial."""
        if self.allows(amount, urgency, now) or self._retry_at[urgency] <= now:
            return now
        return max(now, self._opens_at)

    def next_check_at(self, amount: int, urgency: int, now: float) -> float:
        """Return when to ask again; `NEVER` while another call asks."""
        return NEVER if self._asking is not None else self._retry_at[urgency]

    def acquire(self, amount: int, urgency: int, now: float) -> object | None:
        """Let a call ask the engine; after a denial, one at a time."""
        if self.at_rest or not amount:
            return None
        self._asking = object()
        return self._asking

    def settle(self, reservation: object | None, amount: int, now: float) -> None:
        """End the question of a call that did not get a lease; else do nothing."""
        if reservation is not None and reservation is self._asking:
            self._asking = None

    def open(self, reservation: object | None) -> None:
        """Record that the engine granted a lease to the call with this reservation."""
        if reservation is not None and reservation is self._asking:
            self.reset()
            self.at_rest = not self.queue

    def reset(self) -> None:
        """Forget the last denial."""
        self._asking = None
        self._retry_at = [0.0, 0.0, 0.0]
        self._settled = self._used = 0
        self.at_rest = True

    def close(self, denied: Denied, now: float) -> None:
        """Record that the engine denied a lease.

        More urgent calls may still ask: headroom and the order of tickets may let them pass. None
        may if that was the oldest call in its turn.
        """
        self.at_rest = False
        self._settled, self._used = denied.settled, denied.settled + denied.reserved
        self._opens_at = denied.opens_at
        retry_at = min(denied.timed_at, now + RECHECK_SECONDS)
        if denied.number < self._woken:  # room came while the answer was on its way
            self._woken, retry_at = 0, now
        elif self.queue is not None:
            self.queue.end_turn()
        for each in range(denied.urgency, len(self._retry_at)):
            self._retry_at[each] = retry_at

    def wake(self, number: int) -> None:
        """Let the first waiting call ask again; `number` is that of the wake message."""
        self._woken = max(self._woken, number)
        self._retry_at = [0.0, 0.0, 0.0]

    def start_turn(self, number: int, now: float) -> None:
        """Let the oldest call of this process go before the others, and ask at once if it waits
        here; `number` is that of the message."""
        self._woken = max(self._woken, number)
        for queue in (self.queue, self.window.queue):
            if queue:
                queue.start_turn()
        if self.queue and (head := self.queue.head(now)) and self.queue.is_aged_head(head, now):
            self._retry_at = [0.0, 0.0, 0.0]
