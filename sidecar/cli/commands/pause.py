"""`sidecar pause | resume`: parks the calls of a key, a group, a provider or everything.

The process does it and says what it came to. Without one the hold is kept for the next: whoever
stops a runaway agent must not lose the race against a start.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from sidecar import humanize
from sidecar.admin.introspect.limit_views import View, held_view
from sidecar.cli.client import find_live
from sidecar.cli.options import config_option, fail, json_option, note, open_config, state_option
from sidecar.cli.params import GROUP, KEY, Name
from sidecar.files import lock
from sidecar.scheduling.pauses import (
    ANY,
    COMMANDS,
    EVERYTHING,
    Pauses,
    find,
    find_paused,
    hashes_of,
    touches,
)

F = TypeVar("F", bound=Callable[..., Any])


def what(function: F) -> F:
    """`NAME`, or which kind of thing has that name."""
    for decorate in (
        click.argument("name", type=Name("keys", "groups", "providers"), required=False),
        click.option("--key", type=KEY, help="A key, where something else has its name, too."),
        click.option("--group", type=GROUP, help="A group, likewise."),
        click.option("--provider", type=Name("providers"), help="A provider, likewise."),
        json_option,
        config_option,
        state_option,
    )[::-1]:
        function = decorate(function)
    return function


@click.command("pause")
@what
def pause_command(as_json: bool, config: Path, state: Path, **given: str | None) -> None:
    """Park the further calls of a key, a group, a provider, or of everything: they wait and do not
    fail until it is resumed, over restarts, too. Calls that run go on.

    \b
    Examples:
      sidecar pause nightly
      sidecar pause --group GPT
      sidecar pause all
    """
    kind, name = _named(given)
    live = find_live(state)
    done = _pause_for_next(kind, name, config, state) if live is None else live.post(
        "api", "pause", kind, name
    )  # fmt: skip
    _show(done, _paused(done), running=live is not None, as_json=as_json)


@click.command("resume")
@what
def resume_command(as_json: bool, config: Path, state: Path, **given: str | None) -> None:
    """Let the calls of what was paused go on, in their order; `all` ends every pause.

    \b
    Examples:
      sidecar resume nightly
      sidecar resume all
    """
    kind, name = _named(given)
    live = find_live(state)
    done = _resume_for_next(kind, name, config, state) if live is None else live.post(
        "api", "resume", kind, name
    )  # fmt: skip
    _show(done, _resumed(done), running=live is not None, as_json=as_json)


def _named(given: dict[str, str | None]) -> tuple[str, str]:
    """Of what kind it is, and its name."""
    typed = [(ANY if kind == "name" else kind, name) for kind, name in given.items() if name]
    if len(typed) != 1:
        fail("say what: the name of a key, a group or a provider, or all")
    return typed[0]


def _pause_for_next(kind: str, name: str, config: Path, state: Path) -> View:
    snapshot = open_config(config).snapshot
    held = find(snapshot, kind, name)
    with lock(state):
        holds = Pauses(state, time.time)
        news = holds.pause(held, hashes_of(held, snapshot), COMMANDS)
    return held_view(held) | {"news": news, "running": 0, "waiting": 0, "kept": holds.is_stored}


def _resume_for_next(kind: str, name: str, config: Path, state: Path) -> View:
    snapshot = open_config(config).snapshot
    with lock(state):
        holds = Pauses(state, time.time)
        held = find_paused(list(holds), snapshot, kind, name)
        news = holds.resume(held)
    still = [held_view(each.target) for each in holds if touches(each.target, held, snapshot)]
    done = {"news": news, "still": still, "running": 0, "waiting": 0, "kept": holds.is_stored}
    return held_view(held) | done


def _show(done: View, told: str, *, running: bool, as_json: bool) -> None:
    if not done["kept"]:
        why = "the state directory cannot be written"
        if not running:
            fail(f"nothing was changed: {why}")
        note(f"this ends with the process: {why}")
    if as_json:
        click.echo(json.dumps(done | {"live": running}))
    else:
        note(told)
    if not running:
        note("no process runs: the next one starts so")


def _paused(done: View) -> str:
    begun = f"{done['scope']} is paused" + ("" if done["news"] else " already")
    running, waiting = done["running"], done["waiting"]
    calls = f", {humanize.plural(running, 'call')} still running" if running else ""
    calls += f", {humanize.plural(waiting, 'call')} waiting" if waiting else ""
    return f"{begun}{calls} ({done['resume']})"


def _resumed(done: View) -> str:
    not_paused = (
        "nothing is paused" if done["kind"] == EVERYTHING[0] else f"{done['scope']} is not paused"
    )
    told = f"{done['scope']} goes on" if done["news"] else not_paused
    for each in done["still"]:
        told += f"; but {each['scope']} is still paused ({each['resume']})"
    return told
