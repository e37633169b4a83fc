"""How many attempts beyond the first may be made: a share of the calls of late, so that no storm
can grow out of a vendor's bad minute.
"""

from __future__ import annotations

from collections.abc import Callable

SHARE = 0.2
"""Further attempts that each call adds to the budget."""
PER_SECOND = 0.5
"""Further attempts that time alone adds, so that few calls can be helped, too."""
MOST = 30.0


class RetryBudget:
    """A bucket of further attempts. `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left = MOST
        self._at = clock()

    @property
    def left(self) -> float:
        """Further attempts that may be made now."""
        self._fill()
        return self._left

    def call(self) -> None:
        """A call makes its first attempt."""
        self._left = min(MOST, self._left + SHARE)

    def spend(self) -> bool:
        """Take one further attempt; whether there was one."""
        self._fill()
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def _fill(self) -> None:
        now = self._clock()
        self._left = min(MOST, self._left + (now - self._at) * PER_SECOND)
        self._at = now
