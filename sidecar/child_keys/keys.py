"""Every child key of a process: created, renewed, expired, and shared with other processes."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct, field, structs

from sidecar.child_keys.orders import (
    MAX_NAME_CHARS,
    ChildOrder,
    checked,
    derived,
    parent_of,
    settled,
)
from sidecar.config.model import Snapshot
from sidecar.errors import ErrorKind, ProxyError
from sidecar.files import write_private
from sidecar.records import CallRecord, Outcome, Usage, UsageState

if TYPE_CHECKING:
    from sidecar.shared.facts import Fact, SharedFacts

LIFETIME_SECONDS = 300.0
"""How long a child key outlives the last heartbeat of its run."""
SWEEP_SECONDS = 1.0
"""The time between two searches for expired child keys."""
MAX_CHILDREN = 1000
MAX_ENDED = 100
"""How many ended keys are kept, so that an agent that still sends one learns why it is rejected."""
FACT_KIND = "child"
"""The kind of the facts by which processes have each other's child keys."""
TOTALS_KIND = "run"
"""The kind of the facts about the use of child keys at processes that did not make them."""
TOTALS_SECONDS = 3600.0
MAX_FACT_CHARS = 2000
_FILE = "child-keys.json"

log = logging.getLogger("sidecar.child_keys")


class ChildTotals(Struct, frozen=True):
    """The use of a child key by its calls. `failed` counts those without a whole answer; `charged`
    is nano-dollars; `unknown` counts the calls whose usage or cost is unknown; `waited` is
    seconds."""

    calls: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    charged: int = 0
    unknown: int = 0
    waited: float = 0.0

    def plus(self, record: CallRecord) -> ChildTotals:
        """Return the totals with one more call."""
        usage = record.usage or Usage()
        return ChildTotals(
            self.calls + 1,
            self.failed + (record.outcome not in _ENDS_WITHOUT_FAULT),
            self.input_tokens + (usage.input_tokens or 0),
            self.output_tokens + (usage.output_tokens or 0),
            self.cache_read_tokens + (usage.cache_read_tokens or 0),
            self.charged + (record.cost.charged if record.cost else 0),
            self.unknown + record.unpriced + (record.usage_state in _UNSURE),
            self.waited + record.wait,
        )

    def __add__(self, other: ChildTotals) -> ChildTotals:
        """Return the sums."""
        figures = zip(structs.astuple(self), structs.astuple(other), strict=True)
        return ChildTotals(*(one + another for one, another in figures))


_ENDS_WITHOUT_FAULT = frozenset({Outcome.OK, Outcome.CANCELLED})
_UNSURE = frozenset({UsageState.UNKNOWN, UsageState.PARTIAL})


class ChildKey(Struct, frozen=True, kw_only=True):
    """A child key. `begun` and `expires` are seconds since the epoch; `group` is its parent
    group, or that of its parent key; `ended` is True once its run has ended. `at` is the machine of
    another process that made it; empty for this process."""

    order: ChildOrder
    parent: str
    group: str
    begun: float
    expires: float
    totals: ChildTotals = ChildTotals()
    at: str = ""
    ended: bool = False

    @property
    def rejection(self) -> str:
        """Why calls with the key of a run that is over are rejected, and what to do."""
        if self.ended:
            why = "the run that this key was made for has ended"
        else:
            when = datetime.fromtimestamp(self.expires).astimezone()
            why = (
                f"the key of this run expired on {when:%Y-%m-%d %H:%M %Z}, as its `sidecar run` "
                "sent no heartbeat"
            )
        return f"{why}; start the agent again with: sidecar run {self.order.agent}".rstrip()


