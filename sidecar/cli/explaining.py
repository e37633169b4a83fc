"""`sidecar explain`: where a call would go, and what would become of it now."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlencode

import click

from sidecar.cli.common import config_option, json_option, state_option
from sidecar.cli.counts import COUNT
from sidecar.cli.figures import printable
from sidecar.cli.live import find_live
from sidecar.cli.names import KEY
from sidecar.cli.ways import explained


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
    """Show what would become of a call now: where it may go, and what stands on the way.

    Asks the running process; without one, goes by the file and this shell's environment, and knows
    nothing of what is used.

    \b
    Examples:
      sidecar explain --key codex --model gpt-5-mini
      sidecar explain --key codex --model gpt-5-mini --size 120k --json
    """
    given = {"model": model, "session": session, "size": size, "max_output": max_output}
    asked = {field: str(value) for field, value in given.items() if value is not None}
    live = find_live(state)
    if live is None:
        from sidecar.cli.unmanned import explain_by_file

        found = explain_by_file(name, asked, config, state)
    else:
        found = live.get(f"/api/explain?{urlencode({'key': name} | asked)}")
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        for line in explained(found):
            click.echo(printable(line))
