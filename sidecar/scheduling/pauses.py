"""Pauses of a key, a group, a provider or everything, until a user resumes it."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import msgspec
from msgspec import Struct, structs

from sidecar.config.model import Snapshot
from sidecar.errors import ErrorKind, ProxyError
from sidecar.files import write_private
from sidecar.humanize import suggestion
from sidecar.scheduling.limiter import NEVER, Limiter, LimitUnit
from sidecar.shared.facts import Fact, SharedFacts

EVERYTHING = ("all", "")
PauseTarget = tuple[str, str]
"""What a pause is for: "key", "group" or "provider" with its name, or `EVERYTHING`."""
COMMANDS, CONSOLE = "the command line", "the console"
"""The origin of a pause, for people."""
FACT = "pause"
"""The kind of the fact that a pause in all processes is."""
FILE = "holds.json"
"""The name of the file in the state directory."""

log = logging.getLogger("sidecar.scheduling.pauses")


class Pause(Struct, frozen=True):
    """One pause as it is stored.

    Attributes:
        since: Seconds since the epoch.
        hashes: The hashes that identify a key under another name; hexadecimal.
        by: The origin, for people.
        fact: The name under which all processes share it; "" if it is of this process alone.
    """

    kind: str
    name: str
    since: float
    hashes: tuple[str, ...] = ()
    by: str = ""
    fact: str = ""

    @property
    def target(self) -> PauseTarget:
        """The target of the pause."""
        return self.kind, self.name


class Pauses:
    """All pauses, stored in the state directory (mode 0600).

    Args:
        wall: Returns seconds since the epoch.
        on_change: Called when a pause began or ended.

    Attributes:
        is_stored: Whether the latest change was written, so that it outlives the process.
        on_adopted: Called when another process paused or resumed something.
    """

    def __init__(
        self, state: Path, wall: Callable[[], float], on_change: Callable[[], None] = lambda: None
    ) -> None:
        self._file = state / FILE
        self._wall = wall
        self._on_change = on_change
        self.is_stored = True
        self._facts: SharedFacts | None = None
        self._host = ""
        self.on_adopted: Callable[[], None] = lambda: None
        self._snapshot: Snapshot | None = None
        self._all = {each.target: each for each in read_pauses(state)}
        self._limiters = {target: _new_limiter(target) for target in self._all}

    def __iter__(self) -> Iterator[Pause]:
        """Iterate over the pauses, the oldest first."""
        return iter(list(self._all.values()))

    def __len__(self) -> int:
        return len(self._all)

    def limiters(self, key: str, group: str, provider: str) -> Iterator[PauseLimiter]:
        """Yield the pauses of a call as limiters."""
        for target in (("key", key), ("group", group), ("provider", provider), EVERYTHING):
            if target in self._limiters:
                yield self._limiters[target]

    def limiter(self, target: PauseTarget) -> PauseLimiter:
        """Return the limiter of an active pause."""
        return self._limiters[target]

    def pause(
        self, target: PauseTarget, hashes: tuple[str, ...] = (), by: str = "", *, here: bool = False
    ) -> bool:
        """Start a pause; return whether it is new. If processes share pauses it holds in all of
        them, unless it is to hold `here` alone.

        `hashes` identify a paused key after a rename; `by` is the origin, for people.
        """
        old, fact = self._all.get(target), ""
        if self._facts is not None and not here:
            by, fact = f"{by} at {self._host}", "/".join(map(quote, target))
        if old is not None and (old.fact or not fact):
            return False
        self._put(pause := Pause(*target, self._wall(), hashes, by, fact))
        log.warning("paused: %s", describe_target(target))
        if self._facts is not None and fact:
            self._facts.publish(FACT, fact, _encoded(pause), NEVER)
        return True

    def resume(self, target: PauseTarget, *, here: bool = False) -> bool:
        """End a pause; return whether it was active. `EVERYTHING` ends all of them; with `here`,
        those of this process alone."""
        ended = [each for each in self if target in {each.target, EVERYTHING}]
        ended = [each for each in ended if not (here and each.fact)]
        self._drop(ended)
        if ended:
            log.warning("resumed: %s", describe_target(target))
        for each in ended:
            if self._facts is not None and each.fact:
                self._facts.withdraw(FACT, each.fact)
        return bool(ended)

    def share(self, facts: SharedFacts, host: str) -> None:
        """Share pauses with other processes; `host` is the name of this machine.

        A stored pause that was ended elsewhere while this process did not run ends now. One of
        which the server has no trace is published again.
        """
        self._facts, self._host = facts, host
        facts.follow(FACT, self._adopt)
        for each in self:
            if each.fact and facts.get(FACT, each.fact) is None:
                facts.publish(FACT, each.fact, _encoded(each), NEVER, absent=True)

    def _adopt(self, fact: Fact) -> None:
        """Follow what another process paused or resumed."""
        old = next((each for each in self if each.fact == fact.name), None)
        if fact.value and old is None:
            pause = structs.replace(msgspec.json.decode(fact.value, type=Pause), fact=fact.name)
            if self._snapshot is not None:
                pause = structs.replace(pause, hashes=hashes_of(pause.target, self._snapshot))
            self._put(pause)
            log.warning("paused: %s by %s", describe_target(pause.target), pause.by)
        elif old is not None and not fact.value:
            self._drop([old])
            log.warning("resumed by another process: %s", describe_target(old.target))
        else:
            return
        self.on_adopted()

    def _put(self, pause: Pause) -> None:
        self._all[pause.target] = pause
        self._limiters.setdefault(pause.target, _new_limiter(pause.target))
        self._changed()

    def _drop(self, ended: Sequence[Pause]) -> None:
        for each in ended:
            del self._all[each.target], self._limiters[each.target]
        if ended:
            self._changed()

    def _changed(self) -> None:
        self._write()
        self._on_change()

    def reconcile(self, snapshot: Snapshot) -> None:
        """Follow paused keys to new names and new hashes."""
        self._snapshot = snapshot
        before = list(self._all.values())
        after = [_followed(each, snapshot) for each in before]
        if after == before:
            return
        for old, new in zip(before, after, strict=True):
            if old.target != new.target:
                log.warning(
                    "renamed: %s is now %s; it stays paused",
                    describe_target(old.target),
                    describe_target(new.target),
                )
        self._all = {each.target: each for each in after}
        self._limiters = {
            target: self._limiters.get(target) or _new_limiter(target) for target in self._all
        }
        self._write()

    def _write(self) -> None:
        try:
            content = msgspec.json.encode(list(self._all.values()))
            write_private(self._file, content, durable=False)
            self.is_stored = True
        except OSError as error:
            self.is_stored = False
            log.warning("pauses will not outlive a restart: %s: %s", self._file, error.strerror)


def _encoded(pause: Pause) -> str:
    """Return a pause for other processes, without the hashes of its key."""
    return msgspec.json.encode(structs.replace(pause, hashes=())).decode()


def describe_target(target: PauseTarget) -> str:
    """Return a target for people: `key "nightly"`."""
    return "everything" if target == EVERYTHING else f'{target[0]} "{target[1]}"'


def resume_command_for(target: PauseTarget) -> str:
    """Return the command that ends a pause."""
    what = "all" if target == EVERYTHING else f"--{target[0]} {shlex.quote(target[1])}"
    return f"sidecar resume {what}"


def hashes_of(target: PauseTarget, snapshot: Snapshot) -> tuple[str, ...]:
    """Return the hashes of a paused key, hexadecimal; none for other targets."""
    key = snapshot.keys.get(target[1]) if target[0] == "key" else None
    return () if key is None else tuple(each.digest.hex() for each in key.hashes)


def _followed(pause: Pause, snapshot: Snapshot) -> Pause:
    """Return the pause under its key's current name; unchanged if its key was removed."""
    name = pause.name
    if pause.kind == "key" and name not in snapshot.keys:
        names = {digest.hex(): key.name for digest, (key, _) in snapshot.by_digest.items()}
        name = next((names[each] for each in pause.hashes if each in names), name)
    hashes = hashes_of((pause.kind, name), snapshot) or pause.hashes
    return structs.replace(pause, name=name, hashes=hashes)


