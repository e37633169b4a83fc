"""What `full.py` found, as text, Markdown, JSON, and lines of JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain

from scenarios import Row


def median(rows: list[Row]) -> Row:
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


@dataclass(slots=True)
class Report:
    """The rows of each round, by scenario and gateway. `names` are those of the gateways, the
    reference first."""

    names: list[str]
    found: dict[str, dict[str, list[Row]]] = field(default_factory=dict)

    def add(self, scenario: str, gateway: str, row: Row) -> None:
        """Add the row of a round."""
        self.found.setdefault(scenario, {}).setdefault(gateway, []).append(row)

    def medians(self) -> dict[str, dict[str, Row]]:
        return {
            scenario: {gateway: median(each) for gateway, each in rows.items()}
            for scenario, rows in self.found.items()
        }

    def _cells(self) -> Iterator[list[str]]:
        """Yield a line for each figure: scenario, figure, one of each gateway, and the ratios of
        all but the reference to it."""
        for scenario, rows in self.medians().items():
            for figure in dict.fromkeys(chain.from_iterable(rows.values())):
                values = [rows.get(name, {}).get(figure) for name in self.names]
                cells = ["–" if value is None else f"{value:,.2f}" for value in values]
                ratios = [_ratio(values[0], value) for value in values[1:]]
                yield [scenario, figure, *cells, *ratios]

    def _heads(self) -> list[str]:
        return ["", "", *self.names, *(f"{name}/{self.names[0]}" for name in self.names[1:])]

    def as_text(self) -> str:
        lines = []
        for first, second, *cells in (self._heads(), *self._cells()):
            wide = "".join(f"{cell:>{max(11, len(head) + 2)}}" for cell, head in
                           zip(cells, self._heads()[2:], strict=True))  # fmt: skip
            lines.append(f"{first:21}{second:23}{wide}")
        return "\n".join(lines)

    def as_markdown(self) -> str:
        heads = ["scenario", "figure", *self._heads()[2:]]
        rule = ["---", "---", *["---:"] * (len(heads) - 2)]
        return "\n".join(f"| {' | '.join(line)} |" for line in (heads, rule, *self._cells()))

    def as_json(self) -> str:
        return json.dumps(self.medians(), indent=2)

    def as_lines(self) -> Iterator[str]:
        """Yield each figure of each round as a line of JSON."""
        for scenario, rows in self.found.items():
            for gateway, rounds in rows.items():
                for number, row in enumerate(rounds):
                    for figure, value in row.items():
                        yield json.dumps({
                            "scenario": scenario, "gateway": gateway, "round": number,
                            "figure": figure, "value": value,
                        })  # fmt: skip


def _ratio(reference: float | None, value: float | None) -> str:
    if value is None or reference is None or reference <= 0:
        return "–"
    return f"{value / reference:.2f}"
