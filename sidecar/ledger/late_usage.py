"""Write usage that a later response reported into the row of its call, and into the daily sums.

Blocking, for the thread and the transaction of `sidecar.ledger.database`.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from sidecar.ledger import rollups
from sidecar.ledger.call_rows import MAX_COST, TOKENS, parts_of, tokens_of
from sidecar.ledger.model import Learned, SqlValue, sql_value
from sidecar.records import Usage

_COLUMNS = (
    *TOKENS, "units", "service_tier", "parts", "cost_listed", "cost_charged", "price",
    "cost_whole", "model_served", "usage_state",
)  # fmt: skip
_SELECT = f"SELECT rowid, {', '.join(_COLUMNS)} FROM calls WHERE call_id = ?"  # noqa: S608 - constants
_UPDATE = f"UPDATE calls SET {', '.join(f'{name} = ?' for name in _COLUMNS)} WHERE call_id = ?"  # noqa: S608


def write_learned(connection: sqlite3.Connection, step: Learned, before: int) -> None:
    """Replace the figures that the call was recorded with by those of `step`.

    A call without a row, which may be deleted earlier than the object, is skipped. Calls after the
    row `before` are not part of the daily sums yet.
    """
    call_id = step.claim.call_id
    found = connection.execute(_SELECT, (call_id,)).fetchone()
    if found is None:
        return
    number, *values = found
    row = dict(zip(_COLUMNS, values, strict=True))
    if number <= before:
        connection.execute(rollups.SUBTRACT_CALL, (number,))
    row |= _usage(row, step) | _cost(row, step)
    connection.execute(_UPDATE, (*(sql_value(row[name]) for name in _COLUMNS), call_id))
    if number <= before:
        connection.execute(rollups.ADD_CALL, (number,))


def _usage(row: dict[str, Any], step: Learned) -> dict[str, SqlValue]:
    before, after = step.claim.booked or Usage(), step.usage
    figures = zip(TOKENS, tokens_of(before), tokens_of(after), strict=True)
    units = json.loads(row["units"])
    for sign, usage in ((-1, before), (1, after)):
        for name, count in usage.units:
            units[name] = units.get(name, 0) + sign * count
    parts = json.loads(row["parts"])[
        len(before.parts) :
    ]  # the answer's parts precede those of its attempts
    return {
        **{name: _replaced(row[name], old, new) for name, old, new in figures},
        "units": json.dumps({name: count for name, count in units.items() if count > 0}),
        "service_tier": after.service_tier or row["service_tier"],
        "parts": json.dumps(parts_of(after, step.cost) + parts),
        "model_served": step.model_served or row["model_served"],
        "usage_state": step.claim.state.value,
    }


def _cost(row: dict[str, Any], step: Learned) -> dict[str, SqlValue]:
    claim, cost = step.claim, step.cost
    if cost is None:
        return {"cost_whole": 0}
    prices = dict.fromkeys([*filter(None, (row["price"] or "").split(" + ")), cost.price])
    return {
        "cost_listed": _replaced(row["cost_listed"], claim.listed, min(cost.listed, MAX_COST)),
        "cost_charged": _replaced(row["cost_charged"], claim.charged, min(cost.charged, MAX_COST)),
        "price": " + ".join(prices),
        "cost_whole": int(claim.whole and cost.whole),
    }


def _replaced(figure: int | None, old: int | None, new: int | None) -> int | None:
    """Return the sum with `new` in the place of `old`; unchanged when `new` is unknown."""
    if new is None:
        return figure
    return max((figure or 0) - (old or 0), 0) + new
