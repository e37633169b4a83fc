"""Compose YAML text into bounded nodes, with Python's garbage collector paused."""

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
else:  # the C parser where PyYAML was built with it: ten times as fast, same nodes
    _Base = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


MAX_DEPTH = 20
MAX_REPEATED_NODES = 100_000
"""Nodes that aliases may repeat, all together."""
_OWN_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "map", "seq"))


def compose(text: str, file: str) -> MappingNode:
    """The root of the document. Raises `ConfigError`."""
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
        raise ConfigError((Problem(SourceLocation(file, 1), "the file says nothing", fix),))
    if not isinstance(root, MappingNode):
        fix = "it begins with a section such as groups: or keys:"
        raise ConfigError((Problem(place_of(root, file), "the file is not a mapping", fix),))
    problems = list(_Census(file).problems(root))
    if problems:
        raise ConfigError(tuple(problems))
    return root


def place_of(node: Node, file: str) -> SourceLocation:
    """Where a node begins."""
    mark = node.start_mark
    return SourceLocation(file, mark.line + 1, mark.column + 1)


def is_empty(node: Node) -> bool:
    """Whether nothing was written: `groups:` and no more."""
    return isinstance(node, ScalarNode) and not node.value and node.style in (None, "")


def _unreadable(error: yaml.YAMLError, text: str, file: str) -> tuple[Problem, ...]:
    """Why the parser stopped; when a tab stopped it, every one that would."""
    problem = explain(error, text, file)
    indenting = tuple(tabs(text, file))
    lines = {each.place.line for each in indenting}
    return indenting if problem.place.line in lines else (problem,)


class _Census:
    """Counts a tree, following every alias once."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._sizes: dict[int, int] = {}
        self._open: set[int] = set()
        self._repeated = 0
        self._problems: list[Problem] = []

    def problems(self, root: Node) -> Iterator[Problem]:
        """What is wrong with the shape of the tree, in the order of the file."""
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
            self._wrong(node, "an alias stands inside of what it repeats", "write it out")
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
    """No collection until the block ends, unless somebody turned it on meanwhile; also usable as a
    decorator. Blocks may overlap in threads: the collector always comes back."""
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
    """Scalars are text and nothing else, so that what a node is needs no looking up: it would be
    asked of every node of a large file."""

    def resolve(self, kind: Any, _value: Any, _implicit: Any) -> str:
        """The tag of a node that has none of its own."""
        return _TAGS[kind]

    def descend_resolver(self, _node: Any, _index: Any) -> None:
        """No path means anything."""

    def ascend_resolver(self) -> None:
        """As above."""


_known: ContextVar[dict[str, Node | None] | None] = ContextVar("known", default=None)


def compose_document(text: str) -> Node | None:
    """The root of the document; None when there is none. Raises `yaml.YAMLError`."""
    known = _known.get()
    if known is None:
        return yaml.compose(text, Loader=Loader)
    if text not in known:
        known[text] = yaml.compose(text, Loader=Loader)
    return known[text]


@contextmanager
def compose_once() -> Iterator[None]:
    """Until the block ends, the same text is composed once: an edit is read by who makes it and by
    who checks what it means. Nobody changes the nodes. Also usable as a decorator."""
    token = _known.set({})
    try:
        yield
    finally:
        _known.reset(token)
