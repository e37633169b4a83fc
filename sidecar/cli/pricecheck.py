"""Warnings of `sidecar check`: models that the file names under a budget, without a price."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

from sidecar import pricelist
from sidecar.config import Allowance, Group, Key, Pattern, Route, Snapshot, matches_any
from sidecar.errors import Place, Problem
from sidecar.prices import Prices

_FIX = "write priced_as: on the route, or a price under prices:"


class NamedModel(NamedTuple):
    """A model by the name that clients ask for and the one that its provider is asked for; None
    for a name that is not written. `place` is where the file has it."""

    asked: str | None
    served: str
    place: Place


def unpriced_models(snapshot: Snapshot) -> list[Problem]:
    """Return a warning for each model's name in the file that has no price under a budget, and for
    each `priced_as` that no price is known for."""
    prices = Prices(pricelist.load(), time.time)
    prices.reconcile(snapshot)
    owners: list[Group | Key] = [*snapshot.groups.values(), *snapshot.keys.values()]
    found = [problem for owner in owners for problem in _of(owner, snapshot, prices)]
    first = {problem.what: problem for problem in reversed(found)}
    return [problem for problem in found if first[problem.what] is problem]


def _of(owner: Group | Key, snapshot: Snapshot, prices: Prices) -> Iterator[Problem]:
    scopes = [snapshot.allowance, owner.allowance]
    if isinstance(owner, Key):
        scopes.append(owner.group.allowance)
    for route in owner.routes:
        if route.enabled:
            yield from _of_route(owner, route, [*scopes, route.provider.allowance], prices)


def _of_route(
    owner: Group | Key, route: Route, scopes: list[Allowance], prices: Prices
) -> Iterator[Problem]:
    provider, price_name = route.provider, route.price_name
    if price_name is not None:
        if prices.price_source(provider, None, None, price_name) is None:
            what = f'no price is known for "{price_name}" at provider {provider.name}, as which '
            what += "its calls are priced"
            place = route.place if route.priced_as else provider.place
            yield Problem(place, what, "write one under prices:", warning=True)
        return
    if not any(scope.budgets for scope in scopes):
        return
    for model in _named(owner, route):
        if prices.price_source(provider, model.asked, model.served) is None:
            what = f'no price is known for "{model.served}" at provider {provider.name}, so its '
            what += "calls spend no budget, and a spent budget refuses them"
            yield Problem(model.place, what, _FIX, warning=True)


def _named(owner: Group | Key, route: Route) -> Iterator[NamedModel]:
    """The models that a route names literally, as far as its owner may use them."""
    narrowed = owner.models if isinstance(owner, Key) else None
    for pattern in route.models or ():
        if _is_literal(pattern) and matches_any(narrowed, pattern.text):
            yield NamedModel(pattern.text, _served(route, pattern.text), route.place)
    for pattern in narrowed or ():
        if _is_literal(pattern) and matches_any(route.models, pattern.text):
            yield NamedModel(pattern.text, _served(route, pattern.text), owner.place)
    for pattern, served in route.rename.names if route.rename is not None else ():
        if not _is_literal(pattern) and "*" not in served:
            yield NamedModel(None, served, route.place)


def _served(route: Route, asked: str) -> str:
    return asked if route.rename is None else route.rename.served(asked)


def _is_literal(pattern: Pattern) -> bool:
    return "*" not in pattern.text and "?" not in pattern.text
