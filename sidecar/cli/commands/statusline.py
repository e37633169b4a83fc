"""`sidecar statusline`: one short line for an agent's own status bar.

An agent runs it every few seconds and shows whatever it prints. So it reads no configuration, sends
one plain request, and prints nothing where nothing is known.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from pathlib import Path
from typing import Any

import click

from sidecar.cli.options import state_option
from sidecar.cli.params import KEY
from sidecar.files import socket_of

STATUSLINE_TIMEOUT_SECONDS = 0.1
"""Seconds for the agent's data on standard input, and again for an answer of the process."""
MAX_INPUT_BYTES = 1 << 20


@click.command("statusline")
@click.option("--key", type=KEY, help="Today's calls of this key.")
@click.option("--session", metavar="ID", help="Today's calls of this session.")
@state_option
def statusline_command(key: str | None, session: str | None, state: Path) -> None:
    """Print one line for a status bar.

    The line has today's cost, the cached share of the input, the used part of a subscription, and
    waiting calls. It covers one session, which Claude Code names on standard input; one key; or
    everything. The line is empty when nothing is known. The command never fails.

    \b
    Examples:
      sidecar statusline
      sidecar statusline --key codex
    """
    try:
        parts = [*_used(state, key, session), *_of_the_process(state, key)]
        click.echo(" · ".join(part for part in parts if part))
    except Exception:  # noqa: BLE001 - an agent's status bar shows no errors
        click.echo()


def _used(state: Path, key: str | None, session: str | None) -> list[str]:
    """Return today's cost and cache share."""
    from sidecar.cli.render.tables import cost
    from sidecar.humanize import money, share
    from sidecar.ledger.reader import NoLedger, open_to_read
    from sidecar.ledger.reports.activity import today
    from sidecar.ledger.reports.sums import total
    from sidecar.ledger.reports.usage import Days, Dimension, UsageQuery, usage

    agent = {} if key or session else _read_agent()
    session = session or agent.get("session_id")
    try:
        with open_to_read(state) as ledger:
            day = today(ledger, time.time())
            where = [(Dimension.KEY, key), (Dimension.SESSION, session)]
            matches = {each: [name] for each, name in where if name}
            lines = usage(ledger, UsageQuery((), Days(day, day), matches))
    except NoLedger:
        return []
    if not lines:
        return []
    sums = total(line.sums for line in lines)
    cached = share(sums.cached)
    spent = "cost unknown" if sums.charged is None else f"{cost(sums)} today"
    if sums.charged == 0 and sums.listed:
        spent = f"would cost {money(sums.listed)} today"
    return [spent, f"{cached} cached" if cached else ""]


def _of_the_process(state: Path, key: str | None) -> list[str]:
    """Return the windows of the subscription that was used last (by this key, if one is given), and
    the number of waiting calls, if a process runs and some wait."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(STATUSLINE_TIMEOUT_SECONDS)
            connection.connect(str(socket_of(state) or state))
            connection.sendall(b"GET /api/status HTTP/1.0\r\nHost: localhost\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        status = json.loads(answer.partition(b"\r\n\r\n")[2])
    except (OSError, ValueError):
        return []
    known = [each for each in status["subscriptions"] if key in {None, each["key"]}]
    same = [each for each in known if _place(each) == _place(known[0])]
    windows = {each["window"]: f"{each['used']:.0%} of {each['window']}" for each in same}
    count = status["waiting"]
    return [*windows.values(), f"{count} waiting" if count else ""]


def _place(window: dict[str, Any]) -> tuple[str, str]:
    return window["provider"], window["key"]


def _read_agent() -> dict[str, Any]:
    """Return the agent's JSON object on standard input.

    {} when it is a terminal, or has no JSON object within `STATUSLINE_TIMEOUT_SECONDS`.
    """
    if sys.stdin is None or sys.stdin.isatty():
        return {}
    data, deadline = b"", time.monotonic() + STATUSLINE_TIMEOUT_SECONDS
    while len(data) < MAX_INPUT_BYTES and (left := deadline - time.monotonic()) > 0:
        if not select.select([sys.stdin], [], [], left)[0]:
            break
        piece = os.read(sys.stdin.fileno(), 1 << 16)
        if not piece:
            break
        data += piece
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
