"""A text that is edited step by step, parsed again after each edit."""

from __future__ import annotations

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from sidecar.config.editor.document import Document, is_empty
from sidecar.config.editor.expected import FieldPath, checked, renamed, with_value, without
from sidecar.config.editor.splices import with_field, with_name, without_field
from sidecar.config.yaml.nodes import gc_paused
from sidecar.config.yaml.writer import Value
from sidecar.errors import EditRefused


class Draft:
    """Edit one text. An edit that raises `EditRefused` changes nothing."""

    @gc_paused()
    def __init__(self, text: bytes) -> None:
        """Parse the text. Raises `EditRefused` when it is not valid YAML in UTF-8."""
        try:
            decoded = text.decode("utf-8")
        except UnicodeDecodeError:
            raise EditRefused("the file is not UTF-8 text; see: sidecar check") from None
        if decoded.startswith("\ufeff"):
            raise EditRefused("the file begins with a byte order mark; save it without one")
        self._document = Document(decoded)

    @property
    def text(self) -> bytes:
        """The text with all edits so far."""
        return self._document.text.encode()

    def written(self, path: FieldPath) -> Value | None:
        """Return the value at `path`, as `editor.written` does."""
        return written_in(self._document, path)

    @gc_paused()
    def set_value(self, path: FieldPath, value: Value) -> None:
        """Set the field at `path`.

        A missing field is added at the end of its mapping, in the style of its neighbours,
        with the mappings that lead to it.
        """
        document = self._reach(path)
        wanted = with_value(document.tree, path, value)
        self._document = checked(with_field(document, path, value), wanted, path)

    @gc_paused()
    def remove(self, path: FieldPath) -> None:
        """Remove the field at `path`. Raises `EditRefused` when there is none."""
        document = self._reach(path)
        wanted = without(document.tree, path)
        self._document = checked(without_field(document, path), wanted, path)

    @gc_paused()
    def rename(self, path: FieldPath, new_name: str) -> None:
        """Rename the field at `path` in its place. Raises `EditRefused` when the name is taken."""
        document = self._reach(path)
        new_text = with_name(document, path, new_name)
        self._document = checked(new_text, renamed(document.tree, path, new_name), path)

    def _reach(self, path: FieldPath) -> Document:
        if not path:
            raise EditRefused("no field was named")
        return self._document


_MERGE = "<<"


def written(text: bytes, path: FieldPath) -> Value | None:
    """Return the value at `path`, with scalars as text and merged mappings filled in.

    None when the field or its value is missing. Raises `EditRefused`.
    """
    return all_written(text, path)[0]


@gc_paused()
def all_written(text: bytes, *paths: FieldPath) -> list[Value | None]:
    """Return the values at several paths, parsing the text once. See `written`."""
    document = Document(text.decode("utf-8", "replace").removeprefix("\ufeff"))
    return [written_in(document, path) for path in paths]


def written_in(document: Document, path: FieldPath) -> Value | None:
    """Return the value at `path` of a parsed text. See `written`."""
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
    """Return a mapping's fields; its own ones override those of merged mappings."""
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
