"""The bundled price list: the prices of each provider's models, and since when they apply.

`tools/pricelist.py` makes it from genai-prices, which has more and is too heavy to be loaded here
(docs/decisions/0010-prices.md). A provider's models are decoded at their first use.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from pathlib import Path

import msgspec
from msgspec import Raw, Struct

from sidecar.pricing.rates import PriceUnit, Rate, Rates

FILE = Path(__file__).with_name("pricelist.json")
Clause = str | tuple[str, ...]
"""An operator and a text, such as `^gpt-5`; or several, which must all match."""


class RateSet(Struct, frozen=True):
    """Rates and when they apply.

    `since` a day, within `hours` of each day, or of those `days` of the week (Monday is 0; all in
    UTC), for a service `tier`.
    """

    rates: dict[str, Rate]
    since: date | None = None
    hours: tuple[time, time] | None = None
    days: tuple[int, ...] = ()
    tier: str | None = None

    def holds(self, now: datetime) -> bool:
        """Return whether they apply at `now` (UTC)."""
        if self.since is not None and now.date() < self.since:
            return False
        if self.days and now.weekday() not in self.days:
            return False
        if self.hours is None:
            return True
        start, end = self.hours
        within = (start <= now.time(), now.time() < end)
        return all(within) if start <= end else any(within)


class _Row(Struct):
    id: str
    match: tuple[Clause, ...]
    prices: tuple[RateSet, ...]


class _Provider(Struct):
    """A provider of the list.

    `url` is a regular expression of its addresses; `borrows` names providers whose models it sells
    at their price.
    """

    url: str
    borrows: tuple[str, ...]
    models: Raw


class _List(Struct):
    source: str
    version: str
    taken: str
    units: dict[str, PriceUnit]
    providers: dict[str, _Provider]


class ListedModel:
    """One model of one provider; `name` contains both."""

    def __init__(self, provider: str, row: _Row, units: Mapping[str, PriceUnit]) -> None:
        self.name = f"{provider}/{row.id}"
        self._match = row.match
        self._usual = [each for each in row.prices if each.tier is None]
        self._has_one = len(self._usual) == 1
        self._tiers = [each for each in row.prices if each.tier is not None]
        self._words = {each.tier for each in self._tiers}
        self._units = units
        self._made: dict[tuple[int, ...], Rates] = {}
        self._only: Rates | None = None
        """The rates outside of the tiers, once they are made; None if they depend on the time."""

    def is_named(self, name: str) -> bool:
        """Return whether `name`, in lower case, is a name of this model."""
        for clause in self._match:
            if isinstance(clause, str):
                if _fits(clause, name):
                    return True
            elif all(_fits(each, name) for each in clause):
                return True
        return False

    def rates(self, at: float, tier: str | None) -> Rates:
        """Return the rates at `at` (seconds since the epoch) for a service tier.

        The tier's rates, where it has any, take precedence over the usual ones.
        """
        only = self._only
        if tier is None:
            if only is not None:
                return only
        elif (tier := tier.lower()) not in self._words and only is not None:
            return only
        has_one = self._has_one and tier not in self._words
        chosen = (0,) if has_one else self._choose(at, tier)
        made = self._made.get(chosen)
        if made is None:
            sets = [self._usual[chosen[0]], *(self._tiers[each] for each in chosen[1:])]
            # Of the usual ones the last counts, of a tier's the first.
            rates = sets[0].rates | {
                unit: rate for each in reversed(sets[1:]) for unit, rate in each.rates.items()
            }
            made = self._made[chosen] = Rates(rates, self._units)
        if has_one:
            self._only = made
        return made

    def _choose(self, at: float, tier: str | None) -> tuple[int, ...]:
        """Return the indices of the rate sets that apply: the usual one, then those of the tier."""
        tiered = tier in self._words
        now = datetime.fromtimestamp(at, UTC)
        holding = [n for n, each in enumerate(self._usual) if each.holds(now)]
        usual = holding[-1] if holding else 0
        if not tiered:
            return (usual,)
        sets = enumerate(self._tiers)
        return (usual, *(n for n, each in sets if each.tier == tier and each.holds(now)))


class PriceList:
    """The price list. Lookups return None for what it does not have, and never raise."""

    def __init__(self, data: bytes) -> None:
        found = msgspec.json.decode(data, type=_List)
        self.name = f"{found.source} {found.version}"
        self.taken = found.taken
        self.units = found.units
        self._providers = found.providers
        self._models: dict[str, tuple[ListedModel, ...]] = {}

    def __contains__(self, provider: str) -> bool:
        """Return whether it has a provider by that name."""
        return provider in self._providers

    def provider_at(self, base_url: str) -> str | None:
        """Return the provider whose addresses include `base_url`."""
        for name, provider in self._providers.items():
            if re.match(provider.url, base_url):
                return name
        return None

    def find(self, provider: str, model: str) -> ListedModel | None:
        """Return the model by that name at that provider, or at one whose models it sells."""
        name = model.lower()
        for seller in self.sellers(provider):
            for each in self.models(seller):
                if each.is_named(name):
                    return each
        return None

    def sellers(self, provider: str) -> tuple[str, ...]:
        """Return the provider and those whose models it sells; () for an unknown one."""
        found = self._providers.get(provider)
        return () if found is None else (provider, *found.borrows)

    def models(self, provider: str) -> tuple[ListedModel, ...]:
        """Return the models of a provider of the list."""
        if provider not in self._models:
            rows = msgspec.json.decode(self._providers[provider].models, type=tuple[_Row, ...])
            self._models[provider] = tuple(ListedModel(provider, row, self.units) for row in rows)
        return self._models[provider]


def load() -> PriceList:
    """Return the list of this version."""
    return PriceList(FILE.read_bytes())


def _fits(clause: str, name: str) -> bool:
    text = clause[1:]
    match clause[0]:
        case "=":
            return name == text
        case "^":
            return name.startswith(text)
        case "$":
            return name.endswith(text)
        case "*":
            return text in name
    return re.search(text, name) is not None
