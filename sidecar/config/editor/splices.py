"""Splice the text for one edit: set, remove or rename a field. Each returns the new text.

`Draft` checks that the new text has the intended content.
"""

from __future__ import annotations

from collections.abc import Mapping

from yaml.nodes import MappingNode, Node, SequenceNode

from sidecar.config.editor.document import (
    Document,
    Item,
    column,
    end,
    is_empty,
    is_flow,
    items,
    start,
)
from sidecar.config.editor.expected import FieldPath, shown
from sidecar.config.yaml.writer import Value, block, entry, flow, scalar
from sidecar.errors import EditRefused

_INDENT_SPACES = 2


def _locate(document: Document, path: FieldPath) -> tuple[Node, Item]:
    """Return the mapping that holds the field at `path`, and the field."""
    node = document.root
    for depth, name in enumerate(path, 1):
        item = None if node is None else document.find(node, name)
        if node is None or item is None:
            raise EditRefused(f"there is no {shown(path[:depth])} in the file")
        if depth == len(path):
            return node, item
        node = item.value
    raise EditRefused("no field was named")


def with_field(document: Document, path: FieldPath, value: Value) -> str:
    """Return the text with the field at `path` set.

    A missing field is added at the end of its mapping, in the style of its neighbours, with the
    mappings that lead to it.
    """
    parent, holder = document.root, None
    for depth, name in enumerate(path):
        item = None if parent is None else document.find(parent, name)
        if item is None:
            levels = (len(path) - 1 if depth == 0 else 0) + _opened(value)
            return _add(document, parent, holder, _nested(path[depth:], value), levels)
        if depth == len(path) - 1:
            return _replace(document, item, value)
        parent, holder = item.value, item
    raise EditRefused("no field was named")


def with_name(document: Document, path: FieldPath, new_name: str) -> str:
    """Return the text with another name for the field at `path`.

    Raises `EditRefused`, also when the name is taken.
    """
    parent, item = _locate(document, path)
    if document.find(parent, new_name) is not None:
        raise EditRefused(f'there is already a "{new_name}" under {shown(path[:-1])}')
    return _splice(document, start(item.key), end(item.key), scalar(new_name))


def _add(
    document: Document,
    parent: Node | None,
    holder: Item | None,
    fields: Mapping[str, Value],
    levels: int,
) -> str:
    """Add fields to a mapping that may be missing; write `levels` of them in block style."""
    if parent is None:
        return _append(document, fields, levels)
    if is_empty(parent):
        return _fill(document, holder, fields, levels)
    if not isinstance(parent, MappingNode):
        raise EditRefused("a field can only be added to a mapping")
    if is_flow(parent):
        return _add_in_brackets(document, parent, fields)
    return _add_below(document, parent, fields, levels)


def _append(document: Document, fields: Mapping[str, Value], levels: int) -> str:
    body = document.newline.join(block(fields, open_levels=levels))
    text = document.text
    gap = document.newline if text and not text.endswith("\n") else ""
    return f"{text}{gap}{body}{document.newline}"


def _fill(document: Document, holder: Item | None, fields: Mapping[str, Value], levels: int) -> str:
    """Write the first fields of a mapping that has only its name."""
    if holder is None:
        return _append(document, fields, levels)
    place = document.colon_end(holder)
    before = document.text[document.line_start(place) : start(holder.key)]
    if before.strip():  # inside brackets, or after a dash
        return _splice(document, place, place, f" {flow(fields)}")
    lines = block(fields, " " * (column(holder.key) + _INDENT_SPACES), open_levels=levels)
    return _insert_lines(document, document.line_end(place), lines)


def _add_in_brackets(document: Document, parent: MappingNode, fields: Mapping[str, Value]) -> str:
    inner = flow(fields)[1:-1]
    if parent.value:
        place = document.item_end(Item(*parent.value[-1]))
        return _splice(document, place, place, f", {inner}")
    opening = document.text.index("{", start(parent)) + 1
    closing = end(parent) - 1
    if document.text[opening:closing].strip():
        closing = opening
    return _splice(document, opening, closing, inner)


