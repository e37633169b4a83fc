"""The whole configuration as a file would say it, with every default filled in."""

from __future__ import annotations

from sidecar.config import Snapshot
from sidecar.loading import plain
from sidecar.writing import block

_OPEN_LEVELS = 2


def describe(snapshot: Snapshot) -> str:
    """YAML text that means exactly what `snapshot` does: loading it gives an equal one, but for
    places, digest and warnings. Holds references to credentials and no secret."""
    lines = []
    for section, value in plain.file(snapshot).items():
        levels = _OPEN_LEVELS if section in ("providers", "groups", "keys", "prices") else 1
        lines += [*block({section: value}, open_levels=levels), ""]
    return "\n".join(lines)
