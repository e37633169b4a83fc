"""The limits and budgets of the configuration as counters with stable names.

A reload never resets a count. This module returns the counters of a call;
`sidecar.scheduling.admission` admits the call.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import tzinfo
from typing import NamedTuple

from sidecar.config.limit_table import (
    Bound,
    LimitChanges,
    LimitId,
    LimitTable,
    counter_kind,
    limit_text,
    reason_to_wait,
    route_name,
    scope_text,
    table_of_children,
    table_of_file,
)
from sidecar.config.model import (
    UNBOUNDED,
    Allowance,
    Budget,
    Key,
    Limit,
    LimitKind,
    Period,
    Snapshot,
)
from sidecar.errors import ErrorKind, ProxyError
from sidecar.records import PeriodCount
from sidecar.routing.candidates import Candidate
from sidecar.scheduling.limiter import Demand, LimitUnit
from sidecar.scheduling.windows import (
    BudgetWindow,
    CalendarWindow,
    ConcurrencyLimit,
    CountingLimiter,
    SlidingWindow,
)

WARN_AT_SHARE = 0.8
"""The share of a budget or daily limit whose use is logged, once a period."""
_UNITS = {
    LimitKind.RPM: LimitUnit.CALLS,
    LimitKind.RPD: LimitUnit.CALLS,
    LimitKind.TPM: LimitUnit.TOKENS,
    LimitKind.ITPM: LimitUnit.INPUT,
    LimitKind.OTPM: LimitUnit.OUTPUT,
    LimitKind.TPD: LimitUnit.TOKENS,
    LimitKind.CONCURRENCY: LimitUnit.CALLS,
}
_DAILY = frozenset({LimitKind.RPD, LimitKind.TPD})

log = logging.getLogger("sidecar.scheduling.limits")


class ConfiguredLimit(NamedTuple):
    """A counter of the configuration in force, and the limit or budget that the file has for it."""

    limit_id: LimitId
    window: CountingLimiter
    written: Limit | Budget


class CallScopes(NamedTuple):
    """The names of the scopes that a call counts in; see `route_name`."""

    key: str
    route: str
    group: str
    provider: str
    credential: str
    child: str = ""

    @classmethod
    def of(cls, key: Key, candidate: Candidate, route: str = "") -> CallScopes:
        """Return the scopes of a call of `key` to `candidate`."""
        return cls(
            key.name, route or route_name(key, candidate.route), key.group.name,
            candidate.provider.name, candidate.credential_name, key.child,
        )  # fmt: skip


class Limits:
    """Every counter of this process.

    Args:
        wall: Returns seconds since the epoch.
        keep: Called with each change of a count that must outlive the process.
    """

    def __init__(self, wall: Callable[[], float], keep: Callable[[PeriodCount], None]) -> None:
        self._wall = wall
        self._keep = keep
        self._windows: dict[LimitId, CountingLimiter] = {}
        self._file = self._children = LimitTable()
        self._prepared: LimitChanges | None = None
        self._bounds: Mapping[LimitId, Bound] = {}
        self._allowances: Mapping[LimitId, Allowance] = {}
        self._snapshot: Snapshot | None = None
        self._kept: dict[LimitId, PeriodCount] = {}
        self._warned: dict[LimitId, float] = {}
        self._parts = 1

    def windows(self, scopes: CallScopes, model: str | None) -> Iterator[CountingLimiter]:
        """Yield the counters of a call for `model`, the narrowest scope first.

        By the configuration in force, also for a call that arrived under an earlier one.
        """
        scope_ids: tuple[LimitId, ...] = (
            ("child", scopes.child), ("key", scopes.key), ("route", scopes.key, scopes.route),
            ("group", scopes.group),
            ("provider", scopes.provider, scopes.credential), ("all",),
        )  # fmt: skip
        for scope in scope_ids:
            for limit in binding(self._allowances.get(scope, UNBOUNDED), model):
                yield self._windows[(*scope, *counter_kind(limit))]

    def prepare(self, snapshot: Snapshot) -> None:
        """Compare the limits of a configuration that will be in force next with those of now. Needs
        no event loop: with thousands of keys this takes longer than all that `reconcile` does."""
        self._prepared = self._file.changes_to(table_of_file(snapshot))

    def reconcile(self, snapshot: Snapshot) -> None:
        """Follow a new configuration; every count is kept."""
        before, self._snapshot = self._snapshot, snapshot
        changed: list[LimitChanges] = []
        if not self._file.is_of(snapshot):
            if before is not None:
                self._follow_renames(before, snapshot)
            changed.append(self._changes_of_file(snapshot))
            self._file = changed[-1].after
        if snapshot.children or self._children.bounds:
            changed.append(self._children.changes_to(table_of_children(snapshot)))
            self._children = changed[-1].after
        self._allowances = {**self._file.allowances, **self._children.allowances}
        self._bounds = {**self._file.bounds, **self._children.bounds}
        for changes in changed:
            for name, bound in changes.updated.items():
                self._follow(name, bound)
        if before is not None and before.timezone != snapshot.timezone:
            self._set_zone(snapshot.timezone)
        self._forget_idle()

    def _changes_of_file(self, snapshot: Snapshot) -> LimitChanges:
        prepared, self._prepared = self._prepared, None
        if prepared and prepared.before is self._file and prepared.after.is_of(snapshot):
            return prepared
        return self._file.changes_to(table_of_file(snapshot))

    def divide(self, parts: int) -> None:
        """Admit one of so many equal parts of each limit, at least 1: other processes have the
        rest. Limits of child keys stay whole."""
        self._parts = parts
        for name, bound in self._file.bounds.items():
            self._bind(self._windows[name], name, bound)

    def correct(
        self, scopes: CallScopes, model: str | None, before: Demand, after: Demand, started: float
    ) -> list[CalendarWindow]:
        """Correct the calendar windows of an ended call; return them.

        Args:
            before: The amounts that it counted for.
            after: The amounts that it took.
            started: When it began, in seconds since the epoch.
        """
        windows = [each for each in self.windows(scopes, model) if isinstance(each, CalendarWindow)]
        for window in windows:
            window.correct(after[window.unit] - before[window.unit], started)
        return windows

    def restore(self, kept: Iterable[PeriodCount]) -> None:
        """Restore the counts of an earlier process."""
        for each in kept:
            self._kept[each.name] = each
            window = self._windows.get(each.name)
            if isinstance(window, CalendarWindow):
                window.restore(each.begun, each.used)

    def __iter__(self) -> Iterator[ConfiguredLimit]:
        """Iterate over the counters of the configuration in force."""
        return (
            ConfiguredLimit(name, self._windows[name], self._bounds[name].written)
            for name in list(self._windows)
            if name in self._bounds
        )

    def _follow(self, name: LimitId, bound: Bound) -> None:
        """Have the counter of a limit follow the file; create it if need be."""
        window = self._windows.get(name)
        if window is None:
            window = self._windows[name] = self._new_window(name, bound.written)
        window.headroom = bound.headroom
        self._bind(window, name, bound)
        if self._snapshot is not None and isinstance(window, CalendarWindow):
            window.set_zone(self._snapshot.timezone)

    def _bind(self, window: CountingLimiter, name: LimitId, bound: Bound) -> None:
        """Set a counter's limit, or this process's part of it, and its name."""
        window.limit, window.name = bound.amount, bound.name
        if self._parts > 1 and name[0] != "child" and window.limit:
            window.limit = max(1, window.limit // self._parts)
            part = f", of which this process has 1/{self._parts}"
            window.name = reason_to_wait(name[:-2], bound.written, part)

    def _set_zone(self, zone: tzinfo | None) -> None:
        for name in self._bounds:
            window = self._windows[name]
            if isinstance(window, CalendarWindow):
                window.set_zone(zone)

    def _new_window(self, name: LimitId, limit: Limit | Budget) -> CountingLimiter:
        title, kind = scope_text(name[:-2]), name[-2]
        window: CountingLimiter
        if isinstance(limit, Budget):
            window = self._calendar(BudgetWindow, name, title, kind, LimitUnit.MONEY, limit.period)
        elif limit.kind in _DAILY:
            window = self._calendar(
                CalendarWindow, name, title, kind, _UNITS[limit.kind], Period.DAY
            )
        elif limit.kind is LimitKind.CONCURRENCY:
            window = ConcurrencyLimit(title, kind, LimitUnit.CALLS, "", limit.amount)
        else:
            window = SlidingWindow(title, kind, _UNITS[limit.kind], "", limit.amount)
        window.counts_sent = name[0] == "provider" and window.unit is LimitUnit.CALLS
        return window

    def _calendar(
        self,
        window_class: type[CalendarWindow],
        name: LimitId,
        title: str,
        kind: str,
        unit: LimitUnit,
        period: Period,
    ) -> CalendarWindow:
        def on_change(window: CalendarWindow) -> None:
            # Reservations included: a call that runs when the process is killed may be billed.
            self._keep(PeriodCount(name, window.started_at, window.used))
            bound = self._bounds.get(name)
            if (
                bound is not None
                and window.used - window.reserved >= bound.amount * WARN_AT_SHARE
                and self._warned.get(name) != window.started_at
            ):
                self._warned[name] = window.started_at
                _warn(window, bound)

        window = window_class(title, kind, unit, "", 0, period, self._wall, on_change)
        if self._snapshot is not None:
            window.set_zone(self._snapshot.timezone)
        if name in self._kept:
            kept = self._kept[name]
            window.restore(kept.begun, kept.used)
        return window

    def _follow_renames(self, old: Snapshot, new: Snapshot) -> None:
        """Move the counts of a key that has a new name in the file; its hash identifies it."""
        for name, key in new.keys.items():
            if name in old.keys:
                continue
            names = [
                old.by_digest[each.digest][0].name
                for each in key.hashes
                if each.digest in old.by_digest
            ]
            if names and names[0] not in new.keys:
                self._rename(names[0], name)

    def _rename(self, old: str, new: str) -> None:
        for name in [n for n in self._windows if n[0] in {"key", "route"} and n[1] == old]:
            window = self._windows.pop(name)
            renamed = (name[0], new, *name[2:])
            window.scope = scope_text(renamed[:-2])
            self._windows[renamed] = window
            if isinstance(window, CalendarWindow):
                self._keep(PeriodCount(renamed, window.started_at, window.used))

    def _forget_idle(self) -> None:
        """Drop empty counters without a limit; others are kept in case the limit returns."""
        if len(self._windows) == len(self._bounds):
            return  # each has a limit
        for name in [n for n in self._windows if n not in self._bounds]:
            if self._windows[name].used <= 0:
                del self._windows[name]


def _warn(window: CalendarWindow, bound: Bound) -> None:
    if bound.amount > 0:
        used, limit = 100 * window.settled // bound.amount, limit_text(bound.written)
        place = bound.written.place.short
        log.warning("%s has used %d%% of %s (%s)", window.scope, used, limit, place)


def binding(allowance: Allowance, model: str | None) -> Iterator[Limit | Budget]:
    """Yield the limits and budgets that bind a call for `model`.

    These are all without a pattern of models, and those of the first pattern that matches.
    """
    first: str | None = None
    for limit in allowance.limits:
        if limit.models is None:
            yield limit
            continue
        matches = model is not None and limit.models.matches(model)
        if matches and first in {None, limit.models.text}:
            first = limit.models.text
            yield limit
    yield from allowance.budgets


def current_key(snapshot: Snapshot | None, key: Key) -> Key:
    """Return the key in the configuration in force, by its hash, else by its name.

    Raises:
        ProxyError: It was removed or disabled.
    """
    if snapshot is None or snapshot.keys.get(key.name) is key:
        return key
    found = [
        snapshot.by_digest[each.digest][0]
        for each in key.hashes
        if each.digest in snapshot.by_digest
    ]
    current = found[0] if found else None if key.hashes else snapshot.keys.get(key.name)
    if current is None or not current.enabled:
        what = "removed" if current is None else f"disabled ({current.place.short})"
        raise ProxyError(
            ErrorKind.KEY_DISABLED, f'key "{key.name}" was {what} while its call waited'
        )
    return current
