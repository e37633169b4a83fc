"""Calls that only tell of what an earlier call made: a look, a change or an end of it.

What such a thing used was used, and is counted, when it was made. So a look at it books nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote

from sidecar.intake import Call


def is_lookup(call: Call, told_of: Iterable[str]) -> bool:
    """Return whether a call did no work of its own. `told_of` are the ids in its answer: one that
    stands in the request's path was made before."""
    if call.method != "POST":
        return True
    endpoint = call.endpoint
    if endpoint.owned is not None and endpoint.creates is None and not endpoint.starts_work:
        return True
    if endpoint.named and endpoint.owned is None:
        return False  # its path has no id, whatever the answer calls itself
    path = unquote(call.located.path)
    return any(name and _stands_in(path, name) for name in told_of)


def _stands_in(path: str, name: str) -> bool:
    return path.endswith(f"/{name}") or f"/{name}/" in path or f"/{name}:" in path
