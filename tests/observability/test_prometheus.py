"""Dashboards and rules over a real Prometheus that scrapes a real sidecar under a varied load.

Grafana is not run: what its panels ask is asked here of Prometheus, with everything chosen.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from observability import ALERTS, CONFIG, RECORDED, RULES, choices, documented, queries
from real_prometheus import Prometheus, needs_prometheus, prometheus
from real_redis import needs_redis
from running_sidecar import Sidecar, parse, request, talk
from varied_load import KEYS, TOKEN, loaded

pytestmark = [needs_prometheus, needs_redis, pytest.mark.timeout(240)]
DAY = "[1d]"
RAISED = {
    "SidecarBudgetSpent", "SidecarCallsUnpriced", "SidecarUsageUnknown", "SidecarPausedLong",
    "SidecarProviderCooling", "SidecarProviderUnavailable", "SidecarCallsFailing",
    "SidecarReloadFailed", "SidecarPluginFails",
}  # fmt: skip


@dataclass
class Seen:
    """The last answers of Prometheus: results by expression, rules by name, health by job."""

    calls: int = 0
    results: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    rules: dict[str, dict[str, Any]] = field(default_factory=dict)
    up: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    page: bytes = b""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """Run one load and one Prometheus for all tests of this module, which only read."""
    return asyncio.run(look(tmp_path_factory.mktemp("prometheus")))


async def look(folder: Path) -> Seen:
    found = Seen()
    async with loaded(folder) as proxy:
        target = f"127.0.0.1:{proxy.admin_port}"
        async with prometheus(folder, target, folder / "token") as server:
            await server.until("every call is scraped", lambda: scraped(server, proxy))
            await server.until("every rule was evaluated", lambda: evaluated(server, found))
            exprs = [each.expr for each in queries()] + [rule["expr"] for rule in ALERTS]
            for expr in {*exprs, *RECORDED, *choices().values(), *SUMS, *documented()}:
                found.results[expr] = await server.query(expr)
            for each in (await server.ask("targets"))["activeTargets"]:
                found.up[each["labels"]["job"]] = each["health"]
                found.errors[each["labels"]["job"]] = each["lastError"]
            found.calls = len(proxy.records)
            wanted = request("GET", "/metrics", {"Authorization": f"Bearer {TOKEN}"})
            found.page = parse(await talk(proxy.admin_port, wanted)).body
    return found


async def scraped(server: Prometheus, proxy: Sidecar) -> bool:
    """Return whether two scrapes in a row contain every call."""
    known = await server.value("sum(min_over_time(sidecar_calls_total[2s]))")
    return known == len(proxy.records)


async def evaluated(server: Prometheus, found: Seen) -> bool:
    groups = (await server.ask("rules"))["groups"]
    found.rules = {rule["name"]: rule for group in groups for rule in group["rules"]}
    fresh = all(rule["health"] != "unknown" for rule in found.rules.values())
    return fresh and raised(found) >= RAISED and all([await server.query(n) for n in RECORDED])


def raised(found: Seen) -> set[str]:
    return {name for name, rule in found.rules.items() if rule.get("alerts")}


@pytest.mark.parametrize("asked", queries(), ids=lambda each: each.where)
def test_panel_query_returns_data(seen: Seen, asked: Any) -> None:
    values = [each["value"][1] for each in seen.results[asked.expr]]
    assert any(value != "NaN" for value in values), asked.expr


@pytest.mark.parametrize("expr", documented())
def test_example_query_returns_data(seen: Seen, expr: str) -> None:
    """Some ask for what is seldom so, as stale keys: those may well give nothing."""
    assert seen.results[expr] or re.search(r" (>|==) [\d *]+$", expr)


@pytest.mark.parametrize("name", choices())
def test_dashboard_variable_has_values(seen: Seen, name: str) -> None:
    assert len(seen.results[choices()[name]]) >= 3


@pytest.mark.parametrize("name", RECORDED)
def test_every_recording_rule_has_data(seen: Seen, name: str) -> None:
    assert any(each["value"][1] != "NaN" for each in seen.results[name])
    assert (seen.rules[name]["health"], seen.rules[name].get("lastError")) == ("ok", None)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda each: str(each["alert"]))
def test_every_alert_is_evaluated_without_an_error(seen: Seen, alert: dict[str, Any]) -> None:
    rule = seen.rules[alert["alert"]]
    assert (rule["health"], rule.get("lastError")) == ("ok", None)


def test_alerts_of_this_load_are_raised(seen: Seen) -> None:
    """Raised, or about to be when it lasts; no other, but what a busy machine may cause."""
    assert raised(seen) - {"SidecarLoopHeldUp", "SidecarDown"} == RAISED


SUMS = (
    f"sum(max_over_time(sidecar_calls_total{DAY}) - min_over_time(sidecar_calls_total{DAY}))",
    f"sum(max_over_time(sidecar_answers_total{DAY}) - min_over_time(sidecar_answers_total{DAY}))",
    f"sum(max_over_time(sidecar_call_duration_seconds_count{DAY})"
    f" - min_over_time(sidecar_call_duration_seconds_count{DAY}))",
    "sum(sidecar_calls_total)",
)


@pytest.mark.parametrize("expr", SUMS, ids=["calls", "answers", "durations", "the counter itself"])
def test_increase_over_the_load_counts_every_call(seen: Seen, expr: str) -> None:
    """Also those before the first scrape, and the first of each key and model."""
    ((_, value),) = [each["value"] for each in seen.results[expr]]
    assert float(value) == seen.calls > 25


def test_scrape_without_the_token_is_rejected(seen: Seen) -> None:
    assert seen.up == {"sidecar": "up", "stranger": "down"}
    assert "401" in seen.errors["stranger"]


def test_metrics_page_passes_promtool(seen: Seen) -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=seen.page, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert b'key="a \\"quoted\\" name"' in seen.page
    assert len(KEYS) == seen.page.count(b"\nsidecar_key_info{")


@pytest.mark.parametrize("argv", [["config", CONFIG], ["rules", *RULES]], ids=["config", "rules"])
def test_rules_and_configuration_pass_promtool(argv: list[Any]) -> None:
    done = subprocess.run(["promtool", "check", *argv], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b""), done.stdout
