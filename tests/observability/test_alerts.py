"""Each alert in Prometheus' rule tester: silent in the normal case, raised in its case."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from observability import ALERTS, RULES
from real_prometheus import needs_prometheus

pytestmark = needs_prometheus
MINUTES = 90
DAYS_40 = 40 * 86400


def flat(value: float) -> str:
    return f"{value}x{MINUTES}"


def rising(each: float) -> str:
    return f"0+{each}x{MINUTES}"


def both(series: str, well: float, ill: float) -> dict[str, tuple[str, str]]:
    """A gauge that stays at one value, well or ill."""
    return {series: (flat(well), flat(ill))}


def grows(series: str, well: float, ill: float) -> dict[str, tuple[str, str]]:
    """A counter that grows by so much a minute, well or ill."""
    return {series: (rising(well), rising(ill))}


GPT = 'scope="group GPT",limit="budget/day",models=""'
QUOTA = 'provider="oa",credential="env:KEY",family="",quota="tokens"'
CASES: dict[str, dict[str, tuple[str, str]]] = {
    "SidecarBudgetNearlySpent": both(f"sidecar_limit_used_ratio{{{GPT}}}", 0.79, 0.8),
    "SidecarBudgetSpent": both(f"sidecar_limit_used_ratio{{{GPT}}}", 0.99, 1),
    "SidecarCallsUnpriced": grows('sidecar_calls_unpriced_total{provider="oa",model="m"}', 0, 1),
    "SidecarUsageUnknown": grows('sidecar_usage_unknown_total{provider="oa",model="m"}', 0, 1),
    "SidecarQueueLong": both('sidecar_calls_waiting{urgency="normal"}', 20, 21),
    "SidecarWaitsLong": {
        f'sidecar_wait_seconds_bucket{{group="G",urgency="normal",le="{le}"}}': (
            rising(100), rising(share)
        )
        for le, share in (("20", 90), ("60", 100), ("+Inf", 100))
    },
    "SidecarPausedLong": {'sidecar_paused{scope="key \\"k\\""}': ("_x35 1x55", flat(1))},
    "SidecarRetryBudgetEmpty": both("sidecar_retry_budget_left", 1, 0.5),
    "SidecarProviderCooling": {
        'sidecar_cooldown_seconds{provider="oa",credential="env:KEY",family=""}': (
            "_x75 300-60x5 0x10", flat(30)
        )
    },
    "SidecarProviderUnavailable": both('sidecar_provider_available{provider="oa"}', 1, 0),
    "SidecarCredentialRejected": grows(
        'sidecar_attempts_total{provider="oa",credential="env:KEY",verdict="auth_failed"}', 0, 1
    ),
    "SidecarQuotaNearlyGone": {
        f"sidecar_vendor_quota_left{{{QUOTA}}}": (flat(11), flat(9)),
        f"sidecar_vendor_quota_limit{{{QUOTA}}}": (flat(100), flat(100)),
    },
    "SidecarStreamsTruncated": grows(
        'sidecar_stream_truncated_total{provider="oa",model="m"}', 0.1, 0.3
    ),
    "SidecarCallsFailing": {
        'sidecar_calls_total{group="G",outcome="ok"}': (rising(10), rising(10)),
        'sidecar_calls_total{group="G",outcome="upstream_error"}': (rising(1), rising(4)),
    },
    "SidecarNetworkDown": both("sidecar_network_up", 1, 0),
    "SidecarDown": both('up{job="sidecar"}', 1, 0),
    "SidecarReloadFailed": both("sidecar_config_last_reload_successful", 1, 0),
    "SidecarKeyStale": {
        'sidecar_key_last_used_timestamp_seconds{key="k",group="G"}': (flat(0), flat(-DAYS_40)),
        'sidecar_key_enabled{key="k",group="G"}': (flat(1), flat(1)),
    },
    "SidecarLedgerUnhealthy": both("sidecar_ledger_healthy", 1, 0),
    "SidecarSharedLimitsOut": both("sidecar_shared_up", 1, 0),
    "SidecarLoopHeldUp": {
        'sidecar_loop_lag_seconds_bucket{le="0.25"}': (rising(100), rising(98)),
        'sidecar_loop_lag_seconds_bucket{le="1.0"}': (rising(100), rising(100)),
        'sidecar_loop_lag_seconds_bucket{le="+Inf"}': (rising(100), rising(100)),
    },
    "SidecarPluginFails": grows('sidecar_plugin_failures_total{plugin="p"}', 0, 1),
}  # fmt: skip


def found_wrong(folder: Path, *tests: dict[str, Any]) -> str:
    """Return the output of the rule tester; empty when it passes."""
    file = folder / "alerts.test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(each) for each in RULES], "tests": tests}))
    argv = ["promtool", "test", "rules", file]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def case(alert: str, ill: bool) -> dict[str, Any]:
    firing = f'count by (alertname) (ALERTS{{alertstate="firing",alertname="{alert}"}})'
    expected = [{"labels": f'{{alertname="{alert}"}}', "value": 1}] if ill else []
    return {
        "interval": "1m",
        "input_series": [
            {"series": name, "values": values[ill]} for name, values in CASES[alert].items()
        ],
        "promql_expr_test": [
            {"expr": firing, "eval_time": f"{MINUTES}m", "exp_samples": expected}
        ],
    }  # fmt: skip


def test_every_alert_has_a_case() -> None:
    assert list(CASES) == [alert["alert"] for alert in ALERTS]


@pytest.mark.parametrize("ill", [False, True], ids=["well", "ill"])
def test_alert_is_raised_in_its_case_and_silent_otherwise(tmp_path: Path, ill: bool) -> None:
    assert found_wrong(tmp_path, *(case(alert, ill) for alert in CASES)) == ""


def test_promtool_fails_on_a_missing_alert(tmp_path: Path) -> None:
    wrong = case("SidecarDown", ill=True)
    wrong["input_series"] = case("SidecarDown", ill=False)["input_series"]
    assert "SidecarDown" in found_wrong(tmp_path, wrong)


def test_alert_description_is_a_sentence(tmp_path: Path) -> None:
    (alert,) = [each for each in ALERTS if each["alert"] == "SidecarBudgetNearlySpent"]
    said = {
        "exp_labels": {**alert["labels"], "scope": "group GPT", "limit": "budget/day"},
        "exp_annotations": {
            "summary": "80% of the budget/day on group GPT is spent",
            "runbook": alert["annotations"]["runbook"],
        },
    }
    asked = {"eval_time": "5m", "alertname": alert["alert"], "exp_alerts": [said]}
    test = case(alert["alert"], ill=True) | {"alert_rule_test": [asked]}
    assert found_wrong(tmp_path, test) == ""
