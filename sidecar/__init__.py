"""Sidecar: a small proxy beside a developer's agents on localhost.

This module is the public door for plugins: everything a vendor needs is imported from here.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sidecar.plugin_api.api import *  # noqa: F403


__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """A name of `sidecar.plugin_api.api`, which is loaded when the first of them is asked for."""
    if (name.startswith("__") and name != "__all__") or find_spec(f"sidecar.{name}") is not None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module("sidecar.plugin_api.api"), name)
    globals()[name] = found
    return found
