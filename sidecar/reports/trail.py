"""One call, from who asked to what it cost; and the latest calls, to choose one from."""

from __future__ import annotations

import json
import sqlite3
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
    `waits` are lists (`provider, credential, model, verdict, status, reason, duration, spent`;
    `behind, seconds`); `usage` holds the tokens by kind, `units`, `service_tier` and `parts` (where
    a vendor made several requests of the call, each with `kind`, `model`, figures and `cost`), and
    is null when nothing was reported; `cost` holds `listed_usd`, `charged_usd`, `price` and `whole`
    (false when an attempt or a part may have cost more), and is null when unknown; `caller` holds
    `program, pid, directory, repo, branch`, and is null when nobody looked. `spent` is what an
    attempt used that came to nothing (`usage_state`, `usage`, `cost`), and null where that is
    nothing.
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
        "attempts": [_attempt(each) for each in json.loads(row["attempts"])],
        "usage": _usage(row),
        "cost": _cost(row),
    }


def _caller(row: dict[str, Any]) -> dict[str, Any] | None:
    if row["caller_pid"] is None:
        return None
    columns = ("caller_program", "caller_pid", "caller_directory", "repo", "branch")
    return dict(zip(CALLER, (row[column] for column in columns), strict=True))


def _usage(row: dict[str, Any]) -> dict[str, Any] | None:
    found: dict[str, Any] = {name: row[name] for name in USAGE}
    units = json.loads(row["units"])
    told = units or any(figure is not None for figure in found.values())
    # Of what is partly unknown, the part is told that is known.
    if row["usage_state"] == "none" or (row["usage_state"] == "unknown" and not told):
        return None
    return found | {
        "units": units,
        "service_tier": row["service_tier"],
        "parts": [_part(each) for each in json.loads(row["parts"])],
    }


def _part(part: dict[str, Any]) -> dict[str, Any]:
    named = ("kind", "model", *USAGE, "units", "service_tier")
    cost = None
    if part["cost_charged"] is not None:
        cost = _money(part["cost_listed"], part["cost_charged"], part["price"], whole=True)
    return {name: part[name] for name in named} | {"cost": cost}


def _attempt(attempt: dict[str, Any]) -> dict[str, Any]:
    spent = attempt.get("spent")
    if spent is None:
        return attempt | {"spent": None}
    usage, cost = spent.get("usage"), spent.get("cost")
    if usage is not None:
        named = ("units", "service_tier")
        # Its parts stand with those of the call, which have what they cost.
        usage = {name: usage[name] for name in (*USAGE, *named)} | {"units": dict(usage["units"])}
    if cost is not None:
        cost = _money(cost["listed"], cost["charged"], cost["price"], whole=cost["whole"])
    return attempt | {"spent": {"usage_state": spent["state"], "usage": usage, "cost": cost}}


def _cost(row: dict[str, Any]) -> dict[str, Any] | None:
    if row["cost_charged"] is None:
        return None
    whole = bool(row["cost_whole"])
    return _money(row["cost_listed"], row["cost_charged"], row["price"], whole=whole)


def _money(listed: int, charged: int, price: str, *, whole: bool) -> dict[str, Any]:
    return {
        "listed_usd": dollars(listed),
        "charged_usd": dollars(charged),
        "price": price,
        "whole": whole,
    }
