"""How much Sidecar costs, as ratios to a bare aiohttp proxy in the same interleaved run.

Requests per CPU-second: more is better. CPU per streamed chunk: less is better. The figures are
the kernel's account of the gateway's process, so that neighbours disturb little; the rounds show
how much they do. About a minute. How to read it stands in bench/README.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import dataclass, field

from load import Load, Outcome
from machine import memory_mib
from rig import LOOPS, PYTHON, Gateway, Rig

PACE = 20
"""Milliseconds between the chunks of a stream: what a fast model gives."""
GOAL, REACHED = "goal", "reached"
SHARE = 0.8
"""Of what was reached, that a change must leave: the noise of a shared machine is less."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """`goal` is a ratio to bare, and `reached` the one since the latest change that made it better,
    on the machine where that is least; of costs, less is better. In a round the gateways take
    `turns` turns of `seconds` each: short ones, but streams begin anew each time."""

    name: str
    connections: int
    body: int
    goal: float
    reached: float
    turns: int = 7
    seconds: float = 0.2
    cost: bool = False

    @property
    def unit(self) -> str:
        return "CPU µs per chunk" if self.cost else "requests per CPU-second"

    def load(self) -> Load:
        if self.cost:
            chunks = round(self.seconds * 1000 / PACE)
            return Load(self.connections, self.body, chunks=chunks, pace=PACE)
        return Load(self.connections, self.body, seconds=self.seconds)

    def figure(self, used: float, outcomes: list[Outcome]) -> float:
        """The figure that `used` CPU seconds make of a round."""
        if self.cost:
            return used * 1e6 / max(1, sum(outcome.chunks for outcome in outcomes))
        return sum(outcome.requests for outcome in outcomes) / used


SCENARIOS = (
    Scenario("1 KiB", 32, 1 << 10, 1.3, 1.65),
    Scenario("200 KiB", 16, 200 << 10, 0.9, 1.13),
    Scenario("streams", 32, 1 << 10, 0.8, 0.78, turns=4, seconds=0.8, cost=True),
)


@dataclass(slots=True)
class Result:
    """The figures of both gateways, a pair a round."""

    scenario: Scenario
    bare: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        return [ours / bare for ours, bare in zip(self.ours, self.bare, strict=True)]

    def passes(self, gate: str) -> bool:
        """Whether the median is no worse than the goal, or than `SHARE` of what was reached."""
        middle, of = statistics.median(self.ratios), self.scenario
        bound, share = (of.goal, 1.0) if gate == GOAL else (of.reached, SHARE)
        return middle <= bound / share if of.cost else middle >= bound * share


@dataclass(slots=True)
class Report:
    """A whole run. `bad`: answers that were not a whole 200; `unmetered`: streams without usage."""

    name: str
    results: list[Result]
    memory_mib: dict[str, float] = field(default_factory=dict)
    bad: int = 0
    unmetered: int = 0

    def passes(self, gate: str) -> bool:
        """Whether every answer came through whole, and every median passes this gate."""
        whole = not self.bad and not self.unmetered
        return whole and all(each.passes(gate) for each in self.results)

    def as_text(self) -> str:
        lines = [f"{'':9}{'bare':>8}{self.name:>9}   ratio (min–max)     goal"]
        for each in self.results:
            ratios, better = each.ratios, "<=" if each.scenario.cost else ">="
            lines.append(
                f"{each.scenario.name:9}{statistics.median(each.bare):8.0f}"
                f"{statistics.median(each.ours):9.0f}   {statistics.median(ratios):.2f} "
                f"({min(ratios):.2f}–{max(ratios):.2f})   {better} {each.scenario.goal:.2f}   "
                f"{each.scenario.unit}"
            )
        memory = ", ".join(f"{name} {mib:.0f} MiB" for name, mib in self.memory_mib.items())
        lines.append(f"memory after load: {memory}")
        lines.append(f"answers that were no whole 200: {self.bad}, no usage: {self.unmetered}")
        return "\n".join(lines)

    def as_json(self) -> str:
        figures = {
            each.scenario.name: {
                "unit": each.scenario.unit, "bare": each.bare, self.name: each.ours,
                "ratios": each.ratios, "median": statistics.median(each.ratios),
                "goal": each.scenario.goal, "reached": each.passes(GOAL),
            }
            for each in self.results
        }  # fmt: skip
        whole = {
            "scenarios": figures, "memory_mib": self.memory_mib, "bad": self.bad,
            "unmetered": self.unmetered, "reached": self.passes(GOAL),
        }  # fmt: skip
        return json.dumps(whole, indent=2)


def run(options: argparse.Namespace) -> Report:
    with Rig(options.loop, python=options.python) as rig:
        bare = rig.bare()
        other = rig.bare("control") if options.control else rig.sidecar()
        report = Report(other.name, [Result(scenario) for scenario in SCENARIOS])
        for result in report.results:  # connections, code paths and allocators get warm
            rig.compare((bare, other), result.scenario.load(), 3)
        for _ in range(options.rounds):
            for result in report.results:
                play(rig, (bare, other), result, report)
        report.memory_mib = {g.name: memory_mib(g.pid) for g in (bare, other)}
    return report


def play(rig: Rig, pair: tuple[Gateway, Gateway], result: Result, report: Report) -> None:
    """One round of one scenario."""
    scenario = result.scenario
    measured = rig.compare(pair, scenario.load(), scenario.turns)
    for (used, outcomes), figures in zip(measured, (result.bare, result.ours), strict=True):
        figures.append(scenario.figure(used, outcomes))
        report.bad += sum(outcome.bad for outcome in outcomes)
        report.unmetered += sum(outcome.unmetered for outcome in outcomes)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4, help="a quarter of a minute each (4)")
    parser.add_argument(
        "--gate",
        choices=(GOAL, REACHED),
        nargs="?",
        const=GOAL,
        help=f"exit 1 when a median is worse than its goal, or than {SHARE} of what was reached",
    )
    parser.add_argument("--json", action="store_true", help="print every figure as JSON")
    loops = "; ".join(f"{name}: {what}" for name, what in LOOPS.items())
    parser.add_argument("--loop", choices=LOOPS, default="own", help=loops)
    parser.add_argument("--python", action="store_true", help=PYTHON)
    parser.add_argument(
        "--control", action="store_true", help="bare against bare: what the noise is"
    )
    return parser.parse_args()


def main() -> None:
    if sys.platform != "linux":
        sys.exit("this needs Linux: it reads the CPU time of other processes")
    options = read_options()
    report = run(options)
    print(report.as_json() if options.json else report.as_text())
    if report.bad or report.unmetered:
        sys.exit("not every answer came through whole")
    if options.gate is not None and not report.passes(options.gate):
        sys.exit("slower than the goals" if options.gate == GOAL else "slower than it was")


if __name__ == "__main__":
    main()
