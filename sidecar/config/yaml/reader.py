"""Read YAML nodes and collect every problem with its location.

Handles mappings, duplicate names and merge keys; the field types interpret the values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import tzinfo
from typing import Any

from msgspec import Struct
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from sidecar.config.schema.parsers import InvalidValue
from sidecar.config.yaml.nodes import is_empty, place_of
from sidecar.config.yaml.secret_forms import looks_secret, shown
from sidecar.config.yaml.syntax_errors import expansion
from sidecar.errors import Problem, SourceLocation
from sidecar.humanize import suggestion

MERGE = "<<"


class Record(Struct):
    """The fields of one mapping: `values` that are valid, `places` of all that are written."""

    place: SourceLocation
    values: dict[str, Any] = {}
    places: dict[str, SourceLocation] = {}

    def get(self, name: str, default: Any = None) -> Any:
        """Return a field's value; `default` when it is absent or invalid."""
        return self.values.get(name, default)

    def at(self, name: str) -> SourceLocation:
        """Return the location of a field's value; the mapping's own when it is absent."""
        return self.places.get(name, self.place)


class Reader:
    """Collect the problems of one file. `zone` is the time zone of times without an offset."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.zone: tzinfo | None = None
        self.problems: list[Problem] = []

    def place(self, node: Node) -> SourceLocation:
        """Return the location at which a node begins."""
        return place_of(node, self.file)

    def error(self, at: Node | SourceLocation, what: str, next_step: str = "") -> None:
        """Record an error."""
        self._note(at, what, next_step, warning=False)

    def warn(self, at: Node | SourceLocation, what: str, next_step: str = "") -> None:
        """Record a warning: valid, but probably not intended."""
        self._note(at, what, next_step, warning=True)

    def invalid(self, at: Node | SourceLocation, error: InvalidValue) -> None:
        """Record the error of an invalid value."""
        self.error(at, error.what, error.next)

    def word(self, node: Node, expected: str) -> str | None:
        """Return the text of a scalar; None, with a problem recorded, for anything else."""
        if not isinstance(node, ScalarNode):
            kind = "a mapping" if isinstance(node, MappingNode) else "a list"
            self.error(node, f"{kind} is written in place of one value", f"write {expected}")
            return None
        if is_empty(node):
            self.error(node, "a value is missing", f"write {expected}")
            return None
        plain = node.style in (None, "")
        if plain and "${" in node.value:
            self.problems.append(expansion(self.place(node)))
            return None
        return str(node.value)

    def mapping(self, node: Node, what: str) -> list[tuple[str, Node, Node]] | None:
        """Return (name, name's node, value's node) for each field of a mapping.

        [] for an empty value; None, with a problem recorded, for another type. Fields of
        merged mappings come last.
        """
        if is_empty(node):
            return []
        if not isinstance(node, MappingNode):
            kind = "a list" if isinstance(node, SequenceNode) else "a single value"
            self.error(node, f"{kind} is written in place of {what}", "write them as name: value")
            return None
        merged: dict[str, tuple[str, Node, Node]] = {}
        own: dict[str, Node] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self.error(key, "a name must be one word or text", "a list or mapping is no name")
            elif key.value == MERGE and key.style in (None, ""):
                for item in self._merge(value, what):
                    merged.setdefault(item[0], item)
            elif key.value in own:
                first = self.place(own[key.value]).line
                twice = f"{shown(key.value)} is given twice, first in line {first}"
                is_section = self.place(key).column == 1 and isinstance(value, MappingNode)
                repair = "move its entries there" if is_section else "remove one of them"
                self.error(key, twice, repair)
            else:
                own[key.value] = key
                merged[key.value] = (key.value, key, value)
        if len(merged) == len(own):
            return list(merged.values())
        written = [item for name, item in merged.items() if name in own]
        return written + [item for name, item in merged.items() if name not in own]

    def _merge(self, node: Node, what: str) -> Iterator[tuple[str, Node, Node]]:
        sources = node.value if isinstance(node, SequenceNode) else [node]
        for source in sources:
            if isinstance(source, MappingNode):
                yield from self.mapping(source, what) or ()
            else:
                self.error(
                    source, "<< merges mappings only", "write <<: *name, where &name is a mapping"
                )

    def _note(self, at: Node | SourceLocation, what: str, next_step: str, *, warning: bool) -> None:
        place = at if isinstance(at, SourceLocation) else self.place(at)
        self.problems.append(Problem(place, what, next_step, warning))


def suggest(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return `suggestion` for a word of the file, without names that look like a secret."""
    return suggestion(word, (name for name in known if not looks_secret(name)), otherwise=otherwise)
