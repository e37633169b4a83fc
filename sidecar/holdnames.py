"""What a name stands for, of what can be paused: a key, a group, a provider or everything. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from sidecar.config import Snapshot
from sidecar.errors import Kind, Refused
from sidecar.holds import EVERYTHING, Held, Paused

KINDS = ("key", "group", "provider")
ANY = "any"
"""Stands for a kind: whatever has the name."""
ALL = "all"
"""The name of everything."""


def find(snapshot: Snapshot, kind: str, name: str) -> Held:
    """What a name stands for, among keys, groups and providers. Raises `Refused`: 404 when nothing
    has it, 400 when more than one thing does."""
    if (kind, name) in {(ANY, ALL), EVERYTHING}:
        return EVERYTHING
    known = {"key": snapshot.keys, "group": snapshot.groups, "provider": snapshot.providers}
    found = [each for each in KINDS if kind in {each, ANY} and name in known[each]]
    if not found:
        names = [one for each in KINDS if kind in {each, ANY} for one in known[each]]
        what = "key, group or provider" if kind == ANY else kind
        raise Refused(Kind.NOT_FOUND, _unknown(what, name, names))
    return _only(found, name)


def find_held(holds: Sequence[Paused], snapshot: Snapshot, kind: str, name: str) -> Held:
    """What a name stands for, first of all among what is held, which the configuration may not
    have any more. Raises `Refused` as `find` does."""
    if (kind, name) in {(ANY, ALL), EVERYTHING}:
        return EVERYTHING
    found = [each.kind for each in holds if each.name == name and kind in {each.kind, ANY}]
    return _only(found, name) if found else find(snapshot, kind, name)


def touches(hold: Held, held: Held, snapshot: Snapshot) -> bool:
    """Whether a hold parks calls of what another one names: its group's hold those of a key, and a
    hold on everything all of them."""
    if EVERYTHING in {hold, held} or hold == held:
        return True
    key = snapshot.keys.get(held[1]) if held[0] == "key" else None
    return key is not None and hold == ("group", key.group.name)


def _only(kinds: Sequence[str], name: str) -> Held:
    if len(kinds) > 1:
        ways = " or ".join(f"--{kind}" for kind in kinds)
        what = " and ".join(f"a {kind}" for kind in kinds)
        raise Refused(Kind.BAD_REQUEST, f'"{name}" is {what}; say which one with {ways}')
    return kinds[0], name


def _unknown(what: str, name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    hint = f'did you mean "{near[0]}"?' if near else f"there is: {', '.join(names[:10]) or 'none'}"
    return f'there is no {what} "{name[:80]}"; {hint}'
