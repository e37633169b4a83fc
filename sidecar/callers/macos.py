"""macOS: find the process at the other end of a connection by `lsof`, which every Mac has.

It takes two runs of 30 to 80 ms. The script of an interpreter stays unknown, because `lsof` does
not list arguments.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

from sidecar.callers.linux import Gone, SocketAddress
from sidecar.callers.process_name import describe
from sidecar.records import Caller

TIMEOUT_SECONDS = 2.0
# Sidecar's environment may hold credentials.
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "en_US.UTF-8"}


class LsofFinder:
    """Find callers by `lsof`, which is slow, so results are reused for longer."""

    fresh = 30.0

    def find(self, peer: SocketAddress, own: SocketAddress, gone: Gone) -> Caller:  # noqa: ARG002 - part of the protocol
        """Return the process of this user whose socket is the other end of the connection.

        Raises:
            OSError: There is no `lsof`.
            subprocess.TimeoutExpired: It takes longer than `TIMEOUT_SECONDS`.
        """
        both_ends = _run("-u", str(os.geteuid()), f"-iTCP:{peer[1]}", "-Fpcn")
        name = f"{_written(peer)}->{_written(own)}"
        for pid, program, _ in (row for row in read_rows(both_ends) if row[2] == name):
            directories = read_rows(_run("-p", str(pid), "-d", "cwd", "-Fpcn"))
            return describe(pid, program, next((path for _, _, path in directories), ""))
        return Caller()

    def find_recent(self, peer: SocketAddress, own: SocketAddress) -> Caller | None:  # noqa: ARG002 - part of the protocol
        """Return None: nothing is found without `lsof`."""
        return None

    def close(self) -> None:
        """Nothing is open."""

    def listener(self, port: int) -> Caller:
        """Return the process of this user that listens on a port; empty if there is none."""
        rows = read_rows(_run(f"-iTCP:{port}", "-sTCP:LISTEN", "-Fpcn"))
        found = next(rows, None)
        return Caller() if found is None else describe(found[0], found[1], "")


def _run(*selection: str) -> str:
    """Return the files that match all options (`-a`): numeric, full names, without warnings."""
    command = ["lsof", "-a", "-nP", "-w", "+c0", *selection]
    done = subprocess.run(
        command, env=_ENVIRONMENT, timeout=TIMEOUT_SECONDS, check=False,
        stdin=subprocess.DEVNULL, capture_output=True,
    )  # fmt: skip
    return os.fsdecode(done.stdout)


def read_rows(listing: str) -> Iterator[tuple[int, str, str]]:
    """Yield process id, program and name of each file in the output of `lsof -Fpcn`."""
    pid, program = 0, ""
    for line in listing.splitlines():
        field, value = line[:1], line[1:]
        if field == "p":
            pid, program = int(value) if value.isdecimal() else 0, ""
        elif field == "c":
            program = value
        elif field == "n" and pid:
            yield pid, program, value


def _written(end: SocketAddress) -> str:
    host, port = end
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
