"""The tree that a text must have after an edit. Works on trees alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

from sidecar.config.editor.document import Document, Tree
from sidecar.config.yaml.writer import Value
from sidecar.errors import EditRefused

FieldPath = tuple[str, ...]


def checked(new_text: str, wanted: Tree, path: FieldPath) -> Document:
    """Return the parsed new text if its tree is `wanted`; else raise `EditRefused`."""
    with suppress(EditRefused):
        found = Document(new_text)
        if found.tree == wanted:
            return found
    raise EditRefused(
        f"{shown(path)} cannot be changed without touching more than that (is it written with "
        "an anchor, or in an unusual way?); change it by hand"
    )


def with_value(tree: Tree, path: FieldPath, value: Value) -> Tree:
    """Return the tree with the field at `path` set, added at the end where it is missing."""
    if not path:
        return expected_value(value)
    name = ("text", path[0])
    pairs = _pairs(tree, path)
    if all(key != name for key, _ in pairs):
        return ("map", *pairs, (name, with_value(("map",), path[1:], value)))
    changed = (
        (key, with_value(inner, path[1:], value) if key == name else inner) for key, inner in pairs
    )
    return ("map", *changed)


def without(tree: Tree, path: FieldPath) -> Tree:
    """Return the tree without the field at `path`."""
    name = ("text", path[0])
    if len(path) == 1:
        return ("map", *(pair for pair in _pairs(tree, path) if pair[0] != name))
    return _inside(tree, path, lambda inner: without(inner, path[1:]))


def renamed(tree: Tree, path: FieldPath, new_name: str) -> Tree:
    """Return the tree with another name for the field at `path`."""
    if len(path) == 1:
        names = {("text", path[0]): ("text", new_name)}
        return ("map", *((names.get(key, key), inner) for key, inner in _pairs(tree, path)))
    return _inside(tree, path, lambda inner: renamed(inner, path[1:], new_name))


def expected_value(value: Value) -> Tree:
    """Return the tree of a value."""
    if isinstance(value, Mapping):
        return ("map", *((("text", name), expected_value(inner)) for name, inner in value.items()))
    if isinstance(value, bool):
        return ("text", "true" if value else "false")
    if isinstance(value, str | int):
        return ("text", str(value))
    return ("list", *map(expected_value, value))


def shown(path: FieldPath) -> str:
    """Return a path for messages: `keys: batch: limits`."""
    return ": ".join(path) or "the file"


def _inside(tree: Tree, path: FieldPath, change: Callable[[Tree], Tree]) -> Tree:
    name = ("text", path[0])
    pairs = _pairs(tree, path)
    return ("map", *((key, change(inner) if key == name else inner) for key, inner in pairs))


def _pairs(tree: Tree, path: FieldPath) -> list[tuple[Tree, Tree]]:
    if tree[0] != "map":
        raise EditRefused(f"{shown(path[:1])} can only stand in a mapping")
    return list(tree[1:])
