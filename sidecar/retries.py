"""How many attempts beyond the first may be made: a share of the calls of late, so that no storm
can grow out of a vendor's bad minute. A call that finds none left waits for one.
"""

from __future__ import annotations

from collections.abc import Callable

from sidecar.gates import Gate, Unit

SHARE = 0.2
"""Further attempts that each call adds to the budget."""
PER_SECOND = 0.5
"""Further attempts that time alone adds, so that few calls can be helped, too."""
MOST = 30.0


class RetryBudget(Gate):
    """A bucket of further attempts. `clock` gives monotonic seconds."""

    __slots__ = ("_at", "_clock", "_left")

    def __init__(self, clock: Callable[[], float]) -> None:
        name = "more is being tried again than a share of the calls"
        super().__init__("retries", "retries", Unit.CALLS, name)
        self._clock = clock
        self._left = MOST
        self._at = clock()

    @property
    def left(self) -> float:
        """Further attempts that may be made now."""
        self._fill(self._clock())
        return self._left

    def call(self) -> None:
        """A call makes its first attempt."""
        self._left = min(MOST, self._left + SHARE)

    def fits(self, amount: int, urgency: int, now: float) -> bool:
        """Whether there is one left."""
        self._fill(now)
        return self._left >= 1

    def opens(self, amount: int, urgency: int, now: float) -> float:
        """When time alone will have added one."""
        self._fill(now)
        return now + max(0.0, 1 - self._left) / PER_SECOND

    def take(self, amount: int, urgency: int, now: float) -> None:
        """A further attempt is made."""
        self._left -= 1

    def settle(self, mark: None, amount: int, now: float) -> None:
        """However it went: it was made."""

    def _fill(self, now: float) -> None:
        self._left = min(MOST, self._left + (now - self._at) * PER_SECOND)
        self._at = now
