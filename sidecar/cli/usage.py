"""`sidecar usage`: what was used and what it cost, told apart as asked."""

from __future__ import annotations

import difflib
import sqlite3
import time
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import click

from sidecar.cli.books import open_books
from sidecar.cli.common import (
    config_option,
    fail,
    json_option,
    note,
    open_config,
    state_option,
    the_group,
)
from sidecar.cli.names import GROUP, KEY
from sidecar.cli.options import F
from sidecar.cli.windows import midnight, window
from sidecar.keytimes import when
from sidecar.reports.activity import today, zone
from sidecar.reports.columns import as_csv, as_json, columns, row
from sidecar.reports.usage import (
    Days,
    Dimension,
    Line,
    Moments,
    Question,
    kept_since,
    usage,
    usage_by_day,
)


def _dimensions(
    ctx: click.Context,  # noqa: ARG001 - click's signature
    param: click.Parameter,  # noqa: ARG001
    value: str,
) -> tuple[Dimension, ...]:
    """Names behind `--by`, each once, in the order that they were typed in."""
    found: dict[Dimension, None] = {}
    for word in (each.strip() for each in value.split(",") if each.strip()):
        if word not in list(Dimension):
            near = difflib.get_close_matches(word, list(Dimension), n=1)
            hint = f' Did you mean "{near[0]}"?' if near else ""
            raise click.BadParameter(f'"{word}" is none of {", ".join(Dimension)}.{hint}')
        found[Dimension(word)] = None
    return tuple(found)


def _filters(function: F) -> F:
    """An option for each dimension but the day, which has `--since` and `--until`."""
    types = {Dimension.KEY: KEY, Dimension.GROUP: GROUP}
    for dimension in reversed([each for each in Dimension if each is not Dimension.DAY]):
        function = click.option(
            f"--{dimension}", dimension.value, multiple=True, metavar="NAME",
            type=types.get(dimension), help=f"Only this {dimension}, or those of a pattern.",
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
    """Show what was used and what it cost: by key, model, day, session and so on.

    Names may be patterns such as gpt-5*; an option given twice means either.

    \b
    Examples:
      sidecar usage
      sidecar usage --by day,model --since 30d --key codex
      sidecar usage --by session --since 6h --json
      sidecar usage --by repo,branch --since 2026-11-01 --until 2026-11-30 --csv
    """
    if as_json and as_sheet:
        fail("--json and --csv: one of the two")
    multiplier = None
    if as_if is not None:
        multiplier = the_group(open_config(config).snapshot, as_if).multiplier
    matches = {Dimension(name): names for name, names in where.items() if names}
    with open_books(state) as books:
        span = window(since, until, zone(books), time.time())
        question = Question(by, span, matches)
        lines = usage(books, question)
        _tell_reach(books, question)
        if as_json or as_sheet:
            _print(by, lines, multiplier, as_sheet=as_sheet)
            return
        days = [] if Dimension.DAY in by else _days(span, today(books, time.time()))
        apart = usage_by_day(books, question) if days else {}
    from sidecar.cli.usagetable import Answer, show

    named = None if as_if is None or multiplier is None else (as_if, multiplier)
    show(Answer(by, lines, apart, days, named))


def _days(span: Days | Moments, today: date) -> list[date]:
    """The days of the window that have begun."""
    if not isinstance(span, Days) or span.first is None:
        return []
    last = today if span.last is None else min(span.last, today)
    return [span.first + timedelta(days=passed) for passed in range((last - span.first).days + 1)]


def _print(
    by: Sequence[Dimension], lines: Sequence[Line], as_if: Decimal | None, *, as_sheet: bool
) -> None:
    rows = [row(by, line, as_if) for line in lines]
    text = as_csv(rows, columns(by, as_if=as_if is not None)) if as_sheet else as_json(rows)
    click.echo(text.rstrip("\n"))


def _tell_reach(books: sqlite3.Connection, question: Question) -> None:
    """Calls are kept for so long only: say so where that cuts the answer short."""
    oldest = kept_since(books, question)
    if oldest is None:
        return
    span = question.window
    start = _start(span, books) if isinstance(span, Days) else span.start
    if oldest > start:
        note(
            f"single calls are on the books since {when(oldest, time.time())}; what is older is "
            "known by day only, not by session or time of day"
        )


def _start(span: Days, books: sqlite3.Connection) -> float:
    return float("-inf") if span.first is None else midnight(span.first, zone(books))
