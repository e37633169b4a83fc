"""Small vendors, so that tests of the configuration depend on no real plugin."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from msgspec import Struct, structs

from sidecar.config.loader import load
from sidecar.config.model import Snapshot
from sidecar.errors import SourceLocation
from sidecar.plugin_api.transform import Transform
from sidecar.plugin_api.vendor import Field, LocalServer, Vendor


class Alpha(Vendor):
    name = "alpha"
    title = "Alpha"
    base_url = "https://api.alpha.test/v1"
    credential = "ALPHA_KEY"
    other_credentials = ("ALPHA_API_KEY",)


class Beta(Vendor):
    name = "beta"
    title = "Beta"
    base_url = "https://api.beta.test"
    credential = "BETA_KEY"


class Hosted(Vendor):
    """Serves Alpha's API at an address that must be written, with fields of its own."""

    name = "hosted"
    title = "Hosted"
    credential = "HOSTED_KEY"
    serves = ("alpha",)
    fields = (
        Field("version", str, "The API's version.", default="v1"),
        Field("tenant", str, "Whose.", required=True),
        Field("region", ("eu", "us"), "Where."),
        Field("retries", int, "How many."),
        Field("strict", bool, "Whether.", default=False),
    )


class Local(Vendor):
    name = "local"
    title = "Local"
    base_url = "http://127.0.0.1:11434/v1"
    serves = ("alpha", "beta")


def _start() -> AbstractAsyncContextManager[str]:
    raise AssertionError("loading a file starts nothing")


class Inside(Vendor):
    name = "inside"
    title = "Inside"
    local_server = LocalServer(_start)


@dataclass(frozen=True)
class Plugins:
    vendors: Mapping[str, Vendor]
    transforms: Mapping[str, Transform] = field(default_factory=dict)


PLUGINS = Plugins({each.name: each() for each in (Alpha, Beta, Hosted, Local, Inside)})


def read(text: str | bytes, file: str = "routes.yaml") -> Snapshot:
    data = text if isinstance(text, bytes) else text.encode()
    return load(data, file=file, registry=PLUGINS)


def bare(value: Any) -> Any:
    """A value without what may differ: places, the file's digest, warnings."""
    if isinstance(value, SourceLocation):
        return None
    if isinstance(value, Snapshot):
        inner = structs.asdict(value)
        return {n: bare(v) for n, v in inner.items() if n not in ("file", "digest", "warnings")}
    if isinstance(value, Struct):
        return (type(value), *map(bare, structs.astuple(value)))
    if is_dataclass(value) and not isinstance(value, type):
        return (type(value), *(bare(getattr(value, f.name)) for f in fields(value) if f.compare))
    if isinstance(value, dict):
        return [(key, bare(inner)) for key, inner in value.items()]
    return tuple(map(bare, value)) if isinstance(value, tuple | list) else value
