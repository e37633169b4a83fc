"""Find the local process that opened a connection, without delaying its calls.

    new connection ─▶ Callers ─▶ recent callers ─▶ a thread ─▶ socket ─▶ process ─▶ repository
                         │                                  (tables of the operating system)
    record of the call ◀─┘

Only processes of the same user are read, and nothing is sent over a network.
"""

from __future__ import annotations

import platform
from collections.abc import Callable

from sidecar.callers.linux import ProcFinder
from sidecar.callers.lookup import CallerLookup, Callers, Finder
from sidecar.callers.macos import LsofFinder

__all__ = ["CallerLookup", "Callers", "Finder", "find_finder", "open_callers"]


def open_callers(clock: Callable[[], float], *, on: bool) -> Callers:
    """Return the lookups of this process as a context manager; disabled unless `on`.

    `clock` returns monotonic seconds.
    """
    return Callers(clock, find_finder() if on else None)


def find_finder() -> Finder | None:
    """Return the finder for this operating system; None if it is not supported."""
    finders: dict[str, type[Finder]] = {"Linux": ProcFinder, "Darwin": LsofFinder}
    known = finders.get(platform.system())
    return None if known is None else known()
