"""One call, from who asked to what it cost; and the latest calls, to choose one from."""

from __future__ import annotations

import json
import sqlite3
from decimal import Decimal
from typing import Any

from sidecar.reports.activity import moment
from sidecar.reports.columns import dollars

USAGE = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
)
CALLER = ("program", "pid", "directory", "repo", "branch")
_SUMMARY = """
    SELECT call_id, started, key, group_name, provider, model_asked, status, outcome, duration,
        usage_state, input_tokens, output_tokens, cost_charged
    FROM calls ORDER BY started DESC, rowid DESC LIMIT ?
"""


def latest(connection: sqlite3.Connection, count: int) -> list[dict[str, Any]]:
    """The calls that began last, the very last first: `call_id`, `started` (ISO 8601), `key`,
    `group`, `provider`, `model`, `status`, `outcome`, `duration` (seconds), `usage`
    (`reported`, `partial`, `unknown`, `none`), `input_tokens`, `output_tokens`, `cost_usd`."""
    names = (
        "call_id", "started", "key", "group", "provider", "model", "status", "outcome",
        "duration", "usage", "input_tokens", "output_tokens", "cost_usd",
    )  # fmt: skip
    found = []
    for values in connection.execute(_SUMMARY, (count,)):
        row = dict(zip(names, values, strict=True))
        row["started"], row["cost_usd"] = moment(row["started"]), dollars(row["cost_usd"])
        found.append(row)
    return found


_AS_WRITTEN = (
    "call_id", "day", "key", "vendor", "urgency", "session", "program", "dialect", "endpoint",
    "method", "model_asked", "wait", "provider", "credential", "model_served", "status", "outcome",
    "refusal", "reason", "first_byte", "duration", "usage_state",
)  # fmt: skip


def trail(connection: sqlite3.Connection, call_id: str) -> dict[str, Any] | None:
    """Everything on the books about a call; None when it is not on them.

    The columns of the row, but: `started` is ISO 8601 in UTC; `group` is its name; `attempts` and
    `waits` are lists (`provider, credential, model, verdict, status, reason, duration`; `behind,
    seconds`); `usage` holds the tokens by kind, `units` and `service_tier`, and is null when
    nothing was reported; `cost` holds `listed_usd`, `charged_usd` and `price`, and is null when
    unknown; `caller` holds `program, pid, directory, repo, branch`, and is null when nobody looked.
    """
    cursor = connection.execute("SELECT * FROM calls WHERE call_id = ?", (call_id,))
    values = cursor.fetchone()
    if values is None:
        return None
    row = dict(zip((each[0] for each in cursor.description), values, strict=True))
    return {name: row[name] for name in _AS_WRITTEN} | {
        "started": moment(row["started"]),
        "group": row["group_name"],
        "caller": _caller(row),
        "streaming": bool(row["streaming"]),
        "waits": json.loads(row["waits"]),
        "attempts": json.loads(row["attempts"]),
        "usage": _usage(row),
        "cost": _cost(row),
    }


def _caller(row: dict[str, Any]) -> dict[str, Any] | None:
    if row["caller_pid"] is None:
        return None
    columns = ("caller_program", "caller_pid", "caller_directory", "repo", "branch")
    return dict(zip(CALLER, (row[column] for column in columns), strict=True))


def _usage(row: dict[str, Any]) -> dict[str, Any] | None:
    if row["usage_state"] not in {"reported", "partial"}:
        return None
    found: dict[str, Any] = {name: row[name] for name in USAGE}
    return found | {"units": json.loads(row["units"]), "service_tier": row["service_tier"]}


def _cost(row: dict[str, Any]) -> dict[str, Decimal | str | None] | None:
    if row["cost_charged"] is None:
        return None
    return {
        "listed_usd": dollars(row["cost_listed"]),
        "charged_usd": dollars(row["cost_charged"]),
        "price": row["price"],
    }
