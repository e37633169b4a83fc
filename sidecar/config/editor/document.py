"""A YAML text with the positions of its nodes, and its content as a tree.

Changes nothing. Offsets count characters, as the parser's marks do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import yaml
from msgspec import Struct
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from sidecar.config.yaml.nodes import compose_document
from sidecar.errors import EditRefused

Tree = tuple[Any, ...]
_MAX_DEPTH = 50
_MAX_NODES = 4_000_000
_ALIAS = re.compile(r"\s*:\s*(\*[^\s,\[\]{}]+)")
_COMMENT = re.compile(r"[ \t]*#")


class Item(Struct, frozen=True):
    """One field of a mapping: the nodes of its name and of its value."""

    key: Node
    value: Node

    @property
    def aliased(self) -> bool:
        """True if the value is `*name`: its marks are then those of the anchor."""
        return bool(_start(self.value) < _end(self.key))


class Document:
    """One parsed text. Raises `EditRefused` when it is not valid YAML."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.newline = "\r\n" if "\r\n" in text else "\n"
        try:
            self.root: Node | None = compose_document(text)
        except (yaml.YAMLError, RecursionError):
            raise EditRefused(
                "the file cannot be read as YAML; run sidecar check, then fix it"
            ) from None

    def find(self, node: Node, name: str) -> Item | None:
        """Return the field of that name in a mapping, without merged ones."""
        if not isinstance(node, MappingNode):
            return None
        pairs = (Item(key, value) for key, value in node.value)
        return next((item for item in pairs if item.key.value == name), None)

    def content_end(self, node: Node) -> int:
        """Return the offset after a node's last character, without comments and empty lines."""
        start, end = _start(node), _end(node)
        if isinstance(node, ScalarNode):
            return start + len(self.text[start:end].rstrip())
        if is_flow(node) or not node.value:
            return end
        if isinstance(node, MappingNode):
            return self.item_end(Item(*node.value[-1]))
        return max(start, self.content_end(node.value[-1]))

    def item_end(self, item: Item) -> int:
        """Return the offset after a field's value."""
        if item.aliased:
            match = _ALIAS.match(self.text, _end(item.key))
            return _end(item.key) if match is None else match.end()
        return self.content_end(item.value)

    def colon_end(self, item: Item) -> int:
        """Return the offset after the colon that follows a field's name."""
        end = _end(item.key)
        colon = self.text.find(":", end)
        if colon < 0 or self.text[end:colon].strip():
            raise EditRefused("this field has neither a value nor a colon before one")
        return colon + 1

    def line_start(self, index: int) -> int:
        """Return the offset at which the line of a character begins."""
        return self.text.rfind("\n", 0, index) + 1

    def line_end(self, index: int) -> int:
        """Return the offset at which the line of a character ends, before its line break."""
        end = self.text.find("\n", index)
        if end < 0:
            return len(self.text)
        return end - 1 if self.text[end - 1 : end] == "\r" and end > index else end

    def next_line(self, index: int) -> int:
        """Return the offset of the line after that of a character; the text's end if none."""
        end = self.text.find("\n", index)
        return len(self.text) if end < 0 else end + 1

    def skip_comments(self, index: int, column: int) -> int:
        """Return the end of the last comment line below `index` that belongs above it.

        Such lines follow without a gap and are indented deeper than `column`. `index` is a
        line's end, and is returned when there is none.
        """
        while True:
            following = self.next_line(index)
            if following >= len(self.text):
                return index
            match = _COMMENT.match(self.text, following)
            if match is None or match.end() - 1 - following <= column:
                return index
            index = self.line_end(following)

    @cached_property
    def tree(self) -> Tree:
        """The content with aliases resolved, to compare: nested ("map" | "list" | "text", …)."""
        self._left = _MAX_NODES
        return self._tree(self.root, 0)

    def _tree(self, node: Node | None, depth: int) -> Tree:
        self._left -= 1
        if depth > _MAX_DEPTH or self._left < 0:
            raise EditRefused("the file is nested too deeply, or repeats too much by aliases")
        if isinstance(node, MappingNode):
            pairs = [(self._tree(k, depth + 1), self._tree(v, depth + 1)) for k, v in node.value]
            return ("map", *pairs)
        if isinstance(node, SequenceNode):
            return ("list", *(self._tree(item, depth + 1) for item in node.value))
        if node is None or is_empty(node):
            return ("map",)  # `keys:` and no more is an empty mapping
        return ("text", node.value)


def is_flow(node: Node) -> bool:
    """Return whether a collection is written with brackets."""
    return bool(getattr(node, "flow_style", False))


def is_empty(node: Node) -> bool:
    """Return whether the node has no text: `groups:` and no more."""
    return isinstance(node, ScalarNode) and not node.value and not node.style


def start(node: Node) -> int:
    """Return the offset of a node's first character."""
    return int(node.start_mark.index)


def end(node: Node) -> int:
    """Return the offset after a node as the parser reports it: too far for block style."""
    return int(node.end_mark.index)


def column(node: Node) -> int:
    """Return the column of a node, from 0."""
    return int(node.start_mark.column)


def items(node: Node) -> Iterator[Item]:
    """Yield the fields of a mapping."""
    if isinstance(node, MappingNode):
        for key, value in node.value:
            yield Item(key, value)


_start, _end = start, end
