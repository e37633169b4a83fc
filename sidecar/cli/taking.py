"""`sidecar keys enable | disable | rotate | revoke | delete`: what gives and takes access.

These return only when the running process has confirmed, so that whoever typed them can be sure.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from sidecar import changes
from sidecar.cli.common import (
    config_option,
    fail,
    json_option,
    note,
    open_config,
    state_option,
    the_key,
)
from sidecar.cli.keytimes import NEVER, breaks, times_of
from sidecar.cli.live import LiveError, find_live
from sidecar.cli.writing import edited, put_in_place, show_new
from sidecar.config import Key
from sidecar.keytext import mint
from sidecar.loading.words import Misread, duration

yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def ask(key: Key, state: Path, what: str, *, yes: bool) -> None:
    """Say what it would break, and ask a person; a script without --yes is refused."""
    note(breaks(key, times_of(state).get(key.name, NEVER), time.time()))
    if yes:
        return
    if not sys.stdin.isatty():
        fail(f"to {what} a key without a terminal, add --yes")
    click.confirm(f'{what} key "{key.name}"?', abort=True, err=True)


@click.command("enable")
@click.argument("name")
@config_option
@state_option
def enable(name: str, config: Path, state: Path) -> None:
    """Let a disabled key in again.

    \b
    Example:
      sidecar keys enable nightly
    """
    opened = open_config(config)
    the_key(opened.snapshot, name)
    new = edited(lambda: changes.switch_key(opened.text, opened.snapshot, name, enabled=True))
    put_in_place(opened, new, state)
    note(f'key "{name}": enabled')


@click.command("disable")
@click.argument("name")
@config_option
@state_option
def disable(name: str, config: Path, state: Path) -> None:
    """Refuse a key's further calls with 403; running ones finish. Says what it breaks.

    \b
    Example:
      sidecar keys disable nightly
    """
    opened = open_config(config)
    key = the_key(opened.snapshot, name)
    note(breaks(key, times_of(state).get(name, NEVER), time.time()))
    new = edited(lambda: changes.switch_key(opened.text, opened.snapshot, name, enabled=False))
    put_in_place(opened, new, state)
    note(f'key "{name}": disabled')


@click.command("rotate")
@click.argument("name")
@click.option("--overlap", metavar="1h", help="How long the old text is accepted besides.")
@json_option
@config_option
@state_option
def rotate(name: str, overlap: str | None, as_json: bool, config: Path, state: Path) -> None:
    """Give a key a new text and print it, once. The old one ends at once, or after --overlap.

    \b
    Examples:
      sidecar keys rotate codex
      sidecar keys rotate codex --overlap 1h
    """
    opened = open_config(config)
    the_key(opened.snapshot, name)
    until = None
    if overlap is not None:
        try:
            until = datetime.now(UTC) + timedelta(seconds=duration(overlap))
        except Misread as error:
            fail(f"--overlap: {error.what}; {error.next}")
    key = mint()
    new = edited(lambda: changes.rotate_key(opened.text, opened.snapshot, name, key, until))
    put_in_place(opened, new, state)
    show_new(opened, new, name, key, as_json=as_json)


@click.command("revoke")
@click.argument("name")
@yes_option
@config_option
@state_option
def revoke(name: str, yes: bool, config: Path, state: Path) -> None:
    """Disable a key and cut its open streams and waiting calls, now.

    \b
    Example:
      sidecar keys revoke codex --yes
    """
    opened = open_config(config)
    ask(the_key(opened.snapshot, name), state, "revoke", yes=yes)
    new = edited(lambda: changes.switch_key(opened.text, opened.snapshot, name, enabled=False))
    put_in_place(opened, new, state)
    live = find_live(state)
    cut = 0
    if live is not None:
        try:
            cut = live.post("api", "keys", name, "revoke")["cut"]
        except LiveError as error:
            fail(f"the key is disabled, but its running calls were not cut: {error}", 1)
    note(f'key "{name}": revoked; {cut} running calls were cut')


@click.command("delete")
@click.argument("name")
@yes_option
@config_option
@state_option
def delete(name: str, yes: bool, config: Path, state: Path) -> None:
    """Take a key out of the file. Says what it breaks, and asks.

    \b
    Example:
      sidecar keys delete old-laptop
    """
    opened = open_config(config)
    ask(the_key(opened.snapshot, name), state, "delete", yes=yes)
    put_in_place(opened, edited(lambda: changes.delete_key(opened.text, name)), state)
    note(f'key "{name}": deleted')
