"""Parse a list of routes: providers by name, each with options or without.

The loader resolves the names.
"""

from __future__ import annotations

from msgspec import Struct
from yaml.nodes import MappingNode, Node, SequenceNode

from sidecar.config.model import Rename
from sidecar.config.patterns import Pattern
from sidecar.config.schema import parsers
from sidecar.config.schema.parsers import InvalidValue
from sidecar.config.schema.types import TEXT, Block, Schema, Table, Word
from sidecar.config.yaml.reader import Reader, Record
from sidecar.errors import SourceLocation

_NAME = Word(parsers.name, "a provider's name", TEXT)


class RouteEntry(Struct, frozen=True):
    """One entry of a list of routes."""

    provider: str
    place: SourceLocation
    options: Record


class RouteList(Struct, frozen=True):
    """The type of `routes`: providers' names, each alone or with the fields of a route."""

    block: Block
    words: str = "a list of providers, each alone or as name: {options}"

    def read(self, reader: Reader, node: Node) -> tuple[RouteEntry, ...] | None:
        """Return the valid entries; None when there is no list."""
        if not isinstance(node, SequenceNode) or not node.value:
            reader.error(node, "routes are a list", "write [name, name], or one - name a line")
            return None
        found = [self._entry(reader, item) for item in node.value]
        return tuple(entry for entry in found if entry is not None)

    def schema(self) -> Schema:
        """Return the JSON Schema: an array of names or objects with one name."""
        one = {
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": self.block.schema(),
        }
        return {"type": "array", "minItems": 1, "items": {"anyOf": [TEXT, one]}}

    def _entry(self, reader: Reader, node: Node) -> RouteEntry | None:
        place = reader.place(node)
        if not isinstance(node, MappingNode):
            name = _NAME.read(reader, node)
            return None if name is None else RouteEntry(name, place, Record(place))
        items = reader.mapping(node, "a route")
        if not items:
            return None
        if len(items) > 1:
            what = "this entry of routes has several names"
            fix = "begin each provider with -, and put its options inside it: name: {models: …}"
            reader.error(items[1][1], what, fix)
            return None
        text, key, value = items[0]
        options = self.block.read(reader, value)
        try:
            name = parsers.name(text)
        except InvalidValue as error:
            reader.invalid(key, error)
            return None
        return RouteEntry(name, place, options)


class As(Struct, frozen=True):
    """The type of `as:`: one served name for every model, or a map from asked to served names."""

    words: str = "a name, or a map from asked to served names"

    def read(self, reader: Reader, node: Node) -> tuple[Rename, bool] | None:
        """Return the rename, and whether its patterns are the route's list of models, too."""
        if not isinstance(node, MappingNode):
            served = _served(reader, node)
            return None if served is None else (Rename(((Pattern("*"), served),)), False)
        table = Table("served names", Word(_target, "a model's name", TEXT), parsers.pattern)
        entries = table.read(reader, node)
        if not entries:
            if entries is not None and not node.value:
                reader.error(node, "this map is empty", "write asked: served, or remove it")
            return None
        for entry in entries:
            _check_star(reader, entry.place, entry.name, entry.value)
        return Rename(tuple((entry.name, entry.value) for entry in entries)), True

    def schema(self) -> Schema:
        """Return the JSON Schema: a name, or an object of names."""
        one = {"type": "object", "minProperties": 1, "additionalProperties": TEXT}
        return {"anyOf": [TEXT, one]}


def _served(reader: Reader, node: Node) -> str | None:
    served: str | None = Word(_target, "a model's name", TEXT).read(reader, node)
    return served


def _target(word: str) -> str:
    text = parsers.pattern(word).text
    if "?" in text:
        raise InvalidValue("a served name may not hold a ?", "write the name, with at most one *")
    if text.count("*") > 1:
        raise InvalidValue(
            "a served name may hold one * only", "write the name, with at most one *"
        )
    return text


def _check_star(reader: Reader, place: SourceLocation, asked: Pattern, served: str) -> None:
    if "*" in served and "*" not in asked.text:
        what = "the served name has a *, but the asked one has none to fill it"
        reader.error(place, what, "put a * into the asked name, or remove it from the served one")
