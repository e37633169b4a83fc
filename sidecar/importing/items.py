"""The values of another gateway's file with their lines, and which of them were used.

YAML and JSON are read alike. No value is ever part of a message: it may be a secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from sidecar.config.schema.foreign_fields import OF_FILE, OF_PROVIDER, OF_SERVER, bare
from sidecar.config.yaml.nodes import MAX_DEPTH, compose_document
from sidecar.config.yaml.reader import MERGE
from sidecar.config.yaml.secret_forms import shown
from sidecar.config.yaml.source import decode
from sidecar.config.yaml.syntax_errors import explain
from sidecar.errors import ConfigError, Problem, SourceLocation

MAX_ITEMS = 200_000
"""The most values of a file, those that aliases repeat included."""
MAX_NUMBER = 10**9
_PAIR = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_HINTS = {**OF_PROVIDER, **OF_SERVER, **OF_FILE}
_NULL = frozenset({"", "~", "null"})


@dataclass(slots=True)
class ForeignValue:
    """One value: the text of a scalar, a list, or fields by name; `line` counts from 1.

    `used` has the names of the fields that were read.
    """

    line: int
    text: str = ""
    items: list[ForeignValue] = field(default_factory=list)
    fields: dict[str, ForeignValue] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def take(self, name: str) -> ForeignValue | None:
        """Return a field and mark it as used; None when it is absent or null."""
        found = self.fields.get(name)
        self.used.add(name)
        if found is None or found.is_null:
            return None
        return found

    def word(self, name: str) -> str:
        """Return the text of a field and mark it as used; "" when it is absent or no scalar."""
        found = self.take(name)
        return "" if found is None else found.text.strip()

    def every(self) -> list[tuple[str, ForeignValue]]:
        """Return all fields and mark them as used."""
        self.used.update(self.fields)
        return list(self.fields.items())

    @property
    def is_null(self) -> bool:
        """True for a missing value."""
        return not self.items and not self.fields and self.text.strip().lower() in _NULL

    def unused(self, path: str = "") -> Iterator[tuple[int, str]]:
        """Yield the line and the path of every field below that was not used."""
        for name, child in self.fields.items():
            here = f"{path}.{_spelled(name)}" if path else _spelled(name)
            if name not in self.used:
                if not child.is_null:
                    yield child.line, here
            else:
                yield from child.unused(here)
        for child in self.items:
            yield from child.unused(path)


def read_items(data: bytes, file: str) -> ForeignValue:
    """Return the root of a YAML or JSON file. Raises `ConfigError`."""
    text = decode(data.removeprefix(b"\xef\xbb\xbf"), file)
    if text.lstrip()[:1] in {"{", "["}:
        text = _as_yaml(text)
    try:
        root = compose_document(text)
    except yaml.YAMLError as error:
        raise ConfigError((explain(error, text, file),)) from None
    except RecursionError:
        raise _refusal(file, "the file is nested too deeply") from None
    if root is None:
        raise _refusal(file, "the file is empty")
    return _Builder(file).item(root, root.start_mark.line + 1, 1)


def no_counterpart(root: ForeignValue) -> Iterator[tuple[int, str, str]]:
    """Yield line, what has no counterpart, and what to do, for every field that was not used."""
    for line, path in root.unused():
        hint = _HINTS.get(bare(path.rpartition(".")[2]), "")
        yield line, f"{path} has no counterpart", f"in Sidecar's file: {hint}" if hint else ""


def use_all(item: ForeignValue) -> None:
    """Mark everything below as used: its entry is left out as a whole, which is reported."""
    for child in (*item.items, *(each for _, each in item.every())):
        use_all(child)


def whole_number(item: ForeignValue, name: str) -> int | None:
    """Return a whole number that is not negative; any other value stays unused."""
    found = decimal(item, name)
    if found is not None and found != int(found):
        item.used.discard(name)
        return None
    return None if found is None else int(found)


def milliseconds(item: ForeignValue, name: str, *, factor: int = 1000) -> str:
    """Return a duration of the file, such as `600000ms`; "" when it is absent or out of range.

    `factor` are the milliseconds of its unit. A value out of range stays unused.
    """
    found = decimal(item, name)
    if found is None or found == 0:
        return ""
    text = f"{max(1, int(found * factor))}ms"
    if len(text) > len("123456789ms"):
        item.used.discard(name)
        return ""
    return text


def decimal(item: ForeignValue, name: str) -> Decimal | None:
    """Return a number that is not negative; any other value stays unused."""
    text = item.word(name)
    try:
        found = Decimal(text) if text else None
    except InvalidOperation:
        found = Decimal(-1)
    if found is not None and not (found.is_finite() and 0 <= found < MAX_NUMBER):
        item.used.discard(name)
        return None
    return found


def _spelled(name: str) -> str:
    return shown(name).strip('"')


def _refusal(file: str, what: str) -> ConfigError:
    return ConfigError((Problem(SourceLocation(file, 1), what, "is it the right file?"),))


def _as_yaml(text: str) -> str:
    """Return JSON as YAML with the same lines: without tabs between words, which YAML forbids, and
    without pairs of surrogates."""
    return _PAIR.sub(lambda pair: str(json.loads(f'"{pair[0]}"')), text.replace("\t", " "))


@dataclass(slots=True)
class _Builder:
    file: str
    count: int = 0

    def item(self, node: Node, line: int, depth: int) -> ForeignValue:
        self.count += 1
        if self.count > MAX_ITEMS or depth > MAX_DEPTH:
            raise _refusal(self.file, "the file has too many values, or is nested too deeply")
        match node:
            case MappingNode():
                return ForeignValue(line, fields=self._fields(node, depth))
            case SequenceNode():
                items = [self.item(each, each.start_mark.line + 1, depth + 1)
                         for each in node.value]  # fmt: skip
                return ForeignValue(line, items=items)
            case ScalarNode():
                return ForeignValue(line, str(node.value))
        raise AssertionError(node)  # YAML has no other nodes

    def _fields(self, node: MappingNode, depth: int) -> dict[str, ForeignValue]:
        merged: dict[str, ForeignValue] = {}
        own: dict[str, ForeignValue] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                continue
            found = self.item(value, key.start_mark.line + 1, depth + 1)
            if key.value == MERGE and key.style in (None, ""):
                for source in found.items or [found]:
                    merged = source.fields | merged
            else:
                own[str(key.value)] = found
        return merged | own