def _new_limiter(target: PauseTarget) -> PauseLimiter:
    text = describe_target(target)
    return PauseLimiter(text, f"{text} is paused ({resume_command_for(target)})")


def read_pauses(state: Path) -> list[Pause]:
    """Return the pauses stored in a state directory; none if the file is absent or unreadable."""
    with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.json.decode((state / FILE).read_bytes(), type=list[Pause])
    return []


KINDS = ("key", "group", "provider")
ANY = "any"
"""Stands for any kind of target."""
ALL = "all"
"""The name of `EVERYTHING` on the command line."""


def find(snapshot: Snapshot, kind: str, name: str) -> PauseTarget:
    """Return the target with this name among keys, groups and providers.

    Raises:
        ProxyError: 404 if none has the name, 400 if several have.
    """
    if (kind, name) in {(ANY, ALL), EVERYTHING}:
        return EVERYTHING
    known = {"key": snapshot.keys, "group": snapshot.groups, "provider": snapshot.providers}
    found = [each for each in KINDS if kind in {each, ANY} and name in known[each]]
    if not found:
        names = [one for each in KINDS if kind in {each, ANY} for one in known[each]]
        what = "key, group or provider" if kind == ANY else kind
        raise ProxyError(ErrorKind.NOT_FOUND, _unknown(what, name, names))
    return _only(found, name)


