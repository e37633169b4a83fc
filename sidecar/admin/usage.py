"""Usage and calls from the ledger.

Each answer is one consistent read of the file, in a thread, after the ledger has written what
waited. Money is US dollars. Unknown figures are None, never 0.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import structs

from sidecar.admin.api_types.limits import LimitState
from sidecar.admin.api_types.usage import (
    CallTrace,
    NodesUsage,
    RecentUsage,
    RecentUse,
    RecordedCall,
    RecordedCalls,
    UsageLine,
    UsageOverview,
    UsageSheet,
    UsageSpike,
    UsageSums,
)
from sidecar.admin.context import AdminContext, ApiError, ApiRequest
from sidecar.admin.introspect.limit_states import limit_state
from sidecar.admin.introspect.nodes import THIS_NODE, ShownNodes, read_nodes, shown_nodes
from sidecar.ledger.anomalies import Spike
from sidecar.ledger.reader import NoLedger, open_to_read
from sidecar.ledger.reports.activity import programs, recent, recent_days, today
from sidecar.ledger.reports.export import as_csv, columns, row
from sidecar.ledger.reports.nodes import ALL_NODES, merged
from sidecar.ledger.reports.sums import Sums, total
from sidecar.ledger.reports.trace import describe_call, latest, trace_of
from sidecar.ledger.reports.usage import (
    Days,
    Dimension,
    UsageQuery,
    kept_since,
    usage,
    usage_by_day,
)
from sidecar.records import as_dollars

T = TypeVar("T")
LATEST_CALLS = 30
MAX_DAYS = 366
MAX_ROWS = 500
"""Lines of usage in an answer; the CSV file has all."""
_NOT_IN_NAMES = re.compile(r"[^a-z0-9-]")


async def used(context: AdminContext, asked: ApiRequest) -> UsageOverview:
    """Return the usage of the last `?days=` by the dimension `?by=`, filtered by `?key=` and so on;
    and the budgets."""
    question, days = _question(asked)
    budgets = _budgets(context)
    nodes = await shown_nodes(context, question, days)
    answer = await _read(
        context, lambda ledger: _used(ledger, question, days, context, budgets), nodes
    )
    return structs.replace(answer, nodes=nodes.nodes, only_this=nodes.only_this)


async def sheet(context: AdminContext, asked: ApiRequest) -> UsageSheet:
    """Return the same by day, too, with all of its lines, as a CSV file."""
    question, days = _question(asked)
    by = tuple(dict.fromkeys((Dimension.DAY, *question.by)))

    def read(ledger: sqlite3.Connection) -> str:
        window = _window(ledger, days, context.services.wall())
        lines = usage(ledger, structs.replace(question, by=by, window=window))
        return as_csv([row(by, line) for line in lines], columns(by))

    name = _NOT_IN_NAMES.sub("-", f"usage-by-{question.by[0]}-{days}-days")
    nodes = await shown_nodes(context, question, days)
    return UsageSheet(name=f"{name}.csv", csv=await _read(context, read, nodes))


async def nodes_usage(context: AdminContext, asked: ApiRequest) -> NodesUsage:
    """Return the usage of other nodes from the day `?since=` to `?until=`."""
    try:
        since, until = (date.fromisoformat(asked.query[each]) for each in ("since", "until"))
    except (KeyError, ValueError):
        raise ApiError(400, "bad_request", "since and until are dates") from None
    return await read_nodes(context, since, until)


async def recent_usage(context: AdminContext, _: ApiRequest) -> RecentUsage:
    """Return the last days of each key, the oldest first; keys without calls are left out."""
    spikes = {name: _spike(each) for name, each in context.services.ledger.spikes.items()}

    def read(ledger: sqlite3.Connection) -> RecentUsage:
        day = today(ledger, context.services.wall())
        known = programs(ledger, context.services.wall())
        return RecentUsage(
            days=[each.isoformat() for each in recent_days(day)],
            keys={
                name: RecentUse(
                    today=usage_sums(each.today),
                    tokens=[sums.tokens for sums in each.days],
                    new=[program.name for program in known.get(name, []) if program.new],
                )
                for name, each in recent(ledger, day).items()
            },
            spikes=spikes,
        )

    return await _read(context, read)


async def calls(context: AdminContext, _: ApiRequest) -> RecordedCalls:
    """Return the calls that began last, the newest first."""
    rows = await _read(context, lambda ledger: latest(ledger, LATEST_CALLS))
    found = [each | {"cost_usd": _float(each["cost_usd"])} for each in rows]
    return RecordedCalls(calls=msgspec.convert(found, list[RecordedCall]))


async def call(context: AdminContext, asked: ApiRequest) -> CallTrace:
    """Return the course of one call, line by line."""
    name = asked.query.get("id", "")
    trace = await _read(context, lambda ledger: trace_of(ledger, name))
    if trace is None:
        why = "it is not in the ledger: it may still be running, or be older than what is kept"
        raise ApiError(404, "not_found", why)
    began = datetime.fromisoformat(trace["started"]).timestamp()
    return CallTrace(began=began, lines=list(describe_call(trace)))


def usage_sums(sums: Sums) -> UsageSums:
    """Return sums for an answer."""
    return UsageSums(
        calls=sums.calls,
        unknown_calls=sums.unknown_calls,
        partial_calls=sums.partial_calls,
        input_tokens=sums.input_tokens,
        output_tokens=sums.output_tokens,
        cache_read_tokens=sums.cache_read_tokens,
        cache_write_tokens=sums.cache_write_tokens,
        reasoning_tokens=sums.reasoning_tokens,
        cost_usd=_float(as_dollars(sums.charged)),
        unpriced_calls=sums.unpriced_calls,
        tokens=sums.tokens,
        costs_all=sums.costs_all,
        counts_all=sums.counts_all,
        cached=sums.cached,
    )


def _used(
    ledger: sqlite3.Connection,
    question: UsageQuery,
    days: int,
    context: AdminContext,
    budgets: list[LimitState],
) -> UsageOverview:
    window = _window(ledger, days, context.services.wall())
    assert window.first is not None  # noqa: S101 - `_window` sets it
    asked = structs.replace(question, window=window)
    by_day = asked.by == (Dimension.DAY,)
    apart = usage_by_day(ledger, structs.replace(asked, by=()) if by_day else asked)
    dates = [window.first + timedelta(passed) for passed in range(days)]
    daily = _daily(apart, dates)
    lines = _by_date(dates, daily) if by_day else _by_cost(apart)
    return UsageOverview(
        days=[each.isoformat() for each in dates],
        daily=[usage_sums(each) for each in daily],
        total=usage_sums(total(daily)),
        lines=[
            UsageLine(**structs.asdict(usage_sums(sums)), name=name)
            for name, sums in lines[:MAX_ROWS]
        ],
        left_out=max(0, len(lines) - MAX_ROWS),
        kept_since=kept_since(ledger, asked),
        by=str(question.by[0]),
        budgets=budgets,
        nodes=[],
        only_this="",
    )


def _spike(spike: Spike) -> UsageSpike:
    unit = 1e9 if spike.measure == "cost" else 1
    return UsageSpike(measure=spike.measure, amount=spike.amount / unit, usual=spike.usual / unit)


def _daily(apart: Mapping[tuple[str, ...], Mapping[date, Sums]], dates: list[date]) -> list[Sums]:
    return [total(found[day] for found in apart.values() if day in found) for day in dates]


def _by_date(dates: list[date], daily: list[Sums]) -> list[tuple[str, Sums]]:
    """Return the days with calls, the newest first."""
    return [
        (day.isoformat(), sums)
        for day, sums in zip(reversed(dates), reversed(daily), strict=True)
        if sums.calls
    ]


def _by_cost(apart: Mapping[tuple[str, ...], Mapping[date, Sums]]) -> list[tuple[str, Sums]]:
    """Return the sums of each value, the most expensive first."""
    lines = [(names[0], total(found.values())) for names, found in apart.items()]
    return sorted(lines, key=lambda each: (-(each[1].charged or 0), -(each[1].tokens or 0)))


def _window(ledger: sqlite3.Connection, days: int, now: float) -> Days:
    last = today(ledger, now)
    return Days(last - timedelta(days - 1), last)


def _question(asked: ApiRequest) -> tuple[UsageQuery, int]:
    """Return what the query asks, and for how many days. Raises `ApiError` (400)."""
    query = asked.query
    by, days = query.get("by", "key"), query.get("days", "7")
    if by not in list(Dimension):
        raise ApiError(400, "bad_request", f"by is one of {', '.join(Dimension)}")
    if not (days.isdecimal() and len(days) < 4 and 1 <= int(days) <= MAX_DAYS):
        raise ApiError(400, "bad_request", f"days is a number from 1 to {MAX_DAYS}")
    where = {each: (query[each],) for each in Dimension if each in query}
    if where.get(Dimension.NODE) == (ALL_NODES,):
        del where[Dimension.NODE]
    return UsageQuery((Dimension(by),), where=where), int(days)


def _budgets(context: AdminContext) -> list[LimitState]:
    scheduler = context.scheduler
    now = scheduler.now()
    states = (limit_state(each.window, each.written, now) for each in scheduler.limits)
    return [each for each in states if each.unit == "usd"]


def _float(amount: Any) -> float | None:
    return None if amount is None else float(amount)


async def _read(
    context: AdminContext, work: Callable[[sqlite3.Connection], T], nodes: ShownNodes = THIS_NODE
) -> T:
    """Return what `work` reads from the ledger, or from those of several nodes. Raises `ApiError`
    (503)."""
    await context.services.ledger.flush()
    try:
        return await asyncio.to_thread(_with_ledger, context.state, work, nodes)
    except NoLedger as error:
        raise ApiError(503, "no_books", str(error)) from None


def _with_ledger(state: Path, work: Callable[[sqlite3.Connection], T], nodes: ShownNodes) -> T:
    with open_to_read(state) as ledger:
        if nodes.days is None:
            return work(ledger)
        with merged(ledger, nodes.this, nodes.days, nodes.window) as together:
            return work(together)
