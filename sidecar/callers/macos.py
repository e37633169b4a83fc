"""macOS, as well as it can be done: `lsof`, which every Mac has, says which process it is.

Two runs of a few hundredths of a second each. An interpreter's script stays unknown: to learn it,
all arguments would have to be read.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

from sidecar.callers.linux import Gone, SocketAddress
from sidecar.callers.process_name import describe
from sidecar.records import Caller

TIMEOUT_SECONDS = 2.0
# Our own environment may hold credentials; another program needs none of it.
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "en_US.UTF-8"}


class LsofFinder:
    """Finds callers by `lsof`. It is dear: a caller is looked at less often."""

    fresh = 30.0

    def find(self, peer: SocketAddress, own: SocketAddress, gone: Gone) -> Caller:  # noqa: ARG002 - it is soon told
        """The process of this user whose socket is the far end of this connection. Raises OSError
        when there is no `lsof`, or subprocess.TimeoutExpired when it hangs."""
        both_ends = _run("-u", str(os.geteuid()), f"-iTCP:{peer[1]}", "-Fpcn")
        name = f"{_written(peer)}->{_written(own)}"
        for pid, program, _ in (row for row in read_rows(both_ends) if row[2] == name):
            directories = read_rows(_run("-p", str(pid), "-d", "cwd", "-Fpcn"))
            return describe(pid, program, next((path for _, _, path in directories), ""))
        return Caller()


def _run(*selection: str) -> str:
    """All of the selection must hold (`-a`); numbers stay numbers, names whole, warnings away."""
    command = ["lsof", "-a", "-nP", "-w", "+c0", *selection]
    done = subprocess.run(
        command, env=_ENVIRONMENT, timeout=TIMEOUT_SECONDS, check=False,
        stdin=subprocess.DEVNULL, capture_output=True,
    )  # fmt: skip
    return os.fsdecode(done.stdout)


def read_rows(listing: str) -> Iterator[tuple[int, str, str]]:
    """Process, program and name of each file of a listing, whose lines begin with the letter of
    their field."""
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
