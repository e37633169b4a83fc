"""Pauses of a key, a group, a provider or everything."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct, structs

from sidecar.config.model import Snapshot
from sidecar.errors import ErrorKind, ProxyError
from sidecar.files import write_private
from sidecar.humanize import suggestion
from sidecar.scheduling.limiter import Limiter, LimitUnit

EVERYTHING = ("all", "")
PauseTarget = tuple[str, str]
"""What is held: "key", "group" or "provider" and its name, or `EVERYTHING`."""
COMMANDS, CONSOLE = "the command line", "the console"
"""From where something is held."""
FILE = "holds.json"

log = logging.getLogger("sidecar.scheduling.pauses")


class Pause(Struct, frozen=True):
    """One hold as it is kept: since when (seconds since the epoch), by which hashes its key is
    known under another name, and from where it was asked for."""

    kind: str
    name: str
    since: float
    hashes: tuple[str, ...] = ()
    by: str = ""

    @property
    def target(self) -> PauseTarget:
        """What is held."""
        return self.kind, self.name


class Pauses:
    """All holds, kept in the state directory (0600). `wall` gives seconds since the epoch; `kept`
    is false when the last change could not be written."""

    def __init__(self, state: Path, wall: Callable[[], float]) -> None:
        self._file = state / FILE
        self._wall = wall
        self.pauses = True
        self._all = {each.target: each for each in read_pauses(state)}
        self._limiters = {held: _gate(held) for held in self._all}

    def __iter__(self) -> Iterator[Pause]:
        """The oldest first."""
        return iter(list(self._all.values()))

    def __len__(self) -> int:
        return len(self._all)

    def limiters(self, key: str, group: str, provider: str) -> Iterator[PauseLimiter]:
        """The holds in the way of a call."""
        for held in (("key", key), ("group", group), ("provider", provider), EVERYTHING):
            if held in self._limiters:
                yield self._limiters[held]

    def limiter(self, held: PauseTarget) -> PauseLimiter:
        """Where the calls wait that are held by it."""
        return self._limiters[held]

    def pause(self, held: PauseTarget, hashes: tuple[str, ...] = (), by: str = "") -> bool:
        """Hold it from now on; whether that is news. A key is known again by its `hashes`; `by`
        says from where it is asked for."""
        if held in self._all:
            return False
        self._all[held] = Pause(*held, self._wall(), hashes, by)
        self._limiters[held] = _gate(held)
        self._write()
        return True

    def resume(self, held: PauseTarget) -> bool:
        """Let it go on; whether it was held. `EVERYTHING` ends every hold."""
        gone = [each for each in self._all if held in {each, EVERYTHING}]
        for each in gone:
            del self._all[each], self._limiters[each]
        if gone:
            self._write()
        return bool(gone)

    def reconcile(self, snapshot: Snapshot) -> None:
        """Follow keys to their new names and to their new texts."""
        now = [_followed(each, snapshot) for each in self._all.values()]
        if now == list(self._all.values()):
            return
        for old, new in zip(list(self._all.values()), now, strict=True):
            if old.target != new.target:
                log.warning(
                    "%s is %s now, and stays paused",
                    describe_target(old.target),
                    describe_target(new.target),
                )
        self._all = {each.target: each for each in now}
        self._limiters = {held: self._limiters.get(held) or _gate(held) for held in self._all}
        self._write()

    def _write(self) -> None:
        try:
            content = msgspec.json.encode(list(self._all.values()))
            write_private(self._file, content, durable=False)
            self.pauses = True
        except OSError as error:
            self.pauses = False
            log.warning("holds are not kept over a restart: %s: %s", self._file, error.strerror)


def describe_target(held: PauseTarget) -> str:
    """What is held, in words."""
    return "everything" if held == EVERYTHING else f'{held[0]} "{held[1]}"'


def resume_command_for(held: PauseTarget) -> str:
    """The command that lets it go on."""
    what = "all" if held == EVERYTHING else f"--{held[0]} {shlex.quote(held[1])}"
    return f"sidecar resume {what}"


def hashes_of(held: PauseTarget, snapshot: Snapshot) -> tuple[str, ...]:
    """By which hashes a held key is known; none for what is no key."""
    key = snapshot.keys.get(held[1]) if held[0] == "key" else None
    return () if key is None else tuple(each.digest.hex() for each in key.hashes)


def _followed(paused: Pause, snapshot: Snapshot) -> Pause:
    """A hold on a key that has another name now is on that name; one whose key is gone stays."""
    name = paused.name
    if paused.kind == "key" and name not in snapshot.keys:
        known = {digest.hex(): key.name for digest, (key, _) in snapshot.by_digest.items()}
        name = next((known[each] for each in paused.hashes if each in known), name)
    hashes = hashes_of((paused.kind, name), snapshot) or paused.hashes
    return structs.replace(paused, name=name, hashes=hashes)


def _gate(held: PauseTarget) -> PauseLimiter:
    words = describe_target(held)
    return PauseLimiter(words, f"{words} is paused ({resume_command_for(held)})")


def read_pauses(state: Path) -> list[Pause]:
    """What is kept in a state directory; nothing when there is none, or none that can be read."""
    with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.json.decode((state / FILE).read_bytes(), type=list[Pause])
    return []


KINDS = ("key", "group", "provider")
ANY = "any"
"""Stands for a kind: whatever has the name."""
ALL = "all"
"""The name of everything."""


def find(snapshot: Snapshot, kind: str, name: str) -> PauseTarget:
    """What a name stands for, among keys, groups and providers. Raises `ProxyError`: 404 when
    nothing has it, 400 when more than one thing does."""
    if (kind, name) in {(ANY, ALL), EVERYTHING}:
        return EVERYTHING
    known = {"key": snapshot.keys, "group": snapshot.groups, "provider": snapshot.providers}
    found = [each for each in KINDS if kind in {each, ANY} and name in known[each]]
    if not found:
        names = [one for each in KINDS if kind in {each, ANY} for one in known[each]]
        what = "key, group or provider" if kind == ANY else kind
        raise ProxyError(ErrorKind.NOT_FOUND, _unknown(what, name, names))
    return _only(found, name)


def find_paused(holds: Sequence[Pause], snapshot: Snapshot, kind: str, name: str) -> PauseTarget:
    """What a name stands for, first of all among what is held, which the configuration may not
    have any more. Raises `ProxyError` as `find` does."""
    if (kind, name) in {(ANY, ALL), EVERYTHING}:
        return EVERYTHING
    found = [each.kind for each in holds if each.name == name and kind in {each.kind, ANY}]
    return _only(found, name) if found else find(snapshot, kind, name)


def touches(hold: PauseTarget, held: PauseTarget, snapshot: Snapshot) -> bool:
    """Whether a hold parks calls of what another one names: its group's hold those of a key, and a
    hold on everything all of them."""
    if EVERYTHING in {hold, held} or hold == held:
        return True
    key = snapshot.keys.get(held[1]) if held[0] == "key" else None
    return key is not None and hold == ("group", key.group.name)


def _only(kinds: Sequence[str], name: str) -> PauseTarget:
    if len(kinds) > 1:
        ways = " or ".join(f"--{kind}" for kind in kinds)
        what = " and ".join(f"a {kind}" for kind in kinds)
        raise ProxyError(ErrorKind.BAD_REQUEST, f'"{name}" is {what}; say which one with {ways}')
    return kinds[0], name


def _unknown(what: str, name: str, names: Sequence[str]) -> str:
    hint = suggestion(name, names, otherwise="there is none yet")
    return f'there is no {what} "{name[:80]}"; {hint}'


class PauseLimiter(Limiter):
    """Shut on purpose, until somebody opens it: calls are parked here and do not fail."""

    __slots__ = ()

    timed = False
    is_pause = True

    def __init__(self, scope: str, name: str) -> None:
        super().__init__(scope, "hold", LimitUnit.CALLS, name)

    def allows(self, amount: int, urgency: int, now: float) -> bool:
        """Never, while it is there."""
        return False

    def available_at(self, amount: int, urgency: int, now: float) -> float:
        """At any moment."""
        return now

    def acquire(self, amount: int, urgency: int, now: float) -> None:
        """Nobody passes."""
        raise AssertionError(self.name)
