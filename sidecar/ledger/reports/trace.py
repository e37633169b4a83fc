"""One call as a trace: the caller, the attempts, usage and cost."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from sidecar.humanize import error_class
from sidecar.ledger.reports.export import decimal_text
from sidecar.records import SUBSCRIPTION, as_dollars, utc_text

UNKNOWN = "unknown"


def describe_call(story: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield a title, which may be "", and a text for each event of a call.

    `story`: a result of `trace_of`.
    """
    yield "who", _who(story)
    if story["caller"]:
        yield "", _caller(story["caller"])
    yield "asked", _asked(story)
    for wait in story["waits"]:
        yield "waited", f"{_seconds(wait['seconds'])}: {wait['behind']}"
    if not story["waits"]:
        yield "waited", _seconds(story["wait"]) if story["wait"] else "not at all"
    for number, attempt in enumerate(story["attempts"], 1):
        yield "tried", f"{number}. {_attempt(attempt)}"
    if not story["attempts"]:
        yield "tried", "no provider"
    if story["transform"] and story["provider"]:
        yield "changed", f"by {story['transform']}"
    yield "answered", _answered(story)
    if story["reason"]:
        yield "because", story["reason"]
    yield "took", _took(story)
    yield "used", _used(story)
    parts = [] if story["usage"] is None else story["usage"]["parts"]
    for number, part in enumerate(parts, 1):
        yield "part", f"{number}. {_part(part)}"
    yield "cost", _cost(story)


def _who(story: dict[str, Any]) -> str:
    key = f'key "{story["key"]}" of group {story["group"]}' if story["key"] else "an unknown key"
    session = f"session {story['session']}" if story["session"] else ""
    return _joined(key, story["urgency"], story["program"], session)


def _caller(caller: dict[str, Any]) -> str:
    process = f"process {caller['pid']}" if caller["pid"] else ""
    where = f"in {caller['directory']}" if caller["directory"] else ""
    repo = f"repository {caller['repo']}" if caller["repo"] else ""
    branch = f"branch {caller['branch']}" if caller["branch"] else ""
    return _joined(caller["program"], process, where, repo, branch) or "an unknown process"


def _asked(story: dict[str, Any]) -> str:
    what = f"{story['dialect']} {story['endpoint']}".strip() or story["method"]
    model = story["model_asked"] or "no model"
    return _joined(what, model, "streaming" if story["streaming"] else "")


def _attempt(attempt: dict[str, Any]) -> str:
    where = f"{attempt['provider']} with {attempt['credential'] or 'no credential'}"
    status = "no answer" if attempt["status"] is None else f"status {attempt['status']}"
    verdict = error_class(attempt["verdict"]) + (
        f" ({attempt['reason']})" if attempt["reason"] else ""
    )
    model = attempt["model"] or ""
    spent = f"; {_spent(attempt['spent'])}" if attempt["spent"] else ""
    return f"{_joined(where, model, status, _seconds(attempt['duration']))}: {verdict}{spent}"


def _spent(spent: dict[str, Any]) -> str:
    if spent["usage"] is None:
        return "its usage is unknown"
    return f"used {_figures(spent)}, {in_dollars(spent['cost'] and spent['cost']['charged_usd'])}"


def _answered(story: dict[str, Any]) -> str:
    refused = story["refusal"] is not None
    by = "by Sidecar itself" if refused or not story["provider"] else f"by {story['provider']}"
    if story["transform"] and not story["provider"]:
        by += f", with {story['transform']}"
    model = "" if refused else story["model_served"] or ""
    kind = story["refusal"] or ""
    return _joined(by, model, f"status {story['status']}", story["outcome"], kind)


def _took(story: dict[str, Any]) -> str:
    first = story["first_byte"]
    begun = "" if first is None else f", first byte after {_seconds(first)}"
    return _seconds(story["duration"]) + begun


def _used(story: dict[str, Any]) -> str:
    usage = story["usage"]
    if usage is not None:
        return _figures(story)
    if story["usage_state"] == "none":
        return "nothing"
    hint = "; `usage: ask` on the group asks chat streams for it" if story["streaming"] else ""
    return f"{UNKNOWN}: the vendor did not report it{hint}"


