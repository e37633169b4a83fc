"""Tests whose program is missing are skipped with a reason, and fail where skips are forbidden."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import NOTHING_LEFT_OUT
from project_paths import ROOT

ONE = "tests/console/test_pages.py::test_a_page_that_is_not_there_leads_back"


@pytest.fixture
def elsewhere(tmp_path: Path) -> dict[str, str]:
    """A machine without a browser."""
    kept = {name: value for name, value in os.environ.items() if name != NOTHING_LEFT_OUT}
    return kept | {"PATH": str(tmp_path), "SIDECAR_CHROMIUM": ""}


def run(environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", ONE],
        cwd=ROOT, env=environ, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_browser_tests_without_a_browser_are_skipped_with_a_reason(
    elsewhere: dict[str, str],
) -> None:
    done = run(elsewhere)
    assert done.returncode == 0, done.stdout
    assert "SKIPPED" in done.stdout
    assert "no chromium here: the console was not driven in a browser" in done.stdout


def test_browser_tests_without_a_browser_fail_where_skips_are_forbidden(
    elsewhere: dict[str, str],
) -> None:
    done = run(elsewhere | {NOTHING_LEFT_OUT: "1"})
    assert done.returncode == 1
    assert "left out, where nothing may be" in done.stdout


def test_ci_script_forbids_skips() -> None:
    script = (ROOT / ".ci/run").read_text()
    assert f"export {NOTHING_LEFT_OUT}=1" in script
    assert "chromium" in script
