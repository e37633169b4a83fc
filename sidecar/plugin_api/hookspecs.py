"""The four hooks of a plugin, called at load time or after a call; never on a call's path.

Per-call work is a typed method of the objects that the first two hooks return.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

from sidecar.plugin_api.dialect import Dialect
from sidecar.plugin_api.vendor import Vendor
from sidecar.records import CallRecord

if TYPE_CHECKING:
    from sidecar.config.model import Snapshot


PROJECT_NAME = "sidecar"
hookspec = pluggy.HookspecMarker(PROJECT_NAME)
hookimpl = pluggy.HookimplMarker(PROJECT_NAME)


@hookspec
def sidecar_dialects() -> Iterable[Dialect]:
    """Return the dialects that this plugin knows. Called once, at start."""
    return ()


@hookspec
def sidecar_vendors() -> Iterable[Vendor]:
    """Return the vendors that this plugin knows. Called once, at start, after all dialects."""
    return ()


@hookspec
def sidecar_check_config(snapshot: Snapshot) -> Iterable[str]:
    """Return what is wrong with a configuration that is about to be accepted.

    Any answer vetoes it: at a reload the one in force stays. Called off the event loop.
    """
    return ()


@hookspec
def sidecar_call_finished(record: CallRecord) -> None:
    """Hear of a finished call, once. Must be quick; may change nothing; an error is counted."""
