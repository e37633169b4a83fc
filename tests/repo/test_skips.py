"""What cannot run is skipped with a reason, and fails where `SIDECAR_NO_SKIPS=1` forbids skips."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from conftest import NOTHING_LEFT_OUT
from project_paths import ROOT, TESTS

SKIPPING = """
import pytest

def test_skips(): pytest.skip("there is no such thing here")

@pytest.mark.skipif(True, reason="there is no such thing here")
def test_is_skipped(): pass

async def test_needs_a_browser(browser): pass

@pytest.mark.xfail
def test_fails_as_expected(): assert False

def test_passes(): pass
"""
MODULE = 'import pytest\npytest.skip("not even looked at", allow_module_level=True)\n'
NO_BROWSER = "no chromium here: the console was not driven in a browser"


def run(folder: Path, forbids: str) -> subprocess.CompletedProcess[str]:
    """Run tests that skip, with this project's conftest, on a machine without a browser."""
    (folder / "conftest.py").write_text((TESTS / "conftest.py").read_text())
    (folder / "test_some.py").write_text(SKIPPING)
    (folder / "test_whole.py").write_text(MODULE)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml"),
         "-p", "no:cacheprovider", "--rootdir", str(folder),
         "-o", f"pythonpath={TESTS} {TESTS / 'support'}",
         "--continue-on-collection-errors", str(folder)],
        env=os.environ | {"PATH": str(folder), "SIDECAR_CHROMIUM": "", NOTHING_LEFT_OUT: forbids},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip


def test_test_that_cannot_run_is_skipped_with_a_reason(tmp_path: Path) -> None:
    done = run(tmp_path, "")
    assert done.returncode == 0, done.stdout
    assert "1 passed, 4 skipped, 1 xfailed" in done.stdout, done.stdout
    assert NO_BROWSER in done.stdout


def test_test_that_cannot_run_fails_where_skips_are_forbidden(tmp_path: Path) -> None:
    done = run(tmp_path, "1")
    assert done.returncode == 1, done.stdout
    assert "1 failed, 1 passed, 1 xfailed, 3 errors" in done.stdout, done.stdout
    assert "left out, where nothing may be" in done.stdout
    for reason in ("there is no such thing here", "not even looked at", NO_BROWSER):
        assert reason in done.stdout


def test_ci_script_forbids_skips() -> None:
    script = (ROOT / ".ci/run").read_text()
    assert f"export {NOTHING_LEFT_OUT}=1" in script
    assert "chromium" in script
