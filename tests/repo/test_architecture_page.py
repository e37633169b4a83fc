"""docs/architecture.md and docs/how-a-call-flows.md show the packages and modules that exist."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from project_paths import ROOT

ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()
FLOW = (ROOT / "docs/how-a-call-flows.md").read_text()
INDEX = (ROOT / "docs/README.md").read_text()
DECISIONS = sorted((ROOT / "docs/decisions").glob("*.md"))
PAGES = sorted([*ROOT.glob("docs/**/*.md"), *ROOT.glob("*.md")])
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]
LAYERS: list[str] = CONTRACTS[0]["layers"]
FOUNDATION = set(LAYERS[-1].split(" : "))
ABOVE_THE_CALL = {name for layer in LAYERS[: LAYERS.index("proxy")] for name in layer.split(" | ")}
STATIONS = [
    "http", "proxy", "http", "proxy", "routing", "routing", "proxy", "scheduling", "proxy", "proxy",
    "proxy",
]  # fmt: skip


def packages() -> set[str]:
    found = {path.parent.name for path in ROOT.glob("sidecar/*/__init__.py")}
    return found | {path.stem for path in ROOT.glob("sidecar/*.py") if path.stem[0] != "_"}


def run_time_imports(node: ast.AST) -> Iterator[ast.ImportFrom]:
    """Yield imports from `sidecar`, but for those under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.ImportFrom) and (child.module or "").split(".")[0] == "sidecar":
            yield child
        yield from run_time_imports(child)


def arrows_of_the_code(among: set[str]) -> set[tuple[str, str]]:
    arrows = set()
    for path in ROOT.glob("sidecar/**/*.py"):
        own = path.relative_to(ROOT / "sidecar").with_suffix("").parts[0]
        for found in run_time_imports(ast.parse(path.read_text())):
            parts = (found.module or "").split(".")
            others = [parts[1]] if len(parts) > 1 else [alias.name for alias in found.names]
            arrows |= {(own, other) for other in others if other != own}
    return {arrow for arrow in arrows if among.issuperset(arrow)}


def arrows_of_picture(heading: str) -> set[tuple[str, str]]:
    section = ARCHITECTURE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return set(re.findall(r"^  (\w+) --> (\w+)$", section, re.MULTILINE))


def test_layers_of_the_page_are_those_of_the_linter() -> None:
    section = ARCHITECTURE.partition("## Layers\n")[2]
    block = re.search(r"```\n(.*?)```", section, re.DOTALL)
    assert block is not None
    assert block[1].splitlines() == LAYERS


def test_arrows_on_the_path_of_a_call_are_those_of_the_code() -> None:
    on_the_path = packages() - FOUNDATION - ABOVE_THE_CALL
    assert arrows_of_picture("Imports on the path of a call") == arrows_of_the_code(on_the_path)


def test_arrows_of_the_foundation_are_those_of_the_code() -> None:
    assert arrows_of_picture("Imports of the foundation") == arrows_of_the_code(FOUNDATION)


def test_table_describes_every_package_once() -> None:
    section = ARCHITECTURE.partition("## What each package is for\n")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert sorted(listed) == sorted(packages())


@pytest.mark.parametrize("page", [ARCHITECTURE, FLOW], ids=["architecture", "how-a-call-flows"])
def test_paths_of_the_page_exist(page: str) -> None:
    paths = re.findall(r"`((?:sidecar|plugins|tools|tests|docs)/[\w./-]*)`", page)
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_steps_of_a_call_follow_the_packages() -> None:
    steps = re.findall(r"^\| (\d+) \w+ \| `sidecar/(\w+)/", FLOW, re.MULTILINE)
    assert [int(number) for number, _ in steps] == list(range(1, len(STATIONS) + 1))
    assert [package for _, package in steps] == STATIONS


def test_modules_of_the_picture_of_a_call_exist() -> None:
    picture = re.search(r"```\n(.*?)```", FLOW, re.DOTALL)
    assert picture is not None
    modules = re.findall(r"\b([a-z]+(?:\.[a-z_]+)+)\b", picture[1])
    assert len(modules) >= len(STATIONS) - 2
    missing = [m for m in modules if not (ROOT / f"sidecar/{m.replace('.', '/')}.py").exists()]
    assert missing == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_of_the_page_lead_to_files_and_headings(path: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, heading = unquote(link).partition("#")
        file = (path.parent / target).resolve() if target else path
        if not file.exists() or (heading and heading not in anchors(file)):
            broken.append(link)
    assert broken == []


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def test_decisions_have_numbers_of_their_own_and_are_in_the_index() -> None:
    numbers = [path.name[:4] for path in DECISIONS]
    assert len(set(numbers)) == len(numbers)
    assert [path.name for path in DECISIONS if f"(decisions/{path.name})" not in INDEX] == []


def test_index_lists_every_page() -> None:
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages - set(re.findall(r"\]\(([\w-]+\.md)\)", INDEX)) == set()


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_decision_says_context_decision_and_what_was_rejected(path: Path) -> None:
    headings = re.findall(r"^## (\w+)", path.read_text(), re.MULTILINE)
    wanted = ["Context", "Decision", "Rejected"]
    assert [each for each in headings if each in wanted] == wanted
