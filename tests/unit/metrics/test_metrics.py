from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_checks import CALL, Wall, call, snapshot, used
from project_paths import ROOT
from prometheus_client.parser import text_string_to_metric_families
from running_sidecar import Sidecar

from sidecar.errors import ErrorKind
from sidecar.ledger.ledger import Ledger
from sidecar.metrics.definitions import TABLE
from sidecar.metrics.metrics import CONTENT_TYPE, Metrics, ModelNames, disjoint
from sidecar.records import AttemptRecord, Cost, Outcome, Usage, UsageState

DOCUMENT = ROOT / "docs/metrics.md"
TOKENS = st.none() | st.integers(0, 10**7)


class Scrape:
    """What Prometheus would read."""

    def __init__(self, text: bytes) -> None:
        self.families = {f.name: f for f in text_string_to_metric_families(text.decode())}
        self.samples = [s for family in self.families.values() for s in family.samples]

    def __call__(self, name: str, **labels: str) -> float:
        """The sum over all samples of this name with these labels."""
        return sum(sample.value for sample in self.found(name, **labels))

    def found(self, name: str, **labels: str) -> list[Any]:
        wanted = labels.items()
        return [
            s for s in self.samples if s.name == f"sidecar_{name}" and wanted <= s.labels.items()
        ]


async def scrape(metrics: Metrics) -> Scrape:
    return Scrape(await metrics.render())


FIRST_SCRAPE = """
import asyncio, sys, threading
from sidecar.metrics.metrics import Metrics

class Watcher:
    def find_spec(self, name, path=None, target=None):
        if name == "prometheus_client":
            print("on the loop:", threading.current_thread() is threading.main_thread())

sys.meta_path.insert(0, Watcher())
asyncio.run(Metrics(version="1.2.3").render())
"""


def test_first_scrape_imports_nothing_large_on_the_loop() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FIRST_SCRAPE], capture_output=True, text=True, check=False
    )
    assert done.stdout == "on the loop: False\n", done.stderr


async def test_call_is_counted_by_key_provider_model_and_outcome() -> None:
    metrics = Metrics(version="1.2.3")
    metrics.call_finished(CALL)
    found = await scrape(metrics)
    one = {"key": "nightly", "group": "G", "provider": "acme", "model": "m-1"}
    (sample,) = found.found("calls_total")
    assert (sample.labels, sample.value) == ({**one, "outcome": "ok"}, 1)
    assert found("answers_total", vendor="acme", endpoint="chat", status="200") == 1
    assert found("attempts_total", credential="env:ACME_KEY", verdict="ok") == 1
    assert found("call_duration_seconds_sum", provider="acme", model="m-1") == 1.75
    assert found("time_to_first_byte_seconds_sum", provider="acme", model="m-1") == 0.75
    assert found("wait_seconds_sum", group="G") == 0.25
    assert found("tokens_total", **one) == 150
    assert found("build_info", version="1.2.3") == 1


async def test_token_kinds_are_counted_apart_and_add_up() -> None:
    metrics = Metrics()
    metrics.call_finished(CALL)
    found = await scrape(metrics)
    kinds = {s.labels["kind"]: s.value for s in found.found("tokens_total")}
    assert kinds == {"input": 75, "cache_read": 20, "cache_write": 5, "output": 40, "reasoning": 10}


