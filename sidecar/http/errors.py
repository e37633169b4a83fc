"""Names the failures of a vendor's plugin; those of connections are named where they happen.

A library's error is never quoted: its text may hold what was on the wire.
"""

from __future__ import annotations

import logging

from sidecar.errors import Fault, UpstreamError

log = logging.getLogger("sidecar.http.errors")


def plugin_fault(vendor: str, error: Exception) -> UpstreamError:
    """Return the failure of a vendor whose plugin breaks its contract, without the error's own
    text: that may quote a secret."""
    log.warning("the plugin of vendor %s failed: %s", vendor, type(error).__name__)
    why = f"the plugin of vendor {vendor} failed ({type(error).__name__})"
    return UpstreamError(Fault.PROTOCOL, why, sent=False)
