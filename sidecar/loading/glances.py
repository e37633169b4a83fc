"""What can be seen of a file before it is understood, or although it is refused. Never raises."""

from __future__ import annotations

from collections.abc import Iterator

from yaml.nodes import MappingNode, Node

from sidecar.collector import paused
from sidecar.config import Allowance, Key, Snapshot
from sidecar.errors import ConfigError
from sidecar.loading import plain, words
from sidecar.loading.allowances import limits
from sidecar.loading.fields import GROUP, KEY
from sidecar.loading.fragments import compose_beginning
from sidecar.loading.kinds import Block, Many, Word
from sidecar.loading.nodes import compose
from sidecar.loading.reader import Reader, Record
from sidecar.loading.text import decode
from sidecar.loading.values import STRING

_PATHS = Many(Word(words.text, "a path", STRING))


@paused()
def plugin_paths(text: bytes) -> tuple[str, ...]:
    """The local plugins that a file names, as they are written; () when that cannot be read."""
    if b"plugins" not in text:
        return ()  # nearly every file, which need not be read for that
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


@paused()
def stays_in_force(current: Snapshot, refused: bytes) -> list[str]:
    """What a refused file would have taken away from keys and groups, as far as it can be read:
    one line for each thing that therefore stays as it is in `current`."""
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
    """The document, and whether it is whole."""
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
        yield f"{label} keeps its text, the refused file gives it another"
    yield from _limits(label, key.allowance, record)
    expires = record.get("expires")
    if expires is not None and (key.expires is None or expires < key.expires):
        until = plain.moment(key.expires) or "no end"
        yield f"{label} keeps {until}, the refused file ends it {plain.moment(expires)}"


def _limits(label: str, current: Allowance, record: Record) -> Iterator[str]:
    """The limits that the refused file would have lowered."""
    held = {(limit.kind, limit.models): limit.amount for limit in current.limits}
    for limit in limits(record.get("limits")):
        before = held.get((limit.kind, limit.models))
        if before is None or limit.amount < before:
            name = limit.kind if limit.models is None else f"{limit.kind} for {limit.models.text}"
            kept = "no limit" if before is None else plain.count(before)
            wanted = plain.count(limit.amount)
            yield f"{label} keeps {name} {kept}, the refused file says {wanted}"
