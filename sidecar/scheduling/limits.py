"""The limits of a configuration as counters, kept by stable names: an edit never resets a count.

Finds the windows that a call counts in; does not decide who may pass. Exact in one process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping

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
from sidecar.records import NANODOLLARS, PeriodCount
from sidecar.scheduling.limiter import LimitUnit
from sidecar.scheduling.windows import (
    BudgetWindow,
    CalendarWindow,
    ConcurrencyLimit,
    CountingLimiter,
    SlidingWindow,
)

WARN_AT_SHARE = 0.8
"""The part of a budget, or of a daily limit, after which its using up is told once."""
"""Money is counted in whole nano-dollars."""
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
"""A counter's stable name: the kind of its scope, the scope's own names, what it counts, and the
pattern of models that it is narrowed to."""


Headroom = Mapping[Urgency, float]


class Limits:
    """Every counter of this process. `wall` gives seconds since the epoch; `keep` hears of each
    change of a count that must outlive the process."""

    def __init__(self, wall: Callable[[], float], keep: Callable[[PeriodCount], None]) -> None:
        self._wall = wall
        self._keep = keep
        self._windows: dict[LimitId, CountingLimiter] = {}
        self._written: dict[LimitId, Limit | Budget] = {}
        self._bounds: dict[LimitId, Allowance] = {}
        self._snapshot: Snapshot | None = None
        self._kept: dict[LimitId, PeriodCount] = {}
        self._warned: dict[LimitId, float] = {}

    def windows(
        self, key: str, route: str, group: str, provider: str, credential: str, model: str | None
    ) -> Iterator[CountingLimiter]:
        """What a call counts in, by the names of its scopes (see `route_name`), the narrowest
        first: a call that came in under an earlier configuration counts by today's."""
        scopes: tuple[LimitId, ...] = (
            ("key", key), ("route", key, route), ("group", group),
            ("provider", provider, credential), ("all",),
        )  # fmt: skip
        for scope in scopes:
            for limit in binding(self._bounds.get(scope, UNBOUNDED), model):
                yield self._windows[(*scope, *_what(limit))]

    def reconcile(self, snapshot: Snapshot) -> None:
        """Take over the limits of a configuration; what was counted stays counted."""
        if self._snapshot is not None:
            self._follow_renames(self._snapshot, snapshot)
        self._snapshot = snapshot
        self._bounds = dict(_scopes(snapshot))
        bounds: list[tuple[LimitId, Limit | Budget, Headroom]] = [
            (scope, limit, allowance.headroom)
            for scope, allowance in self._bounds.items()
            for limit in bounds_of(allowance)
        ]
        self._written = {self._window(*bound): bound[1] for bound in bounds}
        self._forget_idle()

    def restore(self, kept: Iterable[PeriodCount]) -> None:
        """Take back what an earlier process had counted."""
        for each in kept:
            self._kept[each.name] = each
            window = self._windows.get(each.name)
            if isinstance(window, CalendarWindow):
                window.restore(each.begun, each.used)

    def __iter__(self) -> Iterator[tuple[LimitId, CountingLimiter]]:
        """The counters of the configuration in force, by name."""
        return (
            (name, self._windows[name]) for name in list(self._windows) if name in self._written
        )

    def written(self, name: LimitId) -> Limit | Budget:
        """What the file says of a counter of the configuration in force."""
        return self._written[name]

    def _window(self, scope: LimitId, limit: Limit | Budget, headroom: Headroom) -> LimitId:
        name = (*scope, *_what(limit))
        window = self._windows.get(name)
        if window is None:
            window = self._windows[name] = self._make(name, scope, limit)
        window.limit = _amount(limit)
        window.headroom = headroom
        window.name = f"{scope_text(scope)} is at {_words(limit)} ({limit.place.short})"
        if isinstance(window, CalendarWindow) and self._snapshot is not None:
            window.set_zone(self._snapshot.timezone)
        return name

    def _make(self, name: LimitId, scope: LimitId, limit: Limit | Budget) -> CountingLimiter:
        title, (kind, _) = scope_text(scope), _what(limit)
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
        make: type[CalendarWindow],
        name: LimitId,
        title: str,
        kind: str,
        unit: LimitUnit,
        period: Period,
    ) -> CalendarWindow:
        def changed(calendar: CalendarWindow) -> None:
            # With what is reserved: what runs when the process is killed may have been billed.
            self._keep(PeriodCount(name, calendar.started_at, calendar.used))
            written = self._written.get(name)
            if (
                written is not None
                and calendar.settled >= calendar.limit * WARN_AT_SHARE
                and self._warned.get(name) != calendar.started_at
            ):
                self._warned[name] = calendar.started_at
                _warn(calendar, written)

        calendar = make(title, kind, unit, "", 0, period, self._wall, changed)
        if self._snapshot is not None:
            calendar.set_zone(self._snapshot.timezone)
        if name in self._kept:
            kept = self._kept[name]
            calendar.restore(kept.begun, kept.used)
        return calendar

    def _follow_renames(self, old: Snapshot, new: Snapshot) -> None:
        """A key's counts follow its hash to its new name."""
        for name, key in new.keys.items():
            if name in old.keys:
                continue
            was = [old.by_digest[t.digest][0].name for t in key.hashes if t.digest in old.by_digest]
            if was and was[0] not in new.keys:
                self._rename(was[0], name)

    def _rename(self, old: str, new: str) -> None:
        for name in [n for n in self._windows if n[0] in {"key", "route"} and n[1] == old]:
            window = self._windows.pop(name)
            renamed = (name[0], new, *name[2:])
            window.scope = scope_text(renamed[:-2])
            self._windows[renamed] = window
            if isinstance(window, CalendarWindow):
                self._keep(PeriodCount(renamed, window.started_at, window.used))

    def _forget_idle(self) -> None:
        """Drop counters that no limit needs and that hold nothing. The others are kept, in case
        that the limit comes back."""
        for name in [n for n in self._windows if n not in self._written]:
            if self._windows[name].used <= 0:
                del self._windows[name]


