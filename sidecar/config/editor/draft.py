"""A text being edited, re-read once after each edit."""

from __future__ import annotations

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from sidecar.config.editor.document import Document, is_empty
from sidecar.config.editor.expected import FieldPath, checked, renamed, with_value, without
from sidecar.config.editor.splices import with_field, with_name, without_field
from sidecar.config.yaml.nodes import gc_paused
from sidecar.config.yaml.writer import Value
from sidecar.errors import EditRefused


class Draft:
    """Changes one text. An edit that raises `EditRefused` has changed nothing."""

    @gc_paused()
    def __init__(self, text: bytes) -> None:
        """Read the text. Raises `EditRefused` when it cannot be."""
        try:
            decoded = text.decode("utf-8")
        except UnicodeDecodeError:
            raise EditRefused("the file is not UTF-8 text; see: sidecar check") from None
        if decoded.startswith("\ufeff"):
            raise EditRefused("the file begins with a byte order mark; save it without one")
        self._document = Document(decoded)

    @property
    def text(self) -> bytes:
        """As it is by now."""
        return self._document.text.encode()

    def written(self, path: FieldPath) -> Value | None:
        """The value of the field at `path`, as `editing.written` has it."""
        return written_in(self._document, path)

    @gc_paused()
    def set_value(self, path: FieldPath, value: Value) -> None:
        """Set the field at `path`; what is missing on the way is added at the end of the mapping it
        belongs to, in the style of its neighbours."""
        document = self._reach(path)
        wanted = with_value(document.tree, path, value)
        self._document = checked(with_field(document, path, value), wanted, path)

    @gc_paused()
    def remove(self, path: FieldPath) -> None:
        """Take the field at `path` away. Refused when there is none."""
        document = self._reach(path)
        wanted = without(document.tree, path)
        self._document = checked(without_field(document, path), wanted, path)

    @gc_paused()
    def rename(self, path: FieldPath, new_name: str) -> None:
        """Give the field at `path` another name, in its place. Refused when it is taken."""
        document = self._reach(path)
        new_text = with_name(document, path, new_name)
        self._document = checked(new_text, renamed(document.tree, path, new_name), path)

    def _reach(self, path: FieldPath) -> Document:
        if not path:
            raise EditRefused("no field was named")
        return self._document


_MERGE = "<<"


def written(text: bytes, path: FieldPath) -> Value | None:
    """The value of the field at `path`, every word in it as text and merged mappings filled in;
    None when it is not there or nothing is written behind its name. Raises `EditRefused`."""
    return all_written(text, path)[0]


@gc_paused()
def all_written(text: bytes, *paths: FieldPath) -> list[Value | None]:
    """The same for several fields, in one reading of the text."""
    document = Document(text.decode("utf-8", "replace").removeprefix("\ufeff"))
    return [written_in(document, path) for path in paths]


def written_in(document: Document, path: FieldPath) -> Value | None:
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
