"""`sidecar pause | resume`: pause the calls of a key, a group, a provider or everything.

The running process does it and reports the result. Without one the pause is stored for the next: a
runaway agent must not get through between two processes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from msgspec import structs

from sidecar import humanize
from sidecar.admin.api_types.config import ProcessStatus
from sidecar.admin.api_types.limits import PauseResult, ResumeResult
from sidecar.admin.introspect.limit_states import paused_scope
from sidecar.cli.client import RunningProcess, find_process
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

HERE = "this process"

F = TypeVar("F", bound=Callable[..., Any])


def what(function: F) -> F:
    """Add the argument and the options that name what to pause."""
    for decorate in (
        click.argument("name", type=Name("keys", "groups", "providers"), required=False),
        click.option("--key", type=KEY, help="A key, where something else has its name, too."),
        click.option("--group", type=GROUP, help="A group, likewise."),
        click.option("--provider", type=Name("providers"), help="A provider, likewise."),
        click.option("--here", is_flag=True, help="This process alone, not all that share state."),
        json_option,
        config_option,
        state_option,
    )[::-1]:
        function = decorate(function)
    return function


@click.command("pause")
@what
def pause_command(
    here: bool, as_json: bool, config: Path, state: Path, **given: str | None
) -> None:
    """Pause a key, a group, a provider, or everything.

    New calls wait, and do not fail, until it is resumed, also across restarts. Running calls
    continue. With state.shared it holds in all processes.

    \b
    Examples:
      sidecar pause nightly
      sidecar pause --group GPT
      sidecar pause all
    """
    kind, name = _named(given)
    live = find_process(state)
    done = _pause_for_next(kind, name, config, state) if live is None else live.post(
        PauseResult, "api", "pause", kind, name, here=HERE if here else ""
    )  # fmt: skip
    _show(done, _paused(done, live), running=live is not None, as_json=as_json)


@click.command("resume")
@what
def resume_command(
    here: bool, as_json: bool, config: Path, state: Path, **given: str | None
) -> None:
    """Resume what was paused; its waiting calls continue.

    They continue in their order. `all` ends every pause, `--here` one that was made so.

    \b
    Examples:
      sidecar resume nightly
      sidecar resume all
    """
    kind, name = _named(given)
    live = find_process(state)
    done = _resume_for_next(kind, name, config, state) if live is None else live.post(
        ResumeResult, "api", "resume", kind, name, here=HERE if here else ""
    )  # fmt: skip
    _show(done, _resumed(done, live, here=here), running=live is not None, as_json=as_json)


def _named(given: dict[str, str | None]) -> tuple[str, str]:
    """Return the kind and the name that were typed."""
    typed = [(ANY if kind == "name" else kind, name) for kind, name in given.items() if name]
    if len(typed) != 1:
        fail("name a key, a group, a provider, or all")
    return typed[0]


def _pause_for_next(kind: str, name: str, config: Path, state: Path) -> PauseResult:
    snapshot = open_config(config).snapshot
    target = find(snapshot, kind, name)
    with lock(state):
        pauses = Pauses(state, time.time)
        news = pauses.pause(target, hashes_of(target, snapshot), COMMANDS)
    shared = any(each.fact for each in pauses if each.target == target)
    scope = structs.asdict(paused_scope(target))
    return PauseResult(
        **scope, news=news, running=0, waiting=0, kept=pauses.is_stored, shared=shared
    )


def _resume_for_next(kind: str, name: str, config: Path, state: Path) -> ResumeResult:
    snapshot = open_config(config).snapshot
    with lock(state):
        pauses = Pauses(state, time.time)
        target = find_paused(list(pauses), snapshot, kind, name)
        # What is paused in all processes is resumed by one that runs and can let them have it.
        news = pauses.resume(target, here=snapshot.shared is not None)
    still = [paused_scope(each.target) for each in pauses if touches(each.target, target, snapshot)]
    scope = structs.asdict(paused_scope(target))
    return ResumeResult(
        **scope, news=news, still=still, running=0, waiting=0, kept=pauses.is_stored, shared=False
    )


def _show(done: PauseResult, told: str, *, running: bool, as_json: bool) -> None:
    if not done.kept:
        why = "the state directory cannot be written"
        if not running:
            fail(f"nothing was changed: {why}")
        note(f"it is forgotten when the process ends: {why}")
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(done) | {"live": running}))
    else:
        note(told)
    if not running:
        note("no process runs: it applies when the next one starts")


def _paused(done: PauseResult, live: RunningProcess | None) -> str:
    begun = ("paused: " if done.news else "already paused: ") + done.scope + _where(done, live)
    running, waiting = done.running, done.waiting
    calls = f", {humanize.plural(running, 'call')} still running" if running else ""
    calls += f", {humanize.plural(waiting, 'call')} waiting" if waiting else ""
    return f"{begun}{calls} ({done.resume})"


def _resumed(done: ResumeResult, live: RunningProcess | None, *, here: bool) -> str:
    not_paused = (
        "nothing is paused" if done.kind == EVERYTHING[0] else f"{done.scope} is not paused"
    )
    not_paused += " in this process alone" if here else ""
    text = f"resumed: {done.scope}{_where(done, live)}" if done.news else not_paused
    for each in done.still:
        text += f"; but {each.scope} is still paused ({each.resume})"
    return text


def _where(done: PauseResult, live: RunningProcess | None) -> str:
    """Return in which processes it holds: the others learn of it by the server of shared state."""
    if not done.shared:
        return ""
    server = None if live is None else live.get("/api/status", ProcessStatus).shared
    if server is None or server.up:
        return " in all processes"
    return " here; the other processes follow once the server of shared state answers again"
