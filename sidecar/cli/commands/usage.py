"""`sidecar usage`: tokens and cost, grouped and filtered."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta, tzinfo
from datetime import time as time_of_day
from decimal import Decimal
from pathlib import Path

import click

from sidecar.admin.api_types.config import FlushReport
from sidecar.cli.client import ProcessError, find_process
from sidecar.cli.node_usage import over_nodes
from sidecar.cli.options import (
    F,
    config_option,
    fail,
    json_option,
    note,
    open_config,
    state_option,
    the_group,
)
from sidecar.cli.params import GROUP, KEY
from sidecar.config.schema.parsers import InvalidValue, days, duration, timestamp
from sidecar.humanize import nearest, when
from sidecar.ledger.model import day_of
from sidecar.ledger.reader import open_to_read
from sidecar.ledger.reports.activity import today, zone
from sidecar.ledger.reports.export import as_csv, as_json, columns, row
from sidecar.ledger.reports.usage import (
    Days,
    Dimension,
    TimeRange,
    UsageQuery,
    UsageRow,
    kept_since,
    usage,
    usage_by_day,
)


def _dimensions(
    ctx: click.Context,  # noqa: ARG001 - click's signature
    param: click.Parameter,  # noqa: ARG001
    value: str,
) -> tuple[Dimension, ...]:
    """Return the names of `--by`, each once, in the order typed."""
    found: dict[Dimension, None] = {}
    for word in (each.strip() for each in value.split(",") if each.strip()):
        if word not in list(Dimension):
            near = nearest(word, list(Dimension))
            hint = f' Did you mean "{near}"?' if near else ""
            raise click.BadParameter(f'"{word}" is none of {", ".join(Dimension)}.{hint}')
        found[Dimension(word)] = None
    return tuple(found)


def _filters(function: F) -> F:
    """Add an option for each dimension but the day, which has `--since` and `--until`."""
    types = {Dimension.KEY: KEY, Dimension.GROUP: GROUP}
    more = {Dimension.NODE: ' "all" is every one.'}
    for dimension in reversed([each for each in Dimension if each is not Dimension.DAY]):
        function = click.option(
            f"--{dimension}", dimension.value, multiple=True, metavar="NAME",
            type=types.get(dimension),
            help=f"Only this {dimension}, or those of a pattern.{more.get(dimension, '')}",
        )(function)  # fmt: skip
    return function


@click.command("usage")
@click.option(
    "--by", default="key", show_default=True, callback=_dimensions, metavar="NAME,…",
    help=f"What to tell apart: {', '.join(Dimension)}.",
)  # fmt: skip
@click.option(
    "--since", default="7d", show_default=True, metavar="7d|6h|DATE",
    help="The first day or moment; 7d are seven days, today included.",
)  # fmt: skip
@click.option("--until", metavar="DATE", help="The last day, or a moment before which it ends.")
@_filters
@click.option(
    "--as-if-group", "as_if", type=GROUP, help="Show also what it would have cost in this group."
)
@json_option
@click.option("--csv", "as_sheet", is_flag=True, help="Print CSV.")
@config_option
@state_option
def usage_command(
    by: tuple[Dimension, ...], since: str, until: str | None, as_if: str | None,
    as_json: bool, as_sheet: bool, config: Path, state: Path, **where: tuple[str, ...],
) -> None:  # fmt: skip
    """Show usage and cost by key, model, day, session and so on.

    Names may be patterns such as gpt-5*; an option given twice matches either. Where processes
    share their state, the usage of all of them is shown, unless --node names one.

    \b
    Examples:
      sidecar usage
      sidecar usage --by day,model --since 30d --key codex
      sidecar usage --by node,key
      sidecar usage --by session --since 6h --json
      sidecar usage --by repo,branch --since 2026-11-01 --until 2026-11-30 --csv
    """
    if as_json and as_sheet:
        fail("--json and --csv exclude each other")
    multiplier = None
    if as_if is not None:
        multiplier = the_group(open_config(config).snapshot, as_if).multiplier
    matches = {Dimension(name): names for name, names in where.items() if names}
    with open_ledger(state) as own:
        span = window(since, until, zone(own), time.time())
        with over_nodes(own, state, UsageQuery(by, span, matches)) as (books, question):
            lines = usage(books, question)
            _tell_reach(books, question)
            if as_json or as_sheet:
                _print(by, lines, multiplier, as_sheet=as_sheet)
                return
            days = [] if Dimension.DAY in by else _days(span, today(books, time.time()))
            apart = usage_by_day(books, question) if days else {}
    from sidecar.cli.render.tables import UsageReport, show

    named = None if as_if is None or multiplier is None else (as_if, multiplier)
    show(UsageReport(by, lines, apart, days, named))


def _days(span: Days | TimeRange, today: date) -> list[date]:
    """Return the days of the window that have begun."""
    if not isinstance(span, Days) or span.first is None:
        return []
    last = today if span.last is None else min(span.last, today)
    return [span.first + timedelta(days=passed) for passed in range((last - span.first).days + 1)]


def _print(
    by: Sequence[Dimension], lines: Sequence[UsageRow], as_if: Decimal | None, *, as_sheet: bool
) -> None:
    rows = [row(by, line, as_if) for line in lines]
    text = as_csv(rows, columns(by, as_if=as_if is not None)) if as_sheet else as_json(rows)
    click.echo(text.rstrip("\n"))


def _tell_reach(books: sqlite3.Connection, question: UsageQuery) -> None:
    """Note from when calls are kept, where that limits the answer."""
    oldest = kept_since(books, question)
    if oldest is None:
        return
    span = question.window
    start = _start(span, books) if isinstance(span, Days) else span.start
    if oldest > start:
        note(
            f"single calls are kept since {when(oldest, time.time())}; older usage is known by day "
            "only, not by session or time of day"
        )


def _start(span: Days, books: sqlite3.Connection) -> float:
    return float("-inf") if span.first is None else midnight(span.first, zone(books))


@contextmanager
def open_ledger(state: Path) -> Iterator[sqlite3.Connection]:
    """Open the ledger under `state`; a running process writes pending calls first.

    Raises `NoLedger` when there is nothing to read.
    """
    try:
        live = find_process(state)
        written = live is None or live.post(FlushReport, "api", "flush").written
    except ProcessError as error:
        note(str(error))
        written = False
    if not written:
        note("the ledger may lack the latest calls: the running process could not write them")
    with open_to_read(state) as books:
        yield books


_DATE = len("2026-12-31")


def window(since: str, until: str | None, zone: tzinfo | None, now: float) -> Days | TimeRange:
    """Return the window between the two. Ends with status 2 when it is empty."""
    first = _since(since, zone, now)
    last = None if until is None else _moment("--until", until, zone)
    if isinstance(first, date) and not isinstance(last, float):
        found: Days | TimeRange = Days(first, last)
        backwards = last is not None and last < first
    else:
        start = midnight(first, zone) if isinstance(first, date) else first
        end = midnight(last + timedelta(1), zone) if isinstance(last, date) else last
        found = TimeRange(start, float("inf") if end is None else end)
        backwards = found.end <= found.start
    if backwards:
        fail(f"--until {until} lies before --since {since}")
    return found


def _since(text: str, zone: tzinfo | None, now: float) -> date | float:
    if "-" in text:
        return _moment("--since", text, zone)
    try:
        if text.endswith(("d", "w")):
            return day_of(now, zone) - timedelta(days=days(text) - 1)
        return now - duration("" if text.isdecimal() else text)
    except (InvalidValue, OverflowError):
        fail("--since is a time such as 7d or 6h, or a date such as 2026-12-31")


def _moment(option: str, text: str, zone: tzinfo | None) -> date | float:
    try:
        if len(text) == _DATE:
            return date.fromisoformat(text)
        return timestamp(text, zone).timestamp()
    except (InvalidValue, ValueError):
        fail(f"{option} is a date such as 2026-12-31, or a time such as 2026-12-31T18:00")


def midnight(day: date, zone: tzinfo | None) -> float:
    """Return when a day begins, in seconds since the epoch."""
    start = datetime.combine(day, time_of_day())
    return (start.astimezone(UTC) if zone is None else start.replace(tzinfo=zone)).timestamp()
