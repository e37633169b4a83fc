"""Linux: which process holds a socket, by `/proc`, and where it stands.

Only processes of this user are named: what others do in their directories is theirs.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace

from sidecar.callers.describing import describe
from sidecar.callers.programs import program_name
from sidecar.callers.reading import read_start
from sidecar.callers.sockets import End, Gone, find_socket
from sidecar.usage import Caller

LONGEST_SEARCH = 0.5
"""Seconds for the search among all processes; of 500 it takes 8 ms."""
MOST_RECENT = 32
"""Processes that called lately, and are asked first."""
LONGEST_COMMAND = 4096


@dataclass(frozen=True, slots=True)
class _Known:
    """A process that called lately: by which descriptor, what it was, and when that was read."""

    descriptor: str
    caller: Caller
    read: float


class ProcFinder:
    """Finds callers by `/proc`. Who called lately is asked first: most connections are of few
    processes, and one that opens a connection for each call gets the same descriptor again."""

    fresh = 2.0

    def __init__(self) -> None:
        self._recent: dict[int, _Known] = {}

    def find(self, peer: End, own: End, gone: Gone) -> Caller:
        """The process of this user whose socket is the far end of this connection."""
        socket = find_socket(peer, own)
        if socket is None or socket.uid != os.geteuid():
            return Caller()
        holder = next(self._holders(f"socket:[{socket.inode}]", gone), None)
        return Caller() if holder is None else self._describe(*holder)

    def _holders(self, link: str, gone: Gone) -> Iterator[tuple[int, str]]:
        """The processes that hold `link`, and by which descriptor, the likely ones first. Where
        several share it, one is as good as another: they are a family."""
        for pid, known in reversed(self._recent.items()):
            if _link(f"/proc/{pid}/fd/{known.descriptor}") == link:
                yield pid, known.descriptor
        deadline = time.monotonic() + LONGEST_SEARCH
        for pid in (*reversed(self._recent), *_processes()):
            descriptors = _descriptors(pid)
            if not descriptors:
                self._recent.pop(pid, None)
            for descriptor in descriptors:
                if _link(f"/proc/{pid}/fd/{descriptor}") == link:
                    yield pid, descriptor
            if gone() or time.monotonic() > deadline:
                return

    def _describe(self, pid: int, descriptor: str) -> Caller:
        known, now = self._recent.pop(pid, None), time.monotonic()
        if known is None or now - known.read >= self.fresh:
            directory = _directory(pid)
            known = _Known("", describe(pid, _program(pid, directory), directory), now)
        self._recent[pid] = replace(known, descriptor=descriptor)
        if len(self._recent) > MOST_RECENT:
            del self._recent[next(iter(self._recent))]
        return known.caller


def _processes() -> list[int]:
    """The youngest first: the short-lived are gone soonest. Their numbers rise, and begin again
    when they are used up; the kernel tells which it gave out last."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    _, _, last = read_start("/proc/loadavg", 128).strip().rpartition(b" ")
    turn = bisect_right(pids, int(last)) if last.isdigit() else 0
    return pids[:turn][::-1] + pids[turn:][::-1]


def _descriptors(pid: int) -> list[str]:
    """The youngest first; [] of a process that has ended, or that is not ours to look at."""
    try:
        return os.listdir(f"/proc/{pid}/fd")[::-1]
    except OSError:
        return []


def _program(pid: int, directory: str) -> str:
    command_line = read_start(f"/proc/{pid}/cmdline", LONGEST_COMMAND)
    return program_name(command_line, _link(f"/proc/{pid}/exe"), directory)


def _directory(pid: int) -> str:
    """Where it stands, if that path means the same to us: in a container it need not."""
    link = f"/proc/{pid}/cwd"
    path = _link(link)
    try:
        return path if os.path.samestat(os.stat(link), os.stat(path)) else ""
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
