"""Child keys: what `sidecar run` gives an agent, under a parent that is a key or a group.

A child has its parent's routes, limits and windows, and limits of its own beside them. It is kept
in the state directory, never in the file, and lives as long as its run renews it. The secret is
made by the run; only its SHA-256 comes here.

Processes that share state have each other's child keys, too. A key that another process made is
kept in memory only, for as long as that process renews it.
"""

from sidecar.child_keys.keys import LIFETIME_SECONDS, ChildKey, ChildKeys, ChildTotals
from sidecar.child_keys.orders import ChildOrder, parent_of

__all__ = ["LIFETIME_SECONDS", "ChildKey", "ChildKeys", "ChildOrder", "ChildTotals", "parent_of"]