@given(TOKENS, TOKENS, st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_token_kinds_are_disjoint(
    tokens_in: int | None, tokens_out: int | None, read: float, write: float, reasoning: float
) -> None:
    cached = int((tokens_in or 0) * read)
    written = int(((tokens_in or 0) - cached) * write)
    thought = int((tokens_out or 0) * reasoning)
    usage = Usage(tokens_in, tokens_out, cached or None, written or None, None, thought or None)
    kinds = disjoint(usage)
    assert sum(kinds.values()) == (tokens_in or 0) + (tokens_out or 0)
    assert all(count > 0 for count in kinds.values())


async def test_counters_survive_absurd_usage_of_a_vendor() -> None:
    metrics = Metrics()
    metrics.call_finished(call(usage=Usage(10, 5, 50, None, None, 50)))
    metrics.call_finished(call(usage=Usage(-10, 10**400)))
    found = await scrape(metrics)
    assert all(s.value >= 0 for s in found.found("tokens_total"))


async def test_usage_without_a_report_counts_as_unknown() -> None:
    metrics = Metrics()
    metrics.call_finished(call(usage=None, usage_state=UsageState.UNKNOWN))
    found = await scrape(metrics)
    assert found("usage_unknown_total", provider="acme", model="m-1") == 1
    assert found.found("tokens_total") == []


async def test_usage_known_in_part_is_counted_and_flagged() -> None:
    metrics = Metrics()
    metrics.call_finished(call(usage_state=UsageState.PARTIAL))
    metrics.call_finished(call())
    found = await scrape(metrics)
    assert found("usage_partial_total", provider="acme", model="m-1") == 1
    assert found.found("usage_unknown_total") == []


async def test_cost_is_counted_by_key_and_provider() -> None:
    metrics = Metrics()
    for charged in (1_800_000, 200_000, 1):
        metrics.call_finished(call(cost=Cost(10**9, charged, "x")))
    found = await scrape(metrics)
    (sample,) = found.found("cost_dollars_total")
    labels = {"key": "nightly", "group": "G", "provider": "acme", "model": "m-1"}
    assert sample.labels == labels
    assert sample.value == pytest.approx(0.002000001, abs=1e-15)
    assert found.found("calls_unpriced_total") == []


async def test_unpriced_calls_count_only_calls_with_usage() -> None:
    metrics = Metrics()
    metrics.call_finished(call(cost=None))
    metrics.call_finished(call(cost=None, usage=None, usage_state=UsageState.UNKNOWN))
    metrics.call_finished(call(cost=None, usage=None, usage_state=UsageState.NONE))
    metrics.call_finished(call(cost=Cost(0, 0, "free"), usage=None, usage_state=UsageState.UNKNOWN))
    found = await scrape(metrics)
    assert found("calls_unpriced_total", provider="acme", model="m-1") == 1
    assert found("usage_unknown_total", provider="acme", model="m-1") == 2
    assert found("cost_dollars_total") == 0


async def test_local_replies_are_counted_by_reason() -> None:
    metrics = Metrics()
    refused = {"outcome": Outcome.REFUSED, "provider": "", "attempts": (), "usage": None}
    metrics.call_finished(call(**refused, status=429, refusal=ErrorKind.BUDGET_SPENT))
    metrics.call_finished(
        call(**refused, status=401, refusal=ErrorKind.INVALID_KEY, key="", group="")
    )
    found = await scrape(metrics)
    assert found("refusals_total", kind="budget_spent", key="nightly", group="G") == 1
    assert found("refusals_total", kind="invalid_key", key="") == 1
    assert found("calls_total", outcome="refused") == 2


async def test_truncated_answer_is_counted() -> None:
    metrics = Metrics()
    metrics.call_finished(call(outcome=Outcome.CUT))
    assert (await scrape(metrics))("stream_truncated_total", provider="acme", model="m-1") == 1


async def test_attempts_are_counted_by_error_class() -> None:
    metrics = Metrics()
    first = AttemptRecord("azure", "env:AZURE", None, "rate_limited", 429, "", 0.1)
    metrics.call_finished(call(attempts=(first, *CALL.attempts)))
    found = await scrape(metrics)
    assert found("attempts_total", provider="azure", verdict="rate_limited") == 1
    assert found("attempts_total", provider="acme", verdict="ok") == 1


async def test_unknown_keys_create_no_series() -> None:
    """Ten thousand wrong model names and programs: the text stays as long as it was."""
    metrics = Metrics()
    metrics.reconcile(snapshot({"nightly": "text"}))
    metrics.call_finished(call(model_asked="typo", status=404, outcome=Outcome.CLIENT_ERROR))
    before = len((await scrape(metrics)).samples)
    for number in range(10_000):
        model = f"{random.random()}"
        wrong = {"status": 404, "outcome": Outcome.CLIENT_ERROR, "program": model}
        metrics.call_finished(call(model_asked=model, call_id=str(number), **wrong))
    found = await scrape(metrics)
    assert len(found.samples) == before
    assert found("calls_total", model="other") == 10_001


def test_model_is_a_label_once_it_was_served() -> None:
    names = ModelNames(most=2)
    assert names.admit("a", ok=False) == "other"
    assert names.admit("a", ok=True) == "a"
    assert names.admit("a", ok=False) == "a"
    assert names.admit(None, ok=True) == "none"
    assert names.admit("x" * 129, ok=True) == "other"
    assert names.admit("a\nb", ok=True) == "other"
    assert names.admit("b", ok=True) == "b"
    assert names.folded == 2
    assert names.admit("c", ok=True) == "other"
    assert names.admit("c", ok=True) == "other"
    assert names.folded == 4


@pytest.mark.parametrize(
    ("change", "label"),
    [
        ({"outcome": Outcome.CANCELLED}, "m-1"),
        ({"outcome": Outcome.UPSTREAM_ERROR, "status": 502}, "other"),
        ({"outcome": Outcome.REFUSED, "provider": "", "status": 200}, "other"),
        ({"status": 404, "outcome": Outcome.CLIENT_ERROR}, "other"),
    ],
)
async def test_model_label_needs_a_successful_answer(change: dict[str, Any], label: str) -> None:
    metrics = Metrics()
    metrics.call_finished(call(**change))
    assert (await scrape(metrics))("calls_total", model=label) == 1


async def test_series_of_a_removed_key_are_removed() -> None:
    metrics = Metrics()
    metrics.reconcile(snapshot({"nightly": "text", "kept": "else"}))
    metrics.call_finished(CALL)
    metrics.call_finished(call(key="kept"))
    metrics.reconcile(snapshot({"kept": "else"}))
    metrics.call_finished(CALL)
    found = await scrape(metrics)
    assert [s for s in found.samples if s.labels.get("key") == "nightly"] == []
    assert found("calls_total", key="kept") == 1
    assert found("calls_total", key="other", group="G") == 1


async def test_renamed_key_begins_new_series() -> None:
    metrics = Metrics()
    metrics.reconcile(snapshot({"nightly": "text"}))
    metrics.call_finished(CALL)
    metrics.reconcile(snapshot({"new": "text"}))
    metrics.call_finished(call(key="new"))
    assert (await scrape(metrics))("calls_total") == 1


async def test_reload_lowers_no_counter() -> None:
    metrics = Metrics()
    keys = snapshot({"nightly": "text"})
    metrics.reconcile(keys)
    metrics.call_finished(CALL)
    before = await scrape(metrics)
    metrics.reconcile(snapshot({"nightly": "rotated", "more": "else"}, group="H"))
    metrics.reconcile(keys)
    after = await scrape(metrics)
    for sample in before.samples:
        if sample.name.startswith("sidecar_") and sample.name.endswith("_total"):
            assert after(sample.name.removeprefix("sidecar_"), **sample.labels) >= sample.value


async def test_exposition_is_bounded_and_counts_everything() -> None:
    metrics = Metrics(most_series=500)
    for number in range(1000):
        metrics.call_finished(call(key=f"k{number}", call_id=str(number)))
    found = await scrape(metrics)
    ours = [s for s in found.samples if s.name.startswith("sidecar_")]
    assert len(ours) < 600
    assert found("calls_total") == 1000
    assert found("tokens_total", kind="output") == 40_000
    assert found("series_folded_total", metric="sidecar_calls_total") > 0


async def test_reloads_are_counted() -> None:
    metrics = Metrics()
    metrics.reloaded(True, 100.0)
    metrics.reloaded(False, 200.0)
    found = await scrape(metrics)
    assert found("config_last_reload_successful") == 0
    assert found("config_last_reload_success_timestamp_seconds") == 100
    assert found("config_reloads_total", result="success") == 1
    assert found("config_reloads_total", result="failure") == 1
    metrics.reloaded(True, 300.0)
    found = await scrape(metrics)
    assert found("config_last_reload_successful") == 1
    assert found("config_last_reload_success_timestamp_seconds") == 300


async def test_ledger_figures_are_read_at_each_scrape(tmp_path: Path) -> None:
    wall = Wall()
    async with Ledger(tmp_path, wall=wall) as ledger:
        metrics = Metrics(ledger=ledger)
        metrics.reconcile(snapshot({"nightly": "text", "never": "else"}))
        used(ledger, "nightly")
        found = await scrape(metrics)
        (last_used,) = found.found("key_last_used_timestamp_seconds")
        assert (last_used.labels, last_used.value) == ({"key": "nightly", "group": "G"}, wall.now)
        assert found("ledger_healthy") == 1
        assert found("ledger_write_failures_total") == 0
        assert found("key_info", key="never", vendor="acme", urgency="normal") == 1
        assert found("key_enabled", key="never") == 1


async def test_process_and_python_metrics_are_exposed() -> None:
    found = await scrape(Metrics())
    names = {sample.name for sample in found.samples}
    assert {"process_resident_memory_bytes", "process_open_fds", "python_info"} <= names


async def test_exposition_has_every_metric_of_the_table(
    proxy: Sidecar,
) -> None:
    text = (await proxy.running.services.metrics.render()).decode()
    for metric in TABLE.values():
        assert text.count(f"# TYPE {metric.name} {metric.type}\n") == 1
        assert f"# HELP {metric.name} " in text
    told = set(re.findall(r"# TYPE (sidecar_\w+)", text))
    assert told == set(TABLE)
    assert CONTENT_TYPE == "text/plain; version=0.0.4; charset=utf-8"


def test_metric_names_follow_prometheus_conventions() -> None:
    for metric in TABLE.values():
        assert re.fullmatch(r"sidecar_[a-z_]+", metric.name)
        assert (metric.type == "counter") == metric.name.endswith("_total")
        assert metric.help.endswith(".")
        assert metric.fixed <= set(metric.labels)
        if metric.type == "histogram":
            assert "key" not in metric.labels
            assert metric.name.endswith("_seconds")
            felt = metric.name != "sidecar_loop_lag_seconds"
            assert (metric.buckets[0], metric.buckets[-1]) == ((0.05, 600) if felt else (0.001, 5))


def test_metrics_page_lists_every_metric_of_the_table() -> None:
    document = DOCUMENT.read_text()
    rows = re.findall(r"^\| `(sidecar_\w+)` \|.*\|$", document, re.MULTILINE)
    assert rows == list(TABLE)
    for metric in TABLE.values():
        labels = ", ".join(f"`{label}`" for label in metric.labels) or "–"
        assert f"| `{metric.name}` | {metric.type} | {labels} | {metric.help} |" in document
