"""When each key was last used by any of the processes that share state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct, structs

from sidecar.humanize import printable
from sidecar.records import KeyTimes

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.shared.facts import SharedFacts

FACT_KIND = "used"
PUBLISH_SECONDS = 30.0
"""Seconds between two times that a process states of one key."""
KEPT_SECONDS = 180 * 86400.0


class LastUse(Struct, frozen=True):
    """The latest use of a key: seconds since the epoch, the program, the machine of the process."""

    at: float
    program: str
    host: str


class SharedTimes:
    """The latest use of each key by all processes.

    Args:
        host: The name of this machine.
        wall: Returns seconds since the epoch.
    """

    def __init__(self, facts: SharedFacts, host: str, wall: Callable[[], float]) -> None:
        self._facts = facts
        self._host = host
        self._wall = wall
        self._published: dict[str, float] = {}

    def publish(self, key: str, own: KeyTimes) -> None:
        """Let all processes have the latest use of a key by this one, unless they had one just
        now."""
        at = own.last_used
        if at is None or at - self._published.get(key, 0.0) < PUBLISH_SECONDS:
            return
        self._published[key] = at
        text = msgspec.json.encode(LastUse(at, own.program, self._host)).decode()
        # It lapses by the time of the use, so the latest use is the one that lapses last.
        kept = KEPT_SECONDS - (self._wall() - at)
        self._facts.publish(FACT_KIND, key, text, kept, longest=True)

    def latest(self, key: str, own: KeyTimes) -> KeyTimes:
        """Return the times of a key in this process with the latest use in any."""
        fact = self._facts.get(FACT_KIND, key)
        if fact is None:
            return own
        try:
            use = msgspec.json.decode(fact.value, type=LastUse)
        except msgspec.MsgspecError:  # of another version
            return own
        at = min(use.at, self._wall())  # the clock of the other machine may be ahead
        if at <= (own.last_used or 0.0):
            return own
        return structs.replace(own, last_used=at, program=use.program, host=printable(use.host))
