"""Another node of a running sidecar's namespace, as its usage on the server."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from running_sidecar import Sidecar

from sidecar.ledger.reports.nodes import COLUMNS
from sidecar.ledger.rollups import FIGURES


async def write_node(
    proxy: Sidecar, host: str, rows: Sequence[tuple[str, int]], written: float | None = None
) -> None:
    """Write a day of another node: a key and its calls a row, each of 1000 tokens and $0.5."""
    engine = proxy.running.services.scheduler.engine
    assert engine is not None
    day = datetime.now(UTC).date().isoformat()
    text = json.dumps([COLUMNS, *(_row(key, calls) for key, calls in rows)])
    key, at = f"{engine.usage._key}:{host}", str(written or time.time())
    await engine._server.send([
        ("HSET", key, "host", host, "written", at, day, text),
        ("ZADD", engine.usage._key, at, host),
    ])  # fmt: skip


def _row(key: str, calls: int) -> list[str | int | None]:
    found: dict[str, str | int] = {
        "key": key, "group_name": "GPT", "provider": "main", "model": "gpt-5", "calls": calls,
        "input_tokens": 900 * calls, "output_tokens": 100 * calls,
        "cost_charged": 5 * 10**8 * calls,
    }  # fmt: skip
    return [found.get(name, None if name in FIGURES else 0) for name in COLUMNS]
