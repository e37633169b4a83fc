"""The benchmark detects bad answers, missing usage and a gateway that is too slow."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from project_paths import ROOT

BENCH = ROOT / "bench"
MODULES = [file.stem for file in BENCH.glob("*.py")]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads the CPU time of processes")


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of bench/, whose modules import each other by their plain names."""
    monkeypatch.syspath_prepend(str(BENCH))

    def load(name: str) -> ModuleType:
        return __import__(name)

    yield load
    for name in MODULES:
        sys.modules.pop(name, None)


def test_every_answer_of_a_gateway_is_counted_and_checked(bench: Any) -> None:
    load = bench("load").Load
    with bench("rig").Rig("asyncio") as rig:
        gateway = rig.sidecar()
        used, outcome = rig.measure(gateway, load(2, 1 << 10, seconds=0.2))
        assert used > 0
        assert outcome.requests > 2
        assert (outcome.bad, outcome.unmetered) == (0, 0)
        streamed = rig.play(gateway.port, load(3, 1 << 10, chunks=5, pace=2))
        assert (streamed.requests, streamed.chunks) == (3, 3 * (5 + 3))
        assert (streamed.bad, streamed.unmetered) == (0, 0)
        assert 0 < streamed.delay[0] < streamed.whole[1] * 10


def test_wire_alone_passes_calls_on(bench: Any) -> None:
    load = bench("load").Load
    with bench("rig").Rig("asyncio") as rig:
        wire = rig.wire()
        outcome = rig.play(wire.port, load(2, 1 << 10, seconds=0.2))
        streamed = rig.play(wire.port, load(2, 1 << 10, chunks=5, pace=2))
    assert (outcome.bad, streamed.bad) == (0, 0)
    assert (streamed.requests, streamed.chunks) == (2, 2 * (5 + 3))


