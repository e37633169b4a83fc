"""The beginning of a YAML text that breaks off: what stands before its first error."""

from __future__ import annotations

from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from sidecar.composing import Loader
from sidecar.loading.nodes import MAXIMUM_DEPTH


def compose_beginning(text: str) -> MappingNode | None:
    """The document up to where it cannot be read any more; None when that is no mapping.

    Aliases are left out. The last field may lack its value, which then is left out as well.
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
                    if len(holders) > MAXIMUM_DEPTH:
                        break
                    holders.append(node)
                    open_nodes.append([])
    except yaml.YAMLError:
        pass
    while holders:
        _close(holders.pop(), open_nodes.pop())
    return root[0] if root and isinstance(root[0], MappingNode) else None


def _node(event: yaml.NodeEvent) -> Node:
    start: Any = event.start_mark  # the C parser's marks, which typeshed does not let into nodes
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