def find_paused(pauses: Sequence[Pause], snapshot: Snapshot, kind: str, name: str) -> PauseTarget:
    """Return the paused target with this name, which may be gone from the configuration; else as
    `find`.

    Raises:
        ProxyError: As `find`.
    """
    if (kind, name) in {(ANY, ALL), EVERYTHING}:
        return EVERYTHING
    found = [each.kind for each in pauses if each.name == name and kind in {each.kind, ANY}]
    return _only(found, name) if found else find(snapshot, kind, name)


def touches(pause: PauseTarget, target: PauseTarget, snapshot: Snapshot) -> bool:
    """Return whether a pause stops calls of `target`: its own, its group's or everything's."""
    if EVERYTHING in {pause, target} or pause == target:
        return True
    key = snapshot.keys.get(target[1]) if target[0] == "key" else None
    return key is not None and pause == ("group", key.group.name)


def _only(kinds: Sequence[str], name: str) -> PauseTarget:
    if len(kinds) > 1:
        options = " or ".join(f"--{kind}" for kind in kinds)
        what = " and ".join(f"a {kind}" for kind in kinds)
        raise ProxyError(ErrorKind.BAD_REQUEST, f'"{name}" is {what}; say which one with {options}')
    return kinds[0], name


def _unknown(what: str, name: str, names: Sequence[str]) -> str:
    hint = suggestion(name, names, otherwise="there is none yet")
    return f'there is no {what} "{name[:80]}"; {hint}'


class PauseLimiter(Limiter):
    """Blocks all calls until a user resumes them: they wait without a deadline."""

    __slots__ = ()

    timed = False
    is_pause = True

    def __init__(self, scope: str, name: str) -> None:
        super().__init__(scope, "hold", LimitUnit.CALLS, name)

    def allows(self, amount: int, urgency: int, now: float) -> bool:
        """Return False."""
        return False

    def available_at(self, amount: int, urgency: int, now: float) -> float:
        """Return `now`: a user may resume at any moment."""
        return now

    def acquire(self, amount: int, urgency: int, now: float) -> None:
        """Raise: a paused call is never admitted."""
        raise AssertionError(self.name)
