"""What the console reads from the books: usage, calls of late, and the story of one.

Each answer is one moment of the file, read in a thread once the ledger has written what waited.
Money is US dollars. What is unknown is null, and never 0.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from sidecar.admin.context import ApiError, ApiRequest, Parts
from sidecar.admin.introspect.limit_views import limit_view
from sidecar.ledger.reader import NoLedger, open_to_read
from sidecar.ledger.reports.activity import programs, recent, recent_days, today
from sidecar.ledger.reports.export import as_csv, columns, figures, row
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

View = dict[str, Any]
T = TypeVar("T")
LATEST_CALLS = 30
"""Calls of late that are listed."""
MAX_DAYS = 366
MAX_ROWS = 500
"""Lines of usage that a page is told of one by one; a CSV file has all."""
_NOT_IN_NAMES = re.compile(r"[^a-z0-9-]")


async def used(parts: Parts, asked: ApiRequest) -> View:
    """What was used in the last `?days=`, apart `?by=` a dimension, and narrowed to `?key=` and so
    on; and the budgets as they stand."""
    question, days = _question(asked)
    found = await _read(parts, lambda books: _used(books, question, days, parts.wall()))
    return found | {"by": str(question.by[0]), "budgets": _budgets(parts)}


async def sheet(parts: Parts, asked: ApiRequest) -> View:
    """The same as a CSV file, by day too, with all of its lines."""
    question, days = _question(asked)
    by = tuple(dict.fromkeys((Dimension.DAY, *question.by)))

    def read(books: sqlite3.Connection) -> str:
        lines = usage(books, replace(question, by=by, window=_window(books, days, parts.wall())))
        return as_csv([row(by, line) for line in lines], columns(by))

    name = _NOT_IN_NAMES.sub("-", f"usage-by-{question.by[0]}-{days}-days")
    return {"name": f"{name}.csv", "csv": await _read(parts, read)}


async def lately(parts: Parts, _: ApiRequest) -> View:
    """What each key did in the last days, the oldest day first; today's use that is far above its
    habit; programs that are new to it. Keys that did nothing are left out."""

    def read(books: sqlite3.Connection) -> View:
        day = today(books, parts.wall())
        known = programs(books, parts.wall())
        return {
            "days": [each.isoformat() for each in recent_days(day)],
            "keys": {
                name: {
                    "today": sums_view(each.today),
                    "tokens": [sums.tokens for sums in each.days],
                    "new": [program.name for program in known.get(name, []) if program.new],
                }
                for name, each in recent(books, day).items()
            },
        }

    spikes = {name: str(each) for name, each in parts.ledger.spikes.items()}
    return await _read(parts, read) | {"spikes": spikes}


async def calls(parts: Parts, _: ApiRequest) -> View:
    """The calls that began last, the very last first."""
    rows = await _read(parts, lambda books: latest(books, LATEST_CALLS))
    return {"calls": [each | {"cost_usd": _float(each["cost_usd"])} for each in rows]}


async def call(parts: Parts, asked: ApiRequest) -> View:
    """The story of one call, line by line; `began` is seconds since the epoch."""
    name = asked.query.get("id", "")
    story = await _read(parts, lambda books: trace_of(books, name))
    if story is None:
        why = "it is not on the books: it may still be running, or be older than what is kept"
        raise ApiError(404, "not_found", why)
    began = datetime.fromisoformat(story["started"]).timestamp()
    return {"began": began, "lines": list(describe_call(story))}


def sums_view(sums: Sums) -> View:
    """What calls add up to; `costs_all` is whether the cost is all of it, `counts_all` whether the
    tokens are, `cached` the share of the input that came from a cache."""
    found: View = dict(figures(sums))
    found["cost_usd"] = _float(found["cost_usd"])
    return found | {
        "tokens": sums.tokens,
        "costs_all": sums.costs_all,
        "counts_all": sums.counts_all,
        "cached": sums.cached,
    }


def _used(books: sqlite3.Connection, question: UsageQuery, days: int, now: float) -> View:
    window = _window(books, days, now)
    assert window.first is not None  # noqa: S101 - it was made so
    asked = replace(question, window=window)
    by_day = asked.by == (Dimension.DAY,)
    apart = usage_by_day(books, replace(asked, by=()) if by_day else asked)
    dates = [window.first + timedelta(passed) for passed in range(days)]
    daily = _daily(apart, dates)
    whole = total(daily)
    lines = _by_date(dates, daily) if by_day else _by_cost(apart)
    return {
        "days": [each.isoformat() for each in dates],
        "daily": [sums_view(each) for each in daily],
        "total": sums_view(whole),
        "lines": [{"name": name} | sums_view(sums) for name, sums in lines[:MAX_ROWS]],
        "left_out": max(0, len(lines) - MAX_ROWS),
        "kept_since": kept_since(books, asked),
    }


def _daily(apart: Mapping[tuple[str, ...], Mapping[date, Sums]], dates: list[date]) -> list[Sums]:
    return [total(found[day] for found in apart.values() if day in found) for day in dates]


def _by_date(dates: list[date], daily: list[Sums]) -> list[tuple[str, Sums]]:
    """The days with calls, the latest first."""
    return [
        (day.isoformat(), sums)
        for day, sums in zip(reversed(dates), reversed(daily), strict=True)
        if sums.calls
    ]


def _by_cost(apart: Mapping[tuple[str, ...], Mapping[date, Sums]]) -> list[tuple[str, Sums]]:
    """The most expensive first."""
    lines = [(names[0], total(found.values())) for names, found in apart.items()]
    return sorted(lines, key=lambda each: (-(each[1].charged or 0), -(each[1].tokens or 0)))


def _window(books: sqlite3.Connection, days: int, now: float) -> Days:
    last = today(books, now)
    return Days(last - timedelta(days - 1), last)


def _question(asked: ApiRequest) -> tuple[UsageQuery, int]:
    """What the query asks, and for how many days. Raises `ApiError` (400)."""
    query = asked.query
    by, days = query.get("by", "key"), query.get("days", "7")
    if by not in list(Dimension):
        raise ApiError(400, "bad_request", f"by is one of {', '.join(Dimension)}")
    if not (days.isdecimal() and len(days) < 4 and 1 <= int(days) <= MAX_DAYS):
        raise ApiError(400, "bad_request", f"days is a number from 1 to {MAX_DAYS}")
    where = {each: (query[each],) for each in Dimension if each in query}
    return UsageQuery((Dimension(by),), where=where), int(days)


def _budgets(parts: Parts) -> list[View]:
    """Every budget, with what was spent of it."""
    scheduler = parts.scheduler
    now = scheduler.now()
    views = (limit_view(each.window, each.written, now) for each in scheduler.limits)
    return [each for each in views if each["unit"] == "usd"]


def _float(amount: Any) -> float | None:
    return None if amount is None else float(amount)


async def _read(parts: Parts, work: Callable[[sqlite3.Connection], T]) -> T:
    """What `work` makes of the books as they are now. Raises `ApiError` (503)."""
    await parts.ledger.flush()
    try:
        return await asyncio.to_thread(_with_books, parts.state, work)
    except NoLedger as error:
        raise ApiError(503, "no_books", str(error)) from None


def _with_books(state: Path, work: Callable[[sqlite3.Connection], T]) -> T:
    with open_to_read(state) as books:
        return work(books)
