"""The longer benchmark, by hand: latency, many streams, memory, start-up, dialects, large files,
streams while metrics are scraped, and what single features add. About a quarter of an hour on a
quiet machine; nothing here is gated.

Every figure is a median of rounds, in which the gateways take turns. "added" is what a gateway
adds to the same load straight to the vendor.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from machine import memory_mib
from report import Report
from rig import LOOPS, PYTHON, Gateway, Rig
from scenarios import OF_DIALECTS, OF_SIDECAR, SCENARIOS, SHORT, is_meant, memory, throughput


def start_ups(rig: Rig, report: Report, rounds: int) -> None:
    """From the start of the process to its first 200, and its memory then."""
    for name, make in (("bare", rig.bare), ("sidecar", rig.sidecar)):
        for number in range(rounds):
            gateway = make(f"{name}-{number}")
            row = {"start s": gateway.started, "idle memory MiB": memory_mib(gateway.pid)}
            report.add("start-up", name, row)
            rig.stop(gateway)


def compare(rig: Rig, gateways: list[Gateway], report: Report, options: argparse.Namespace) -> None:
    """Play the scenarios in which gateways take turns."""
    for gateway in gateways:
        throughput(rig, gateway, 32, 1 << 10)
    for name, scenario in (SCENARIOS | OF_DIALECTS).items():
        if not is_meant(options.only, name):
            continue
        turns = gateways[:2] if name in OF_DIALECTS else gateways
        for number in range(options.rounds):
            for gateway in turns if number % 2 else turns[::-1]:
                report.add(name, gateway.name, scenario(rig, gateway))
    for gateway in gateways if options.calls else ():
        row = memory(rig, gateway, options.calls)
        report.add(f"{options.calls:,} calls", gateway.name, row)


def run(options: argparse.Namespace) -> Report:
    with Rig(
        options.loop, tls=options.tls, vendor=options.vendor, scale=options.scale,
        python=options.python,
    ) as rig:  # fmt: skip
        peers = [
            rig.peer(
                name,
                port,
                pid,
                dict(options.peer_key).get(name, ""),
                [line for of, line in options.peer_header if of == name],
            )
            for name, (port, pid) in options.peer
        ]
        report = Report(["bare", "sidecar", *(peer.name for peer in peers)])
        if options.only in "start-up":
            start_ups(rig, report, options.rounds)
        if options.calls or any(
            is_meant(options.only, name) for name in (*SCENARIOS, *OF_DIALECTS)
        ):
            sidecar = rig.sidecar(config=rig.config(tuple(rig.keys)))
            compare(rig, [rig.bare(), sidecar, *peers], report, options)
        for name, scenario in OF_SIDECAR.items():
            for number in range(options.rounds if is_meant(options.only, name) else 0):
                report.add(name, "sidecar", scenario(rig, number))
    return report


def named(text: str) -> tuple[str, str]:
    """Read NAME=VALUE."""
    name, _, value = text.partition("=")
    return name, value


def peer(text: str) -> tuple[str, tuple[int, int]]:
    """Read NAME=PORT:PID."""
    name, value = named(text)
    port, _, pid = value.partition(":")
    return name, (int(port), int(pid))


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--rounds", type=int, default=5, help="of each scenario (5)")
    short = ", ".join(SHORT)
    add("--only", default="", help=f"scenarios whose name holds this text, or one of {short}")
    add("--tls", action="store_true", help="TLS between the gateways and the vendor")
    add("--calls", type=int, default=0, help="then so many calls each, for memory")
    add("--scale", type=float, default=1.0, help="how much of each load: 0.05 is a trial (1)")
    add("--peer", type=peer, action="append", default=[], metavar="NAME=PORT:PID",
        help="a gateway that already runs, see bench/peers.md")  # fmt: skip
    again = partial(add, type=named, action="append", default=[])
    again("--peer-key", metavar="NAME=KEY", help="the key that it wants")
    again("--peer-header", metavar="NAME=LINE", help="a header that it wants, again for more")
    add("--vendor", type=int, default=0, metavar="PORT", help="where the vendor listens (any)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the medians as JSON")
    form.add_argument("--markdown", action="store_true", help="print a Markdown table")
    add("--jsonl", type=Path, metavar="FILE", help="write each figure of each round, a line each")
    loops = "; ".join(f"{name}: {what}" for name, what in LOOPS.items())
    add("--python", action="store_true", help=PYTHON)
    add("--loop", choices=LOOPS, default="own", help=loops)
    return parser.parse_args()


def main() -> None:
    if sys.platform != "linux":
        sys.exit("this needs Linux: it reads the CPU time of other processes")
    options = read_options()
    report = run(options)
    if options.jsonl:
        options.jsonl.write_text("".join(f"{line}\n" for line in report.as_lines()))
    if options.json:
        print(report.as_json())
    else:
        print(report.as_markdown() if options.markdown else report.as_text())


if __name__ == "__main__":
    main()
