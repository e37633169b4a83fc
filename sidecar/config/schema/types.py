"""The types of fields: how to read one, its JSON Schema, and what to write, in words.

A type's `read` returns None when the value is invalid, and records the problem. It checks the value
alone, not other parts of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Protocol

from msgspec import Struct
from yaml.nodes import Node, SequenceNode

from sidecar.config.schema import parsers
from sidecar.config.schema.foreign_fields import bare
from sidecar.config.schema.parsers import InvalidValue
from sidecar.config.yaml.nodes import is_empty
from sidecar.config.yaml.reader import Reader, Record, suggest
from sidecar.config.yaml.secret_forms import shown
from sidecar.errors import SourceLocation

Schema = dict[str, Any]
TEXT: Schema = {"type": ["string", "number", "boolean"]}


class FieldType(Protocol):
    """A type of field. `words` is a short text of what to write."""

    @property
    def words(self) -> str:
        """A short text of what to write, for messages and the documentation."""

    def read(self, reader: Reader, node: Node) -> Any:
        """Return the value; None, with the problem recorded, when it is invalid."""

    def schema(self) -> Schema:
        """Return the JSON Schema of the value."""


class Word(Struct, frozen=True):
    """The type of a scalar that `parse` accepts.

    `instead_of_list` is the error where a list stands: (what is wrong, what to write).
    """

    parse: Callable[[str], Any]
    words: str
    json: Mapping[str, Any]
    instead_of_list: tuple[str, str] | None = None

    def read(self, reader: Reader, node: Node) -> Any:
        """Return what `parse` returns."""
        if self.instead_of_list is not None and isinstance(node, SequenceNode):
            reader.error(node, *self.instead_of_list)
            return None
        word = reader.word(node, self.words)
        if word is None:
            return None
        try:
            return self.parse(word)
        except InvalidValue as error:
            reader.invalid(node, error)
            return None

    def schema(self) -> Schema:
        """Return the declared schema."""
        return dict(self.json)


class Placed(Struct, frozen=True):
    """The type of a scalar whose value keeps its location or depends on the file's time zone."""

    parse: Callable[[str, SourceLocation, Reader], Any]
    words: str
    json: Mapping[str, Any]

    def read(self, reader: Reader, node: Node) -> Any:
        """Return what `parse` returns for the text, its location and the reader."""
        place = reader.place(node)
        return Word(lambda word: self.parse(word, place, reader), self.words, self.json).read(
            reader, node
        )

    def schema(self) -> Schema:
        """Return the declared schema."""
        return dict(self.json)


class Choice(Struct, frozen=True):
    """The type of a field with one of a few words."""

    values: Mapping[str, Any]

    @property
    def words(self) -> str:
        """The words, joined by "or"."""
        return " or ".join(self.values)

    def read(self, reader: Reader, node: Node) -> Any:
        """Return the value of the word."""
        word = reader.word(node, self.words)
        if word is None:
            return None
        if word not in self.values:
            reader.error(node, f"{shown(word)} is not known here", suggest(word, self.values))
            return None
        return self.values[word]

    def schema(self) -> Schema:
        """Return an enumeration."""
        return {"enum": list(self.values)}


class Many(Struct, frozen=True):
    """The type of one value or a list of at least one, read as a tuple."""

    kind: FieldType

    @property
    def words(self) -> str:
        """The words of one value, and that a list is possible."""
        return f"{self.kind.words}, or a list"

    def read(self, reader: Reader, node: Node) -> tuple[Any, ...] | None:
        """Return all values, if all are valid."""
        if not isinstance(node, SequenceNode):
            one = self.kind.read(reader, node)
            return None if one is None else (one,)
        if not node.value:
            reader.error(node, "this list is empty", "write at least one, or remove the field")
            return None
        found = [self.kind.read(reader, item) for item in node.value]
        return None if None in found else tuple(found)

    def schema(self) -> Schema:
        """Return one value or an array."""
        one = self.kind.schema()
        return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}


class Named(Struct, frozen=True):
    """One entry of a table: its name, the location of the name, and its value."""

    name: Any
    place: SourceLocation
    value: Any


class Table(Struct, frozen=True):
    """The type of a mapping from names that the user chooses, in the order of the file."""

    title: str
    kind: FieldType
    name: Callable[[str], Any] = parsers.name

    @property
    def words(self) -> str:
        """A short text of what to write: a mapping."""
        return f"a mapping from names to {self.title}"

    def read(self, reader: Reader, node: Node) -> list[Named] | None:
        """Return the valid entries."""
        found = []
        items = reader.mapping(node, self.words)
        for text, key, value in items or ():
            try:
                name = self.name(text)
            except InvalidValue as error:
                reader.invalid(key, error)
                continue
            inner = self.kind.read(reader, value)
            if inner is not None:
                found.append(Named(name, reader.place(key), inner))
        return None if items is None else found

    def schema(self) -> Schema:
        """Return an object with any names."""
        return {"type": ["object", "null"], "additionalProperties": self.kind.schema()}


class OptionField(Struct, frozen=True):
    """A field: the only place of its name, type, help text and default."""

    name: str
    kind: FieldType
    help: str
    default: str = ""
    required: bool = False


class Block(Struct, frozen=True, dict=True):
    """The type of a mapping with declared fields.

    Names that begin with `ignored` are the user's own. `foreign` has hints for the names that
    other gateways use, by `foreign_fields.bare`.
    """

    title: str
    options: tuple[OptionField, ...]
    ignored: str | None = None
    foreign: Mapping[str, str] = {}

    @property
    def words(self) -> str:
        """A short text of what to write: the fields of this block."""
        return f"the fields of {self.title}"

    def read(self, reader: Reader, node: Node) -> Record:
        """Return the valid fields; record unknown and missing ones as problems."""
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
        """Return an object with exactly these properties."""
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
        reader.error(key, f"{self.title} has no field {shown(name)}", fix)

    def _require(self, reader: Reader, record: Record) -> None:
        for option in self.options:
            if option.required and option.name not in record.places:
                fix = f"write {option.name}: and {option.kind.words}"
                reader.error(record.place, f'{self.title} needs the field "{option.name}"', fix)


class Raw(Struct, frozen=True):
    """The type of a mapping that the loader reads later, once its fields are known."""

    words: str

    def read(self, reader: Reader, node: Node) -> Node:  # noqa: ARG002 - as every kind
        """Return the node itself."""
        return node

    def schema(self) -> Schema:
        """Return a schema that accepts anything."""
        return {}


def _described(option: OptionField) -> Schema:
    return {**option.kind.schema(), "description": option.help}
