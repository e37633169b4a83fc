"""Pauses of a key, a group, a provider or everything."""

from __future__ import annotations

import difflib
import logging
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct, structs

from sidecar.config.model import Snapshot
from sidecar.errors import Kind, Refused
from sidecar.scheduling.limiter import Gate, Unit

EVERYTHING = ("all", "")
Held = tuple[str, str]
"""What is held: "key", "group" or "provider" and its name, or `EVERYTHING`."""
COMMANDS, CONSOLE = "the command line", "the console"
"""From where something is held."""
FILE = "holds.json"

log = logging.getLogger("sidecar.scheduling.pauses")


class Paused(Struct, frozen=True):
    """One hold as it is kept: since when (seconds since the epoch), by which hashes its key is
    known under another name, and from where it was asked for."""

    kind: str
    name: str
    since: float
    hashes: tuple[str, ...] = ()
    by: str = ""

    @property
    def held(self) -> Held:
        """What is held."""
        return self.kind, self.name


class Holds:
    """All holds, kept in the state directory (0600). `wall` gives seconds since the epoch; `kept`
    is false when the last change could not be written."""

    def __init__(self, state: Path, wall: Callable[[], float]) -> None:
        self._file = state / FILE
        self._wall = wall
        self.kept = True
        self._all = {each.held: each for each in read_holds(state)}
        self._gates = {held: _gate(held) for held in self._all}

    def __iter__(self) -> Iterator[Paused]:
        """The oldest first."""
        return iter(list(self._all.values()))

    def __len__(self) -> int:
        return len(self._all)

    def gates(self, key: str, group: str, provider: str) -> Iterator[Hold]:
        """The holds in the way of a call."""
        for held in (("key", key), ("group", group), ("provider", provider), EVERYTHING):
            if held in self._gates:
                yield self._gates[held]

    def gate(self, held: Held) -> Hold:
        """Where the calls wait that are held by it."""
        return self._gates[held]

    def pause(self, held: Held, hashes: tuple[str, ...] = (), by: str = "") -> bool:
        """Hold it from now on; whether that is news. A key is known again by its `hashes`; `by`
        says from where it is asked for."""
        if held in self._all:
            return False
        self._all[held] = Paused(*held, self._wall(), hashes, by)
        self._gates[held] = _gate(held)
        self._write()
        return True

    def resume(self, held: Held) -> bool:
        """Let it go on; whether it was held. `EVERYTHING` ends every hold."""
        gone = [each for each in self._all if held in {each, EVERYTHING}]
        for each in gone:
            del self._all[each], self._gates[each]
        if gone:
            self._write()
        return bool(gone)

    def reconcile(self, snapshot: Snapshot) -> None:
        """Follow keys to their new names and to their new texts."""
        now = [_followed(each, snapshot) for each in self._all.values()]
        if now == list(self._all.values()):
            return
        for old, new in zip(list(self._all.values()), now, strict=True):
            if old.held != new.held:
                log.warning(
                    "%s is %s now, and stays paused", in_words(old.held), in_words(new.held)
                )
        self._all = {each.held: each for each in now}
        self._gates = {held: self._gates.get(held) or _gate(held) for held in self._all}
        self._write()

    def _write(self) -> None:
        try:
            new = self._file.with_suffix(".new")
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(list(self._all.values())))
            new.replace(self._file)
            self.kept = True
        except OSError as error:
            self.kept = False
            log.warning("holds are not kept over a restart: %s: %s", self._file, error.strerror)


def in_words(held: Held) -> str:
    """What is held, in words."""
    return "everything" if held == EVERYTHING else f'{held[0]} "{held[1]}"'


def way_on(held: Held) -> str:
    """The command that lets it go on."""
    what = "all" if held == EVERYTHING else f"--{held[0]} {shlex.quote(held[1])}"
    return f"sidecar resume {what}"


def hashes_of(held: Held, snapshot: Snapshot) -> tuple[str, ...]:
    """By which hashes a held key is known; none for what is no key."""
    key = snapshot.keys.get(held[1]) if held[0] == "key" else None
    return () if key is None else tuple(each.digest.hex() for each in key.hashes)


def _followed(paused: Paused, snapshot: Snapshot) -> Paused:
    """A hold on a key that has another name now is on that name; one whose key is gone stays."""
    name = paused.name
    if paused.kind == "key" and name not in snapshot.keys:
        known = {digest.hex(): key.name for digest, (key, _) in snapshot.by_digest.items()}
        name = next((known[each] for each in paused.hashes if each in known), name)
    hashes = hashes_of((paused.kind, name), snapshot) or paused.hashes
    return structs.replace(paused, name=name, hashes=hashes)


def _gate(held: Held) -> Hold:
    words = in_words(held)
    return Hold(words, f"{words} is paused ({way_on(held)})")


def read_holds(state: Path) -> list[Paused]:
    """What is kept in a state directory; nothing when there is none, or none that can be read."""
    with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.json.decode((state / FILE).read_bytes(), type=list[Paused])
    return []


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


class Hold(Gate):
    """Shut on purpose, until somebody opens it: calls are parked here and do not fail."""

    __slots__ = ()

    timed = False
    holds = True

    def __init__(self, scope: str, name: str) -> None:
        super().__init__(scope, "hold", Unit.CALLS, name)

    def fits(self, amount: int, urgency: int, now: float) -> bool:
        """Never, while it is there."""
        return False

    def opens(self, amount: int, urgency: int, now: float) -> float:
        """At any moment."""
        return now

    def take(self, amount: int, urgency: int, now: float) -> None:
        """Nobody passes."""
        raise AssertionError(self.name)
