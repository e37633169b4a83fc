"""Schemas of tools and of JSON answers.

Google has two forms: a subset of OpenAPI with types in capitals, and a subset of JSON Schema.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

from sidecar_transforms.translation.losses import Loss, LossLog
from sidecar_transforms.translation.model import JsonObject
from sidecar_transforms.translation.wire_format import as_dict, as_dicts, as_text

_KEPT = frozenset({
    "$anchor", "$defs", "$id", "$ref", "additionalProperties", "anyOf", "description", "enum",
    "format", "items", "maxItems", "maximum", "minItems", "minimum", "prefixItems", "properties",
    "propertyOrdering", "required", "title", "type",
})  # fmt: skip
_SILENT = frozenset({"$schema", "$comment"})
"""Keywords without a meaning for the model."""
_RENAMED = {"oneOf": "anyOf", "definitions": "$defs"}
_MAPS = frozenset({"properties", "$defs"})
_LISTS = frozenset({"anyOf", "prefixItems"})
_ONE = frozenset({"items", "additionalProperties"})
_NESTED = _MAPS | _LISTS | _ONE
_COUNTS = frozenset({
    "minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties",
})  # fmt: skip
_OPENAPI_NAMES = {"defs": "$defs", "ref": "$ref"}


def camel(value: object) -> JsonObject:
    """Return an object with its names in camel case; Google takes both spellings."""
    found = as_dict(value)
    if not any("_" in name for name in found):
        return found
    return {_camel(name): each for name, each in found.items()}


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest) if head else name


def write_schema(schema: JsonObject, losses: LossLog) -> JsonObject:
    """Return the part of a JSON Schema that Google takes."""
    found: JsonObject = {}
    write = partial(write_schema, losses=losses)
    for given, value in schema.items():
        name = _RENAMED.get(given, given)
        if name == "const":
            found["enum"] = [value]
        elif name == "allOf" and isinstance(value, list) and len(value) == 1:
            found = {**write(as_dict(value[0])), **found}
        elif name in _KEPT:
            found[name] = _inner(name, value, write) if name in _NESTED else value
        elif name not in _SILENT:
            losses.add(Loss.SCHEMA)
    reference = as_text(found.get("$ref"))
    if reference:
        found["$ref"] = reference.replace("#/definitions/", "#/$defs/")
    return found


def _inner(name: str, value: object, change: Callable[[JsonObject], JsonObject]) -> object:
    """Return a keyword's value with the schemas in it changed."""
    if name in _MAPS:
        # `true` as a schema permits anything, as {} does.
        return {key: change(as_dict(each)) for key, each in as_dict(value).items()}
    if name in _LISTS:
        return [change(each) for each in as_dicts(value)]
    if name in _ONE and isinstance(value, dict):
        return change(cast("JsonObject", value))
    return value


def read_schema(schema: JsonObject) -> JsonObject:
    """Return Google's subset of OpenAPI as JSON Schema."""
    found: JsonObject = {}
    nullable = False
    for given, value in camel(schema).items():
        name = _OPENAPI_NAMES.get(given, given)
        if name == "type":
            if value != "TYPE_UNSPECIFIED":
                found["type"] = as_text(value).lower()
        elif name == "nullable":
            nullable = value is True
        elif name == "example":
            found["examples"] = [value]
        elif name in _COUNTS and isinstance(value, str) and value.isdecimal():
            found[name] = int(value)  # Google writes 64-bit integers as strings
        elif name == "$ref":
            found[name] = as_text(value).replace("#/defs/", "#/$defs/")
        elif name != "propertyOrdering" and (name, value) != ("format", "enum"):
            found[name] = _inner(name, value, read_schema)
    return _nullable(found) if nullable else found


def _nullable(schema: JsonObject) -> JsonObject:
    if "type" in schema:
        schema["type"] = [schema["type"], "null"]
    elif "anyOf" in schema:
        schema["anyOf"] = [*as_dicts(schema["anyOf"]), {"type": "null"}]
    if isinstance(schema.get("enum"), list):
        schema["enum"] = [*cast("list[object]", schema["enum"]), None]
    return schema


def closed(schema: JsonObject) -> JsonObject:
    """Return the schema without further properties, as Google's models answer.

    Other providers want it in words.
    """
    found = {name: _inner(name, value, closed) for name, value in schema.items()}
    if "properties" in found:
        found.setdefault("additionalProperties", False)
    return found
