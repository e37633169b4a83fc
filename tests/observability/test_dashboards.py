"""Dashboards, rules, documents and code use the same metrics."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_runner import address_in
from observability import (
    ALERTS,
    CONFIG,
    RECORDED,
    ROOT,
    RULES,
    documented,
    labels,
    panels,
    queries,
    rules,
)
from promql import given, metrics

from sidecar.api_keys import find_keys
from sidecar.cli import COMMANDS
from sidecar.metrics.definitions import TABLE

DOCUMENT = (ROOT / "docs/metrics.md").read_text()
NOT_SHOWN = {
    "sidecar_leases_granted_total": "attempts are shown by their verdict",
    "sidecar_shared_usage_pushed_timestamp_seconds": "the console's usage page shows old usage",
}
"""Metrics that stand in no panel, and why."""
UNITS = {"currencyUSD", "percentunit", "s", "short", "cpm", "bytes"}


def stem(name: str) -> str:
    return re.sub(r"_(bucket|sum|count)$", "", name) if name not in TABLE else name


def test_dashboard_files_match_the_code() -> None:
    """Made with Grafana's own SDK: what is no dashboard by its schema cannot be made."""
    argv = [sys.executable, ROOT / "tools/dashboards.py", "--check"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("asked", queries(), ids=lambda each: each.where)
def test_panel_queries_use_existing_metrics(asked: Any) -> None:
    there = given(asked.expr, labels)
    assert set(re.findall(r"{{(\w+)}}", asked.legend)) <= there


@pytest.mark.parametrize("rule", rules(), ids=lambda each: each.get("alert") or each["record"])
def test_rule_queries_use_existing_metrics(rule: dict[str, Any]) -> None:
    there = given(rule["expr"], labels)
    assert set(re.findall(r"\$labels\.(\w+)", str(rule.get("annotations")))) <= there
    if "record" in rule:
        by, metric, _ = rule["record"].split(":")
        assert by == "_".join(sorted(there, key=by.index))
        assert any(each.startswith(metric) for each in TABLE)


@pytest.mark.parametrize("expr", documented())
def test_example_queries_use_existing_metrics(expr: str) -> None:
    given(expr, labels)


def test_every_metric_has_a_panel_or_a_reason_for_none() -> None:
    shown = {stem(name) for asked in queries() for name in metrics(asked.expr)}
    assert set(TABLE) - shown == set(NOT_SHOWN)


@pytest.mark.parametrize("panel", [panel for _, panel in panels()], ids=lambda each: each["title"])
def test_panel_has_description_type_and_unit(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    assert panel["type"] in {"stat", "timeseries", "bargauge", "table", "state-timeline"}
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    if panel["type"] not in {"table", "state-timeline"}:
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    for target in panel["targets"]:
        assert target["datasource"] == panel["datasource"]
        assert target["instant"] == (panel["type"] in {"stat", "bargauge", "table"})


def test_panels_of_a_dashboard_do_not_overlap() -> None:
    seen: set[tuple[str, int, int]] = set()
    for title, panel in panels():
        at = panel["gridPos"]
        cells = {
            (title, x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & seen
        seen |= cells


@pytest.mark.parametrize("alert", ALERTS, ids=lambda each: str(each["alert"]))
def test_alert_has_severity_summary_and_documented_runbook(alert: dict[str, Any]) -> None:
    assert re.fullmatch(r"Sidecar[A-Z]\w+", alert["alert"])
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    assert set(alert["annotations"]) == {"summary", "runbook"}
    assert f"| `{alert['alert']}` | {alert['labels']['severity']} |" in DOCUMENT
    runbook = alert["annotations"]["runbook"]
    assert runbook.endswith(".")
    for panel in re.findall(r'dashboard "Sidecar", ([^)]+)', runbook):
        assert panel in (ROOT / "config/grafana/dashboards/sidecar.json").read_text()
    for command in re.findall(r"sidecar ([a-z]+)", runbook):
        assert command in COMMANDS


def test_every_recording_rule_is_documented() -> None:
    for name in RECORDED:
        assert f"`{name}`" in DOCUMENT


def test_prometheus_configuration_loads_the_rules_and_scrapes_sidecar() -> None:
    config = yaml.safe_load(CONFIG.read_text())
    (pattern,) = config["rule_files"]
    assert sorted(CONFIG.parent.glob(pattern)) == RULES
    (job,) = config["scrape_configs"]
    assert job["job_name"] == "sidecar"
    assert job["static_configs"] == [{"targets": ["127.0.0.1:8788"]}]


def test_grafana_provisioning_names_prometheus_and_the_dashboards() -> None:
    """The compose file is read here, not run: that needs a container engine."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert set(compose) == {"sidecar", "prometheus", "grafana"}
    for name in ("prometheus", "grafana"):
        assert compose[name]["network_mode"] == "service:sidecar", "all on one 127.0.0.1"
        assert re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+", compose[name]["image"]), "pinned"
    ports = compose["sidecar"]["ports"]
    assert all(each.startswith("127.0.0.1:") for each in ports), "for this machine alone"
    mounted = dict(
        each.removesuffix(":ro").split(":")
        for service in ("prometheus", "grafana")
        for each in compose[service]["volumes"]
    )
    for here in mounted:
        assert not here.startswith(".") or (ROOT / here).exists(), here
    provisioning = ROOT / "config/grafana/provisioning"
    (source,) = read(provisioning / "datasources/prometheus.yml")["datasources"]
    scraped = yaml.safe_load(CONFIG.read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scraped
    assert f"127.0.0.1:{source['url'].rpartition(':')[2]}:9090" in ports
    (provider,) = read(provisioning / "dashboards/sidecar.yml")["providers"]
    assert mounted["./config/grafana/dashboards"] == provider["options"]["path"]
    home = compose["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert Path(home).parent == Path(provider["options"]["path"])
    assert (ROOT / "config/grafana/dashboards" / Path(home).name).exists()


def test_first_start_of_the_container_writes_keys_and_serves(tmp_path: Path) -> None:
    """Its command, on this machine: the volume is a folder, and the port a free one of loopback."""
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["sidecar"]
    *shell, script = service["command"]
    script = script.replace("/config", str(tmp_path))
    script = script.replace("0.0.0.0:8787", "127.0.0.1:0").replace(
        "sidecar serve", "sidecar serve --admin 127.0.0.1:0"
    )
    env = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SIDECAR_CONFIG": f"{tmp_path}/routes.yaml",
        "SIDECAR_STATE": service["environment"]["SIDECAR_STATE"].replace("/config", str(tmp_path)),
    }
    logs = []
    for number in range(2):  # the second start finds the file
        log = tmp_path / f"log-{number}"
        with log.open("w") as out:
            process = subprocess.Popen([*shell, script], env=env, stdout=out, stderr=out)
        served = address_in(log, process)
        process.terminate()
        assert (process.wait(20), served.startswith("http://127.0.0.1:")) == (0, True)
        logs.append(log.read_text())
    (key,) = find_keys((tmp_path / "first-keys").read_bytes())
    assert (tmp_path / "first-keys").stat().st_mode & 0o777 == 0o600
    assert key not in "".join(logs)
    assert ["is written" in log for log in logs] == [True, False]


@pytest.mark.skipif(
    shutil.which("docker-compose") is None,
    reason="there is no docker-compose here: docker-compose.yml was read, not checked by its own",
)
def test_compose_file_is_valid() -> None:
    """Checked, not run."""
    argv = ["docker-compose", "--file", ROOT / "docker-compose.yml", "config", "--quiet"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(file.read_text())
    assert found["apiVersion"] == 1
    return found
