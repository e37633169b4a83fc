"""Tables for people: as wide as the terminal, plain where there is none."""

from __future__ import annotations

from collections.abc import Container, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Container[int] = (),
    last: Sequence[str] | None = None,
) -> None:
    """Print rows under their columns, on standard output: those of figures, by number, to the
    `right`, and a `last` row set apart."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 10_000  # a pipe wants one line a row
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
        table.add_row(*map(Text, row))  # names may hold brackets, which are no markup
    console.print(table)
