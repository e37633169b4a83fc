"""Linux: find the process at the other end of a connection, by netlink and `/proc`.

Source: sock_diag(7), proc(5).
"""

from __future__ import annotations

import os
import socket
import struct
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct, structs

from sidecar.callers.process_name import describe, program_name
from sidecar.files import read_start
from sidecar.records import Caller

MAX_SEARCH_SECONDS = 0.5
"""Limit of the search through all processes; through 500 of them it takes 8 ms."""
MAX_RECENT = 32
"""Recent callers, which are searched first."""
MAX_LATEST = 4
"""Recent callers that `find_recent` looks at: 3 µs for each descriptor."""
MAX_COMMAND_BYTES = 4096


class _Holder(NamedTuple):
    """A process that holds a socket, by which descriptor, and the descriptors by their links that
    were read to find it: connections that a process opens at once need one search."""

    pid: int
    descriptor: str
    links: dict[str, str]


class _Process(Struct, frozen=True):
    """A recent caller.

    Attributes:
        caller: Its description.
        read: When that was read, in monotonic seconds.
        holder: The descriptor that was found last.
    """

    caller: Caller
    read: float
    holder: _Holder


class ProcFinder:
    """Find callers by `/proc`, recent callers first.

    Most connections come from few processes, and a process that opens a connection for each call
    gets the same descriptor again.
    """

    fresh = 2.0

    def __init__(self) -> None:
        self._recent: dict[int, _Process] = {}
        self._latest: tuple[_Process, ...] = ()  # `find` and `find_recent` run in two threads
        self._netlink: socket.socket | None = None

    def find_recent(self, peer: SocketAddress, own: SocketAddress) -> Caller | None:
        """Return the process at the other end if it is one of the latest callers.

        It takes some 20 µs, where a thread takes 100 with its wakes. Of each process it looks at
        the descriptor that had this socket in the latest search; else at the latest one, which
        may have been closed and opened again, and the one after it.
        """
        since = time.monotonic() - self.fresh
        latest = [process for process in self._latest if process.read > since]
        if not latest:
            return None
        if self._netlink is None:
            self._netlink = _open_netlink()
            self._netlink.setblocking(False)  # the kernel answers within `sendto`
        try:
            found = _ask(self._netlink, peer, own)
        except OSError:
            self.close()  # a late answer would be taken for that of the next question
            raise
        if found is None or found.uid != os.geteuid():
            return None
        link = f"socket:[{found.inode}]"
        for process in latest:
            pid, last, links = process.holder
            known = links.get(link)
            for descriptor in (known,) if known else (last, str(int(last) + 1)):
                if _link(f"/proc/{pid}/fd/{descriptor}") == link:
                    holder = _Holder(pid, descriptor, links)
                    moved = structs.replace(process, holder=holder)
                    self._latest = (moved, *[other for other in latest if other is not process])
                    return process.caller
        return None

    def close(self) -> None:
        """Close what `find_recent` has open."""
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None

    def find(self, peer: SocketAddress, own: SocketAddress, gone: Gone) -> Caller:
        """Return the process of this user whose socket is the other end of the connection."""
        found = find_socket(peer, own)
        if found is None or found.uid != os.geteuid():
            return Caller()
        holder = next(self._holders(f"socket:[{found.inode}]", gone), None)
        return Caller() if holder is None else self._describe(holder)

    def listener(self, port: int) -> Caller:
        """Return the process of this user that listens on a port; empty if there is none."""
        for path in TABLES:
            for inode in listening_sockets(path.read_bytes(), port):
                holder = next(self._holders(f"socket:[{inode}]", lambda: False), None)
                if holder is not None:
                    return self._describe(holder)
        return Caller()

    def _holders(self, link: str, gone: Gone) -> Iterator[_Holder]:
        """Yield those that hold `link`, the likely ones first.

        If several processes share it, any of them will do: they are parent and children.
        """
        for pid, process in reversed(self._recent.items()):
            links = process.holder.links
            for descriptor in (links.get(link, ""), process.holder.descriptor):
                if descriptor and _link(f"/proc/{pid}/fd/{descriptor}") == link:
                    yield _Holder(pid, descriptor, links)
        deadline = time.monotonic() + MAX_SEARCH_SECONDS
        for pid in (*reversed(self._recent), *_processes()):
            descriptors, links = _descriptors(pid), {}
            if not descriptors:
                self._recent.pop(pid, None)
            for descriptor in descriptors:
                links[found := _link(f"/proc/{pid}/fd/{descriptor}")] = descriptor
                if found == link:
                    yield _Holder(pid, descriptor, links)
            if gone() or time.monotonic() > deadline:
                return

    def _describe(self, holder: _Holder) -> Caller:
        pid, now = holder.pid, time.monotonic()
        known = self._recent.pop(pid, None)
        if known is None or now - known.read >= self.fresh:
            directory = _directory(pid)
            caller = describe(pid, _program(pid, directory), directory)
            known = _Process(caller, now, holder)
        self._recent[pid] = structs.replace(known, holder=holder)
        if len(self._recent) > MAX_RECENT:
            del self._recent[next(iter(self._recent))]
        self._latest = tuple(islice(reversed(self._recent.values()), MAX_LATEST))
        return known.caller