def _warn(calendar: CalendarWindow, written: Limit | Budget) -> None:
    if calendar.limit > 0:
        used, bound = 100 * calendar.settled // calendar.limit, _words(written)
        place = written.place.short
        log.warning("%s has used %d %% of %s (%s)", calendar.scope, used, bound, place)


def bounds_of(allowance: Allowance) -> Iterator[Limit | Budget]:
    """Every limit and budget of one scope."""
    yield from allowance.limits
    yield from allowance.budgets


def binding(allowance: Allowance, model: str | None) -> Iterator[Limit | Budget]:
    """What bounds a call for this model: everything unconditional and, in addition, the limits of
    the first pattern that matches."""
    first: str | None = None
    for limit in allowance.limits:
        if limit.models is None:
            yield limit
            continue
        fits = model is not None and limit.models.matches(model)
        if fits and first in {None, limit.models.text}:
            first = limit.models.text
            yield limit
    yield from allowance.budgets


def scope_text(scope: LimitId) -> str:
    """A scope in words."""
    match scope:
        case ("route", key, provider):
            return f'the route of key "{key}" to {provider}'
        case ("provider", provider, credential) if credential:
            return f"provider {provider} ({credential})"
        case ("all",):
            return "everything together"
    return f'{scope[0]} "{scope[1]}"' if scope[0] == "key" else f"{scope[0]} {scope[1]}"


def _scopes(snapshot: Snapshot) -> Iterator[tuple[LimitId, Allowance]]:
    yield ("all",), snapshot.allowance
    for provider in snapshot.providers.values():
        for credential in credentials_of(provider):
            yield ("provider", provider.name, credential), provider.allowance
    for group in snapshot.groups.values():
        yield ("group", group.name), group.allowance
    for key in snapshot.keys.values():
        yield ("key", key.name), key.allowance
        for route in key.routes:
            yield ("route", key.name, route_name(key, route)), route.allowance


def route_name(key: Key, route: Route) -> str:
    """What one route of a key is called: by its provider, and by its number from the second on."""
    same = [each for each in key.routes if each.provider.name == route.provider.name]
    number = next((n for n, each in enumerate(same, 1) if each is route), 1)
    return route.provider.name if number == 1 else f"{route.provider.name} #{number}"


def credentials_of(provider: Provider) -> list[str]:
    """The names of a provider's credentials; one empty name when it needs none."""
    return [each.name for each in provider.credentials] or [""]


def _what(limit: Limit | Budget) -> tuple[str, str]:
    if isinstance(limit, Budget):
        return f"budget/{limit.period.value}", ""
    return limit.kind.value, "" if limit.models is None else limit.models.text


def _amount(limit: Limit | Budget) -> int:
    return int(limit.amount * NANODOLLARS) if isinstance(limit, Budget) else limit.amount


def _words(limit: Limit | Budget) -> str:
    if isinstance(limit, Budget):
        return f"its budget of ${limit.amount}/{limit.period.value}"
    models = "" if limit.models is None else f" for {limit.models.text}"
    return f"its limit of {limit.amount:,} {limit.kind.value}{models}"
