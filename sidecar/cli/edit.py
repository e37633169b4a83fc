"""`sidecar edit`: an editor on a copy, which is checked before it takes the file's place."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from sidecar.cli.common import (
    REFUSED,
    config_option,
    fail,
    need_file,
    note,
    registry_for,
    state_option,
)
from sidecar.cli.writing import confirm, note_difference
from sidecar.config import Snapshot
from sidecar.editing import replace_file
from sidecar.errors import ConfigError, EditRefused
from sidecar.reload import read_file, understand


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

    Exit status: 0 done or nothing changed; 1 written but not taken over; 2 refused, the file is
    as it was.
    """
    need_file(config)
    before = read_file(config)
    with _copy_of(config, before) as copy:
        after, snapshot = _edited(config, copy, before)
        _show_difference(config, before, snapshot)
        replace_file(config, before, after)
    confirm(config, after, state)


@contextmanager
def _copy_of(config: Path, text: bytes) -> Iterator[Path]:
    """A private copy beside the file. It stays only when it could not be put in place, since it
    then holds the only trace of what was typed."""
    copy = config.with_name(f".{config.name}.edit-{os.getpid()}{config.suffix}")
    descriptor = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)
    try:
        yield copy
    except EditRefused as error:
        fail(f"{error}; what you wrote is in {copy}")
    except BaseException:
        copy.unlink(missing_ok=True)
        raise
    copy.unlink(missing_ok=True)


def _edited(config: Path, copy: Path, before: bytes) -> tuple[bytes, Snapshot]:
    """What the editor left behind, once it is good; ends the command when that never comes."""
    while True:
        try:
            click.edit(filename=str(copy))
        except click.ClickException as error:
            fail(f"{error.message}; nothing was changed")
        after = read_file(copy)
        if after == before:
            note("nothing was changed")
            raise SystemExit(0)
        try:
            return after, understand(after, config, registry_for(config, after))
        except ConfigError as error:
            note(str(error))
        if not sys.stdin.isatty() or not click.confirm("edit it again?", default=True, err=True):
            note("nothing was changed")
            raise SystemExit(REFUSED)


def _show_difference(config: Path, before: bytes, after: Snapshot) -> None:
    try:
        old = understand(before, config, registry_for(config, before))
    except ConfigError:
        note("the file was wrong before; now it is good")
        return
    note_difference(old, after)