def _processes() -> list[int]:
    """Return all process ids, the youngest first, because short-lived processes end soonest.

    Ids rise and wrap around; `/proc/loadavg` has the last one that the kernel assigned.
    """
    pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    _, _, last = read_start("/proc/loadavg", 128).strip().rpartition(b" ")
    turn = bisect_right(pids, int(last)) if last.isdigit() else 0
    return pids[:turn][::-1] + pids[turn:][::-1]


def _descriptors(pid: int) -> list[str]:
    """Return the descriptors of a process, the youngest first; [] if they cannot be read."""
    try:
        return os.listdir(f"/proc/{pid}/fd")[::-1]
    except OSError:
        return []


def _program(pid: int, directory: str) -> str:
    command_line = read_start(f"/proc/{pid}/cmdline", MAX_COMMAND_BYTES)
    return program_name(command_line, _link(f"/proc/{pid}/exe"), directory)


def _directory(pid: int) -> str:
    """Return the working directory; "" if the path is another directory here (a container)."""
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
"""Address and port of one end of a connection."""
Gone = Callable[[], bool]
"""Return whether the connection is closed, so that the search can stop."""

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


class Socket(Struct, frozen=True):
    """A socket: its inode, and the id of the user that created it."""

    inode: int
    uid: int


def find_socket(peer: SocketAddress, own: SocketAddress) -> Socket | None:
    """Return the socket on this machine whose local end is `peer` and remote end is `own`.

    None if no process holds one. Ask the kernel by netlink; where that is forbidden, search the
    tables of `/proc/net`.

    Raises:
        OSError: The tables cannot be read.
    """
    try:
        with _open_netlink() as netlink:
            netlink.settimeout(TIMEOUT_SECONDS)
            return _ask(netlink, peer, own)
    except OSError:
        return _search(peer, own)


def _open_netlink() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG)


def _ask(netlink: socket.socket, peer: SocketAddress, own: SocketAddress) -> Socket | None:
    query = _query(peer, own)
    header = _HEADER.pack(_HEADER.size + len(query), _BY_FAMILY, _REQUEST, 0, 0)
    netlink.sendto(header + query, (0, 0))
    return read_reply(netlink.recv(4096))


def _query(peer: SocketAddress, own: SocketAddress) -> bytes:
    family = _family(peer[0])
    ends = _ENDS.pack(peer[1], own[1], _packed(peer[0]), _packed(own[0]))
    return _QUERY.pack(family, socket.IPPROTO_TCP, 0, _ANY_STATE) + ends + _REST.pack(0, _NO_COOKIE)


def read_reply(reply: bytes) -> Socket | None:
    """Return the socket in a netlink reply; None for an error or a listener."""
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
    """Return the socket between two ends from a table of `/proc/net`; None if it has none.

    IPv4 ends are also searched as IPv4-mapped IPv6 addresses, which dual-stack programs use.
    """
    for mapped in (False, True):
        ends = f" {_hex(peer, mapped=mapped)} {_hex(own, mapped=mapped)} ".encode()
        start = table.find(ends)
        if start >= 0:
            line = table[start:].split(b"\n", 1)[0].split()
            # local, remote, state, queues, timer, retransmits, uid, timeout, inode
            if len(line) >= 9 and line[6].isdigit() and line[8].isdigit() and int(line[8]):
                return Socket(int(line[8]), int(line[6]))
    return None


def listening_sockets(table: bytes, port: int) -> Iterator[int]:
    """Yield the inodes of the listeners on a port in a table of `/proc/net`."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        is_listener = len(fields) >= 10 and int(fields[3], 16) == _LISTEN
        if is_listener and int(fields[1].rpartition(b":")[2], 16) == port:
            yield int(fields[9])


def _hex(end: SocketAddress, *, mapped: bool) -> str:
    """Return an end as the kernel prints it: 32-bit words in the machine's byte order."""
    packed = _packed(end[0])
    if mapped and len(packed) == 4:
        packed = bytes(10) + b"\xff\xff" + packed
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words) + f":{end[1]:04X}"


def _packed(host: str) -> bytes:
    return socket.inet_pton(_family(host), host)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
