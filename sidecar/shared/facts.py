"""Facts: what one node found out, which all nodes of a namespace have until it lapses.

A node keeps all facts in memory and sends its changes in the background. The server numbers the
changes and announces the number; a node reads those that it has not read. So a message may be lost:
the next sign of life has the number, too. Of two changes to one fact the one that arrives later
holds, everywhere.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from msgspec import MsgspecError

from sidecar.shared.server import EngineError, ScriptRefused

log = logging.getLogger("sidecar.shared")

MAX_SECONDS = 400 * 86400.0
"""Seconds for which a fact holds at most."""
MAX_FACTS = 20_000
"""Facts of other nodes that a node keeps at most: more are not what Sidecar writes."""
MAX_VALUE_CHARS = 4000
"""Characters of a fact of another node that is read."""
PAGE = 200
SWEEP_SECONDS = 60.0
"""Seconds between two looks for lapsed facts."""
SET, LONGEST, ABSENT = "set", "longest", "absent"
"""How a change is made: in any case, unless a fact is there that lapses later, or unless one is
there or was withdrawn."""


class Fact(NamedTuple):
    """A value under a name, "" after a withdrawal. It lapses at `until`, in monotonic seconds."""

    kind: str
    name: str
    value: str
    until: float


class FactChange(NamedTuple):
    """A change that the server has not got."""

    value: str
    until: float
    mode: str


class SharedFacts:
    """The facts of a namespace.

    Args:
        node: The name of this node.
        run: Runs an operation of the script. Raises `EngineError`.
        clock: Returns monotonic seconds.
        local: Turns microseconds of the server's clock into monotonic seconds. Raises `ValueError`
            for another text.
    """

    def __init__(
        self, node: str, run: Callable[[str, list[str]], Awaitable[list[Any]]],
        clock: Callable[[], float], local: Callable[[str], float],
    ) -> None:  # fmt: skip
        self._node = node
        self._run = run
        self._clock = clock
        self._local = local
        self._known: dict[tuple[str, str], Fact] = {}
        self._unsent: dict[tuple[str, str], FactChange] = {}
        self._followers: dict[str, Callable[[Fact], None]] = {}
        self._read = "0"
        self._refused = ""
        self._swept = clock()
        self._wanted = asyncio.Event()
        self._syncing = asyncio.Lock()

    def publish(
        self, kind: str, name: str, value: str, seconds: float, *, longest: bool = False,
        absent: bool = False,
    ) -> None:  # fmt: skip
        """Let all nodes have a fact; `longest` leaves one that lapses later as it is, and `absent`
        one that is there or was withdrawn."""
        until = self._clock() + min(seconds, MAX_SECONDS)
        old = self.get(kind, name)
        if longest and old is not None and old.until >= until:
            return
        self._known[kind, name] = Fact(kind, name, value, until)
        mode = LONGEST if longest else ABSENT if absent else SET
        self._send((kind, name), FactChange(value, until, mode))

    def withdraw(self, kind: str, name: str) -> None:
        """Take a fact from all nodes, if this one has it."""
        old = self.get(kind, name)
        if old is not None:
            self._known[kind, name] = old._replace(value="")
            self._send((kind, name), FactChange("", old.until, SET))

    def follow(self, kind: str, apply: Callable[[Fact], None]) -> None:
        """Call `apply` with each fact of a kind that holds or was withdrawn, and then with each
        change that another node makes. It is not called when a fact lapses, and raises `ValueError`
        or `MsgspecError` for a fact that it cannot read."""
        self._followers[kind] = apply
        now = self._clock()
        for fact in [each for each in self._known.values() if each.kind == kind]:
            if fact.until > now:
                self._pass_on(fact)

    def known(self, kind: str) -> Iterator[Fact]:
        """Yield the facts of a kind that hold."""
        now = self._clock()
        for each in self._known.values():
            if each.kind == kind and each.value and each.until > now:
                yield each

    def get(self, kind: str, name: str) -> Fact | None:
        """Return a fact, if it holds."""
        fact = self._known.get((kind, name))
        return fact if fact and fact.value and fact.until > self._clock() else None

    @property
    def has_unsent(self) -> bool:
        """Return whether the server has not got all changes."""
        return bool(self._unsent)

    def note(self, number: str) -> None:
        """Follow the number of the latest change on the server."""
        if number != self._read or self._unsent:
            self.check()

    def check(self) -> None:
        """Ask the server for changes: messages may have been lost."""
        self._wanted.set()

    def start_over(self) -> None:
        """Have everything read and sent again: the server may have lost some of it."""
        self._read = "0"
        for key, fact in self._known.items():
            self._unsent.setdefault(key, FactChange(fact.value, fact.until, ABSENT))

    async def keep_in_sync(self, is_reached: Callable[[], bool]) -> None:
        """Send and read changes as they come, for ever; after a failure when `note` is called."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            if is_reached():
                try:
                    await self.sync()
                    self._refused = ""
                except ScriptRefused as error:
                    self._warn(str(error))
                except EngineError:
                    continue

    async def sync(self) -> None:
        """Send and read all changes. Raises `EngineError`."""
        async with self._syncing:
            while await self._sync_some() or self._unsent:
                pass

    async def _sync_some(self) -> bool:
        """Send and read a limited number of changes; return whether there are more to read."""
        self._sweep()
        read, sent = self._read, list(islice(self._unsent.items(), PAGE))
        words = [read]
        for (kind, name), change in sent:
            left = max(0, round((change.until - self._clock()) * 1000))
            words += [f"{kind}/{name}", change.value, str(left), change.mode]
        _, _, _, is_full, number, *entries = await self._run("facts", words)
        for key, change in sent:
            if self._unsent.get(key) is change:
                del self._unsent[key]
        if self._read != read:  # the server lost its data meanwhile
            return True
        self._apply(entries)
        self._read = number
        return bool(is_full)

    def _apply(self, entries: Sequence[str]) -> None:
        for full_name, text, ends in zip(*[iter(entries)] * 3, strict=True):
            kind, _, name = full_name.partition("/")
            node, _, value = text.partition(" ")
            if node == self._node or not self._is_kept(kind, name, value):
                continue
            try:
                until = min(self._local(ends), self._clock() + MAX_SECONDS)
            except ValueError:
                continue
            fact = Fact(kind, name, value, until)
            unsent = self._unsent.get((kind, name))
            if unsent is not None and _replaces(unsent, fact):
                continue
            self._unsent.pop((kind, name), None)
            self._known[kind, name] = fact
            self._pass_on(fact)

    def _is_kept(self, kind: str, name: str, value: str) -> bool:
        """Return whether a fact of another node is one that nodes write, and there is room."""
        has_room = len(self._known) < MAX_FACTS or (kind, name) in self._known
        return has_room and len(name) + len(value) <= MAX_VALUE_CHARS

    def _pass_on(self, fact: Fact) -> None:
        try:
            if fact.kind in self._followers:
                self._followers[fact.kind](fact)
        except (ValueError, ArithmeticError, MsgspecError):  # other nodes may have another version
            log.warning("shared state: a %s of another process cannot be read", fact.kind)

    def _send(self, key: tuple[str, str], change: FactChange) -> None:
        old = self._unsent.get(key)
        if old is not None and old.mode == SET:
            change = change._replace(mode=SET)
        self._unsent[key] = change
        self.check()

    def _warn(self, refused: str) -> None:
        """Log once that the server refuses facts, while it counts limits."""
        if refused != self._refused:
            log.warning("shared state: what processes find out is not shared: it %s", refused)
        self._refused = refused

    def _sweep(self) -> None:
        now = self._clock()
        if now >= self._swept + SWEEP_SECONDS:
            self._swept = now
            self._known = {key: each for key, each in self._known.items() if each.until > now}


def _replaces(change: FactChange, fact: Fact) -> bool:
    """Return whether the server will take a change while it has this fact."""
    if change.mode == LONGEST:
        return not fact.value or change.until > fact.until
    return change.mode == SET
