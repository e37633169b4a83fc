"""Every limit and budget of a configuration, by the stable name of its counter.

A table depends on the file alone: it is made and compared off the event loop, where a file with
thousands of keys delays no call.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from operator import is_
from typing import NamedTuple

from sidecar.config.model import (
    UNBOUNDED,
    Allowance,
    Budget,
    Key,
    Limit,
    Provider,
    Route,
    Snapshot,
    Urgency,
)
from sidecar.records import NANODOLLARS

LimitId = tuple[str, ...]
"""The stable name of a counter: the kind of its scope, the scope's names, its own kind, and the
pattern of models that it is for ("" for all): `("key", "nightly", "rpm", "")`."""


class Bound(NamedTuple):
    """A limit or budget as the file has it, and the headroom of its scope: a counter follows both.

    `amount` is in the unit that is counted; `name` is the reason to wait, for people.
    """

    written: Limit | Budget
    headroom: Mapping[Urgency, float]
    amount: int
    name: str


class LimitTable(NamedTuple):
    """The allowance of each scope that has one, and each limit and budget by the name of its
    counter. `sections` are the parts of the configuration that the table was made of."""

    allowances: Mapping[LimitId, Allowance] = {}
    bounds: Mapping[LimitId, Bound] = {}
    sections: tuple[object, ...] = ()

    def is_of(self, snapshot: Snapshot) -> bool:
        """Return whether it was made of this configuration's file. Child keys make no difference:
        with others, the sections are the same objects."""
        sections = _sections(snapshot)
        return len(self.sections) == len(sections) and all(map(is_, self.sections, sections))

    def changes_to(self, after: LimitTable) -> LimitChanges:
        """Return the difference between this table and another. Equal bounds stay the same objects:
        freeing thousands at once would delay the event loop."""
        known, same, updated = self.bounds, {}, {}
        for name, bound in after.bounds.items():
            if known.get(name) == bound:
                same[name] = known[name]
            else:
                updated[name] = bound
        return LimitChanges(self, after._replace(bounds={**same, **updated}), updated)


class LimitChanges(NamedTuple):
    """The bounds that are new or other in the second of two tables."""

    before: LimitTable
    after: LimitTable
    updated: Mapping[LimitId, Bound]


def table_of_file(snapshot: Snapshot) -> LimitTable:
    """Return the limits of everything in the file."""
    return _table(_scopes_of_file(snapshot), _sections(snapshot))


def table_of_children(snapshot: Snapshot) -> LimitTable:
    """Return the limits of the child keys, which no file has."""
    return _table(
        (("child", child.child), child.child_allowance) for child in snapshot.children.values()
    )


def counter_kind(limit: Limit | Budget) -> tuple[str, str]:
    """Return the end of a counter's name: its kind, and the pattern of models."""
    if isinstance(limit, Budget):
        return f"budget/{limit.period.value}", ""
    return limit.kind.value, "" if limit.models is None else limit.models.text


def limit_text(limit: Limit | Budget) -> str:
    """Return a limit for people."""
    if isinstance(limit, Budget):
        return f"its budget of ${limit.amount}/{limit.period.value}"
    models = "" if limit.models is None else f" for {limit.models.text}"
    return f"its limit of {limit.amount:,} {limit.kind.value}{models}"


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


def reason_to_wait(scope: LimitId, limit: Limit | Budget, so: str = "") -> str:
    """Return why a call waits at a limit, for people; `so` is added to the limit's text."""
    return f"{scope_text(scope)} is at {limit_text(limit)}{so} ({limit.place.short})"


def route_name(key: Key, route: Route) -> str:
    """Return the name of a route of a key: its provider's, with a number from the second on."""
    same = [each for each in key.routes if each.provider.name == route.provider.name]
    number = next((n for n, each in enumerate(same, 1) if each is route), 1)
    return route.provider.name if number == 1 else f"{route.provider.name} #{number}"


def _sections(snapshot: Snapshot) -> tuple[object, ...]:
    return (
        snapshot.allowance, snapshot.providers, snapshot.groups, snapshot.keys, snapshot.runs
    )  # fmt: skip


def _table(
    scopes: Iterable[tuple[LimitId, Allowance]], sections: tuple[object, ...] = ()
) -> LimitTable:
    allowances = {scope: allowance for scope, allowance in scopes if allowance != UNBOUNDED}
    bounds = {
        (*scope, *counter_kind(limit)): _bound(scope, limit, allowance.headroom)
        for scope, allowance in allowances.items()
        for limit in _bounds_of(allowance)
    }
    return LimitTable(allowances, bounds, sections)


def _bounds_of(allowance: Allowance) -> Iterator[Limit | Budget]:
    yield from allowance.limits
    yield from allowance.budgets


def _bound(scope: LimitId, limit: Limit | Budget, headroom: Mapping[Urgency, float]) -> Bound:
    amount = int(limit.amount * NANODOLLARS) if isinstance(limit, Budget) else limit.amount
    return Bound(limit, headroom, amount, reason_to_wait(scope, limit))


def _scopes_of_file(snapshot: Snapshot) -> Iterator[tuple[LimitId, Allowance]]:
    yield ("all",), snapshot.allowance
    for provider in snapshot.providers.values():
        for credential in _credentials_of(provider):
            yield ("provider", provider.name, credential), provider.allowance
    for group in snapshot.groups.values():
        yield ("group", group.name), group.allowance
    for key in (*snapshot.keys.values(), *snapshot.runs.values()):
        yield ("key", key.name), key.allowance
        for route in key.routes:
            if route.allowance != UNBOUNDED:  # few have limits of their own
                yield ("route", key.name, route_name(key, route)), route.allowance


def _credentials_of(provider: Provider) -> list[str]:
    """Return the names of a provider's credentials; one empty name if it needs none."""
    return [each.name for each in provider.credentials] or [""]
