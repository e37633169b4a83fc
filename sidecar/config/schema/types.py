"""What kinds of fields there are: how one is read, how its JSON Schema looks, what words say it.

A kind answers None when the value is wrong and the problem has been noted. It knows the shape of
a value and nothing of other parts of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from yaml.nodes import Node, SequenceNode

from sidecar.config.schema import parsers
from sidecar.config.schema.foreign_fields import bare
from sidecar.config.schema.parsers import InvalidValue
from sidecar.config.yaml.nodes import is_empty
from sidecar.config.yaml.reader import Reader, Record, suggest
from sidecar.config.yaml.redact import shown
from sidecar.errors import SourceLocation

Schema = dict[str, Any]
TEXT: Schema = {"type": ["string", "number", "boolean"]}


class FieldType(Protocol):
    """A kind of value. `words` says in a few words what to write."""

    @property
    def words(self) -> str:
        """What to write, as it stands in messages and in the documentation."""

    def read(self, reader: Reader, node: Node) -> Any:
        """The value; None, with the problem noted, when it is wrong."""

    def schema(self) -> Schema:
        """Its JSON Schema."""


@dataclass(frozen=True)
class Word:
    """A scalar that `parse` reads. `instead_of_list` is what to do where a list stands: (what is
    wrong, what to write)."""

    parse: Callable[[str], Any]
    words: str
    json: Mapping[str, Any]
    instead_of_list: tuple[str, str] | None = None

    def read(self, reader: Reader, node: Node) -> Any:
        """Return what `parse` returns."""
        if self.instead_of_list is not None and isinstance(node, SequenceNode):
            reader.wrong(node, *self.instead_of_list)
            return None
        word = reader.word(node, self.words)
        if word is None:
            return None
        try:
            return self.parse(word)
        except InvalidValue as error:
            reader.misread(node, error)
            return None

    def schema(self) -> Schema:
        """As declared."""
        return dict(self.json)


@dataclass(frozen=True)
class Placed:
    """As `Word`, for values that keep their place or depend on the file's time zone."""

    parse: Callable[[str, SourceLocation, Reader], Any]
    words: str
    json: Mapping[str, Any]

    def read(self, reader: Reader, node: Node) -> Any:
        """What the function makes of the text and its place."""
        place = reader.place(node)
        return Word(lambda word: self.parse(word, place, reader), self.words, self.json).read(
            reader, node
        )

    def schema(self) -> Schema:
        """As declared."""
        return dict(self.json)


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    values: Mapping[str, Any]

    @property
    def words(self) -> str:
        """All of them."""
        return " or ".join(self.values)

    def read(self, reader: Reader, node: Node) -> Any:
        """The value that the word stands for."""
        word = reader.word(node, self.words)
        if word is None:
            return None
        if word not in self.values:
            reader.wrong(node, f"{shown(word)} is not known here", suggest(word, self.values))
            return None
        return self.values[word]

    def schema(self) -> Schema:
        """An enumeration."""
        return {"enum": list(self.values)}


@dataclass(frozen=True)
class Many:
    """One value, or a list of at least one: always read as a tuple."""

    kind: FieldType

    @property
    def words(self) -> str:
        """Those of one, and that it may be several."""
        return f"{self.kind.words}, or a list"

    def read(self, reader: Reader, node: Node) -> tuple[Any, ...] | None:
        """All values, if all are right."""
        if not isinstance(node, SequenceNode):
            one = self.kind.read(reader, node)
            return None if one is None else (one,)
        if not node.value:
            reader.wrong(node, "this list is empty", "write at least one, or remove the field")
            return None
        found = [self.kind.read(reader, item) for item in node.value]
        return None if None in found else tuple(found)

    def schema(self) -> Schema:
        """One, or an array."""
        one = self.kind.schema()
        return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}


@dataclass(frozen=True)
class Named:
    """One entry of a table: its name, where that stands, and what it names."""

    name: Any
    place: SourceLocation
    value: Any


@dataclass(frozen=True)
class Table:
    """A mapping from names that the user chooses. The entries keep the order of the file."""

    title: str
    kind: FieldType
    name: Callable[[str], Any] = parsers.name

    @property
    def words(self) -> str:
        """That it is a mapping."""
        return f"a mapping from names to {self.title}"

    def read(self, reader: Reader, node: Node) -> list[Named] | None:
        """The entries that are right."""
        found = []
        items = reader.mapping(node, self.words)
        for text, key, value in items or ():
            try:
                name = self.name(text)
            except InvalidValue as error:
                reader.misread(key, error)
                continue
            inner = self.kind.read(reader, value)
            if inner is not None:
                found.append(Named(name, reader.place(key), inner))
        return None if items is None else found

    def schema(self) -> Schema:
        """An object of anything but names of our own."""
        return {"type": ["object", "null"], "additionalProperties": self.kind.schema()}


@dataclass(frozen=True)
class OptionField:
    """A field: the one place where its name, kind, meaning and default are written down."""

    name: str
    kind: FieldType
    help: str
    default: str = ""
    required: bool = False


@dataclass(frozen=True)
class Block:
    """A mapping with declared fields.

    Names that begin with `ignored` are the user's own. `foreign` has hints for the names that
    other gateways use, by `foreign_fields.bare`.
    """

    title: str
    options: tuple[OptionField, ...]
    ignored: str | None = None
    foreign: Mapping[str, str] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """That it is a mapping, and of what."""
        return f"the fields of {self.title}"

    def read(self, reader: Reader, node: Node) -> Record:
        """All fields that are right; unknown and missing ones are noted."""
        record = Record(reader.place(node))
        items = reader.mapping(node, self.words)
        if items is None:
            return record
        for name, key, value in items:
            option = self._by_name.get(name)
            if option is not None:
                record.places[name] = reader.place(value)
                found = option.kind.read(reader, value)
                if found is not None:
                    record.values[name] = found
            elif self.ignored is None or not name.startswith(self.ignored):
                self._unknown(reader, name, key, value)
        self._require(reader, record)
        return record

    def schema(self) -> Schema:
        """An object of exactly these properties."""
        schema: Schema = {
            "type": ["object", "null"],
            "properties": {each.name: _described(each) for each in self.options},
            "additionalProperties": False,
        }
        if self.ignored is not None:
            schema["patternProperties"] = {f"^{self.ignored}": True}
        if any(each.required for each in self.options):
            schema["type"] = "object"
            schema["required"] = [each.name for each in self.options if each.required]
        return schema

    @cached_property
    def _by_name(self) -> dict[str, OptionField]:
        return {each.name: each for each in self.options}

    def _unknown(self, reader: Reader, name: str, key: Node, value: Node) -> None:
        if ":" in name and is_empty(value):
            fix = "put a space after the colon"
        else:
            fix = self.foreign.get(bare(name)) or suggest(name, self._by_name)
        reader.wrong(key, f"{self.title} has no field {shown(name)}", fix)

    def _require(self, reader: Reader, record: Record) -> None:
        for option in self.options:
            if option.required and option.name not in record.places:
                fix = f"write {option.name}: and {option.kind.words}"
                reader.wrong(record.place, f'{self.title} needs the field "{option.name}"', fix)


@dataclass(frozen=True)
class Raw:
    """Any mapping, kept as it is until what it may hold is known."""

    words: str

    def read(self, reader: Reader, node: Node) -> Node:  # noqa: ARG002 - as every kind
        """The node itself."""
        return node

    def schema(self) -> Schema:
        """Anything."""
        return {}


def _described(option: OptionField) -> Schema:
    return {**option.kind.schema(), "description": option.help}
