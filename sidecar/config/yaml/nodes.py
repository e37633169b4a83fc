"""Parse YAML text into bounded nodes, with Python's garbage collector paused."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from sidecar.config.yaml.source import tabs
from sidecar.config.yaml.syntax_errors import explain
from sidecar.errors import ConfigError, Problem, SourceLocation

if TYPE_CHECKING:
    from yaml import BaseLoader as _Base
else:  # the C parser where PyYAML has it: ten times as fast, same nodes
    _Base = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


MAX_DEPTH = 20
MAX_REPEATED_NODES = 100_000
"""The most nodes that all aliases of a file may repeat."""
_OWN_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "map", "seq"))


def compose(text: str, file: str) -> MappingNode:
    """Return the root of the document. Raises `ConfigError`."""
    try:
        root = compose_document(text)
    except yaml.YAMLError as error:
        raise ConfigError(_unreadable(error, text, file)) from None
    except RecursionError:
        raise ConfigError(
            (Problem(SourceLocation(file, 1), "the file is nested too deeply", "flatten it"),)
        ) from None
    if root is None or (isinstance(root, ScalarNode) and not root.value):
        fix = "write at least a group and a key; see config/routes.example.yaml"
        raise ConfigError((Problem(SourceLocation(file, 1), "the file is empty", fix),))
    if not isinstance(root, MappingNode):
        fix = "it begins with a section such as groups: or keys:"
        raise ConfigError((Problem(place_of(root, file), "the file is not a mapping", fix),))
    problems = list(_Census(file).problems(root))
    if problems:
        raise ConfigError(tuple(problems))
    return root


def place_of(node: Node, file: str) -> SourceLocation:
    """Return the location at which a node begins."""
    mark = node.start_mark
    return SourceLocation(file, mark.line + 1, mark.column + 1)


def is_empty(node: Node) -> bool:
    """Return whether the node has no text: `groups:` and no more."""
    return isinstance(node, ScalarNode) and not node.value and node.style in (None, "")


def _unreadable(error: yaml.YAMLError, text: str, file: str) -> tuple[Problem, ...]:
    """Return the problem that stopped the parser; for a tab, every tab that would stop it."""
    problem = explain(error, text, file)
    indenting = tuple(tabs(text, file))
    lines = {each.place.line for each in indenting}
    return indenting if problem.place.line in lines else (problem,)


class _Census:
    """Count the nodes of a tree, following each alias once."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._sizes: dict[int, int] = {}
        self._open: set[int] = set()
        self._repeated = 0
        self._problems: list[Problem] = []

    def problems(self, root: Node) -> Iterator[Problem]:
        """Yield the problems with the shape of the tree, in the order of the file."""
        self._count(root, 1)
        if self._repeated > MAX_REPEATED_NODES:
            what = f"aliases repeat over {MAX_REPEATED_NODES:,} nodes of this file"
            yield Problem(place_of(root, self._file), what, "write them out, or use fewer")
        yield from self._problems

    def _count(self, node: Node, depth: int) -> int:
        if node.tag not in _OWN_TAGS:
            self._refuse_tag(node)
        if isinstance(node, ScalarNode):
            return 1
        known = self._sizes.get(id(node))
        if known is not None:
            self._repeated += known
            return known
        if depth > MAX_DEPTH:
            self._wrong(node, f"this is nested more than {MAX_DEPTH} deep", "flatten it")
            return 1
        if id(node) in self._open:
            self._wrong(node, "an alias is inside the value that it repeats", "write it out")
            return 1
        self._open.add(id(node))
        size = 1 + sum(self._count(child, depth + 1) for child in _children(node))
        self._open.discard(id(node))
        self._sizes[id(node)] = size
        return size

    def _refuse_tag(self, node: Node) -> None:
        tag = node.tag.removeprefix("tag:yaml.org,2002:")
        if tag.startswith("python"):
            self._wrong(node, "tags that build Python objects are refused", "remove the tag")
        else:
            self._wrong(
                node,
                "a word that begins with ! is a tag in YAML",
                'put the word in quotes: "!…"',
            )

    def _wrong(self, node: Node, what: str, fix: str) -> None:
        self._problems.append(Problem(place_of(node, self._file), what, fix))


def _children(node: Node) -> Iterator[Node]:
    if isinstance(node, MappingNode):
        for key, value in node.value:
            yield key
            yield value
    elif isinstance(node, SequenceNode):
        yield from node.value


@contextmanager
def gc_paused() -> Iterator[None]:
    """Pause garbage collection until the block ends; also usable as a decorator.

    Blocks may overlap in threads: collection is always on again after the last one.
    """
    was_running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_running:
            gc.enable()


_TAGS = {
    kind: f"tag:yaml.org,2002:{tag}"
    for kind, tag in ((ScalarNode, "str"), (SequenceNode, "seq"), (MappingNode, "map"))
}


class Loader(_Base):
    """A loader that resolves every scalar as text, without the lookup for each node."""

    def resolve(self, kind: Any, _value: Any, _implicit: Any) -> str:
        """Return the tag of a node without a tag of its own."""
        return _TAGS[kind]

    def descend_resolver(self, _node: Any, _index: Any) -> None:
        """Do nothing: no tag depends on a path."""

    def ascend_resolver(self) -> None:
        """Do nothing: no tag depends on a path."""


_known: ContextVar[dict[str, Node | None] | None] = ContextVar("known", default=None)


def compose_document(text: str) -> Node | None:
    """Return the root of the document; None when it is empty. Raises `yaml.YAMLError`."""
    known = _known.get()
    if known is None:
        return yaml.compose(text, Loader=Loader)
    if text not in known:
        known[text] = yaml.compose(text, Loader=Loader)
    return known[text]


@contextmanager
def compose_once() -> Iterator[None]:
    """Parse equal texts once until the block ends; also usable as a decorator.

    An edit and its check parse the same text. The nodes are shared and must not be changed.
    """
    token = _known.set({})
    try:
        yield
    finally:
        _known.reset(token)
