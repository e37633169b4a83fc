"""Build one snapshot from the configuration file, or report every problem at once.

    bytes ─ yaml.source ─▶ text ─ yaml.nodes ─▶ nodes ─ schema ─▶ records ─ groups, keys ─▶ snapshot

Reads no other file, no environment and no clock, and starts nothing.
"""

from sidecar.config.loader.diff import difference
from sidecar.config.loader.dump import describe
from sidecar.config.loader.json_schema import schema
from sidecar.config.loader.load import load
from sidecar.config.loader.partial import plugin_paths, stays_in_force
from sidecar.config.yaml.secret_forms import masked

__all__ = ["describe", "difference", "load", "masked", "plugin_paths", "schema", "stays_in_force"]
