"""`sidecar edit`: an editor on a copy, which is checked before it takes the file's place."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from sidecar.cli.common import config_option, need_file, note, registry_for, state_option
from sidecar.cli.writing import confirm
from sidecar.config import Snapshot
from sidecar.editing import replace_file
from sidecar.errors import ConfigError, EditRefused
from sidecar.loading import difference, load
from sidecar.reload import read_file


@click.command("edit")
@config_option
@state_option
def edit_command(config: Path, state: Path) -> None:
    """Open the configuration in your editor ($VISUAL, then $EDITOR).

    You edit a copy. It is checked, the effective difference is shown, and only a good one takes
    the file's place; a bad one can be edited again.

    \b
    Example:
      EDITOR="code --wait" sidecar edit

    Exit status: 0 done or nothing changed; 2 refused, the file is as it was.
    """
    need_file(config)
    before = read_file(config)
    copy = config.with_name(f".{config.name}.edit-{os.getpid()}{config.suffix}")
    descriptor = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(before)
    try:
        _edit(config, copy, before, state)
    finally:
        copy.unlink(missing_ok=True)


def _edit(config: Path, copy: Path, before: bytes, state: Path) -> None:
    while True:
        click.edit(filename=str(copy))
        after = read_file(copy)
        if after == before:
            note("nothing was changed")
            return
        snapshot = _checked(config, after)
        if snapshot is not None:
            break
        if not sys.stdin.isatty() or not click.confirm("edit it again?", default=True, err=True):
            note("nothing was changed")
            raise SystemExit(2)
    _show_difference(config, before, snapshot)
    try:
        replace_file(config, before, after)
    except EditRefused as error:
        note(f"sidecar: {error}; nothing was changed")
        raise SystemExit(2) from None
    confirm(after, state)


def _checked(config: Path, text: bytes) -> Snapshot | None:
    try:
        return load(text, file=str(config), registry=registry_for(config, text))
    except ConfigError as error:
        for problem in error.problems:
            note(str(problem))
        return None


def _show_difference(config: Path, before: bytes, after: Snapshot) -> None:
    old = None
    try:
        old = load(before, file=str(config), registry=registry_for(config, before))
    except ConfigError:
        note("the file was wrong before; now it is good")
    if old is not None:
        for line in difference(old, after) or ["nothing that matters changed"]:
            note(line)
