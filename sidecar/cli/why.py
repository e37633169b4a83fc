"""`sidecar why`: one call, from who asked to what it cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from sidecar.cli.books import open_books
from sidecar.cli.common import fail, json_option, state_option
from sidecar.cli.figures import UNKNOWN, count, printable
from sidecar.keytimes import ago, when
from sidecar.reports.columns import as_json as to_json
from sidecar.reports.story import in_dollars, tell
from sidecar.reports.trail import latest, trail

LATEST = 20


@click.command("why")
@click.argument("call_id", required=False)
@json_option
@state_option
def why_command(call_id: str | None, as_json: bool, state: Path) -> None:
    """Tell a call's whole story: who asked, what was tried, what it waited for, used and cost.

    CALL_ID stands in the header x-sidecar-call of the answer and in the log. Without one, the
    latest calls are listed.

    \b
    Examples:
      sidecar why
      sidecar why call_1f2e3d4c5b
    """
    with open_books(state) as books:
        if call_id is None:
            calls = latest(books, LATEST)
            click.echo(to_json(calls)) if as_json else _list(calls)
            return
        story = trail(books, call_id.strip())
    if story is None:
        fail(
            f"{call_id!a} is not on the books: it may still be running, or be older than the calls "
            "that are kept (the latest ones: sidecar why)"
        )
    if as_json:
        click.echo(to_json(story))
        return
    for title, text in _lines(story):
        click.echo(f"{title:9} {printable(text)}".rstrip())


def _list(calls: list[dict[str, Any]]) -> None:
    from sidecar.cli.tables import print_table

    now = time.time()
    print_table(
        ("call", "began", "key", "model", "provider", "status", "outcome", "tokens", "cost"),
        [
            [
                call["call_id"],
                ago(datetime.fromisoformat(call["started"]).timestamp(), now),
                call["key"] or "-",
                printable(call["model"] or "-"),
                call["provider"] or "-",
                str(call["status"]),
                call["outcome"],
                _in_and_out(call),
                "-" if call["usage"] == "none" else in_dollars(call["cost_usd"]),
            ]
            for call in calls
        ],
        right={5, 7, 8},
    )


def _in_and_out(call: dict[str, Any]) -> str:
    if call["usage"] in {"none", "unknown"}:
        return "-" if call["usage"] == "none" else UNKNOWN
    return f"{count(call['input_tokens'])} + {count(call['output_tokens'])}"


def _lines(story: dict[str, Any]) -> Iterator[tuple[str, str]]:
    began = datetime.fromisoformat(story["started"]).timestamp()
    yield "call", f"{story['call_id']}, began {when(began, time.time())}"
    yield from tell(story)
