"""A laptop's day, three ways: Sidecar's scheduler, a plain queue, and every client by itself.

Ten agents share one vendor's account for eight hours of virtual time, in several kinds of days. The
scheduler is the real one; the vendor, the clock and the agents are not. Run:
`python bench/schedule.py`; docs/scheduling.md has the table and says how to read it.
"""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests/support"))

from day.figures import Figures
from day.report import Result, markdown, table
from day.scenarios import SCENARIOS, Scenario
from day.simulation import WAYS, play, quotas_for

HOURS, QUICK = 8.0, 0.5


def results(scenarios: Sequence[Scenario], seed: int, hours: float) -> Iterator[Result]:
    """Every kind of day, every way; on all cores."""
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        quotas = list(pool.map(quotas_for, scenarios, *_same(len(scenarios), seed, hours)))
        played = [
            [pool.submit(play, scenario, quota, way, seed, hours) for way in WAYS]
            for scenario, quota in zip(scenarios, quotas, strict=True)
        ]
        for scenario, quota, futures in zip(scenarios, quotas, played, strict=True):
            ways: dict[str, Figures] = {
                way: future.result() for way, future in zip(WAYS, futures, strict=True)
            }
            yield Result(scenario, quota, ways)


def _same(times: int, *values: float) -> list[list[float]]:
    return [[value] * times for value in values]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 when an aim is missed and that was asked for."""
    names = [each.name for each in SCENARIOS]
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", action="append", choices=names, help="only this one")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is drawn")
    parser.add_argument("--hours", type=float, default=HOURS, help="of each day")
    parser.add_argument("--quick", action="store_true", help=f"days of {QUICK * 60:.0f} minutes")
    parser.add_argument("--gate", action="store_true", help="exit 1 when an aim is missed")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="every figure, for programs")
    shape.add_argument("--markdown", action="store_true", help="one table for a page")
    options = parser.parse_args(arguments)
    chosen = [each for each in SCENARIOS if each.name in (options.scenario or names)]
    hours = QUICK if options.quick else options.hours
    found: list[Result] = []
    for result in results(chosen, options.seed, hours):
        found.append(result)
        if not (options.json or options.markdown):
            print("\n".join(table(result)), flush=True)
    if options.json:
        print(json.dumps([result.as_data() for result in found], indent=1))
    if options.markdown:
        print("\n".join(markdown(found)))
    missed = any(aim.met is False for result in found for aim in result.aims())
    return int(options.gate and missed)


if __name__ == "__main__":
    sys.exit(main())
