"""With `SIDECAR_NO_SKIPS=1` a skipped test or module fails; an expected failure does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from project_paths import TESTS

SKIPPING = """
import pytest

def test_skips(): pytest.skip("there is no such thing here")

@pytest.mark.skipif(True, reason="there is no such thing here")
def test_is_skipped(): pass

@pytest.mark.xfail
def test_fails_as_expected(): assert False

def test_passes(): pass
"""
MODULE = 'import pytest\npytest.skip("not even looked at", allow_module_level=True)\n'


@pytest.mark.parametrize(
    ("asked", "counts"),
    [("", "1 passed, 3 skipped, 1 xfailed"), ("1", "1 failed, 1 passed, 1 xfailed, 2 errors")],
    ids=["usually", "with SIDECAR_NO_SKIPS"],
)
def test_skipped_test_fails_where_skips_are_forbidden(
    tmp_path: Path, asked: str, counts: str
) -> None:
    here = TESTS
    (tmp_path / "conftest.py").write_text((here / "conftest.py").read_text())
    (tmp_path / "test_some.py").write_text(SKIPPING)
    (tmp_path / "test_whole.py").write_text(MODULE)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-o", f"pythonpath={here} {here / 'support'}",
         "--continue-on-collection-errors", str(tmp_path)],
        env=os.environ | {"SIDECAR_NO_SKIPS": asked},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert counts in done.stdout, done.stdout
    assert ("there is no such thing here" in done.stdout) is bool(asked)
