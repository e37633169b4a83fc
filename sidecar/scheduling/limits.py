"""The limits and budgets of the configuration as counters with stable names.

A reload never resets a count. This module returns the counters of a call;
`sidecar.scheduling.admission` admits the call.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from sidecar.config.model import (
    UNBOUNDED,
    Allowance,
    Budget,
    Key,
    Limit,
    LimitKind,
    Period,
    Provider,
    Route,
    Snapshot,
    Urgency,
)
from sidecar.errors import ErrorKind, ProxyError
from sidecar.records import NANODOLLARS, PeriodCount
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

LimitId = tuple[str, ...]
"""The stable name of a counter: the kind of its scope, the scope's names, its own kind, and the
pattern of models that it is for ("" for all): `("key", "nightly", "rpm", "")`."""


Headroom = Mapping[Urgency, float]


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
        self._written: dict[LimitId, Limit | Budget] = {}
        self._allowances: dict[LimitId, Allowance] = {}
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
                yield self._windows[(*scope, *_kind_and_models(limit))]

    def reconcile(self, snapshot: Snapshot) -> None:
        """Follow a new configuration; every count is kept."""
        if self._snapshot is not None:
            self._follow_renames(self._snapshot, snapshot)
        self._snapshot = snapshot
        self._allowances = dict(_scopes(snapshot))
        bounds: list[tuple[LimitId, Limit | Budget, Headroom]] = [
            (scope, limit, allowance.headroom)
            for scope, allowance in self._allowances.items()
            for limit in bounds_of(allowance)
        ]
        self._written = {self._update_window(*bound): bound[1] for bound in bounds}
        self._forget_idle()

    def divide(self, parts: int) -> None:
        """Admit one of so many equal parts of each limit, at least 1: other processes have the
        rest. Limits of child keys stay whole."""
        self._parts = parts
        for name, limit in self._written.items():
            self._bound(name, limit)

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
            ConfiguredLimit(name, self._windows[name], self._written[name])
            for name in list(self._windows)
            if name in self._written
        )

    def _update_window(self, scope: LimitId, limit: Limit | Budget, headroom: Headroom) -> LimitId:
        """Have the counter of a limit follow the file, create it if need be; return its name. Most
        limits are as they were: only for others are the amount and the text made anew."""
        name = (*scope, *_kind_and_models(limit))
        window = self._windows.get(name)
        if window is None:
            window = self._windows[name] = self._new_window(name, scope, limit)
        window.headroom = headroom
        if self._written.get(name) != limit:
            self._bound(name, limit)
        if isinstance(window, CalendarWindow) and self._snapshot is not None:
            window.set_zone(self._snapshot.timezone)
        return name

    def _bound(self, name: LimitId, limit: Limit | Budget) -> None:
        """Set a counter's limit, or this process's part of it, and its name."""
        window, scope, text = self._windows[name], name[:-2], _limit_text(limit)
        window.limit = _amount(limit)
        if self._parts > 1 and scope[0] != "child" and window.limit:
            window.limit = max(1, window.limit // self._parts)
            text += f", of which this process has 1/{self._parts}"
        window.name = f"{scope_text(scope)} is at {text} ({limit.place.short})"

    def _new_window(self, name: LimitId, scope: LimitId, limit: Limit | Budget) -> CountingLimiter:
        title, (kind, _) = scope_text(scope), _kind_and_models(limit)
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
        window.counts_sent = scope[0] == "provider" and window.unit is LimitUnit.CALLS
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
            written = self._written.get(name)
            if (
                written is not None
                and window.settled >= _amount(written) * WARN_AT_SHARE
                and self._warned.get(name) != window.started_at
            ):
                self._warned[name] = window.started_at
                _warn(window, written)

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
        for name in [n for n in self._windows if n not in self._written]:
            if self._windows[name].used <= 0:
                del self._windows[name]


def _warn(window: CalendarWindow, written: Limit | Budget) -> None:
    if (amount := _amount(written)) > 0:
        used, limit = 100 * window.settled // amount, _limit_text(written)
        place = written.place.short
        log.warning("%s has used %d%% of %s (%s)", window.scope, used, limit, place)


def bounds_of(allowance: Allowance) -> Iterator[Limit | Budget]:
    """Yield every limit and budget of one scope."""
    yield from allowance.limits
    yield from allowance.budgets


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


def scope_text(scope: LimitId) -> str:
    """Return the name of a scope, for people."""
    match scope:
        case ("route", key, provider):
            return f'the route of key "{key}" to {provider}'
        case ("provider", provider, credential) if credential:
            return f"provider {provider} ({credential})"
        case ("all",):
            return "everything together"
        case ("child", name):
            return f'child key "{name}"'
    return f'{scope[0]} "{scope[1]}"' if scope[0] == "key" else f"{scope[0]} {scope[1]}"


def _scopes(snapshot: Snapshot) -> Iterator[tuple[LimitId, Allowance]]:
    yield ("all",), snapshot.allowance
    for provider in snapshot.providers.values():
        for credential in credentials_of(provider):
            yield ("provider", provider.name, credential), provider.allowance
    for group in snapshot.groups.values():
        yield ("group", group.name), group.allowance
    for key in (*snapshot.keys.values(), *snapshot.runs.values()):
        yield ("key", key.name), key.allowance
        for route in key.routes:
            if route.allowance != UNBOUNDED:  # few have limits of their own
                yield ("route", key.name, route_name(key, route)), route.allowance
    for child in snapshot.children.values():
        yield ("child", child.child), child.child_allowance


def route_name(key: Key, route: Route) -> str:
    """Return the name of a route of a key: its provider's, with a number from the second on."""
    same = [each for each in key.routes if each.provider.name == route.provider.name]
    number = next((n for n, each in enumerate(same, 1) if each is route), 1)
    return route.provider.name if number == 1 else f"{route.provider.name} #{number}"


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


def credentials_of(provider: Provider) -> list[str]:
    """Return the names of a provider's credentials; one empty name if it needs none."""
    return [each.name for each in provider.credentials] or [""]


def _kind_and_models(limit: Limit | Budget) -> tuple[str, str]:
    if isinstance(limit, Budget):
        return f"budget/{limit.period.value}", ""
    return limit.kind.value, "" if limit.models is None else limit.models.text


def _amount(limit: Limit | Budget) -> int:
    return int(limit.amount * NANODOLLARS) if isinstance(limit, Budget) else limit.amount


def _limit_text(limit: Limit | Budget) -> str:
    if isinstance(limit, Budget):
        return f"its budget of ${limit.amount}/{limit.period.value}"
    models = "" if limit.models is None else f" for {limit.models.text}"
    return f"its limit of {limit.amount:,} {limit.kind.value}{models}"