def _figures(story: dict[str, Any]) -> str:
    return _joined(_tokens(story["usage"]), *_doubts(story["usage_state"]))


def _doubts(state: str) -> Iterator[str]:
    if state == "partial":
        yield "a lower bound"
    if state == "unknown":
        yield "attempts of unknown usage not included"


def _part(part: dict[str, Any]) -> str:
    """Describe one of several requests that the vendor made of the call."""
    what = " of ".join(filter(None, (part["kind"].replace("_", " "), part["model"])))
    cost = part["cost"]
    price = f" by {cost['price']}" if cost else ""
    return f"{what}: {_tokens(part)}, {in_dollars(cost and cost['charged_usd'])}{price}"


def _tokens(usage: dict[str, Any]) -> str:
    parts = [
        f"{_count(usage['input_tokens'])} input",
        _of("from the cache", usage["cache_read_tokens"]),
        _of("into the cache", usage["cache_write_tokens"]),
        f"{_count(usage['output_tokens'])} output",
        _of("reasoning", usage["reasoning_tokens"]),
        *(f"{amount:,} {unit.replace('_', ' ')}" for unit, amount in usage["units"].items()),
        f"tier {usage['service_tier']}" if usage["service_tier"] else "",
    ]
    return _joined(*parts)


def _of(name: str, amount: int | None) -> str:
    return f"{amount:,} {name}" if amount else ""


def _cost(story: dict[str, Any]) -> str:
    found = story["cost"]
    if found is None:
        if story["usage_state"] == "none":
            return "nothing"
        known = story["usage"] is not None
        return f"{UNKNOWN}: " + ("no price is known for it" if known else "the usage is unknown")
    listed, charged = found["listed_usd"], found["charged_usd"]
    if found["price"].startswith(SUBSCRIPTION):
        would = f"; it would cost {in_dollars(listed)} by list" if listed else ""
        return f"nothing: the caller's {found['price']}{would}"
    factor = f" × {_ratio(listed, charged)} = {in_dollars(charged)}" if listed != charged else ""
    more = "" if found["whole"] else ", parts of unknown cost not included"
    if found["price"] == "free":
        return "nothing: the provider's price is free" + more
    return f"{in_dollars(listed)} by {found['price']}{factor}{more}"


def _ratio(listed: Decimal, charged: Decimal) -> str:
    """Return the multiplier, computed from two amounts that are rounded to the nano-dollar."""
    return f"{charged / listed:.6g}" if listed else "?"


def in_dollars(amount: Decimal | None) -> str:
    """Return an amount with all of its digits."""
    return UNKNOWN if amount is None else f"${decimal_text(amount)}"


def _seconds(amount: float) -> str:
    if amount < 1:
        return f"{amount * 1000:.0f} ms" if amount >= 0.001 else "under 1 ms"
    return f"{amount:.3g} s" if amount < 100 else f"{amount:.0f} s"


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _count(amount: int | None) -> str:
    return UNKNOWN if amount is None else f"{amount:,}"


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
    """Return the calls that began last, the newest first.

    Each has `call_id`, `started` (ISO 8601), `key`, `group`, `provider`, `model`, `status`,
    `outcome`, `duration` (seconds), `usage` (`reported`, `partial`, `unknown`, `none`),
    `input_tokens`, `output_tokens`, `cost_usd`.
    """
    names = (
        "call_id", "started", "key", "group", "provider", "model", "status", "outcome",
        "duration", "usage", "input_tokens", "output_tokens", "cost_usd",
    )  # fmt: skip
    found = []
    for values in connection.execute(_SUMMARY, (count,)):
        row = dict(zip(names, values, strict=True))
        row["started"] = utc_text(row["started"], "auto")
        row["cost_usd"] = as_dollars(row["cost_usd"])
        found.append(row)
    return found


_AS_WRITTEN = (
    "call_id", "day", "key", "vendor", "urgency", "session", "program", "dialect", "endpoint",
    "method", "model_asked", "wait", "provider", "credential", "model_served", "status", "outcome",
    "refusal", "reason", "first_byte", "duration", "usage_state", "transform",
)  # fmt: skip


