"""The shape of the project: layers, sizes, names in step. What a reviewer would otherwise count."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from project_paths import ROOT
from unused_functions import Sources

import sidecar
from sidecar.plugin_api.manager import discover

SOURCES = sorted([*ROOT.glob("sidecar/**/*.py"), *ROOT.glob("plugins/**/*.py")])
VENDORS = ROOT / "plugins/sidecar_vendors"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

STATIC = ROOT / "sidecar/admin/console/static"
PAGES = sorted(STATIC.glob("**/*.js"))

LONGEST_MODULE = 400
UNSAFE = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|Function\(|DOMParser"
    r"|localStorage|document\.cookie|https?://"
)
"""Ways to make markup or code out of text, to keep a secret for ever, to ask somebody else."""
HEAVIEST_CONSOLE = 152_000
"""Bytes of all its files together, without the indentation that the formatter adds."""
LONGEST_FUNCTION = 45


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_layers_hold() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_a_module_says_its_job_and_has_one(path: Path) -> None:
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "a module opens with what it is for"
    assert text.count("\n") <= LONGEST_MODULE, "it has two jobs: find the second name"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_functions_are_short(path: Path) -> None:
    long = [
        f"{node.name}: {(node.end_lineno or 0) - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > LONGEST_FUNCTION
    ]
    assert not long


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts[1:] if parts[0] == "plugins" else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_public_functions_have_a_caller_besides_the_tests() -> None:
    checked = {module_of(path): path.read_text() for path in SOURCES}
    folders = ("tools", "bench", "examples")
    others = [path.read_text() for each in folders for path in ROOT.glob(f"{each}/**/*.py")]
    assert list(map(str, Sources(checked, others).unused())) == []


def test_method_that_only_shares_a_name_with_used_ones_is_found_unused() -> None:
    text = (
        "class Held:\n    def clear(self): ...\n    def count(self): ...\n"
        "class Other:\n    def count(self): ...\n"
        "def used(table: dict, other: Other): table.clear(); other.count()\n"
        "def unused(held: Held): unused(held)\n"
    )
    found = Sources({"sidecar.errors": text}, ["from sidecar.errors import Other, used"]).unused()
    assert {each.name for each in found} == {"clear", "count", "unused"}


def test_the_core_names_no_vendor() -> None:
    """The set-up lines of agents may, and the command line. Docstrings may give examples."""
    vendors = set(discover().vendors)
    core = [path for path in ROOT.glob("sidecar/**/*.py") if "cli" not in path.parts]
    core.remove(ROOT / "sidecar/admin/agent_setup.py")
    found = [
        f"{name(path)}:{node.lineno}: {node.value}"
        for path in core
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and str(node.value).lower() in vendors
    ]
    assert not found


PLUGINS = [*ROOT.glob("plugins/**/*.py"), *ROOT.glob("examples/*.py")]


@pytest.mark.parametrize("path", PLUGINS, ids=name)
def test_plugins_come_in_by_the_public_door(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not any(alias.name.split(".")[0] == "sidecar" for alias in node.names)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "sidecar":
            assert node.module == "sidecar"
            assert {alias.name for alias in node.names} <= set(sidecar.__all__)


def test_every_bundled_vendor_has_an_entry_point() -> None:
    declared = set(PYPROJECT["project"]["entry-points"]["sidecar"].values())
    pattern = re.compile(r"@hookimpl", re.MULTILINE)
    plugins = {
        f"sidecar_vendors.{path.relative_to(VENDORS).parts[0].removesuffix('.py')}"
        for path in VENDORS.glob("**/*.py")
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
    "contract", [sidecar.Vendor, sidecar.Dialect], ids=lambda each: each.__name__
)
def test_every_member_of_a_contract_is_documented(contract: type) -> None:
    documentation = (ROOT / "docs/plugins.md").read_text()
    members = {each for each in {*vars(contract), *contract.__annotations__} if each[0] != "_"}
    missing = [each for each in members if not re.search(rf"`{each}[`(]", documentation)]
    assert not missing


def test_the_public_door_is_sorted_and_complete() -> None:
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


def test_no_name_of_the_public_door_is_a_module_too() -> None:
    """Else what a plugin gets would depend on whether somebody had imported that module."""
    assert not {path.stem for path in ROOT.glob("sidecar/*")} & set(sidecar.__all__)


def test_a_command_can_start_without_opening_the_public_door() -> None:
    found = subprocess.run(
        [sys.executable, "-c", "import sys, sidecar.cli; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "sidecar.cli" in found.stdout.split()
    assert "sidecar.plugin_api.api" not in found.stdout.split()


def test_every_dependency_has_its_reason() -> None:
    reasons = "\n".join(path.read_text() for path in (ROOT / "docs/decisions").glob("*.md"))
    project = PYPROJECT["project"]
    extras = [each for extra in project["optional-dependencies"].values() for each in extra]
    wanted = [*project["dependencies"], *extras]
    names = [re.split(r"[><=;\[ ]", line, maxsplit=1)[0] for line in wanted]
    assert [each for each in names if f"`{each}`" not in reasons] == []


def test_the_changelog_knows_this_version() -> None:
    version = PYPROJECT["project"]["version"]
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_console_is_light() -> None:
    files = (path.read_bytes() for path in STATIC.rglob("*") if path.is_file())
    lines = (line.lstrip() for content in files for line in content.splitlines(keepends=True))
    assert sum(map(len, lines)) < HEAVIEST_CONSOLE


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_a_page_says_its_job_and_has_one(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("// "), "a module opens with what it is for"
    assert text.count("\n") <= LONGEST_MODULE


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_a_page_makes_no_markup_out_of_text_and_loads_nothing_from_elsewhere(path: Path) -> None:
    assert UNSAFE.findall(path.read_text()) == []


def test_the_shell_has_no_script_and_no_style_of_its_own() -> None:
    shell = (STATIC / "index.html").read_text()
    assert re.findall(r"<script(?![^>]*\bsrc=\"/console/)", shell) == []
    assert re.search(r"<style|\bstyle=|\bon\w+=", shell) is None
    assert set(re.findall(r"(?:src|href)=\"([^\"#]+)\"", shell)) <= {
        f"/console/{p.relative_to(STATIC)}" for p in STATIC.rglob("*")
    }
