"""The five hooks of a plugin. They run when Sidecar starts or reloads, or after a call.

What runs within a call is a method of the objects that the first three hooks return.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

from sidecar.plugin_api.dialect import Dialect
from sidecar.plugin_api.transform import Transform
from sidecar.plugin_api.vendor import Vendor
from sidecar.records import CallRecord

if TYPE_CHECKING:
    from sidecar.config.model import Snapshot


PROJECT_NAME = "sidecar"
hookspec = pluggy.HookspecMarker(PROJECT_NAME)
hookimpl = pluggy.HookimplMarker(PROJECT_NAME)


@hookspec
def sidecar_dialects() -> Iterable[Dialect]:
    """Return the dialects of this plugin. Called once, at start."""
    return ()


@hookspec
def sidecar_vendors() -> Iterable[Vendor]:
    """Return the vendors of this plugin. Called once, at start, after all dialects."""
    return ()


@hookspec
def sidecar_transforms() -> Iterable[Transform]:
    """Return the transforms of this plugin. Called once, at start."""
    return ()


@hookspec
def sidecar_check_config(snapshot: Snapshot) -> Iterable[str]:
    """Return the problems of a configuration that is about to be accepted.

    One problem rejects the configuration; at a reload the one in force stays. Called in a thread,
    not in the event loop.
    """
    return ()


@hookspec
def sidecar_call_finished(record: CallRecord) -> None:
    """Read the record of a finished call. Called once for each call, in the event loop.

    Must return within microseconds and must not change the record. Errors are counted in
    `sidecar_plugin_failures_total`.
    """
