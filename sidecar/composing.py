"""From YAML text to nodes, as quick as PyYAML can: what loading and editing read a file with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

if TYPE_CHECKING:
    from yaml import BaseLoader as _Base
else:  # the C parser where PyYAML was built with it: ten times as fast, same nodes
    _Base = getattr(yaml, "CBaseLoader", yaml.BaseLoader)

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


def compose(text: str) -> Node | None:
    """The root of the document; None when there is none. Raises `yaml.YAMLError`."""
    known = _known.get()
    if known is None:
        return yaml.compose(text, Loader=Loader)
    if text not in known:
        known[text] = yaml.compose(text, Loader=Loader)
    return known[text]


@contextmanager
def once() -> Iterator[None]:
    """Until the block ends, the same text is composed once: an edit is read by who makes it and by
    who checks what it means. Nobody changes the nodes. Also usable as a decorator."""
    token = _known.set({})
    try:
        yield
    finally:
        _known.reset(token)
