"""Tables for people: as wide as the terminal, plain where there is none."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their columns, on standard output."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 10_000  # a pipe wants one line a row
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # names may hold brackets, which are no markup
    console.print(table)
