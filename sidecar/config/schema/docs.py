"""The file's fields as Markdown tables, made from their declaration.

`python -m sidecar.config.schema.docs docs/configuration.md` rewrites those of the manual.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from sidecar.config.schema.fields import (
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
from sidecar.config.schema.state import STATE
from sidecar.config.schema.types import Block

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
    "state": STATE,
    "defaults": DEFAULTS,
    "prices": PRICE,
    "retention": RETENTION,
}
"""Every block of fields, by its name in the documentation."""

_MARKED = re.compile(r"(?P<marker><!-- fields: (?P<name>\w+) -->)\n(?:[^\n]+\n)*")


def table(block: Block) -> str:
    """Return one row for each field: its name, value, meaning and default."""
    rows = ["| field | value | meaning | default |", "|---|---|---|---|"]
    for option in block.options:
        default = "required" if option.required else option.default or "none"
        cells = (f"`{option.name}`", option.kind.words, option.help, default)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def refresh(text: str) -> str:
    """Return a manual with its tables rewritten.

    Each table stands below `<!-- fields: NAME -->`, up to the next empty line.
    """
    return _MARKED.sub(lambda match: f"{match['marker']}\n{table(BLOCKS[match['name']])}\n", text)


if __name__ == "__main__":
    manual = Path(sys.argv[1])
    manual.write_text(refresh(manual.read_text("utf-8")), "utf-8")
