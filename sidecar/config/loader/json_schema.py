"""The JSON Schema of the file, for editors: made from the declared fields, plugins' included."""

from __future__ import annotations

from typing import Any

from sidecar.config.loader.providers import Plugins, provider_block
from sidecar.config.schema.fields import FILE
from sidecar.config.schema.types import Block

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema(registry: Plugins) -> dict[str, Any]:
    """Return the schema of a file that is read with these plugins.

    It has every field. Only the loader checks names, hashes and rules between fields.
    """
    blocks = {name: provider_block(vendor) for name, vendor in registry.vendors.items()}
    found = FILE.schema()
    providers: dict[str, Any] = found["properties"]["providers"]
    by_plugin = _by_plugin(blocks)
    providers["properties"] = {name: _own_name(name, by_plugin) for name in blocks}
    providers["additionalProperties"] = {"type": "object", "required": ["plugin"], **by_plugin}
    _name_vendors(found["properties"], list(blocks))
    definitions = {name: block.schema() for name, block in blocks.items()}
    title = "Sidecar's configuration file"
    return {"$schema": DIALECT, "title": title, **found, "$defs": definitions}


def _name_vendors(sections: dict[str, Any], vendors: list[str]) -> None:
    """Let editors complete the names of vendors: a group's, of which no other is known, and those
    of the providers that need no entry."""
    for section in ("groups", "keys"):
        fields = sections[section]["additionalProperties"]["properties"]
        if "vendor" in fields:
            fields["vendor"] = {
                "enum": vendors, "description": fields["vendor"]["description"]
            }  # fmt: skip
        fields["routes"]["items"]["anyOf"].insert(0, {"enum": vendors})


def _by_plugin(blocks: dict[str, Block]) -> dict[str, Any]:
    """Return the schema of a provider with `plugin:`, which decides its fields."""
    choices = [
        {
            "if": {"required": ["plugin"], "properties": {"plugin": {"const": name}}},
            "then": _definition(name),
        }
        for name in blocks
    ]
    return {"properties": {"plugin": {"enum": list(blocks)}}, "allOf": choices}


def _own_name(name: str, by_plugin: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a provider with a vendor's name, which it may override."""
    return {
        "if": {"type": "object", "required": ["plugin"]},
        "then": by_plugin,
        "else": _definition(name),
    }


def _definition(name: str) -> dict[str, Any]:
    return {"$ref": "#/$defs/" + name.replace("~", "~0").replace("/", "~1")}
