"""`sidecar keys enable | disable | rotate | revoke | delete`: give and take access.

They return only when the running process has confirmed the change.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from sidecar.admin.api_types.config import EndedCalls
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
from sidecar.cli.client import ProcessError, find_process
from sidecar.cli.key_fields import last_use, row, times_of
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
from sidecar.records import NEVER_USED, KeyTimes, utc_text

yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def may_ask(*, yes: bool) -> bool:
    """Return whether there is a person to ask."""
    return not yes and sys.stdin.isatty()


def ask(key: Key, state: Path, what: str, *, yes: bool) -> None:
    """Print what the change breaks and, on a terminal, ask. Ends with status 2 on "no"."""
    note(breaks(key, times_of(state).get(key.name, NEVER_USED), time.time()))
    if not may_ask(yes=yes):
        return
    if not click.confirm(f'{what} key "{key.name}"?', err=True):
        note("nothing was changed")
        raise SystemExit(REFUSED)


def switch(opened: OpenedConfig, name: str, state: Path, *, enabled: bool) -> Key:
    """Enable or disable a key, in the file and in the process. Returns the changed key."""
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
    """Enable a disabled key.

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
    """Reject a key's new calls with 403; running calls finish.

    Prints what it breaks and asks on a terminal; without one it does not ask.

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
    """Give a key a new secret and print it, once. The old one ends at once, or after --overlap.

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
        note(f"the old secret is {ends}")
    confirm(config, new, state)


@click.command("revoke")
@name_argument
@yes_option
@json_option
@config_option
@state_option
def revoke(name: str, yes: bool, as_json: bool, config: Path, state: Path) -> None:
    """Disable a key and end its running and waiting calls at once.

    Prints what it breaks and asks on a terminal; without one it does not ask.

    \b
    Example:
      sidecar keys revoke codex --yes
    """
    opened = open_to_change(config, state, asks=may_ask(yes=yes))
    ask(the_key(opened.snapshot, name), state, "revoke", yes=yes)
    key = switch(opened, name, state, enabled=False)
    try:
        live = find_process(state)
        cut = 0 if live is None else live.post(EndedCalls, "api", "keys", name, "revoke").cut
    except ProcessError as error:
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
    """Delete a key from the file. Prints what it breaks, and asks.

    Without a terminal it needs --yes: the hash is deleted too, and cannot be restored.

    \b
    Example:
      sidecar keys delete old-laptop
    """
    opened = open_to_change(config, state, asks=may_ask(yes=yes))
    key = the_key(opened.snapshot, name)
    if not yes and not sys.stdin.isatty():
        fail("without a terminal, deleting a key needs --yes; nothing was changed")
    ask(key, state, "delete", yes=yes)
    fields = row(key, times_of(state).get(name, NEVER_USED))
    put_in_place(opened, edited(lambda: operations.delete_key(opened.text, name)), state)
    show_done(f'key "{name}": deleted', fields, as_json=as_json)


def breaks(key: Key, times: KeyTimes, now: float) -> str:
    """Return what removing access would break."""
    who = f" by {times.program}" if times.program else ""
    if times.last_used is None:
        return f'key "{key.name}" was never used'
    return f'key "{key.name}" was used {last_use(times, now)}{who}'
