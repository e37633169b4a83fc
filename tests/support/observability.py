"""The dashboards and rules of the repository, parsed for the tests."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from project_paths import ROOT
from promql import NONE, Labels, given

from sidecar.metrics.definitions import TABLE

CONFIG = ROOT / "config/prometheus.yml"
RULES = sorted((ROOT / "config/prometheus").glob("*.rules.yml"))
DASHBOARDS = sorted((ROOT / "config/grafana/dashboards").glob("*.json"))
CHOSEN = {"$__rate_interval": "30s", "$__range": "10m"}
"""What Grafana puts in the place of its variables; here, over a load of seconds."""


@dataclass(frozen=True)
class Asked:
    """One query of a dashboard. `expr` is as Prometheus gets it with everything chosen."""

    where: str
    expr: str
    legend: str
    type: str


def plain(expr: str) -> str:
    """A query of Grafana's with its variables filled in: All for the choices of the reader."""
    for name, value in CHOSEN.items():
        expr = expr.replace(name, value)
    return re.sub(r"\$\w+", ".*", expr)


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every panel with its dashboard's title, those of closed rows included; none of two has the
    same name."""
    for file in DASHBOARDS:
        dashboard = json.loads(file.read_text())
        for panel in dashboard["panels"]:
            for each in (panel, *panel.get("panels", ())):
                if each["type"] != "row":
                    yield dashboard["title"], each


def queries() -> list[Asked]:
    """Everything that the dashboards ask of Prometheus."""
    return [
        Asked(
            f"{title}, {panel['title']}, {target['refId']}",
            plain(target["expr"]),
            target.get("legendFormat", ""),
            panel["type"],
        )
        for title, panel in panels()
        for target in panel["targets"]
    ]


def documented() -> list[str]:
    """The queries that docs/metrics.md gives as examples."""
    text = (ROOT / "docs/metrics.md").read_text()
    asked = [part for block in re.findall(r"```promql\n(.*?)```", text, re.DOTALL)
             for part in re.sub(r"#.*", "", block).split("\n\n")]  # fmt: skip
    rule = re.findall(r"```yaml\n(- record: .*?)```", text, re.DOTALL)
    return [each.strip() for each in asked] + [yaml.safe_load(each)[0]["expr"] for each in rule]


def choices() -> dict[str, str]:
    """The variables of the dashboards, by name, as queries whose result has a line a value."""
    found = {}
    for file in DASHBOARDS:
        for variable in json.loads(file.read_text())["templating"]["list"]:
            if variable["type"] == "query":
                asked = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
                assert asked is not None, variable
                found[variable["name"]] = f"count by ({asked[2]}) ({plain(asked[1])})"
    return found


def rules() -> list[dict[str, Any]]:
    """Every rule of every group."""
    groups = [group for file in RULES for group in yaml.safe_load(file.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = [rule for rule in rules() if "alert" in rule]
RECORDED = {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}
FOREIGN: dict[str, Labels] = {
    "up": NONE,
    "scrape_duration_seconds": NONE,
    "scrape_samples_scraped": NONE,
    "process_start_time_seconds": NONE,
    "process_resident_memory_bytes": NONE,
    "process_cpu_seconds_total": NONE,
    "process_open_fds": NONE,
    "process_max_fds": NONE,
    "ALERTS": frozenset({"alertname", "alertstate", "severity"}),
}
"""What is not ours: of Prometheus itself, and of the process."""


def labels(name: str) -> Labels:
    """The labels of a metric, by the code's own table; AssertionError for one that is not there."""
    if name in FOREIGN:
        return FOREIGN[name]
    if name in RECORDED:
        return given(RECORDED[name], labels)
    stem, part = re.fullmatch(r"(.*?)(_bucket|_sum|_count)?", name).groups()  # type: ignore[union-attr]
    metric = TABLE.get(stem if part else name)
    assert metric is not None, f"there is no metric {name}"
    assert bool(part) == (metric.type == "histogram"), name
    return frozenset(metric.labels) | ({"le"} if part == "_bucket" else NONE)