def test_scenarios_of_dialects_and_of_large_files_give_figures(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenarios = bench("scenarios")
    monkeypatch.setattr(scenarios, "KEYS", 20)
    monkeypatch.setattr(scenarios, "SCRAPED", (3, 2))
    with bench("rig").Rig("asyncio", scale=0.05) as rig:
        gateway = rig.sidecar(config=rig.config(tuple(rig.keys)))
        # A peer is whatever runs already; this one has another key, and events that may be others.
        peer = rig.peer("peer", gateway.port, gateway.pid, rig.key, ["x-any: 1"])
        rows = [scenario(rig, gateway) for scenario in scenarios.OF_DIALECTS.values()]
        rows.append(scenarios.streams(rig, peer, 2))
        rows += [scenario(rig, 0) for scenario in scenarios.OF_SIDECAR.values()]
    assert all(value > 0 for row in rows for name, value in row.items() if name != "CPU s")


def test_options_name_peers_and_the_report_is_written_as_asked(
    bench: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full, file = bench("full"), tmp_path / "figures.jsonl"
    argv = ["full.py", "--only=scrape", "--rounds=2", "--scale=0.05", "--markdown"]
    monkeypatch.setattr(sys, "argv", [*argv, f"--jsonl={file}", "--peer=a=1:2", "--peer-key=a=k=1"])
    options = full.read_options()
    assert (options.peer, options.peer_key) == ([("a", (1, 2))], [("a", "k=1")])
    rows = {"scrape": lambda _, number: {"ms": 2.0 + number}}
    monkeypatch.setattr(full, "SCENARIOS", {})
    monkeypatch.setattr(full, "OF_SIDECAR", rows)
    monkeypatch.setattr(sys, "argv", [*argv, f"--jsonl={file}"])
    full.main()
    assert "| scrape | ms | – | 2.50 | – |" in capsys.readouterr().out
    assert [json.loads(line)["value"] for line in file.read_text().splitlines()] == [2.0, 3.0]


def test_report_has_every_figure_and_ratios_to_the_first_gateway(bench: Any) -> None:
    report = bench("report").Report(["bare", "sidecar", "peer"])
    for gateway, values in {"bare": (2.0, 2.0, 9.0), "sidecar": (4.0, 5.0, 6.0)}.items():
        for value in values:
            report.add("any", gateway, {"ms": value})
    report.add("alone", "sidecar", {"MiB": 1.0})
    assert report.as_markdown().splitlines()[2:] == [
        "| any | ms | 2.00 | 5.00 | – | 2.50 | – |",
        "| alone | MiB | – | 1.00 | – | – | – |",
    ]
    assert [line.split() for line in report.as_text().splitlines()][1] == [
        "any", "ms", "2.00", "5.00", "–", "2.50", "–"
    ]  # fmt: skip
    lines = [json.loads(line) for line in report.as_lines()]
    assert lines[2] == {
        "scenario": "any", "gateway": "bare", "round": 2, "figure": "ms", "value": 9.0
    }  # fmt: skip
    assert len(lines) == 7


@pytest.mark.parametrize(
    ("script", "options", "last"),
    [("books.py", ["--calls=2000"], "why "), ("leases.py", ["--times=5"], "goal: ")],
)
def test_measures_of_parts_run(script: str, options: list[str], last: str) -> None:
    found = subprocess.run(
        [sys.executable, BENCH / script, *options],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert found.stdout.splitlines()[-1].startswith(last)


def test_warm_call_is_counted_by_module() -> None:
    found = subprocess.run(
        [sys.executable, BENCH / "warm_call.py", "--all"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    counts = [line.split(maxsplit=1) for line in found.stdout.splitlines()]
    by_module = {name: float(count) for count, name in counts}
    assert by_module["sidecar/proxy/handler.py"] > 5
    assert 100 < by_module["calls of own functions"] < 1000
    assert 10 < by_module["modules"] < by_module["switches between modules"]


@pytest.mark.parametrize(
    ("chunks", "extra", "fault"),
    [(0, "status=500", "bad"), (5, "status=500", "bad"), (5, "usage=0", "unmetered")],
)
def test_bad_answers_and_missing_usage_are_reported(
    bench: Any, chunks: int, extra: str, fault: str
) -> None:
    load = bench("load").Load
    with bench("rig").Rig("asyncio") as rig:
        outcome = rig.play(rig.vendor, load(2, 1 << 10, seconds=0.1, chunks=chunks, extra=extra))
    assert getattr(outcome, fault) >= 2


@pytest.mark.parametrize(("most", "status"), [("1000", 0), ("0", 1)], ids=["in time", "too slow"])
def test_time_of_a_scrape_is_reported_and_gated(most: str, status: int) -> None:
    argv = [sys.executable, BENCH / "metrics_render.py", "--keys=3", "--models=2", "--scrapes=2"]
    done = subprocess.run([*argv, "--most", most], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (status, "")
    assert re.search(r"^loop time of one scrape after 6 calls: best \d", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("size", [1 << 10, 200 << 10])
@pytest.mark.parametrize("first", [True, False])
def test_bodies_have_the_size_asked_for_and_the_model_where_asked(
    bench: Any, size: int, first: bool
) -> None:
    body = bench("bodies").agent_body(size, streaming=True, model_first=first)
    assert len(body) == size
    assert (body.index(b'"model"') < 100) is first
    assert (body.index(b'"model"') > len(body) - 100) is not first


@pytest.mark.parametrize(
    ("cost", "bare", "ours", "reached"),
    [
        (False, [100, 100, 100], [121, 121, 10], True),
        (False, [100, 100, 100], [119, 119, 900], False),
        (True, [10, 10, 10], [33, 33, 90], True),
        (True, [10, 10, 10], [34, 34, 1], False),
    ],
)
def test_gate_is_a_share_of_the_goal_of_the_median_ratio(
    bench: Any, cost: bool, bare: list[float], ours: list[float], reached: bool
) -> None:
    smoke = bench("smoke")
    result = smoke.Result(smoke.Scenario("any", 1, 1, 2.0, cost=cost), bare, ours)
    assert result.reaches(0.6) is reached
    assert smoke.Report("sidecar", [result]).reaches(0.6) is reached
    assert not smoke.Report("sidecar", [result], bad=1).reaches(0.6)
