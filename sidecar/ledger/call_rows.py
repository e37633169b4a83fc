"""Convert a call to its row in the table `calls`, in the order of its columns."""

from __future__ import annotations

import json
from datetime import tzinfo
from functools import lru_cache
from operator import attrgetter

import msgspec

from sidecar.ledger.model import SqlValue, day_of, sql_value
from sidecar.records import CallRecord, Cost, Usage

TOKENS = (
    "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens",
    "cache_write_1h_tokens", "reasoning_tokens",
)  # fmt: skip
"""The token counts of a usage that have a column of their own, in this order."""
MAX_TOKENS, MAX_COST = 1 << 40, 1 << 46
"""Tokens, and nano-dollars (70,000 dollars), stored of one call at most: a larger figure of a
vendor must not make a sum exceed what SQLite can add."""


_COUNTS = attrgetter(*TOKENS)
_NO_USAGE = Usage()
_CALLER = attrgetter("program", "pid", "directory", "repo", "branch")
_NO_LOOKUP = (None, None, None, None, None)


def call_row(record: CallRecord, zone: tzinfo | None) -> tuple[SqlValue, ...]:
    """Return the parameters of `INSERT_CALL`. The call belongs to the day in `zone` on which it
    began. SQLite may reject a value: see `sql_value`."""
    usage = record.usage or _NO_USAGE
    refusal = None if record.refusal is None else record.refusal.name.lower()
    cost, who = record.cost, record.caller
    return (
        record.call_id, record.started, record.key, record.group, record.vendor, record.dialect,
        record.endpoint, record.method, record.model_asked, record.model_served,
        1 if record.streaming else 0,
        record.provider, record.credential, record.status, str(record.outcome),
        refusal, record.reason, _json(record.attempts),
        record.wait, record.first_byte, record.duration,
        *tokens_of(usage),
        _json(dict(usage.units)) if usage.units else "{}",
        usage.service_tier, str(record.usage_state),
        record.session, record.program,
        _json(record.waits) if record.waits else "[]",
        *((None, None, None) if cost is None else _cost(cost)),
        # Of the caller: NULL when no lookup was made, "" and 0 when it found nothing.
        *(_NO_LOOKUP if who is None else _CALLER(who)),
        record.urgency, _day(int(record.started // 60), zone),
        1 if cost is None or cost.whole else 0,
        _json(parts_of(usage, cost)) if usage.parts else "[]", record.transform,
    )  # fmt: skip


def tokens_of(usage: Usage) -> tuple[int | None, ...]:
    """Return the figures of `TOKENS`, each at most `MAX_TOKENS`."""
    return tuple(
        [count if count is None or count <= MAX_TOKENS else MAX_TOKENS for count in _COUNTS(usage)]
    )


def parts_of(usage: Usage | None, cost: Cost | None) -> list[dict[str, object]]:
    """Return the parts of a usage for the column `parts`."""
    found: list[dict[str, object]] = []
    for number, part in enumerate(usage.parts if usage is not None else ()):
        own = None if cost is None else cost.of_part(number)
        figures = zip(TOKENS, tokens_of(part.usage), strict=True)
        found.append({
            "kind": sql_value(part.kind),
            "model": sql_value(part.model),
            **dict(figures),
            "units": dict(part.usage.units),
            "service_tier": part.usage.service_tier,
            "cost_listed": None if own is None else min(own.listed, MAX_COST),
            "cost_charged": None if own is None else min(own.charged, MAX_COST),
            "price": None if own is None else own.price,
        })  # fmt: skip
    return found


def _cost(cost: Cost) -> tuple[SqlValue, ...]:
    return (min(cost.listed, MAX_COST), min(cost.charged, MAX_COST), cost.price)


@lru_cache(maxsize=64)
def _day(minute: int, zone: tzinfo | None) -> str:
    """Return the day of a minute since the epoch: every day begins with a minute."""
    return day_of(minute * 60, zone).isoformat()


def _json(value: object) -> str:
    if not value:
        return "[]"
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:  # as `sql_value`: this row must not hold up others
        text = json.dumps(msgspec.to_builtins(value), ensure_ascii=False)
        return text.encode("utf-8", "replace").decode()
