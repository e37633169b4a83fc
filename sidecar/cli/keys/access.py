"""`sidecar keys enable | disable | rotate | revoke | delete`: what gives and takes access.

These return only when the running process has confirmed, so that whoever typed them can be sure.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from sidecar.api_keys import mint
from sidecar.cli.apply import (
    NOT_TAKEN_OVER,
    confirm,
    edited,
    open_to_change,
    put_in_place,
    show_done,
    show_new,
    write,
)
from sidecar.cli.client import LiveError, find_live
from sidecar.cli.key_fields import row, times_of
from sidecar.cli.options import (
    REFUSED,
    OpenedConfig,
    config_option,
    fail,
    json_option,
    note,
    state_option,
    the_key,
)
from sidecar.cli.params import after, name_argument
from sidecar.config.editor import operations
from sidecar.config.model import Key
from sidecar.humanize import ago
from sidecar.records import NEVER_USED, KeyTimes, utc_text

yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def may_ask(*, yes: bool) -> bool:
    """Return whether there is a person to ask."""
    return not yes and sys.stdin.isatty()


def ask(key: Key, state: Path, what: str, *, yes: bool) -> None:
    """Say what it would break and, on a terminal, ask; a no ends with status 2."""
    note(breaks(key, times_of(state).get(key.name, NEVER_USED), time.time()))
    if not may_ask(yes=yes):
        return
    if not click.confirm(f'{what} key "{key.name}"?', err=True):
        note("nothing was changed")
        raise SystemExit(REFUSED)


def switch(opened: OpenedConfig, name: str, state: Path, *, enabled: bool) -> Key:
    """Enable or disable a key, in the file and in the process; the key as it is then."""
    change = edited(
        lambda: operations.switch_key(opened.text, opened.snapshot, name, enabled=enabled)
    )
    return put_in_place(opened, change, state).keys[name]


@click.command("enable")
@name_argument
@json_option
@config_option
@state_option
def enable(name: str, as_json: bool, config: Path, state: Path) -> None:
    """Let a disabled key in again.

    \b
    Example:
      sidecar keys enable nightly
    """
    opened = open_to_change(config, state)
    the_key(opened.snapshot, name)
    key = switch(opened, name, state, enabled=True)
    fields = row(key, times_of(state).get(name, NEVER_USED))
    show_done(f'key "{name}": enabled', fields, as_json=as_json)


@click.command("disable")
@name_argument
@yes_option
@json_option
@config_option
@state_option
def disable(name: str, yes: bool, as_json: bool, config: Path, state: Path) -> None:
    """Refuse a key's further calls with 403; running ones finish.

    Says what it breaks and asks on a terminal; without one it goes ahead.

    \b
    Example:
      sidecar keys disable nightly
    """
    opened = open_to_change(config, state, asks=may_ask(yes=yes))
    ask(the_key(opened.snapshot, name), state, "disable", yes=yes)
    key = switch(opened, name, state, enabled=False)
    fields = row(key, times_of(state).get(name, NEVER_USED))
    show_done(f'key "{name}": disabled', fields, as_json=as_json)


@click.command("rotate")
@name_argument
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
    opened = open_to_change(config, state)
    old = the_key(opened.snapshot, name)
    if overlap is None:
        note(breaks(old, times_of(state).get(name, NEVER_USED), time.time()))
    until = None if overlap is None else after("--overlap", overlap)
    key = mint()
    new = edited(lambda: operations.rotate_key(opened.text, opened.snapshot, name, key, until))
    snapshot = write(opened, new)
    show_new(snapshot.keys[name], snapshot, key, state, as_json=as_json)
    if old.hashes:
        ends = "no longer accepted" if until is None else f"accepted until {utc_text(until)}"
        note(f"the old text is {ends}")
    confirm(config, new, state)


@click.command("revoke")
@name_argument
@yes_option
@json_option
@config_option
@state_option
def revoke(name: str, yes: bool, as_json: bool, config: Path, state: Path) -> None:
    """Disable a key and cut its open streams and waiting calls, now.

    Says what it breaks and asks on a terminal; without one it goes ahead.

    \b
    Example:
      sidecar keys revoke codex --yes
    """
    opened = open_to_change(config, state, asks=may_ask(yes=yes))
    ask(the_key(opened.snapshot, name), state, "revoke", yes=yes)
    key = switch(opened, name, state, enabled=False)
    try:
        live = find_live(state)
        cut = 0 if live is None else live.post("api", "keys", name, "revoke")["cut"]
    except LiveError as error:
        fail(f"the key is disabled, but its running calls were not cut: {error}", NOT_TAKEN_OVER)
    fields = row(key, times_of(state).get(name, NEVER_USED))
    show_done(f'key "{name}": revoked; {cut} running calls were cut', fields, as_json=as_json)


@click.command("delete")
@name_argument
@yes_option
@json_option
@config_option
@state_option
def delete(name: str, yes: bool, as_json: bool, config: Path, state: Path) -> None:
    """Take a key out of the file, for good. Says what it breaks, and asks.

    Without a terminal it needs --yes: the hash is gone afterwards, and no command brings it back.

    \b
    Example:
      sidecar keys delete old-laptop
    """
    opened = open_to_change(config, state, asks=may_ask(yes=yes))
    key = the_key(opened.snapshot, name)
    if not yes and not sys.stdin.isatty():
        fail("to delete a key without a terminal, add --yes; nothing was changed")
    ask(key, state, "delete", yes=yes)
    fields = row(key, times_of(state).get(name, NEVER_USED))
    put_in_place(opened, edited(lambda: operations.delete_key(opened.text, name)), state)
    show_done(f'key "{name}": deleted', fields, as_json=as_json)


def breaks(key: Key, times: KeyTimes, now: float) -> str:
    """What taking a key away would break."""
    who = f" by {times.program}" if times.program else ""
    if times.last_used is None:
        return f'key "{key.name}" was never used'
    return f'key "{key.name}" was used {ago(times.last_used, now)}{who}'
