"""Checks of names, sizes and prose. Each returns its findings as `path:line: what is wrong`.

The checks read source text only, but for `inherited_private_names`, which imports the module.
"""

from __future__ import annotations

import ast
import gc
import inspect
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType

from project_paths import ROOT

OWN_PACKAGES = {"sidecar", "sidecar_transforms", "sidecar_vendors"}
DOCUMENTED_AIOHTTP = {"aiohttp", "aiohttp.web", "aiohttp.abc", "aiohttp.hdrs", "aiohttp.typedefs"}
"""The modules of aiohttp that its reference describes."""

_GLOSSARY = ROOT / "docs/glossary.md"
_REPLACED = _GLOSSARY.read_text().partition("## Words that are not used")[2]
FORBIDDEN_WORDS = re.compile(
    rf"\b({'|'.join(re.findall(r'^. ([^|]+?) [|] (?!use )', _REPLACED, re.MULTILINE))})\b",
    re.IGNORECASE,
)
"""Those that the glossary replaces: the first column of its last table."""
_VAGUE_TEST = re.compile(r"test_(what|who|it|so|there|nobody|of|nothing|that)_")
_VAGUE_SUMMARY = re.compile(r"(What|Whether|Who|When|How|As above|It is)\b")
_PERSONS = re.compile(r"_(whoever|nobody|nobodys|somebody|anybody|everybody|patience)(_|$)")
_UNIT = re.compile(
    r"_(SECONDS|MINUTES|HOURS|DAYS|BYTES|CHARS|CHARACTERS|TOKENS|COLUMNS|ROWS|LINES|RATIO|SHARE"
    r"|FACTOR|QUANTILE|MARGIN|RETRIES|PER_SECOND|MILLISECONDS|INTEGER)$"
)
_MEASURED = re.compile(r"(TIMEOUT|INTERVAL|LIFETIME|TTL|KEEP_ALIVE|LINGER)")
_UNMEASURED = re.compile(r"(^|_)(LONGEST|PATIENCE|MOST)(_|$)")
_DOCUMENTED_PRIVATE = {"_asdict", "_replace", "_fields", "_make", "_value_", "_name_", "_missing_"}
"""Of the standard library's named tuples and enums."""
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@contextmanager
def _lasting() -> Iterator[None]:
    """Keep what is built here, which lasts, out of every garbage collection."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@dataclass(frozen=True)
class Source:
    """A file by its path below the root of the project, and its text."""

    path: str
    text: str

    @staticmethod
    @cache
    def read(path: Path) -> Source:
        """Read a file, once for all the checks of a process."""
        return Source(str(path.relative_to(ROOT)), path.read_text())

    @cached_property
    def tree(self) -> ast.Module:
        with _lasting():
            return ast.parse(self.text)

    @cached_property
    def owned_nodes(self) -> list[tuple[str, ast.AST]]:
        """Every node of the tree, as `ast.walk` orders them, with the innermost class around it."""
        with _lasting():
            found: list[tuple[str, ast.AST]] = [("", self.tree)]
            for owner, parent in found:  # which grows
                inner = parent.name if isinstance(parent, ast.ClassDef) else owner
                found += [(inner, node) for node in ast.iter_child_nodes(parent)]
            return found

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Every node of the tree."""
        return [node for _, node in self.owned_nodes]

    @property
    def module(self) -> str:
        """The name to import it by: that of its package for `__init__.py`."""
        return ".".join(
            Path(self.path.removeprefix("plugins/").removesuffix("/__init__.py"))
            .with_suffix("")
            .parts
        )

    def at(self, node: ast.stmt | ast.expr, problem: str) -> str:
        return f"{self.path}:{node.lineno}: {problem}"

    def functions(self) -> Iterator[_Function]:
        return (node for node in self.nodes if isinstance(node, _Function))


def found_in(
    paths: Iterable[Path], check: Callable[..., list[str]], *arguments: object
) -> list[str]:
    """Return what a check finds in each of the files."""
    return [each for path in paths for each in check(Source.read(path), *arguments)]


# Sizes


def long_modules(source: Source, max_lines: int) -> list[str]:
    lines = source.text.count("\n")
    return [f"{source.path}:1: {lines} lines"] if lines > max_lines else []


def long_functions(source: Source, max_lines: int) -> list[str]:
    return [
        source.at(node, f"{node.name} has {lines} lines")
        for node in source.functions()
        if (lines := (node.end_lineno or 0) - node.lineno + 1) > max_lines
    ]


def crowded_folders(paths: Iterable[str], max_modules: int) -> list[str]:
    """Count the modules of each folder; its `__init__.py` is not one of them."""
    folders = Counter(str(Path(path).parent) for path in paths if Path(path).stem != "__init__")
    return [f"{folder}: {n} modules" for folder, n in folders.items() if n > max_modules]


def small_modules_of_one_importer(
    sources: Iterable[Source], max_lines: int, exempt: Set[str]
) -> list[str]:
    sources = list(sources)
    importers = defaultdict(set)
    for source in sources:
        for node in source.nodes:
            if isinstance(node, ast.ImportFrom) and node.module:
                importers[node.module].add(source.path)
                for alias in node.names:
                    importers[f"{node.module}.{alias.name}"].add(source.path)
    return [
        f"{source.path}:1: {source.text.count(chr(10))} lines, imported by {importer} alone"
        for source in sources
        if not source.path.endswith("__init__.py")
        and source.path not in exempt
        and source.text.count("\n") < max_lines
        and len(importers[source.module]) == 1
        for importer in importers[source.module]
    ]


# Names


