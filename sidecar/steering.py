"""Pauses and resumes: finds what a name stands for, holds it, and says what that means by now."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Sequence

from sidecar.config import Snapshot
from sidecar.errors import Kind, Refused
from sidecar.gateviews import View, held_view
from sidecar.holds import EVERYTHING, Held, Paused, hashes_of, in_words, way_on
from sidecar.live import LiveCall, LiveCalls
from sidecar.scheduler import Scheduler

log = logging.getLogger("sidecar.steering")

KINDS = ("key", "group", "provider")
ANY = "any"
"""Stands for a kind: whatever has the name."""
ALL = "all"
"""The name of everything."""


class Steering:
    """What a person may stop and let go on. `current` gives the configuration in force."""

    def __init__(
        self, current: Callable[[], Snapshot], scheduler: Scheduler, live: LiveCalls
    ) -> None:
        self._current = current
        self._scheduler = scheduler
        self._live = live
        for each in scheduler.holds:
            log.warning("%s is still paused (%s)", in_words(each.held), way_on(each.held))

    def pause(self, kind: str, name: str) -> View:
        """Park what is called from now on. Raises `Refused` when nothing has the name, or more
        than one thing."""
        snapshot = self._current()
        held = find(snapshot, kind, name)
        news = self._scheduler.pause(held, hashes_of(held, snapshot))
        return held_view(held) | {"news": news, **self._touched(held)}

    def resume(self, kind: str, name: str) -> View:
        """Let it go on; `still` is what keeps parts of it parked all the same. Raises `Refused`
        as `pause` does."""
        snapshot, holds = self._current(), list(self._scheduler.holds)
        held = find_held(holds, snapshot, kind, name)
        news = self._scheduler.resume(held)
        still = [held_view(each.held) for each in self._scheduler.holds
                 if touches(each.held, held, snapshot)]  # fmt: skip
        return held_view(held) | {"news": news, "still": still, **self._touched(held)}

    def _touched(self, held: Held) -> View:
        """The calls that it is about: those that run on, and those that wait; and whether it is
        kept over a restart."""
        mine = [call for call in self._live if _is_of(call, held)]
        waiting = sum(1 for call in mine if call.waiter is not None and call.waiter.stands)
        kept = self._scheduler.holds.kept
        return {"running": len(mine) - waiting, "waiting": waiting, "kept": kept}


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


def _is_of(call: LiveCall, held: Held) -> bool:
    kind, name = held
    if held == EVERYTHING:
        return True
    if kind == "provider":
        stands = call.waiter.stands if call.waiter is not None else {}
        wanted = {option.place.provider.name for option in stands.values()}
        return name in (wanted or {call.provider})
    key = call.key
    return key is not None and name == (key.name if kind == "key" else key.group.name)
