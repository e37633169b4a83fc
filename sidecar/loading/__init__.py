"""The configuration file: from YAML to one snapshot, or to every problem in it at once.

    bytes ─ text ─▶ nodes ─ reader, kinds, fields ─▶ records ─ providers, groups, keys ─▶ snapshot

It reads no other file, no environment and no clock, and starts nothing.
"""

from sidecar.loading.describing import describe
from sidecar.loading.differing import difference
from sidecar.loading.glances import plugin_paths, stays_in_force
from sidecar.loading.schema import schema
from sidecar.loading.secrets import masked
from sidecar.loading.snapshots import load

__all__ = ["describe", "difference", "load", "masked", "plugin_paths", "schema", "stays_in_force"]
