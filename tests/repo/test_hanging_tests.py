"""A test that hangs ends at its timeout, wherever the timeout is raised, and the next one runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from project_paths import ROOT, TESTS

HANGING = """
import asyncio
import pytest
from hypothesis import given, strategies as st

pytestmark = pytest.mark.timeout(1)

async def runs_without_a_pause():
    while True:
        pass

async def test_whose_background_task_takes_the_first_timeout():
    task = asyncio.create_task(runs_without_a_pause())
    while True:
        await asyncio.sleep(0.01)

@given(st.none())
async def test_whose_example_takes_the_first_timeout(_):
    while True:
        await asyncio.sleep(0.01)

def test_passes(): pass
"""


def test_timeout_ends_a_test_that_swallows_it_once(tmp_path: Path) -> None:
    conftest = (TESTS / "conftest.py").read_text()
    (tmp_path / "conftest.py").write_text(conftest + "\nREPEAT_TIMEOUT_SECONDS = 1.0\n")
    (tmp_path / "test_some.py").write_text(HANGING)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml"),
         "-p", "no:cacheprovider", "--rootdir", str(tmp_path),
         "-o", f"pythonpath={TESTS} {TESTS / 'support'}", str(tmp_path)],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=50,
    )  # fmt: skip
    assert "2 failed, 1 passed" in done.stdout, done.stdout
