"""Sidecar: a small proxy beside a developer's agents on localhost.

Plugins import everything that they need from this module; docs/plugins.md describes it.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sidecar.plugin_api.api import *  # noqa: F403


__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Return a name of `sidecar.plugin_api.api`, which is imported at the first use."""
    if (name.startswith("__") and name != "__all__") or find_spec(f"sidecar.{name}") is not None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module("sidecar.plugin_api.api"), name)
    globals()[name] = found
    return found
