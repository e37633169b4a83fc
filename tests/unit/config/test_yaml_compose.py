"""Reading YAML: quick, and within one piece of work not twice."""

from __future__ import annotations

import pytest
import yaml

from sidecar.config.yaml.nodes import compose_document, compose_once

TEXT = "a: &x [1, no, '2', {b: !!int 3}]\nc: *x\n? e\n: |\n  some\n  text\n<<: {f: ~}\n"


def spelt(node: yaml.Node | None) -> object:
    """A tree with its tags and marks."""
    if node is None:
        return None
    value = node.value
    if isinstance(node, yaml.MappingNode):
        value = [(spelt(key), spelt(inner)) for key, inner in value]
    elif isinstance(node, yaml.SequenceNode):
        value = [spelt(each) for each in value]
    return node.tag, value, node.start_mark.index, node.end_mark.index


@pytest.mark.parametrize("text", [TEXT, "", "a", "- {}\n- []\n", "? !x a\n: ! b\n"])
def test_compose_gives_the_nodes_of_a_loader_without_types(text: str) -> None:
    assert spelt(compose_document(text)) == spelt(yaml.compose(text, yaml.BaseLoader))


def test_compose_once_parses_a_text_once_and_then_forgets_it() -> None:
    with compose_once():
        first = compose_document(TEXT)
        assert compose_document(TEXT) is first
        assert compose_document(TEXT + "g: h\n") is not first
    assert compose_document(TEXT) is not first