def trace_of(connection: sqlite3.Connection, call_id: str) -> dict[str, Any] | None:
    """Return the whole record of a call; None when the ledger does not have it.

    The columns of its row, but: `started` is ISO 8601 in UTC; `group` is its name; `attempts` and
    `waits` are lists (`provider, credential, model, verdict, status, reason, duration, spent`;
    `behind, seconds`).

    `usage` holds the tokens by kind, `units`, `service_tier` and `parts` (where a vendor made
    several requests of the call, each with `kind`, `model`, figures and `cost`), and is null when
    none was reported. `cost` holds `listed_usd`, `charged_usd`, `price` and `whole` (false when an
    attempt or a part may have cost more), and is null when unknown. `caller` holds `program, pid,
    directory, repo, branch`, and is null without a lookup. `spent` is the usage of a failed attempt
    (`usage_state`, `usage`, `cost`), and null when it used nothing.
    """
    cursor = connection.execute("SELECT * FROM calls WHERE call_id = ?", (call_id,))
    values = cursor.fetchone()
    if values is None:
        return None
    row = dict(zip((each[0] for each in cursor.description), values, strict=True))
    return {name: row[name] for name in _AS_WRITTEN} | {
        "started": utc_text(row["started"], "auto"),
        "group": row["group_name"],
        "caller": _caller_fields(row),
        "streaming": bool(row["streaming"]),
        "waits": json.loads(row["waits"]),
        "attempts": [_attempt_fields(each) for each in json.loads(row["attempts"])],
        "usage": _usage(row),
        "cost": _cost_fields(row),
    }


def _caller_fields(row: dict[str, Any]) -> dict[str, Any] | None:
    if row["caller_pid"] is None:
        return None
    columns = ("caller_program", "caller_pid", "caller_directory", "repo", "branch")
    return dict(zip(CALLER, (row[column] for column in columns), strict=True))


def _usage(row: dict[str, Any]) -> dict[str, Any] | None:
    found: dict[str, Any] = {name: row[name] for name in USAGE}
    units = json.loads(row["units"])
    is_known = units or any(figure is not None for figure in found.values())
    # Of a partly unknown usage the known part is returned.
    if row["usage_state"] == "none" or (row["usage_state"] == "unknown" and not is_known):
        return None
    return found | {
        "units": units,
        "service_tier": row["service_tier"],
        "parts": [_part_fields(each) for each in json.loads(row["parts"])],
    }


def _part_fields(part: dict[str, Any]) -> dict[str, Any]:
    named = ("kind", "model", *USAGE, "units", "service_tier")
    cost = None
    if part["cost_charged"] is not None:
        cost = _money(part["cost_listed"], part["cost_charged"], part["price"], whole=True)
    return {name: part[name] for name in named} | {"cost": cost}


def _attempt_fields(attempt: dict[str, Any]) -> dict[str, Any]:
    spent = attempt.get("spent")
    if spent is None:
        return attempt | {"spent": None}
    usage, cost = spent.get("usage"), spent.get("cost")
    if usage is not None:
        named = ("units", "service_tier")
        # Its parts are among those of the call, with their cost.
        usage = {name: usage[name] for name in (*USAGE, *named)} | {"units": dict(usage["units"])}
    if cost is not None:
        cost = _money(cost["listed"], cost["charged"], cost["price"], whole=cost["whole"])
    return attempt | {"spent": {"usage_state": spent["state"], "usage": usage, "cost": cost}}


def _cost_fields(row: dict[str, Any]) -> dict[str, Any] | None:
    if row["cost_charged"] is None:
        return None
    whole = bool(row["cost_whole"])
    return _money(row["cost_listed"], row["cost_charged"], row["price"], whole=whole)


def _money(listed: int, charged: int, price: str, *, whole: bool) -> dict[str, Any]:
    return {
        "listed_usd": as_dollars(listed),
        "charged_usd": as_dollars(charged),
        "price": price,
        "whole": whole,
    }
