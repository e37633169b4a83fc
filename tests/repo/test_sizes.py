"""Modules, functions and folders stay small enough to be read at once."""

from __future__ import annotations

from house_checks import (
    Source,
    crowded_folders,
    found_in,
    long_functions,
    long_modules,
    small_modules_of_one_importer,
)
from project_paths import CONSOLE_MODULES, CORE_MODULES, MODULES, below_root

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 45
MAX_MODULES_IN_A_FOLDER = 12
MIN_MODULE_LINES = 60
"""A smaller module that only one other imports belongs to that one."""
SMALL_MODULES = {
    "sidecar/__main__.py",
    "sidecar/cli/dry_run.py",
}
"""Small for a reason: an entry point, a module imported when needed."""


def test_module_is_at_most_400_lines_long() -> None:
    assert found_in([*MODULES, *CONSOLE_MODULES], long_modules, MAX_MODULE_LINES) == []


def test_function_is_at_most_45_lines_long() -> None:
    assert found_in(MODULES, long_functions, MAX_FUNCTION_LINES) == []


def test_folder_holds_at_most_twelve_modules() -> None:
    assert crowded_folders(map(below_root, CORE_MODULES), MAX_MODULES_IN_A_FOLDER) == []


def test_small_module_has_several_importers() -> None:
    sources = map(Source.read, CORE_MODULES)
    assert small_modules_of_one_importer(sources, MIN_MODULE_LINES, SMALL_MODULES) == []


def test_exempt_small_modules_exist_and_are_small() -> None:
    found = {below_root(path): path.read_text().count("\n") for path in CORE_MODULES}
    assert [each for each in SMALL_MODULES if found.get(each, 10**9) >= MIN_MODULE_LINES] == []


def test_size_checks_report_what_is_one_too_many() -> None:
    source = Source("sidecar/a.py", "def f():\n    x = 1\n    return x\n")
    assert long_modules(source, 2) == ["sidecar/a.py:1: 3 lines"]
    assert long_modules(source, 3) == []
    assert long_functions(source, 2) == ["sidecar/a.py:1: f has 3 lines"]
    assert long_functions(source, 3) == []
    paths = ["sidecar/p/__init__.py", "sidecar/p/a.py", "sidecar/p/b.py", "sidecar/c.py"]
    assert crowded_folders(paths, 1) == ["sidecar/p: 2 modules"]
    assert crowded_folders(paths, 2) == []


def test_small_module_check_reports_a_module_of_one_importer() -> None:
    sources = [
        Source("sidecar/a.py", "x = 1\n"),
        Source("sidecar/b.py", "y = 1\n"),
        Source("sidecar/c.py", "from sidecar.a import x\nfrom sidecar import b\n"),
        Source("sidecar/d.py", "from sidecar.b import y\n"),
    ]
    found = ["sidecar/a.py:1: 1 lines, imported by sidecar/c.py alone"]
    assert small_modules_of_one_importer(sources, 60, set()) == found
    assert small_modules_of_one_importer(sources, 60, {"sidecar/a.py"}) == []
    assert small_modules_of_one_importer(sources, 1, set()) == []
