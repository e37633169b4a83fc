"""Child keys: what `sidecar run` gives an agent, under a parent that is a key or a group.

A child has its parent's routes, limits and windows, and limits of its own beside them. It is kept
in the state directory, never in the file, and lives as long as its run renews it. The secret is
made by the run; only its SHA-256 comes here.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from pathlib import Path

import msgspec
from msgspec import Struct, structs

from sidecar.config.model import (
    Allowance,
    Budget,
    Group,
    Key,
    KeyHash,
    Snapshot,
    Urgency,
)
from sidecar.config.patterns import Pattern, covers
from sidecar.config.schema.parsers import InvalidValue, budget, pattern
from sidecar.errors import ErrorKind, ProxyError, SourceLocation
from sidecar.files import write_private
from sidecar.records import CallRecord, Outcome, Usage, UsageState

LIFETIME_SECONDS = 300.0
"""How long a child key outlives the last heartbeat of its run."""
SWEEP_SECONDS = 1.0
"""The time between two searches for expired child keys."""
MAX_CHILDREN = 1000
MAX_ENDED = 100
"""How many ended keys are kept, so that an agent that still sends one learns why it is rejected."""
MAX_NAME_CHARS = 80
_FILE = "child-keys.json"
_PLACE = SourceLocation("sidecar run", 1)

log = logging.getLogger("sidecar.child_keys")


class ChildOrder(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The order of a run for its key, repeated with each heartbeat.

    `digest` is the SHA-256 of the secret in hex. Without `key` and `group` the parent is the
    only group of `vendor`, else the only one that speaks `dialect`.
    """

    name: str
    digest: str
    agent: str = ""
    key: str | None = None
    group: str | None = None
    vendor: str | None = None
    dialect: str | None = None
    models: list[str] = []
    budgets: list[str] = []
    urgency: str | None = None


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


_ENDS_WITHOUT_FAULT = frozenset({Outcome.OK, Outcome.CANCELLED})
_UNSURE = frozenset({UsageState.UNKNOWN, UsageState.PARTIAL})


class ChildKey(Struct, frozen=True, kw_only=True):
    """A child key. `begun` and `expires` are seconds since the epoch; `group` is its parent
    group, or that of its parent key; `ended` is True once its run has ended."""

    order: ChildOrder
    parent: str
    group: str
    begun: float
    expires: float
    totals: ChildTotals = ChildTotals()
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


@dataclass(slots=True)
class ChildKeys:
    """Every child key of the process.

    Args:
        state: The state directory.
        clock: Returns monotonic seconds. A suspended machine does not expire keys: their runs
            are suspended, too.
        wall: Returns seconds since the epoch.
        changed: Called when a key was added or removed.
    """

    state: Path
    clock: Callable[[], float]
    wall: Callable[[], float]
    changed: Callable[[], None] = lambda: None
    _children: dict[str, ChildKey] = field(default_factory=dict)
    _deadlines: dict[str, float] = field(default_factory=dict)
    _closed: set[str] = field(default_factory=set)
    _ended: dict[str, ChildKey] = field(default_factory=dict)
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

    def __iter__(self) -> Iterator[ChildKey]:
        """Iterate over the child keys, the oldest first."""
        return iter(list(self._children.values()))

    def add_to(self, snapshot: Snapshot) -> Snapshot:
        """Return the configuration with the child keys whose parents it has."""
        derived = [
            _derived(child, parent)
            for name, child in self._children.items()
            if name not in self._closed and (parent := parent_of(child.order, snapshot)) is not None
        ]
        found = {each.hashes[0].digest: (each, each.hashes[0]) for each in derived}
        children = {each.child: each for each in derived}
        over = [*self._ended.values(), *(self._over(name) for name in self._closed)]
        ended = {bytes.fromhex(each.order.digest): each.rejection for each in over}
        by_digest = {**found, **snapshot.by_digest}
        return replace(snapshot, children=children, by_digest=by_digest, ended_runs=ended)

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
        order = _settled(_checked(order) if known is None else known.order, snapshot)
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
        if known is None:
            log.info('child key "%s" of %s: created', order.name, parent.name)
            self.changed()
        return child

    def count(self, name: str, record: CallRecord) -> None:
        """Add a finished call to the totals of a child key."""
        child = self._children.get(name)
        if child is not None:
            self._children[name] = structs.replace(child, totals=child.totals.plus(record))

    def get(self, name: str) -> ChildKey:
        """Return a child key. Raises `ProxyError` (404)."""
        if name not in self._children:
            raise ProxyError(ErrorKind.NOT_FOUND, f'there is no child key "{name[:80]}"')
        return self._children[name]

    def close(self, name: str) -> None:
        """Let no new call in; calls are counted until `end`. Raises `ProxyError` (404)."""
        self.get(name)
        self._closed.add(name)
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
            self._closed.discard(name)
        self.keep()
        self.changed()

    def _over(self, name: str) -> ChildKey:
        return structs.replace(self._children[name], ended=name in self._closed)

    def _keep_ended(self, child: ChildKey) -> None:
        self._ended[child.order.digest] = child
        if len(self._ended) > MAX_ENDED:
            del self._ended[next(iter(self._ended))]

    def keep(self) -> None:
        """Write every key and what its calls took to the state directory."""
        content = msgspec.json.encode([*self._ended.values(), *self._children.values()])
        try:
            write_private(self.state / _FILE, content, durable=False)
        except OSError as error:
            log.warning("%s cannot be written, so a restart ends every run's key: %s", _FILE, error)


