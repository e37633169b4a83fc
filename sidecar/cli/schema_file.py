"""The JSON Schema in the state directory, which editors complete and check a file with."""

from __future__ import annotations

import json
from pathlib import Path

from sidecar.config.loader.json_schema import schema
from sidecar.files import prepare, write_private
from sidecar.plugin_api.manager import Registry


def write_schema(state: Path, registry: Registry) -> Path:
    """Write the schema of files that are read with these plugins, and return its path."""
    prepare(state)
    path = state.absolute() / "schema.json"
    write_private(path, json.dumps(schema(registry), indent=2).encode() + b"\n")
    return path


def schema_line(path: Path) -> str:
    """Return the first line of a file, by which an editor's language server finds the schema."""
    return f"# yaml-language-server: $schema={path.as_uri()}"
