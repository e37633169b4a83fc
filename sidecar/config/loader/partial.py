"""Partial parse of a file that is broken or not yet validated. Never raises."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from sidecar.config.loader import dump
from sidecar.config.loader.limits import limits
from sidecar.config.model import Allowance, Key, Snapshot
from sidecar.config.schema import parsers
from sidecar.config.schema.fields import GROUP, KEY
from sidecar.config.schema.types import Block, Many, Word
from sidecar.config.schema.values import STRING
from sidecar.config.yaml.nodes import MAX_DEPTH, Loader, compose, gc_paused
from sidecar.config.yaml.reader import Reader, Record
from sidecar.config.yaml.source import decode
from sidecar.errors import ConfigError

_PATHS = Many(Word(parsers.text, "a path", STRING))


@gc_paused()
def plugin_paths(text: bytes) -> tuple[str, ...]:
    """Return the local plugins of a file, as written; () when they cannot be read."""
    if b"plugins" not in text:
        return ()  # nearly every file: saves parsing it
    reader = Reader("")
    try:
        root = compose(decode(text, ""), "")
    except ConfigError:
        return ()
    for name, _, value in reader.mapping(root, "") or ():
        if name == "plugins":
            found: tuple[str, ...] | None = _PATHS.read(reader, value)
            return found or ()
    return ()


@gc_paused()
def stays_in_force(current: Snapshot, refused: bytes) -> list[str]:
    """Return one line for each thing that a rejected file would have taken away.

    Covers keys and groups, as far as the file can be read; each line says what stays as in
    `current`.
    """
    try:
        root, whole = _root(refused)
    except ConfigError:
        return []
    reader = Reader(current.file)
    reader.zone = current.timezone
    sections = {name: value for name, _, value in _items(reader, root)}
    keys = _records(reader, sections.get("keys"), KEY)
    lines = [line for key in current.keys.values() for line in _kept(key, keys.get(key.name))]
    if whole and keys:
        lines += _removed(current, keys)
    for name, record in _records(reader, sections.get("groups"), GROUP).items():
        if name in current.groups:
            lines += _limits(f'group "{name}"', current.groups[name].allowance, record)
    return lines


def _records(reader: Reader, section: Node | None, block: Block) -> dict[str, Record]:
    return {name: block.read(reader, value) for name, _, value in _items(reader, section)}


def _root(refused: bytes) -> tuple[MappingNode | None, bool]:
    """Return the document, and whether it is complete."""
    text = decode(refused, "")
    try:
        return compose(text, ""), True
    except ConfigError:
        return compose_beginning(text), False


def _items(reader: Reader, node: Node | None) -> list[tuple[str, Node, Node]]:
    return [] if node is None else reader.mapping(node, "") or []


def _removed(current: Snapshot, found: dict[str, Record]) -> list[str]:
    gone = [name for name in current.keys if name not in found]
    return [f'key "{name}" stays, the refused file removes it' for name in gone]


def _kept(key: Key, record: Record | None) -> Iterator[str]:
    if record is None:
        return
    label = f'key "{key.name}"'
    if key.enabled and record.get("enabled") is False:
        yield f"{label} stays ENABLED, the refused file disables it"
    if key.hashes and record.get("hash") not in (None, key.hashes[0].digest):
        yield f"{label} keeps its secret, the refused file gives it another"
    yield from _limits(label, key.allowance, record)
    expires = record.get("expires")
    if expires is not None and (key.expires is None or expires < key.expires):
        until = dump.timestamp(key.expires) or "no end"
        yield f"{label} keeps {until}, the refused file ends it {dump.timestamp(expires)}"


def _limits(label: str, current: Allowance, record: Record) -> Iterator[str]:
    """Yield a line for each limit that the rejected file would have lowered."""
    held = {(limit.kind, limit.models): limit.amount for limit in current.limits}
    for limit in limits(record.get("limits")):
        before = held.get((limit.kind, limit.models))
        if before is None or limit.amount < before:
            name = limit.kind if limit.models is None else f"{limit.kind} for {limit.models.text}"
            kept = "no limit" if before is None else dump.count(before)
            wanted = dump.count(limit.amount)
            yield f"{label} keeps {name} {kept}, the refused file sets {wanted}"


def compose_beginning(text: str) -> MappingNode | None:
    """Return the document up to the first error; None when it is no mapping.

    Aliases are left out, and the last field if it has no value.
    """
    root: list[Node] = []
    open_nodes: list[list[Node]] = [root]
    holders: list[Node] = []
    try:
        for event in yaml.parse(text, Loader=Loader):
            if isinstance(event, yaml.CollectionEndEvent):
                _close(holders.pop(), open_nodes.pop())
            elif isinstance(event, yaml.NodeEvent):
                node = _node(event)
                open_nodes[-1].append(node)
                if not isinstance(node, ScalarNode):
                    if len(holders) > MAX_DEPTH:
                        break
                    holders.append(node)
                    open_nodes.append([])
    except yaml.YAMLError:
        pass
    while holders:
        _close(holders.pop(), open_nodes.pop())
    return root[0] if root and isinstance(root[0], MappingNode) else None


def _node(event: yaml.NodeEvent) -> Node:
    start: Any = event.start_mark  # the C parser's marks, which typeshed does not accept
    end: Any = event.end_mark
    if isinstance(event, yaml.MappingStartEvent):
        return MappingNode("", [], start, end)
    if isinstance(event, yaml.SequenceStartEvent):
        return SequenceNode("", [], start, end)
    text = event.value if isinstance(event, yaml.ScalarEvent) else ""
    style = event.style if isinstance(event, yaml.ScalarEvent) else "'"
    return ScalarNode("", text, start, end, style)


def _close(holder: Node, children: list[Node]) -> None:
    if isinstance(holder, MappingNode):
        holder.value = list(zip(children[::2], children[1::2], strict=False))
    else:
        holder.value = children
