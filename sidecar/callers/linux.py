"""Linux: find the process that holds the far end of a connection, by `/proc`."""

from __future__ import annotations

import os
import socket
import struct
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from sidecar.callers.process_name import describe, program_name
from sidecar.files import read_start
from sidecar.records import Caller

MAX_SEARCH_SECONDS = 0.5
"""Seconds for the search among all processes; of 500 it takes 8 ms."""
MAX_RECENT = 32
"""Processes that called lately, and are asked first."""
MAX_COMMAND_BYTES = 4096


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

    def find(self, peer: SocketAddress, own: SocketAddress, gone: Gone) -> Caller:
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
        deadline = time.monotonic() + MAX_SEARCH_SECONDS
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
        if len(self._recent) > MAX_RECENT:
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
    command_line = read_start(f"/proc/{pid}/cmdline", MAX_COMMAND_BYTES)
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


SocketAddress = tuple[str, int]
"""Host and port of one end of a connection."""
Gone = Callable[[], bool]
"""Whether a connection has ended: then there is nobody at its far end any more."""

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
TIMEOUT_SECONDS = 1.0

_SOCK_DIAG = 4  # NETLINK_SOCK_DIAG
_BY_FAMILY = 20  # SOCK_DIAG_BY_FAMILY
_REQUEST = 1  # NLM_F_REQUEST
_LISTEN = 10  # TCP_LISTEN: the kernel offers a listener of that port when there is nothing better
_ANY_STATE = 0xFFFFFFFF
_NO_COOKIE = b"\xff" * 8
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_QUERY = struct.Struct("=BBBxI")  # struct inet_diag_req_v2, up to the addresses
_ENDS = struct.Struct("!HH16s16s")  # struct inet_diag_sockid: ports, addresses …
_REST = struct.Struct("=I8s")  # … interface, cookie
_FOUND = struct.Struct("=BB2x48s12xII")  # struct inet_diag_msg: family, state, ends, uid, inode


@dataclass(frozen=True, slots=True)
class Socket:
    """A socket by its number in the kernel, and the user who made it."""

    inode: int
    uid: int


def find_socket(peer: SocketAddress, own: SocketAddress) -> Socket | None:
    """The socket on this machine whose own end is `peer` and whose far end is `own`; None when
    there is none, or none that a process still holds. May raise OSError."""
    try:
        return _ask(peer, own)
    except OSError:
        return _search(peer, own)


def _ask(peer: SocketAddress, own: SocketAddress) -> Socket | None:
    query = _query(peer, own)
    header = _HEADER.pack(_HEADER.size + len(query), _BY_FAMILY, _REQUEST, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG) as ask:
        ask.settimeout(TIMEOUT_SECONDS)
        ask.sendto(header + query, (0, 0))
        return read_reply(ask.recv(4096))


def _query(peer: SocketAddress, own: SocketAddress) -> bytes:
    family = _family(peer[0])
    ends = _ENDS.pack(peer[1], own[1], _packed(peer[0]), _packed(own[0]))
    return _QUERY.pack(family, socket.IPPROTO_TCP, 0, _ANY_STATE) + ends + _REST.pack(0, _NO_COOKIE)


def read_reply(reply: bytes) -> Socket | None:
    """The socket that the kernel answers with; None for its error that there is none."""
    if len(reply) < _HEADER.size + _FOUND.size or _HEADER.unpack_from(reply)[1] != _BY_FAMILY:
        return None
    _, state, _, uid, inode = _FOUND.unpack_from(reply, _HEADER.size)
    return Socket(inode, uid) if inode and state != _LISTEN else None


def _search(peer: SocketAddress, own: SocketAddress) -> Socket | None:
    for path in TABLES:
        found = read_table(path.read_bytes(), peer, own)
        if found is not None:
            return found
    return None


def read_table(table: bytes, peer: SocketAddress, own: SocketAddress) -> Socket | None:
    """The socket between these ends by a table of `/proc/net`; IPv4 ends are also known as what
    dual-stack programs make of them."""
    for mapped in (False, True):
        ends = f" {_hex(peer, mapped=mapped)} {_hex(own, mapped=mapped)} ".encode()
        start = table.find(ends)
        if start >= 0:
            line = table[start:].split(b"\n", 1)[0].split()
            # local, remote, state, queues, timer, retransmits, uid, timeout, inode
            if len(line) >= 9 and line[6].isdigit() and line[8].isdigit() and int(line[8]):
                return Socket(int(line[8]), int(line[6]))
    return None


def _hex(end: SocketAddress, *, mapped: bool) -> str:
    """An end as the kernel prints it: words of 32 bits in the machine's own order."""
    packed = _packed(end[0])
    if mapped and len(packed) == 4:
        packed = bytes(10) + b"\xff\xff" + packed
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words) + f":{end[1]:04X}"


def _packed(host: str) -> bytes:
    return socket.inet_pton(_family(host), host)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
