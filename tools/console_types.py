"""Write the types of the admin API for the console's JavaScript: run it after a change of
`sidecar/admin/api_types`, and commit what it writes.

tools/console_types.py            # writes tools/console/api.d.ts
tools/console_types.py --check    # exit status 1 when it would change
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from msgspec import inspect

from sidecar.admin.api import ROUTES
from sidecar.admin.api_types.config import ErrorResponse, StreamEvent

FILE = Path(__file__).with_name("console") / "api.d.ts"
HEAD = """\
// The answers of the admin API. Written by tools/console_types.py: do not edit.

declare namespace Api {
"""
_SCALARS = {
    inspect.BoolType: "boolean",
    inspect.IntType: "number",
    inspect.FloatType: "number",
    inspect.StrType: "string",
    inspect.NoneType: "null",
    inspect.AnyType: "any",
    inspect.CustomType: "any",
}
Declared = inspect.StructType | inspect.DataclassType | inspect.EnumType


def declarations() -> str:
    """Return the file: an interface for each struct, a union for each enum, and the answer of each
    endpoint by its method and path."""
    answers = {(each.method, each.path): _answer(each.handler) for each in ROUTES}
    found: dict[str, inspect.Type] = {}
    for each in (*answers.values(), typing.get_args(StreamEvent), [ErrorResponse]):
        for struct in each:
            _collect(inspect.type_info(struct), found)
    lines = [line for name in sorted(found) for line in _declaration(name, found[name])]
    events = " | ".join(each.__name__ for each in typing.get_args(StreamEvent))
    lines.append(f"  type StreamEvent = {events};")
    for method in ("GET", "POST"):
        lines.append(f"  interface {method.title()} {{")
        lines += [
            f'    "{path}": {" | ".join(each.__name__ for each in answer)};'
            for (asked, path), answer in answers.items()
            if asked == method
        ]
        lines.append("  }")
    return HEAD + "\n".join(lines) + "\n}\n"


def _answer(handler: object) -> tuple[type[msgspec.Struct], ...]:
    """Return the structs that a handler may answer with."""
    answer = typing.get_type_hints(handler)["return"]
    return typing.get_args(answer) or (answer,)


def _collect(kind: inspect.Type, found: dict[str, inspect.Type]) -> None:
    """Add the structs, dataclasses and enums of a type to those that were found."""
    if isinstance(kind, Declared):
        if kind.cls.__name__ in found:
            return
        found[kind.cls.__name__] = kind
    for each in _parts(kind):
        _collect(each, found)


def _parts(kind: inspect.Type) -> Iterable[inspect.Type]:
    match kind:
        case inspect.StructType(fields=fields) | inspect.DataclassType(fields=fields):
            return [each.type for each in fields]
        case inspect.UnionType(types=kinds) | inspect.TupleType(item_types=kinds):
            return kinds
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            return [item]
        case inspect.DictType(value_type=value):
            return [value]
    return ()


def _declaration(name: str, kind: inspect.Type) -> Iterator[str]:
    if isinstance(kind, inspect.EnumType):
        yield f"  type {name} = {' | '.join(_quoted(each.value) for each in kind.cls)};"
        return
    assert isinstance(kind, inspect.StructType | inspect.DataclassType)
    yield f"  interface {name} {{"
    if isinstance(kind, inspect.StructType) and kind.tag_field is not None:
        yield f"    {kind.tag_field}: {_quoted(kind.tag)};"
    for each in kind.fields:
        absent = not each.required and msgspec.NODEFAULT is each.default is each.default_factory
        yield f"    {each.encode_name}{'?' if absent else ''}: {_text(each.type)};"
    yield "  }"


def _text(kind: inspect.Type) -> str:
    match kind:
        case (
            inspect.StructType(cls=cls) | inspect.DataclassType(cls=cls) | inspect.EnumType(cls=cls)
        ):
            return cls.__name__
        case inspect.UnionType(types=kinds):
            return " | ".join(dict.fromkeys(_text(each) for each in kinds if not _is_unset(each)))
        case inspect.TupleType(item_types=kinds):
            return f"[{', '.join(map(_text, kinds))}]"
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            text = _text(item)
            return f"({text})[]" if " | " in text else f"{text}[]"
        case inspect.DictType(value_type=value):
            return f"Record<string, {_text(value)}>"
    return _SCALARS[type(kind)]


def _is_unset(kind: inspect.Type) -> bool:
    return isinstance(kind, inspect.CustomType) and kind.cls is msgspec.UnsetType


def _quoted(value: object) -> str:
    return f'"{value}"'


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(FILE.read_text() != declarations())
    FILE.write_text(declarations())
