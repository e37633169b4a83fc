"""`sidecar why` and `sidecar explain`: one past call, or one hypothetical call."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click
import msgspec

from sidecar.admin.api_types.live import Explanation
from sidecar.cli.client import find_process
from sidecar.cli.commands.usage import open_ledger
from sidecar.cli.options import (
    config_option,
    fail,
    json_option,
    state_option,
)
from sidecar.cli.params import COUNT, KEY
from sidecar.cli.render.explain import explanation_lines
from sidecar.humanize import UNKNOWN, ago, count, printable, when
from sidecar.ledger.reports.export import as_json as to_json
from sidecar.ledger.reports.trace import describe_call, in_dollars, latest, trace_of

LATEST = 20


@click.command("why")
@click.argument("call_id", required=False)
@json_option
@state_option
def why_command(call_id: str | None, as_json: bool, state: Path) -> None:
    """Show what is recorded about a call.

    That is its caller, waits, attempts, usage and cost. CALL_ID is in the header x-sidecar-call of
    the answer and in the log. Without one, the latest calls are listed.

    \b
    Examples:
      sidecar why
      sidecar why call_1f2e3d4c5b
    """
    with open_ledger(state) as books:
        if call_id is None:
            calls = latest(books, LATEST)
            click.echo(to_json(calls)) if as_json else _list(calls)
            return
        story = trace_of(books, call_id.strip())
    if story is None:
        fail(
            f"{call_id!a} is not in the ledger: it may still be running, or be older than the kept "
            "calls (list the latest: sidecar why)"
        )
    if as_json:
        click.echo(to_json(story))
        return
    for title, text in _lines(story):
        click.echo(f"{title:9} {printable(text)}".rstrip())


def _list(calls: list[dict[str, Any]]) -> None:
    from sidecar.cli.render.tables import print_table

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
                str(call["status"] or "-"),
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
    yield from describe_call(story)


@click.command("explain")
@click.option("--key", "name", type=KEY, required=True, help="The key that would call.")
@click.option("--model", required=True, help="The model it would ask for.")
@click.option("--session", metavar="ID", help="The conversation it would belong to.")
@click.option("--size", type=COUNT, help="Bytes of its request, such as 120k.")
@click.option("--max-output", type=COUNT, help="The bound on its output, in tokens.")
@json_option
@config_option
@state_option
def explain_command(
    name: str, model: str, session: str | None, size: int | None, max_output: int | None,
    as_json: bool, config: Path, state: Path,
) -> None:  # fmt: skip
    """Show where a call would go, without making it.

    Lists the candidates, in order, and the limits that apply to each. Asks the running process.
    Without one it uses the file and this shell's environment, and present usage is unknown.

    \b
    Examples:
      sidecar explain --key codex --model gpt-5-mini
      sidecar explain --key codex --model gpt-5-mini --size 120k --json
    """
    given = {"model": model, "session": session, "size": size, "max_output": max_output}
    asked = {field: str(value) for field, value in given.items() if value is not None}
    live = find_process(state)
    if live is None:
        from sidecar.cli.dry_run import explain_by_file  # slow to import

        found = explain_by_file(name, asked, config, state)
    else:
        found = live.get(f"/api/explain?{urlencode({'key': name} | asked)}", Explanation)
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(found), indent=2))
    else:
        for line in explanation_lines(found):
            click.echo(printable(line))
