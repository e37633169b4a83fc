"""Puts a changed configuration in place and makes sure that the running process took it over."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click

from sidecar.cli.agents import base_of, line_for
from sidecar.cli.common import REFUSED, Opened, fail, note
from sidecar.cli.keytimes import NEVER, row
from sidecar.cli.live import LiveError, find_live
from sidecar.editing import replace_file
from sidecar.errors import ConfigError, EditRefused
from sidecar.loading import load
from sidecar.reload import digest_of


def put_in_place(opened: Opened, new: bytes, state: Path) -> bool:
    """Check the new text, write it, and have the process confirm it; whether one runs.

    Ends with status 2, with the old file in place, when the new text is wrong or the file was
    changed meanwhile.
    """
    try:
        load(new, file=str(opened.path), registry=opened.registry)
        if new != opened.text:
            replace_file(opened.path, opened.text, new)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        note("nothing was changed")
        raise SystemExit(REFUSED) from None
    except EditRefused as error:
        fail(f"{error}; nothing was changed")
    return confirm(new, state)


def confirm(text: bytes, state: Path) -> bool:
    """Return once the running process serves `text`; False when none runs. Ends with status 1
    when it runs but does not take it over."""
    live = find_live(state)
    if live is None:
        note("no process runs; this is in force when `sidecar serve` starts")
        return False
    try:
        answer = live.post("api", "reload")
    except LiveError as error:
        fail(f"the file is written, but {error}", 1)
    if answer["digest"] != digest_of(text):
        note("\n".join(answer["problems"]))
        fail("the file is written, but the running process did not take it over", 1)
    return True


def edited(change: Callable[[], bytes]) -> bytes:
    """The changed text, or status 2 with the reason."""
    try:
        return change()
    except EditRefused as error:
        fail(f"{error}; nothing was changed")


def show_new(opened: Opened, new: bytes, name: str, key: str, *, as_json: bool) -> None:
    """Print a new text, once, and the line that points an agent at it."""
    snapshot = load(new, file=str(opened.path), registry=opened.registry)
    made = snapshot.keys[name]
    if as_json:
        click.echo(json.dumps(row(made, NEVER, key)))
        return
    click.echo(key)
    dialect = next(iter(made.group.vendor.dialects))
    note(f'key "{name}" of group "{made.group.name}"; this is the only time its text is shown')
    note(f"for an agent: {line_for(dialect, base_of(snapshot), '…')}")
