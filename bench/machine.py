"""What the benchmarks need of the machine: cores, processes, and the kernel's account of them."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

IDLE = 0.005
"""CPU seconds in a tenth of a second that still count as idle."""
GATEWAY, REST = 0, -1
"""The gateway under test has a core of its own; vendor and client share another."""


def run_fast(work: Coroutine[object, object, None]) -> None:
    """Run with uvloop where it is installed: for what must not be the bottleneck."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(
    *argv: object,
    core: int,
    log: Path,
    environ: dict[str, str] | None = None,
    pipes: bool = False,
) -> Iterator[subprocess.Popen[str]]:
    """A process on one core, ended with the block. What it prints goes to `log`, but for stdout
    with `pipes`, which also opens its stdin."""
    pipe = subprocess.PIPE if pipes else None
    with log.open("ab") as file, on_core(core):
        process = subprocess.Popen(
            [*map(str, argv)], stdin=pipe or subprocess.DEVNULL,
            stdout=pipe or file, stderr=file, text=True, env={**os.environ, **(environ or {})},
        )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            end(process)


def end(process: subprocess.Popen[str]) -> None:
    """Ask a process to end, and see to it."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Processes that are started meanwhile stay on this core, with all their threads."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(cores)[core % len(cores)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def wait_for(port: int, process: subprocess.Popen[str], log: Path) -> None:
    """Return once something listens on `port`; end with the log when the process ended."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise SystemExit(f"nothing listens on port {port}:\n{log.read_text()[-2000:]}")


def family(pid: int) -> list[int]:
    """A process and the processes that it started, and they."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that has just ended
            for child in (task / "children").read_text().split():
                found += family(int(child))
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, its threads and its family since they began, to the
    nanosecond."""
    # The clock id of another process (clock_getcpuclockid(3)), which Python has no function for;
    # /proc/PID/stat has the same figure in ticks of 10 ms, too coarse for a second of streams.
    return sum(time.clock_gettime((~each << 3) | 2) for each in family(pid))


def memory_mib(pid: int) -> float:
    """The resident sets of a process and its family; what they share counts for each."""
    pages = [int(Path(f"/proc/{each}/statm").read_text().split()[1]) for each in family(pid)]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def settle(pid: int) -> None:
    """Wait until a process is idle, at most two seconds, so that nothing falls on the next
    figure."""
    before = cpu_seconds(pid)
    for _ in range(20):
        time.sleep(0.1)
        now = cpu_seconds(pid)
        if now - before <= IDLE:
            return
        before = now