def _settled(order: ChildOrder, snapshot: Snapshot) -> ChildOrder:
    """Return the order with its parent named."""
    if order.key is not None:
        if order.key not in snapshot.keys:
            raise _no_parent(f'there is no key "{order.key[:80]}"; ', "--key", snapshot.keys)
        _check_api(order, snapshot.keys[order.key].group)
        return order
    if order.group is not None:
        if order.group not in snapshot.groups:
            why = f'there is no group "{order.group[:80]}"; '
            raise _no_parent(why, "--group", snapshot.groups)
        _check_api(order, snapshot.groups[order.group])
        return order
    groups = list(snapshot.groups.values())
    own = [each for each in groups if each.vendor.name == order.vendor]
    fitting = own or [each for each in groups if order.dialect in (None, *each.vendor.dialects)]
    if not fitting and order.vendor:
        raise ProxyError(
            ErrorKind.NOT_FOUND,
            f"no group has {order.agent}'s API ({order.dialect}); {_add_group(order)}",
        )
    if len(fitting) != 1:
        why = f"{len(fitting)} groups fit {order.agent or 'this command'}: "
        raise _no_parent(why, "--group", [each.name for each in fitting])
    return structs.replace(order, group=fitting[0].name)


def _check_api(order: ChildOrder, group: Group) -> None:
    """Raise `ProxyError` (400) for a parent of another API: each call would get 404."""
    if order.dialect not in (None, *group.vendor.dialects):
        raise ProxyError(
            ErrorKind.BAD_REQUEST,
            f"{order.agent or 'this agent'} speaks the {order.dialect} API, and group "
            f'"{group.name}" is of vendor {group.vendor.name}; {_add_group(order)}',
        )


def _add_group(order: ChildOrder) -> str:
    return (
        "add one, with your provider: "
        f"sidecar groups add NAME --vendor {order.vendor} --route PROVIDER:translate"
    )


def _no_parent(why: str, option: str, names: Iterable[str]) -> ProxyError:
    listed = ", ".join(f'"{name}"' for name in islice(names, 20))
    return ProxyError(ErrorKind.NOT_FOUND, f"{why}choose one with {option}: {listed or 'none'}")


def parent_of(order: ChildOrder, snapshot: Snapshot) -> Key | None:
    """Return the key that a child is derived from: its parent, or that of its parent group's
    runs."""
    if order.key is not None:
        return snapshot.keys.get(order.key)
    return snapshot.runs.get(order.group or "")


def _derived(child: ChildKey, parent: Key) -> Key:
    """Return the key that calls of a child are served with."""
    order = child.order
    return replace(
        parent,
        child=order.name,
        child_allowance=Allowance(
            budgets=tuple(Budget(*budget(each), _PLACE) for each in order.budgets)
        ),
        hashes=(KeyHash(bytes.fromhex(order.digest)),),
        models=_narrowed(tuple(map(Pattern, order.models)), parent.models),
        urgency=Urgency[order.urgency.upper()] if order.urgency else parent.urgency,
    )


def _checked(order: ChildOrder) -> ChildOrder:
    """Return the order. Raises `ProxyError` (400) when a field of it is wrong."""
    if not 0 < len(order.name) <= MAX_NAME_CHARS or not (order.name + order.agent).isprintable():
        raise ProxyError(
            ErrorKind.BAD_REQUEST,
            f"the name of a run has 1 to {MAX_NAME_CHARS} printable characters",
        )
    try:
        for each in order.models:
            pattern(each)
        for each in order.budgets:
            budget(each)
    except InvalidValue as error:
        raise ProxyError(ErrorKind.BAD_REQUEST, f"{error.what}; {error.next}") from None
    if order.urgency is not None and order.urgency.upper() not in Urgency.__members__:
        known = ", ".join(each.name.lower() for each in Urgency)
        raise ProxyError(ErrorKind.BAD_REQUEST, f"an urgency is one of {known}")
    if re.fullmatch("[0-9a-f]{64}", order.digest) is None:
        raise ProxyError(ErrorKind.BAD_REQUEST, "a digest is the SHA-256 of a secret in hex")
    return order


def _is_valid(order: ChildOrder) -> bool:
    try:
        _checked(order)
    except ProxyError as error:
        log.warning("a run in %s has no key: %s", _FILE, error.reply.message)
        return False
    return True


def _narrowed(
    own: tuple[Pattern, ...], parent: tuple[Pattern, ...] | None
) -> tuple[Pattern, ...] | None:
    """Return patterns that lie within both lists; an overlap in part is left out."""
    if not own or parent is None:
        return own or parent
    within = [each for each in own if any(covers(wide, each) for wide in parent)]
    wider = [each for each in parent if any(covers(wide, each) for wide in own)]
    return tuple(dict.fromkeys((*within, *wider)))