def _add_below(
    document: Document, parent: MappingNode, fields: Mapping[str, Value], levels: int
) -> str:
    last = Item(*parent.value[-1])
    indent = column(parent.value[0][0])
    neighbours = [item.value for item in items(parent) if not item.aliased]
    bracketed = [is_flow(each) for each in neighbours if isinstance(each, MappingNode)]
    in_brackets = bool(bracketed) and bracketed[-1]
    lines = block(fields, " " * indent, open_levels=0 if in_brackets else levels)
    if _is_spaced(document, parent) and not in_brackets and len(lines) > 1:
        lines.insert(0, "")
    place = document.skip_comments(document.line_end(document.item_end(last)), indent)
    return _insert_lines(document, place, lines)


def _opened(value: Value) -> int:
    """Return 1 for a mapping of several fields, which has a line for each; else 0."""
    return int(isinstance(value, Mapping) and len(value) > 1)


def _is_spaced(document: Document, parent: MappingNode) -> bool:
    """Return whether an empty line separates the last two fields."""
    if len(parent.value) < 2:
        return False
    previous, last = Item(*parent.value[-2]), Item(*parent.value[-1])
    between = document.text[document.item_end(previous) : start(last.key)]
    return between.replace("\r", "").count("\n\n") > 0


def _replace(document: Document, item: Item, value: Value) -> str:
    if item.aliased:
        raise EditRefused("the value is an alias (*) of another place; change it by hand")
    old = item.value
    if is_empty(old):
        place = document.colon_end(item)
        return _splice(document, place, place, f" {flow(value)}")
    if is_flow(old) or not isinstance(old, MappingNode | SequenceNode):
        return _splice(document, start(old), document.content_end(old), flow(value))
    return _replace_block(document, item, value)


def _replace_block(document: Document, item: Item, value: Value) -> str:
    """Replace a value that has lines of its own; a comment after the name stays."""
    old = item.value
    first, last = document.line_start(start(old)), document.content_end(old)
    if first <= end(item.key):
        return _splice(document, start(old), last, flow(value))
    if isinstance(value, Mapping) and isinstance(old, MappingNode) and value:
        lines = block(value, " " * column(old))
        return _splice(document, first, last, document.newline.join(lines))
    if isinstance(value, list) and isinstance(old, SequenceNode) and value:
        lines = [f"{' ' * column(old)}- {entry(each)}" for each in value]
        return _splice(document, first, last, document.newline.join(lines))
    place, text = document.colon_end(item), document.text
    kept = text[place : document.line_end(place)]
    return f"{text[:place]} {flow(value)}{kept}{text[last:]}"


def without_field(document: Document, path: FieldPath) -> str:
    """Return the text without the field at `path`. Raises `EditRefused` when there is none."""
    parent, item = _locate(document, path)
    fields = list(items(parent))
    index = next(n for n, each in enumerate(fields) if each.key is item.key)
    following = fields[index + 1] if index + 1 < len(fields) else None
    if is_flow(parent):
        previous = fields[index - 1] if index else None
        return _remove_in_brackets(document, previous, item, following)
    return _remove_lines(document, item, following)


def _remove_in_brackets(
    document: Document, previous: Item | None, item: Item, following: Item | None
) -> str:
    if following is not None:
        return _splice(document, start(item.key), start(following.key), "")
    if previous is not None:
        return _splice(document, document.item_end(previous), document.item_end(item), "")
    last = document.item_end(item)
    rest = document.text[last:]
    comma = len(rest) - len(rest.lstrip())
    trailing = comma + 1 if rest[comma : comma + 1] == "," else 0
    return _splice(document, start(item.key), last + trailing, "")


def _remove_lines(document: Document, item: Item, following: Item | None) -> str:
    first = document.line_start(start(item.key))
    if document.text[first : start(item.key)].strip():  # after the dash of a list
        if following is None:
            raise EditRefused("this is the only field of an entry of a list; remove it by hand")
        return _splice(document, start(item.key), start(following.key), "")
    last = document.skip_comments(document.line_end(document.item_end(item)), column(item.key))
    return _splice(document, first, document.next_line(last), "")


def _insert_lines(document: Document, place: int, lines: list[str]) -> str:
    body = document.newline.join(lines)
    return _splice(document, place, place, f"{document.newline}{body}")


def _splice(document: Document, first: int, last: int, new: str) -> str:
    return f"{document.text[:first]}{new}{document.text[last:]}"


def _nested(path: FieldPath, value: Value) -> Mapping[str, Value]:
    for name in reversed(path[1:]):
        value = {name: value}
    return {path[0]: value}
