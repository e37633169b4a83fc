"""Layers hold, plugins use the public API alone, and contracts are documented."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from house_checks import Source, found_in
from project_paths import CORE_MODULES, MODULES, PLUGIN_MODULES, ROOT, below_root

import sidecar
from sidecar.plugin_api.manager import discover

PLUGINS = ROOT / "plugins"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_layers_of_import_linter_hold() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_module_has_a_docstring() -> None:
    assert [str(path) for path in MODULES if not ast.get_docstring(Source.read(path).tree)] == []


def test_core_modules_name_no_vendor() -> None:
    """The set-up lines of agents and the command line may. Docstrings may give examples."""
    vendors = set(discover().vendors)
    core = [path for path in CORE_MODULES if "cli" not in path.relative_to(ROOT).parts]
    core.remove(ROOT / "sidecar/agents/table.py")
    found = [
        f"{below_root(path)}:{node.lineno}: {node.value}"
        for path in core
        for node in Source.read(path).nodes
        if isinstance(node, ast.Constant) and str(node.value).lower() in vendors
    ]
    assert not found


def private_imports(source: Source) -> list[str]:
    """Find imports from `sidecar` that are not of its public names."""
    found = []
    for node in source.nodes:
        match node:
            case ast.Import(names=names):
                inner = [each.name for each in names if each.name.split(".")[0] == "sidecar"]
            case ast.ImportFrom(module="sidecar", names=names):
                inner = [each.name for each in names if each.name not in sidecar.__all__]
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] == "sidecar":
                inner = [module]
            case _:
                continue
        found += [source.at(node, name) for name in inner]
    return found


def test_plugin_imports_the_public_api_alone() -> None:
    assert found_in([*PLUGIN_MODULES, *ROOT.glob("examples/*.py")], private_imports) == []


@pytest.mark.parametrize(
    "line", ["import sidecar.errors", "from sidecar.errors import Kind", "from sidecar import _x"]
)
def test_plugin_import_check_reports_a_private_name(line: str) -> None:
    assert len(private_imports(Source("plugins/a.py", f"import os\n{line}\n"))) == 1


def test_every_bundled_plugin_has_an_entry_point() -> None:
    declared = set(PYPROJECT["project"]["entry-points"]["sidecar"].values())
    pattern = re.compile(r"@hookimpl", re.MULTILINE)
    plugins = {
        ".".join(path.relative_to(PLUGINS).parts[:2]).removesuffix(".py")
        for path in PLUGINS.glob("**/*.py")
        if pattern.search(path.read_text())
    }
    assert plugins == declared


def test_every_hook_is_documented_with_its_arguments() -> None:
    tree = ast.parse((ROOT / "sidecar/plugin_api/hookspecs.py").read_text())
    documentation = (ROOT / "docs/plugins.md").read_text()
    hooks = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert hooks
    for hook in hooks:
        arguments = ", ".join(argument.arg for argument in hook.args.args)
        assert f"{hook.name}({arguments})" in documentation


@pytest.mark.parametrize(
    "contract", [sidecar.Vendor, sidecar.Dialect, sidecar.Transform], ids=lambda each: each.__name__
)
def test_every_member_of_a_plugin_contract_is_documented(contract: type) -> None:
    documentation = (ROOT / "docs/plugins.md").read_text()
    members = {each for each in {*vars(contract), *contract.__annotations__} if each[0] != "_"}
    missing = [each for each in members if not re.search(rf"`{each}[`(]", documentation)]
    assert not missing


def test_public_api_is_sorted_and_complete() -> None:
    assert list(sidecar.__all__) == sorted(sidecar.__all__)
    tree = ast.parse((ROOT / "sidecar/plugin_api/api.py").read_text())
    imported = {
        alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for alias in node.names
    }
    assert imported == set(sidecar.__all__)
    assert all(getattr(sidecar, each) is not None for each in imported)


def test_name_of_the_public_api_is_no_module_too() -> None:
    """Otherwise what a plugin gets depends on whether that module was imported before."""
    assert not {path.stem for path in ROOT.glob("sidecar/*")} & set(sidecar.__all__)


def test_command_starts_without_importing_the_public_api() -> None:
    found = subprocess.run(
        [sys.executable, "-c", "import sys, sidecar.cli; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "sidecar.cli" in found.stdout.split()
    assert "sidecar.plugin_api.api" not in found.stdout.split()


def test_every_dependency_has_a_decision() -> None:
    reasons = "\n".join(path.read_text() for path in (ROOT / "docs/decisions").glob("*.md"))
    project = PYPROJECT["project"]
    extras = [each for extra in project["optional-dependencies"].values() for each in extra]
    wanted = [*project["dependencies"], *extras]
    names = [re.split(r"[><=;\[ ]", line, maxsplit=1)[0] for line in wanted]
    assert [each for each in names if f"`{each}`" not in reasons] == []


def test_changelog_has_the_version_of_the_project() -> None:
    version = PYPROJECT["project"]["version"]
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()
