"""Tables for the terminal, among them that of `sidecar usage`."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from datetime import date
from decimal import Decimal

import click
from msgspec import Struct

from sidecar.humanize import AT_LEAST, count, curve, money, printable, share
from sidecar.ledger.reports.sums import Sums, total
from sidecar.ledger.reports.usage import Dimension, UsageRow

ByDay = Mapping[date, Sums]
"""The same calls, split by day."""


class UsageReport(Struct, frozen=True):
    """A usage report for the terminal.

    `apart` has the days of each row, `days` those that a curve shows, and `as_if` another group and
    its multiplier.
    """

    by: Sequence[Dimension]
    lines: Sequence[UsageRow]
    apart: Mapping[tuple[str, ...], ByDay] = {}
    days: Sequence[date] = ()
    as_if: tuple[str, Decimal] | None = None


class _Column(Struct, frozen=True):
    title: str
    text: Callable[[Sums, ByDay], str]
    right: bool = True


def show(answer: UsageReport) -> None:
    """Print the report."""
    if not answer.lines:
        click.echo("no calls")
        return
    whole = total(line.sums for line in answer.lines)
    columns = _columns(answer, whole)
    names = [str(each) for each in answer.by]
    rows = [
        [
            *(printable(name) or "-" for name in line.names),
            *_cells(columns, line.sums, _days_of(answer, line)),
        ]
        for line in answer.lines
    ]
    last = ["total", *[""] * len(names[1:]), *_cells(columns, whole, _together(answer.apart))]
    print_table(
        [*names, *(column.title for column in columns)], rows,
        right=[len(names) + at for at, column in enumerate(columns) if column.right],
        last=last if names else None,
    )  # fmt: skip
    _explain(whole)


def _columns(answer: UsageReport, whole: Sums) -> list[_Column]:
    measure, of = _measure(whole)
    found = [
        _Column("calls", lambda sums, _: count(sums.calls)),
        _Column("input", lambda sums, _: _tokens(sums.input_tokens, sums)),
        _Column("cached", lambda sums, _: share(sums.cached)),
        _Column("output", lambda sums, _: _tokens(sums.output_tokens, sums)),
        _Column("reasoning", lambda sums, _: _tokens(sums.reasoning_tokens, sums)),
    ]
    if whole.unknown_calls:
        found.append(_Column("unknown calls", lambda sums, _: count(sums.unknown_calls)))
    if whole.partial_calls:
        found.append(_Column("partial calls", lambda sums, _: count(sums.partial_calls)))
    if whole.unpriced_calls:
        found.append(_Column("unpriced calls", lambda sums, _: count(sums.unpriced_calls)))
    found.append(_Column("cost", lambda sums, _: cost(sums)))
    if answer.as_if is not None:
        group, multiplier = answer.as_if
        found.append(_Column(
            f"in {group}", lambda sums, _: money(sums.at(multiplier), whole=sums.costs_all)
        ))  # fmt: skip
    found.append(_Column(f"share of {measure}", lambda sums, _: share(_part(of(sums), of(whole)))))
    if len(answer.days) > 1:
        found.append(_Column(
            f"{measure} over time",
            lambda _, by_day: curve([of(by_day.get(day, Sums())) for day in answer.days]),
            right=False,
        ))  # fmt: skip
    return found


def _measure(whole: Sums) -> tuple[str, Callable[[Sums], int | None]]:
    """Return the unit of shares and curves: cost where there is one, else tokens, else calls."""
    if whole.charged:
        return "cost", lambda sums: sums.charged
    if whole.tokens:
        return "tokens", lambda sums: sums.tokens
    return "calls", lambda sums: sums.calls


def _part(part: int | None, whole: int | None) -> float | None:
    return None if part is None or not whole else part / whole


def _tokens(amount: int | None, sums: Sums) -> str:
    return count(amount, whole=sums.counts_all)


def _cells(columns: Sequence[_Column], sums: Sums, by_day: ByDay) -> list[str]:
    return [column.text(sums, by_day) for column in columns]


def _days_of(answer: UsageReport, line: UsageRow) -> ByDay:
    return answer.apart.get(line.names, {})


def _together(apart: Mapping[tuple[str, ...], ByDay]) -> ByDay:
    found: dict[date, Sums] = {}
    for by_day in apart.values():
        for day, sums in by_day.items():
            found[day] = found.get(day, Sums()) + sums
    return found


def _explain(whole: Sums) -> None:
    """Explain the marks in the table, where there are any."""
    if whole.unknown_calls:
        click.echo(
            f"{_calls(whole.unknown_calls)} used an unknown number of tokens; "
            f"figures with a {AT_LEAST} leave them out"
        )
    if whole.partial_calls:
        click.echo(
            f"{_calls(whole.partial_calls)} with partial usage; figures with a "
            f"{AT_LEAST} are a lower bound"
        )
    if whole.unpriced_calls:
        click.echo(
            f"{_calls(whole.unpriced_calls)} without a price; "
            f"costs with a {AT_LEAST} leave that out"
        )


def _calls(number: int) -> str:
    return f"{number:,} call{'' if number == 1 else 's'}"


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Container[int] = (),
    last: Sequence[str] | None = None,
) -> None:
    """Print a table on standard output.

    `right`: numbers of the columns of figures; `last`: a final row, set apart.
    """
    from rich.console import Console  # slow to import, and most commands print no table
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 10_000  # one line a row for a pipe
    table = Table(
        box=None, pad_edge=False, header_style="bold", footer_style="bold",
        show_footer=last is not None,
    )  # fmt: skip
    for number, column in enumerate(columns):
        table.add_column(
            column,
            overflow="fold",
            justify="right" if number in right else "left",
            footer=Text(last[number] if last else ""),
        )
    for row in rows:
        table.add_row(*map(Text, row))  # brackets in names are no markup
    console.print(table)


def cost(sums: Sums) -> str:
    """Return the known cost of calls."""
    return money(sums.charged, whole=sums.costs_all)
