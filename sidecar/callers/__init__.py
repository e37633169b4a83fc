"""Who called: the local process behind a connection, found beside the path of a call.

    first call on a connection ─▶ Callers ─▶ a thread ─▶ socket ─▶ process ─▶ program, repository
                                     │                       (the operating system's own tables)
    record of the call ◀─────────────┘

It asks the operating system alone, about processes of this user alone, and sends nothing anywhere.
"""

from __future__ import annotations

import platform
from collections.abc import Callable

from sidecar.callers.linux import ProcFinder
from sidecar.callers.lookup import CallerLookup, Callers, Finder
from sidecar.callers.macos import LsofFinder

__all__ = ["CallerLookup", "Callers", "Finder", "find_finder", "open_callers"]


def open_callers(clock: Callable[[], float], *, on: bool) -> Callers:
    """The looks of this process, to be entered; none is made when it is not `on`."""
    return Callers(clock, find_finder() if on else None)


def find_finder() -> Finder | None:
    """How processes are found on this system; None where nobody knows how."""
    finders: dict[str, type[Finder]] = {"Linux": ProcFinder, "Darwin": LsofFinder}
    known = finders.get(platform.system())
    return None if known is None else known()