class ChildKeys(Struct):
    """Every child key of the process.

    Args:
        state: The state directory.
        clock: Returns monotonic seconds. A suspended machine does not expire keys: their runs
            are suspended, too.
        wall: Returns seconds since the epoch.
        changed: Called when a key was added or removed.

    Attributes:
        on_revoked: Called with the name of a key that its own process has ended.
    """

    state: Path
    clock: Callable[[], float]
    wall: Callable[[], float]
    changed: Callable[[], None] = lambda: None
    on_revoked: Callable[[str], object] = lambda _: None
    _facts: SharedFacts | None = None
    _host: str = ""
    _token: str = field(default_factory=lambda: secrets.token_hex(8))
    """The name of this process in its facts about use."""
    _elsewhere: dict[str, dict[str, ChildTotals]] = {}
    """The use of child keys at other processes."""
    _children: dict[str, ChildKey] = {}
    _deadlines: dict[str, float] = {}
    _closed: set[str] = set()
    _ended: dict[str, ChildKey] = {}
    """Keys of runs that are over, by digest; the oldest first."""

    def restore(self) -> None:
        """Read the keys of an earlier process; those that have expired are rejected with the
        reason."""
        try:
            kept = msgspec.json.decode((self.state / _FILE).read_bytes(), type=list[ChildKey])
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("%s is not read, so earlier runs have no key: %s", _FILE, error)
            return
        for child in kept:
            remaining = min(child.expires - self.wall(), LIFETIME_SECONDS)
            if not _is_valid(child.order):
                continue
            if child.ended or remaining <= 0:
                self._keep_ended(child)
            else:
                self._children[child.order.name] = child
                self._deadlines[child.order.name] = self.clock() + remaining

    def share(self, facts: SharedFacts, host: str) -> None:
        """Have the keys of all processes from now on; `host` is the name of this machine."""
        self._facts, self._host = facts, host
        for child in self:
            self._publish(child)
        facts.follow(FACT_KIND, self._follow)
        facts.follow(TOTALS_KIND, self._follow_totals)

    def __iter__(self) -> Iterator[ChildKey]:
        """Iterate over the child keys, the oldest first."""
        return iter(list(self._children.values()))

    def add_to(self, snapshot: Snapshot) -> Snapshot:
        """Return the configuration with the child keys whose parents it has."""
        if not (self._children or self._ended):
            return snapshot
        added = [
            derived(child.order, parent)
            for name, child in self._children.items()
            if name not in self._closed and (parent := parent_of(child.order, snapshot)) is not None
        ]
        found = {
            each.hashes[0].digest: (each, each.hashes[0])
            for each in added
            if each.hashes[0].digest not in snapshot.by_digest  # a key of the file goes first
        }
        children = {each.child: each for each in added}
        over = [*self._ended.values(), *(self._over(name) for name in self._closed)]
        ended = {bytes.fromhex(each.order.digest): each.rejection for each in over}
        by_digest = {**snapshot.by_digest, **found}
        return structs.replace(snapshot, children=children, by_digest=by_digest, ended_runs=ended)

    def renew(self, order: ChildOrder, snapshot: Snapshot) -> ChildKey:
        """Create the child key, or move its expiry: its parent and limits stay as they were
        created. Raises `ProxyError` (400, 403, 404)."""
        known = self._children.get(order.name)
        if known is None and len(self._children) >= MAX_CHILDREN:
            raise ProxyError(ErrorKind.FORBIDDEN, f"{MAX_CHILDREN} runs have a key; end some")
        if known is not None and known.order.digest != order.digest:
            raise ProxyError(ErrorKind.FORBIDDEN, f'another run has the name "{order.name}"')
        if order.name in self._closed:
            raise ProxyError(ErrorKind.FORBIDDEN, f'the run "{order.name}" has ended')
        order = settled(checked(order) if known is None else known.order, snapshot)
        parent = parent_of(order, snapshot)
        assert parent is not None  # noqa: S101 - settled
        now = self.wall()
        self._children[order.name] = child = ChildKey(
            order=order, parent=parent.name, group=parent.group.name,
            begun=now if known is None else known.begun, expires=now + LIFETIME_SECONDS,
            totals=ChildTotals() if known is None else known.totals,
        )  # fmt: skip
        self._deadlines[order.name] = self.clock() + LIFETIME_SECONDS
        self._ended.pop(order.digest, None)
        self.keep()
        self._publish(child)
        if known is None:
            log.info('child key "%s" of %s: created', order.name, parent.name)
            self.changed()
        return child

    def count(self, name: str, record: CallRecord) -> None:
        """Add a finished call to the totals of a child key."""
        child = self._children.get(name)
        if child is None:
            return
        totals = child.totals.plus(record)
        self._children[name] = structs.replace(child, totals=totals)
        if child.at and self._facts is not None:
            text = msgspec.json.encode(totals).decode()
            self._facts.publish(TOTALS_KIND, f"{self._token}/{name}", text, TOTALS_SECONDS)

    def totals(self, name: str) -> ChildTotals:
        """Return the use of a child key at all processes. Raises `ProxyError` (404)."""
        return sum(self._elsewhere.get(name, {}).values(), self.get(name).totals)

    def get(self, name: str) -> ChildKey:
        """Return a child key. Raises `ProxyError` (404)."""
        if name not in self._children:
            raise ProxyError(ErrorKind.NOT_FOUND, f'there is no child key "{name[:80]}"')
        return self._children[name]

    def close(self, name: str) -> None:
        """Let no new call in; calls are counted until `end`. Raises `ProxyError` (404)."""
        self.get(name)
        self._closed.add(name)
        if self._facts is not None:
            self._facts.withdraw(FACT_KIND, name)
        self.changed()

    def end(self, name: str) -> ChildKey:
        """Remove a child key; return it. Raises `ProxyError` (404)."""
        child = self.get(name)
        self._closed.add(name)
        self._remove([name])
        return child

    async def watch(self) -> None:
        """Remove keys that expire, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.sweep()

    def sweep(self) -> None:
        """Remove the keys whose runs have sent no heartbeat for `LIFETIME_SECONDS`."""
        now = self.clock()
        expired = [name for name, deadline in self._deadlines.items() if deadline <= now]
        for name in expired:
            log.warning('child key "%s": expired, because its run sends no heartbeat', name)
        if expired:
            self._remove(expired)

    def _remove(self, names: list[str]) -> None:
        for name in names:
            self._keep_ended(self._over(name))
            del self._children[name], self._deadlines[name]
            self._elsewhere.pop(name, None)
            self._closed.discard(name)
        self.keep()
        self.changed()

    def _over(self, name: str) -> ChildKey:
        return structs.replace(self._children[name], ended=name in self._closed)

    def _keep_ended(self, child: ChildKey) -> None:
        self._ended[child.order.digest] = child
        if len(self._ended) > MAX_ENDED:
            del self._ended[next(iter(self._ended))]

    def _publish(self, child: ChildKey) -> None:
        if self._facts is None:
            return
        shared = structs.replace(child, totals=ChildTotals(), at=self._host)
        text = msgspec.json.encode(shared).decode()
        if len(text) > MAX_FACT_CHARS:
            log.warning('child key "%s" has too many models to be shared', child.order.name)
            return
        remaining = self._deadlines[child.order.name] - self.clock()
        self._facts.publish(FACT_KIND, child.order.name, text, remaining)

    def _follow(self, fact: Fact) -> None:
        """Follow what another process states of one of its keys."""
        known = self._children.get(fact.name)
        if not fact.value:
            if known is not None:
                log.info('child key "%s": ended by its process', fact.name)
                self._closed.add(fact.name)
                self._remove([fact.name])
                self.on_revoked(fact.name)
            return
        child = _read(fact)
        if child is None or self._withdrew(child):
            return
        if known is None and len(self._children) >= MAX_CHILDREN:
            return
        if known is not None and (known.order.digest != child.order.digest or not known.at):
            return  # this process made it, or renews it now
        self._children[fact.name] = structs.replace(
            child, begun=min(child.begun, self.wall()),
            expires=self.wall() + fact.until - self.clock(),
            totals=ChildTotals() if known is None else known.totals,
        )  # fmt: skip
        self._deadlines[fact.name] = fact.until
        self._ended.pop(child.order.digest, None)
        if known is None:
            self.changed()

    def _follow_totals(self, fact: Fact) -> None:
        """Follow what another process counts of a key."""
        token, _, name = fact.name.partition("/")
        if name in self._children and fact.value:
            totals = msgspec.json.decode(fact.value, type=ChildTotals)
            self._elsewhere.setdefault(name, {})[token] = totals

    def _withdrew(self, child: ChildKey) -> bool:
        """Withdraw a key that this process has ended: the server may have lost the withdrawal, and
        then had the key from a process that was cut off."""
        name = child.order.name
        over = self._over(name) if name in self._closed else self._ended.get(child.order.digest)
        if self._facts is None or over is None or over.order.digest != child.order.digest:
            return False
        if over.at or not over.ended:
            return False
        self._facts.withdraw(FACT_KIND, name)
        return True

    def keep(self) -> None:
        """Write every key of this process and what its calls took to the state directory."""
        content = msgspec.json.encode(
            [*self._ended.values(), *(each for each in self if not each.at)]
        )
        try:
            write_private(self.state / _FILE, content, durable=False)
        except OSError as error:
            log.warning("%s cannot be written, so a restart ends every run's key: %s", _FILE, error)


def _read(fact: Fact) -> ChildKey | None:
    """Return the key that a fact describes; None if it is not valid."""
    try:
        child = msgspec.json.decode(fact.value, type=ChildKey)
    except msgspec.MsgspecError:
        log.warning('child key "%s" of another process cannot be read', fact.name)
        return None
    if child.order.name != fact.name or not (child.parent + child.group + child.at).isprintable():
        return None
    return child if _is_valid(child.order) else None


def _is_valid(order: ChildOrder) -> bool:
    try:
        checked(order)
    except ProxyError as error:
        log.warning('run "%s" has no key: %s', order.name[:MAX_NAME_CHARS], error.reply.message)
        return False
    return True
