"""What is written at one place of a text, as plain values: for showing it and starting from it."""

from __future__ import annotations

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from sidecar.collector import paused
from sidecar.editing.document import Document, is_empty
from sidecar.editing.meaning import Path
from sidecar.writing import Value

_MERGE = "<<"


def written(text: bytes, path: Path) -> Value | None:
    """The value of the field at `path`, every word in it as text and merged mappings filled in;
    None when it is not there or nothing is written behind its name. Raises `EditRefused`."""
    return all_written(text, path)[0]


@paused()
def all_written(text: bytes, *paths: Path) -> list[Value | None]:
    """The same for several fields, in one reading of the text."""
    document = Document(text.decode("utf-8", "replace").removeprefix("\ufeff"))
    return [written_in(document, path) for path in paths]


def written_in(document: Document, path: Path) -> Value | None:
    """The same of a text that was read."""
    node = document.root
    for name in path:
        node = None if node is None else _fields(node).get(name)
    return None if node is None or is_empty(node) else _value(node)


def _value(node: Node) -> Value:
    if isinstance(node, MappingNode):
        return {name: _value(inner) for name, inner in _fields(node).items()}
    if isinstance(node, SequenceNode):
        return [_value(inner) for inner in node.value]
    return str(node.value)


def _fields(node: Node) -> dict[str, Node]:
    """A mapping's fields, those of merged mappings behind its own."""
    if not isinstance(node, MappingNode):
        return {}
    found: dict[str, Node] = {}
    merged: list[Node] = []
    for key, inner in node.value:
        if not isinstance(key, ScalarNode):
            continue
        if key.value == _MERGE:
            merged += inner.value if isinstance(inner, SequenceNode) else [inner]
        else:
            found[key.value] = inner
    for each in merged:
        found = {**_fields(each), **found}
    return found