def repeated_public_names(sources: Iterable[Source]) -> list[str]:
    """Find classes and type aliases whose name another module has too."""
    found = defaultdict(list)
    for source in sources:
        for node, name in _classes_and_aliases(source.tree):
            found[name].append(source.at(node, name))
    return [each for places in found.values() if len(places) > 1 for each in places]


def _classes_and_aliases(tree: ast.Module) -> Iterator[tuple[ast.stmt, str]]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node, node.name
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript | ast.BinOp):
            target = node.targets[0]
            if isinstance(target, ast.Name) and re.fullmatch(r"[A-Z][a-z]\w+", target.id):
                yield node, target.id


def constants_without_unit(source: Source) -> list[str]:
    """Find durations, sizes and shares whose name does not end in their unit.

    Such is a constant that is a float, is written in steps of 1024, or is called a timeout,
    an interval or the like.
    """
    found = []
    for node in source.tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        if not isinstance(target, ast.Name) or not target.id.isupper():
            continue
        number = _is_number(node.value)
        if number and _UNMEASURED.search(target.id):
            found.append(source.at(node, f"{target.id} does not begin with MAX or end in its unit"))
        elif (
            _is_measure(node.value) or (number and _MEASURED.search(target.id))
        ) and not _UNIT.search(target.id):
            found.append(source.at(node, f"{target.id} has no unit"))
    return found


def _is_number(value: ast.expr) -> bool:
    parts = [node for node in ast.walk(value) if isinstance(node, ast.expr)]
    return all(
        isinstance(node, ast.BinOp | ast.UnaryOp)
        or (isinstance(node, ast.Constant) and type(node.value) in {int, float})
        for node in parts
    )


def _is_measure(value: ast.expr) -> bool:
    if not _is_number(value):
        return False
    nodes = list(ast.walk(value))
    return any(
        (isinstance(node, ast.Constant) and (isinstance(node.value, float) or node.value == 1024))
        or isinstance(node, ast.LShift)
        for node in nodes
    )


def vague_test_names(source: Source) -> list[str]:
    """Find tests whose name has no subject, no result, or a person in it."""
    return [
        source.at(node, node.name)
        for node in source.functions()
        if node.name.startswith("test_")
        and (_VAGUE_TEST.match(node.name) or _PERSONS.search(node.name) or node.name.count("_") < 3)
    ]


# Prose


def vague_docstrings(source: Source) -> list[str]:
    """Find docstrings of classes and functions that do not open with what is done."""
    return [
        source.at(node, text.splitlines()[0])
        for node in source.nodes
        if isinstance(node, ast.ClassDef | _Function)
        and (text := ast.get_docstring(node))
        and _VAGUE_SUMMARY.match(text)
    ]


def forbidden_words(source: Source) -> list[str]:
    return [
        f"{source.path}:{n}: {match[0]}"
        for n, line in enumerate(source.text.splitlines(), 1)
        for match in FORBIDDEN_WORDS.finditer(line)
    ]


# Private parts of libraries


def own_private_names(sources: Iterable[Source]) -> set[str]:
    """Return every name with a leading underscore that the sources define themselves."""
    found: set[str] = set()
    for source in sources:
        for node in source.nodes:
            match node:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    found.add(name)
                case ast.ClassDef(name=name) | ast.Name(id=name, ctx=ast.Store()):
                    found.add(name)
                case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                    found.add(name)
                case _:
                    pass
    return {name for name in found if _is_private(name)}


def foreign_private_names(source: Source, own: Set[str]) -> list[str]:
    """Find private names and undocumented modules of a library that the source uses."""
    found = []
    for node in source.nodes:
        match node:
            case ast.Attribute(attr=name) if _is_private(name) and name not in own:
                found.append(source.at(node, name))
            case ast.Call(
                func=ast.Name(id="getattr" | "hasattr" | "setattr"),
                args=[_, ast.Constant(value=str(name)), *_],
            ) if _is_private(name) and name not in own:
                found.append(source.at(node, name))
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] not in OWN_PACKAGES:
                names = [each.name for each in node.names if _is_private(each.name)]
                found += [source.at(node, f"{module}.{name}") for name in names]
                if module.split(".")[0] == "aiohttp" and module not in DOCUMENTED_AIOHTTP:
                    found.append(source.at(node, module))
            case _:
                pass
    return found


def inherited_private_names(source: Source, module: ModuleType) -> list[str]:
    """Find private names that a class of the module has from a class of a library."""
    classes = {node.name: node for node in source.tree.body if isinstance(node, ast.ClassDef)}
    found = []
    for name, node in classes.items():
        foreign = set().union(*map(_private_names, _library_bases(vars(module)[name])))
        for part in ast.walk(node):
            match part:
                case ast.FunctionDef(name=used) | ast.AsyncFunctionDef(name=used):
                    pass
                case ast.Attribute(value=ast.Name(id="self"), attr=used):
                    pass
                case _:
                    continue
            if used in foreign:
                found.append(source.at(part, f"{name}.{used}"))
    return found


def _is_private(name: str) -> bool:
    return name.startswith("_") and name[1:2].isalnum() and name not in _DOCUMENTED_PRIVATE


def _library_bases(cls: type) -> list[type]:
    ours = sys.stdlib_module_names | OWN_PACKAGES | {cls.__module__}
    return [
        base for base in cls.__mro__ if not {base.__module__, base.__module__.split(".")[0]} & ours
    ]


def _private_names(cls: type) -> set[str]:
    try:
        text = inspect.getsource(cls)
    except (OSError, TypeError):  # a class of an extension in C
        text = ""
    names = {*vars(cls), *re.findall(r"\bself\.(\w+)", text)}
    return {name for name in names if _is_private(name)}
