"""The reference of the file's fields as Markdown tables: made from the declaration."""

from __future__ import annotations

from sidecar.loading.fields import (
    DEFAULTS,
    FILE,
    GROUP,
    HEADERS,
    HEADROOM,
    KEY,
    LIMITS,
    PREVIOUS,
    PRICE,
    PROVIDER,
    RETENTION,
    ROUTE,
    SERVER,
    TIMEOUTS,
)
from sidecar.loading.kinds import Block

BLOCKS = {
    "file": FILE,
    "providers": PROVIDER,
    "groups": GROUP,
    "keys": KEY,
    "previous": PREVIOUS,
    "routes": ROUTE,
    "limits": LIMITS,
    "headroom": HEADROOM,
    "timeouts": TIMEOUTS,
    "headers": HEADERS,
    "server": SERVER,
    "defaults": DEFAULTS,
    "prices": PRICE,
    "retention": RETENTION,
}
"""Every block of fields there is, by the name that the documentation gives it."""


def table(block: Block) -> str:
    """One row for each field: its name, what to write, what that means, and the default."""
    rows = ["| field | value | meaning | default |", "|---|---|---|---|"]
    for option in block.options:
        default = "required" if option.required else option.default or "none"
        cells = (f"`{option.name}`", option.kind.words, option.help, default)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)
