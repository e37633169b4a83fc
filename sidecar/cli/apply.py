"""Write a changed configuration and confirm that the running process serves it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from sidecar.admin.api_types.config import ProcessStatus, ReloadReport
from sidecar.agents.shells import key_variable, line_for
from sidecar.cli.client import ProcessError, base_of, find_process
from sidecar.cli.key_fields import row, times_of
from sidecar.cli.options import REFUSED, OpenedConfig, fail, need_file, note, open_config
from sidecar.config.loader import difference
from sidecar.config.manager import build_snapshot
from sidecar.config.model import Key, Snapshot
from sidecar.errors import ConfigError, EditRefused
from sidecar.files import content_digest, edit_lock, replace_file
from sidecar.records import NEVER_USED

NOT_TAKEN_OVER = 1
"""Exit status: the file is written, and the process that runs does not serve it."""


def open_to_change(config: Path, state: Path, *, asks: bool = False) -> OpenedConfig:
    """Read and check the file that a command changes; a wrong file ends the command.

    Commands that change the file run one after the other. With `asks` the command waits for an
    answer of the user, so it does not hold the lock.
    """
    need_file(config)
    if not asks:
        click.get_current_context().with_resource(edit_lock(state))
    try:
        return open_config(config)
    except SystemExit:
        note(f"{config} must be corrected first (sidecar edit); nothing was changed")
        raise


def note_difference(old: Snapshot, new: Snapshot) -> None:
    """Print the effective difference of an edit."""
    for line in difference(old, new) or ["no effective difference"]:
        note(line)


def put_in_place(opened: OpenedConfig, new: bytes, state: Path) -> Snapshot:
    """Write the new text, and return its meaning once the running process serves it.

    Ends with status 2, and the old file in place, when the new text is wrong or the file was
    changed meanwhile; with status 1 when the process does not take it over.
    """
    snapshot = write(opened, new)
    confirm(opened.path, new, state)
    return snapshot


def write(opened: OpenedConfig, new: bytes) -> Snapshot:
    """Write the new text. Ends with status 2 when it is wrong or the file was changed meanwhile."""
    try:
        snapshot = build_snapshot(new, opened.path, opened.registry)
        if new != opened.text:
            replace_file(opened.path, opened.text, new)
    except ConfigError as error:
        note(str(error))
        note("nothing was changed")
        raise SystemExit(REFUSED) from None
    except EditRefused as error:
        fail(str(error))
    return snapshot


def confirm(config: Path, text: bytes, state: Path) -> None:
    """Return once the running process serves `text`, or note that none runs.

    Ends with status 1 when a process runs and does not take it over.
    """
    try:
        live = find_process(state)
        if live is None:
            note(
                f"no process runs with {state}; the change takes effect when `sidecar serve` starts"
            )
            return
        answer = live.post(ReloadReport, "api", "reload")
        if answer.digest == content_digest(text):
            return
        served = Path(live.get("/api/status", ProcessStatus).config.file)
    except ProcessError as error:
        fail(f"the file is written, but {error}", NOT_TAKEN_OVER)
    for problem in answer.problems:
        note(problem)
    if served.resolve() != config.resolve():
        fail(f"the file is written, but the process that runs serves {served}", NOT_TAKEN_OVER)
    fail("the file is written, but the process that runs did not take it over", NOT_TAKEN_OVER)


def edited(change: Callable[[], bytes]) -> bytes:
    """Return the changed text, or end with status 2 and the reason."""
    try:
        return change()
    except EditRefused as error:
        fail(f"{error}; nothing was changed")


def show_new(key: Key, snapshot: Snapshot, text: str, state: Path, *, as_json: bool) -> None:
    """Print a new secret, once, and the line that points an agent at it."""
    if as_json:
        click.echo(json.dumps(row(key, times_of(state).get(key.name, NEVER_USED), text)))
        return
    click.echo(text)
    note(f'key "{key.name}" of group "{key.group.name}"; its secret is shown only now')
    dialect = next(iter(key.group.vendor.dialects))
    if sys.stdout.isatty() and sys.stderr.isatty():
        note("for an agent:")
        shown = text
    else:  # the secret goes to where standard output goes, and to no other place
        note("for an agent, with that secret in the variable SIDECAR_KEY:")
        shown = key_variable("SIDECAR_KEY")
    note(line_for(dialect, base_of(snapshot, state), shown))


def show_done(told: str, fields: dict[str, Any], *, as_json: bool) -> None:
    """Print what was done, or the key's present fields as JSON."""
    if as_json:
        click.echo(json.dumps(fields))
    else:
        note(told)
