"""Names, docstrings, words and sizes follow docs/glossary.md and CONTRIBUTING.md."""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from project_paths import ROOT, TESTS

MAX_MODULES_IN_A_FOLDER = 12
MIN_MODULE_LINES = 60
"""A smaller module that only one other imports belongs to that one."""
SMALL_MODULES = {
    "sidecar/__main__.py", "sidecar/callers/macos.py", "sidecar/admin/console/assets.py",
    "sidecar/plugin_api/hookspecs.py",
}  # fmt: skip
"""Small for a reason: an entry point, a platform's code, one contract."""

SOURCES = sorted([*ROOT.glob("sidecar/**/*.py"), *ROOT.glob("plugins/**/*.py")])
GLOSSARY = ROOT / "docs/glossary.md"
REPLACED = GLOSSARY.read_text().partition("## Words that are not used")[2]
FORBIDDEN_WORDS = re.compile(
    rf"\b({'|'.join(re.findall(r'^. ([^|]+?) [|] (?!use )', REPLACED, re.MULTILINE))})\b",
    re.IGNORECASE,
)
"""Those that the glossary replaces: the first column of its last table."""
PAGES = sorted({*ROOT.glob("docs/**/*.md"), ROOT / "CONTRIBUTING.md"} - {GLOSSARY})
TREES = {path: ast.parse(path.read_text()) for path in SOURCES}
TEST_MODULES = sorted(TESTS.glob("**/test_*.py"))

FORBIDDEN_TEST_NAME = re.compile(r"test_(what|who|it|so|there|nobody|of|nothing|that)_")
FORBIDDEN_SUMMARY = re.compile(r"(What|Whether|Who|When|How|As above|It is)\b")
DURATION_OR_SIZE = re.compile(
    r"^(?!.*_(SECONDS|DAYS|HOURS|MINUTES|BYTES|CHARS|TOKENS|COLUMNS|ROWS|LINES)$)"
    r".*(TIMEOUT|PATIENCE|INTERVAL|LIFETIME|TTL|LONGEST|KEEP_ALIVE|LINGER)"
)
"""Names of constants that are durations or sizes but do not end in their unit."""


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, kinds) and (text := ast.get_docstring(node)):
            yield node.lineno, text


def public_definitions(tree: ast.Module) -> Iterator[str]:
    """Public classes and type aliases at the top of a module."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node.name
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript | ast.BinOp):
            target = node.targets[0]
            if isinstance(target, ast.Name) and re.fullmatch(r"[A-Z][a-z]\w+", target.id):
                yield target.id


def test_public_class_and_alias_names_are_unique() -> None:
    found = defaultdict(list)
    for path, tree in TREES.items():
        for each in public_definitions(tree):
            found[each].append(name(path))
    assert {each: paths for each, paths in found.items() if len(paths) > 1} == {}


def test_folders_hold_at_most_twelve_modules() -> None:
    folders = Counter(path.parent for path in SOURCES if path.is_relative_to(ROOT / "sidecar"))
    crowded = {name(folder): n for folder, n in folders.items() if n > MAX_MODULES_IN_A_FOLDER + 1}
    assert crowded == {}  # __init__.py beside the twelve


def test_small_modules_have_several_importers() -> None:
    importers = defaultdict(set)
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                importers[node.module].add(path)
                for alias in node.names:
                    importers[f"{node.module}.{alias.name}"].add(path)
    lonely = [
        name(path)
        for path in SOURCES
        if path.name != "__init__.py"
        and name(path) not in SMALL_MODULES
        and path.is_relative_to(ROOT / "sidecar")
        and path.read_text().count("\n") < MIN_MODULE_LINES
        and len(importers[".".join(path.relative_to(ROOT).with_suffix("").parts)]) == 1
    ]
    assert lonely == []


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_docstrings_start_with_a_verb(path: Path) -> None:
    found = [
        f"{line}: {text}" for line, text in docstrings(TREES[path]) if FORBIDDEN_SUMMARY.match(text)
    ]
    assert found == []


@pytest.mark.parametrize("path", [*SOURCES, *PAGES], ids=name)
def test_text_uses_the_words_of_the_glossary(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert [f"{n}: {line}" for n, line in enumerate(lines, 1) if FORBIDDEN_WORDS.search(line)] == []


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_constants_carry_their_unit(path: Path) -> None:
    names = [
        node.targets[0].id
        for node in TREES[path].body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant | ast.BinOp | ast.UnaryOp)
    ]
    assert [each for each in names if DURATION_OR_SIZE.match(each)] == []


@pytest.mark.parametrize("path", TEST_MODULES, ids=name)
def test_names_of_tests_have_a_subject(path: Path) -> None:
    tree = ast.parse(path.read_text())
    found = [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and FORBIDDEN_TEST_NAME.match(node.name)
    ]
    assert found == []


ONE_HOME = {
    "O_NONBLOCK": "sidecar/files.py",  # `open_regular`: the one safe read of what may be a pipe
    "O_EXCL": "sidecar/files.py",  # `create_private` and `write_private`: the one private write
    "get_close_matches": "sidecar/humanize.py",  # `nearest`: the one "did you mean"
}


@pytest.mark.parametrize("call", ONE_HOME)
def test_shared_helper_is_the_only_user_of_what_it_wraps(call: str) -> None:
    assert [name(path) for path in SOURCES if call in path.read_text()] == [ONE_HOME[call]]
