"""The longer benchmark, by hand: latency, many streams, memory, start-up, and streams while metrics
are scraped. About five minutes on a quiet machine; nothing here is gated.

Every figure is a median of rounds, in which the gateways take turns. "added" is what a gateway
adds to the same load straight to the vendor.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

from load import Load
from machine import memory_mib
from rig import LOOPS, Gateway, Rig

Row = dict[str, float]
"""Figures by name, in the unit that the name ends with."""


def latency(rig: Rig, gateway: Gateway, body: int) -> Row:
    """One client, one request after another."""
    load = Load(1, body, seconds=2.0)
    direct = rig.play(rig.vendor, load)
    used, outcome = rig.measure(gateway, load)
    check(gateway, outcome.bad)
    return {
        "added p50 ms": outcome.whole[0] - direct.whole[0],
        "p99 ms": outcome.whole[1],
        "CPU µs a call": used * 1e6 / outcome.requests,
    }


def throughput(rig: Rig, gateway: Gateway, connections: int, body: int) -> Row:
    """As many requests as it can."""
    used, outcome = rig.measure(gateway, Load(connections, body, seconds=2.0))
    check(gateway, outcome.bad)
    return {"requests per CPU-s": outcome.requests / used, "p50 ms": outcome.whole[0]}


def starts(rig: Rig, gateway: Gateway, count: int) -> Row:
    """Streams that all begin at once: when each gets its first byte."""
    load = Load(count, 1 << 10, chunks=5, pace=20, together=True)
    direct = rig.play(rig.vendor, load)
    _, outcome = rig.measure(gateway, load)
    check(gateway, outcome.bad + outcome.unmetered)
    return {
        "first byte added ms": outcome.first[0] - direct.first[0],
        "first byte p99 ms": outcome.first[1],
    }


def memory(rig: Rig, gateway: Gateway, calls: int) -> Row:
    """Memory after a tenth of the calls, and after all of them."""
    done, early = 0, 0.0
    while done < calls:
        outcome = rig.play(gateway.port, Load(32, 1 << 10, seconds=1.0))
        check(gateway, outcome.bad)
        done += outcome.requests
        if not early and done >= calls / 10:
            early = memory_mib(gateway.pid)
    return {"memory early MiB": early, "memory MiB": memory_mib(gateway.pid)}


def streams(rig: Rig, gateway: Gateway, count: int, scrape: bool = False) -> Row:  # noqa: FBT001
    """Paced streams, 50 chunks a second each; with `scrape`, metrics are read meanwhile."""
    load = Load(count, 1 << 10, chunks=150, pace=20)
    direct = rig.play(rig.vendor, load)
    with scraping(rig, gateway) if scrape and gateway.admin else not_scraping():
        used, outcome = rig.measure(gateway, load)
    check(gateway, outcome.bad + outcome.unmetered)
    return {
        "CPU µs a chunk": used * 1e6 / outcome.chunks,
        "first byte added ms": outcome.first[0] - direct.first[0],
        "chunk delay p50 ms": outcome.delay[0],
        "chunk delay p99 ms": outcome.delay[1],
        "memory MiB": memory_mib(gateway.pid),
    }


@contextmanager
def scraping(rig: Rig, gateway: Gateway) -> Iterator[None]:
    """Read metrics ten times a second, as no Prometheus does, until the block ends."""
    over = Event()

    def again() -> None:
        while not over.wait(0.1):
            rig.scrape(gateway)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(again)
        try:
            yield
        finally:
            over.set()
            running.result()


@contextmanager
def not_scraping() -> Iterator[None]:
    yield


def check(gateway: Gateway, bad: int) -> None:
    if bad:
        sys.exit(f"{gateway.name}: {bad} answers were not whole")


SCENARIOS: dict[str, Callable[[Rig, Gateway], Row]] = {
    "1 client, 1 KiB": lambda rig, gateway: latency(rig, gateway, 1 << 10),
    "1 client, 200 KiB": lambda rig, gateway: latency(rig, gateway, 200 << 10),
    "1 client, 2 MiB": lambda rig, gateway: latency(rig, gateway, 2 << 20),
    "32 clients, 1 KiB": lambda rig, gateway: throughput(rig, gateway, 32, 1 << 10),
    "16 clients, 200 KiB": lambda rig, gateway: throughput(rig, gateway, 16, 200 << 10),
    "1 stream": lambda rig, gateway: streams(rig, gateway, 1),
    "32 streams": lambda rig, gateway: streams(rig, gateway, 32),
    "256 streams": lambda rig, gateway: streams(rig, gateway, 256),
    "1000 streams": lambda rig, gateway: streams(rig, gateway, 1000),
    "32 starts at once": lambda rig, gateway: starts(rig, gateway, 32),
    "32 streams, scraped": lambda rig, gateway: streams(rig, gateway, 32, scrape=True),
}


def start_up(rig: Rig, make: Callable[[str], Gateway], name: str, rounds: int) -> Row:
    """From the start of the process to its first 200, and its memory then."""
    rows = []
    for number in range(rounds):
        gateway = make(f"{name}-{number}")
        rows.append({"start s": gateway.started, "idle memory MiB": memory_mib(gateway.pid)})
        rig.stop(gateway)
    return median(rows)


def median(rows: list[Row]) -> Row:
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def run(options: argparse.Namespace) -> dict[str, dict[str, Row]]:
    found: dict[str, dict[str, Row]] = {}
    with Rig(options.loop, tls=options.tls) as rig:
        found["start-up"] = {
            name: start_up(rig, make, name, options.rounds)
            for name, make in (("bare", rig.bare), ("sidecar", rig.sidecar))
        }
        gateways = [rig.bare(), rig.sidecar()]
        for gateway in gateways:
            throughput(rig, gateway, 32, 1 << 10)
        for name, scenario in SCENARIOS.items():
            if options.only not in name:
                continue
            rows: dict[str, list[Row]] = {gateway.name: [] for gateway in gateways}
            for number in range(options.rounds):
                for gateway in gateways if number % 2 else gateways[::-1]:
                    rows[gateway.name].append(scenario(rig, gateway))
            found[name] = {gateway: median(each) for gateway, each in rows.items()}
        if options.calls:
            found[f"{options.calls:,} calls"] = {
                gateway.name: memory(rig, gateway, options.calls) for gateway in gateways
            }
    return found


def as_text(found: dict[str, dict[str, Row]]) -> str:
    lines = [f"{'':42}{'bare':>9}{'sidecar':>9}   ratio"]
    for scenario, rows in found.items():
        for figure, bare in rows["bare"].items():
            ours = rows["sidecar"][figure]
            ratio = f"{ours / bare:7.2f}" if bare > 0 else "      –"
            lines.append(f"{scenario:21}{figure:21}{bare:9.2f}{ours:9.2f} {ratio}")
    return "\n".join(lines)


def main() -> None:
    if sys.platform != "linux":
        sys.exit("this needs Linux: it reads the CPU time of other processes")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of each scenario (5)")
    parser.add_argument("--only", default="", help="scenarios whose name holds this text")
    parser.add_argument(
        "--tls", action="store_true", help="TLS between the gateways and the vendor"
    )
    parser.add_argument("--calls", type=int, default=0, help="then so many calls each, for memory")
    parser.add_argument("--json", action="store_true", help="print JSON")
    loops = "; ".join(f"{name}: {what}" for name, what in LOOPS.items())
    parser.add_argument("--loop", choices=LOOPS, default="own", help=loops)
    options = parser.parse_args()
    found = run(options)
    print(json.dumps(found, indent=2) if options.json else as_text(found))


if __name__ == "__main__":
    main()
