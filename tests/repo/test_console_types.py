"""The console's types are those of the admin API."""

from __future__ import annotations

import json
import subprocess
import sys

from project_paths import ROOT


def test_console_types_are_generated_from_the_api() -> None:
    argv = [sys.executable, ROOT / "tools/console_types.py", "--check"]
    assert subprocess.run(argv, check=False).returncode == 0, "run: make console-types"


def test_console_formatter_uses_110_columns() -> None:
    biome = json.loads((ROOT / "tools/console/biome.json").read_text())
    assert biome["formatter"]["lineWidth"] == 110


def test_console_checks_pin_their_versions() -> None:
    package = json.loads((ROOT / "tools/console/package.json").read_text())
    assert all(version[0].isdigit() for version in package["devDependencies"].values())
