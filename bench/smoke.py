"""How much Sidecar costs, as ratios to a bare aiohttp proxy in the same interleaved run.

    python bench/smoke.py [--rounds N] [--seconds S] [--gate] [--json]

The gateway under test runs on one core, vendor and client on another. CPU time is the kernel's
own account of the process, so that neighbours disturb little. Ratios above 1 are better than bare
for requests, below 1 for chunks. With --gate: exit 1 when a median is worse than 0.6 of bare.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sidecar.keytext import digest, mint

HERE = Path(__file__).parent
TICKS = os.sysconf("SC_CLK_TCK")
GATE = 0.6
CONFIG = """
providers:
  vendor: {{plugin: openai, base_url: "http://127.0.0.1:{port}/v1", credential: env:BENCH_KEY}}
groups:
  bench: {{vendor: openai, routes: [vendor]}}
keys:
  bench: {{group: bench, hash: sha256:{hash}}}
"""


@dataclass(frozen=True)
class Scenario:
    name: str
    kind: str
    connections: int
    body: int
    unit: str


SCENARIOS = (
    Scenario("1 KiB", "json", 32, 1024, "requests per CPU-second"),
    Scenario("200 KiB", "json", 16, 200 * 1024, "requests per CPU-second"),
    Scenario("streams", "stream", 32, 1024, "CPU µs per chunk"),
)


@dataclass(frozen=True)
class Gateway:
    name: str
    port: int
    process: subprocess.Popen[bytes]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(*argv: object, core: int, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, *map(str, argv)],
        env={**os.environ, **environ},
        stderr=subprocess.DEVNULL if core == 0 else None,
    )
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(process.pid, {cores[core % len(cores)]})
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def settle(pid: int) -> None:
    """Wait until the gateway is idle, so that nothing falls on the next figure."""
    before = cpu_seconds(pid)
    for _ in range(20):
        time.sleep(0.1)
        now = cpu_seconds(pid)
        if now - before < 0.02:
            return
        before = now


def measure(
    gateway: Gateway, key: str, scenario: Scenario, seconds: float
) -> tuple[float, dict[str, float]]:
    settle(gateway.process.pid)
    before = cpu_seconds(gateway.process.pid)
    argv = [sys.executable, HERE / "load.py", gateway.port, key, scenario.kind]
    argv += [scenario.connections, scenario.body, seconds]
    cores = sorted(os.sched_getaffinity(0))
    client = subprocess.Popen(list(map(str, argv)), stdout=subprocess.PIPE)
    os.sched_setaffinity(client.pid, {cores[-1]})
    printed, _ = client.communicate(timeout=seconds + 60)
    settle(gateway.process.pid)
    used = cpu_seconds(gateway.process.pid) - before
    counts = json.loads(printed)
    if scenario.kind == "stream":
        return used * 1e6 / max(1, counts["chunks"]), counts
    return counts["requests"] / max(used, 1 / TICKS), counts


def start(stack: ExitStack, key: str) -> tuple[Gateway, Gateway]:
    vendor, bare, ours, admin = (free_port() for _ in range(4))
    stack.enter_context(running(HERE / "upstream.py", vendor, core=1))
    wait_for(vendor)
    reference = stack.enter_context(
        running(HERE / "bare.py", bare, f"http://127.0.0.1:{vendor}", core=0)
    )
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    config = folder / "routes.yaml"
    config.touch(0o600)
    config.write_text(CONFIG.format(port=vendor, hash=digest(key).hex()))
    sidecar = stack.enter_context(
        running(
            "-m", "sidecar", "serve", "--config", config, "--state", folder / "state",
            "--listen", f"127.0.0.1:{ours}", "--admin", f"127.0.0.1:{admin}",
            core=0, BENCH_KEY="sk-upstream",
        )
    )  # fmt: skip
    wait_for(bare)
    wait_for(ours)
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/readyz", timeout=5) as ready:
        assert ready.status == 200
    return Gateway("bare", bare, reference), Gateway("sidecar", ours, sidecar)


def run(rounds: int, seconds: float) -> dict[str, object]:
    key = mint()
    results: dict[str, dict[str, list[float]]] = {}
    faults = 0
    with ExitStack() as stack:
        gateways = start(stack, key)
        for gateway in gateways:  # connections, code paths and allocators get warm
            for scenario in SCENARIOS[:2]:
                measure(gateway, key, scenario, 0.5)
        for _ in range(rounds):
            for scenario in SCENARIOS:
                rows = results.setdefault(scenario.name, {"bare": [], "sidecar": []})
                for gateway in gateways:
                    figure, counts = measure(gateway, key, scenario, seconds)
                    rows[gateway.name].append(figure)
                    faults += int(counts["bad"] + counts["unmetered"])
        memory = {gateway.name: memory_mib(gateway.process.pid) for gateway in gateways}
    return {"results": results, "faults": faults, "memory_mib": memory}


def ratios(rows: dict[str, list[float]]) -> list[float]:
    return [ours / bare for ours, bare in zip(rows["sidecar"], rows["bare"], strict=True)]


def report(found: dict[str, object]) -> bool:
    """Print the table; whether every median is within the gate."""
    good = found["faults"] == 0
    print(f"{'':10}{'bare':>10}{'sidecar':>10}   ratio (min-max)   unit")
    for scenario in SCENARIOS:
        rows = found["results"][scenario.name]  # type: ignore[index]
        each = ratios(rows)
        middle = statistics.median(each)
        bare, ours = statistics.median(rows["bare"]), statistics.median(rows["sidecar"])
        print(
            f"{scenario.name:10}{bare:10.0f}{ours:10.0f}   {middle:.2f} "
            f"({min(each):.2f}-{max(each):.2f})   {scenario.unit}"
        )
        good &= middle <= 1 / GATE if scenario.kind == "stream" else middle >= GATE
    memory = ", ".join(f"{name} {mib:.0f} MiB" for name, mib in found["memory_mib"].items())  # type: ignore[attr-defined]
    print(f"memory after load: {memory}; answers not 200 or without usage: {found['faults']}")
    return good


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one measurement")
    parser.add_argument("--gate", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = run(options.rounds, options.seconds)
    if options.json:
        print(json.dumps(found))
        return
    good = report(found)
    if options.gate and not good:
        sys.exit("slower than the gate allows")


if __name__ == "__main__":
    main()
