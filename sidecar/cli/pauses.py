"""Which keys are paused, for the commands that list them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sidecar.cli.live import LiveError, find_live
from sidecar.config import Key
from sidecar.holds import EVERYTHING, Held, read_holds


def holds_of(state: Path) -> list[Held]:
    """What is paused: by the process if one runs, else as it is kept for the next."""
    try:
        live = find_live(state)
        rows = None if live is None else live.get("/api/status")["holds"]
    except LiveError:
        rows = None
    if rows is None:
        return [each.held for each in read_holds(state)]
    return [(each["kind"], each["name"]) for each in rows]


def pausing(key: Key, holds: Sequence[Held]) -> list[Held]:
    """What keeps all of a key's calls waiting: a hold on it, on its group, or on everything."""
    mine = {EVERYTHING, ("key", key.name), ("group", key.group.name)}
    return [each for each in holds if each in mine]


def paused_field(key: Key, holds: Sequence[Held]) -> dict[str, Any]:
    """What `--json` says of it."""
    return {"paused": bool(pausing(key, holds))}


def with_pause(status: str, key: Key, holds: Sequence[Held]) -> str:
    """Whether a key can be used, and whether its calls are parked."""
    return f"{status}, paused" if pausing(key, holds) else status
