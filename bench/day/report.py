"""What the days say: a table for people, and whether the aims are met."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from day.account import Quotas, calm
from day.figures import Figures
from day.scenarios import Scenario

ENOUGH = 600.0
"""Seconds in which calls waited, or equal keys did so together, before an aim is judged by them."""
FEW = 20
"""429s that clients alone must meet before it counts how many fewer there are."""
TITLES = {"sidecar": "Sidecar", "fifo": "plain queue", "none": "no queue"}


@dataclass(frozen=True)
class Aim:
    """One aim in one scenario. `met` is None where there was nothing to judge by."""

    name: str
    met: bool | None
    figure: str


@dataclass(frozen=True)
class Result:
    """What came of one kind of day, by the way that was taken."""

    scenario: Scenario
    quotas: Quotas
    ways: Mapping[str, Figures]

    @property
    def quiet(self) -> bool:
        """Whether the vendor had no bad minutes: what is used in those says nothing of us."""
        return self.scenario.trouble is calm

    def used(self, way: str) -> float | None:
        """The part of the quota that was used, if calls waited for long enough."""
        figures = self.ways[way]
        return figures.used if self.quiet and figures.demand >= ENOUGH else None

    def fairness(self, way: str) -> float | None:
        """Jain's index, if equal keys waited together for long enough."""
        figures = self.ways[way]
        return figures.fairness if self.quiet and figures.contested >= ENOUGH else None

    def aims(self) -> list[Aim]:
        """What Sidecar is held to."""
        ours, none = self.ways["sidecar"], self.ways["none"]
        interactive = ours.waits["interactive"][1]
        fewer = ours.throttled * 20 <= none.throttled
        counts = none.throttled >= FEW or ours.throttled > 0
        return [
            Aim("no failed call", ours.failed == 0, f"{ours.failed}"),
            Aim(
                "20 times fewer 429s",
                fewer if counts else None,
                f"{ours.throttled} for {none.throttled}",
            ),
            Aim(
                "97% of the quota used",
                None if (used := self.used("sidecar")) is None else used >= 0.97,
                _percent(used),
            ),
            Aim(
                "interactive p99 within one background call",
                interactive <= ours.service if self.quiet else None,
                f"{interactive:.1f} s for {ours.service:.1f} s",
            ),
            Aim(
                "fairness 0.98",
                None if (fairness := self.fairness("sidecar")) is None else fairness >= 0.98,
                _index(fairness),
            ),
        ]

    def as_data(self) -> dict[str, object]:
        """Everything, for programs."""
        return {
            "scenario": self.scenario.name,
            "says": self.scenario.says,
            "quotas": dict(self.quotas),
            "ways": {name: asdict(figures) for name, figures in self.ways.items()},
            "aims": [asdict(aim) for aim in self.aims()],
        }


HEAD = (
    "way", "calls", "failed", "429s", "bad answers", "quota used",
    "interactive", "normal", "background", "fairness",
)  # fmt: skip


def table(result: Result) -> list[str]:
    """One kind of day, for a terminal."""
    rows = [HEAD, *rows_of(result)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    quotas = ", ".join(f"{amount:,.0f} {name}" for name, amount in result.quotas.items())
    title = f"{result.scenario.name}: {result.scenario.says} ({quotas} a minute)"
    return [
        title.replace(" concurrency a minute", " at one time"),
        *lines,
        *map(_line, result.aims()),
        "",
    ]


def markdown(results: Sequence[Result]) -> Iterator[str]:
    """All of it as one table for a page."""
    yield "| day | " + " | ".join(HEAD) + " |"
    yield "|---|---|" + "--:|" * (len(HEAD) - 1)
    for result in results:
        for number, row in enumerate(rows_of(result)):
            name = f"**{result.scenario.name}**" if number == 0 else ""
            yield f"| {name} | " + " | ".join(row) + " |"


def rows_of(result: Result) -> list[tuple[str, ...]]:
    """One row for each way."""
    return [
        (
            TITLES[way], f"{each.calls:,}", f"{each.failed:,}", f"{each.throttled:,}",
            f"{each.troubled:,}", _percent(result.used(way)),
            *(f"{half:.1f} / {most:.1f}" for half, most in each.waits.values()),
            _index(result.fairness(way)),
        )
        for way, each in result.ways.items()
    ]  # fmt: skip


def _line(aim: Aim) -> str:
    verdict = {True: "met", False: "MISSED", None: "nothing to judge by"}[aim.met]
    return f"  {aim.name}: {verdict} ({aim.figure})"


def _percent(part: float | None) -> str:
    return "–" if part is None else f"{part:.1%}".replace("%", " %")


def _index(figure: float | None) -> str:
    return "–" if figure is None else f"{figure:.3f}"
