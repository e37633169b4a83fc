"""The cost of a call: price in the file, vendor's reported cost or list price, times the
multiplier.

Results are whole nano-dollars. Each is computed exactly and rounded once, half to even, so that
many small calls do not drift. No sums are kept here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Protocol

from msgspec import Struct, structs

from sidecar.config.model import Group, Price, Provider, Snapshot
from sidecar.config.patterns import Pattern
from sidecar.pricing.price_list import PriceList
from sidecar.pricing.rates import (
    INPUT,
    OUTPUT,
    REQUESTS,
    Exact,
    PriceUnit,
    Rate,
    Rates,
    counts_of,
    rounded,
)
from sidecar.records import SUBSCRIPTION, AttemptRecord, Cost, Part, Usage

log = logging.getLogger("sidecar.pricing")

MAX_MODELS = 2000
"""Prices that are cached; the oldest are dropped and looked up again."""
MAX_LOGGED_PAIRS = 2000
"""Keys and models without a price that are remembered as logged."""
MAX_NAME_CHARS = 256
"""Longer names of models, which any client may send, have no price."""
FREE = "free"
REPORTED = "reported"
_NOTHING = Usage()
_PER_MILLION = {
    "input": INPUT,
    "output": OUTPUT,
    "cache_read": "cache_read_tokens",
    "cache_write": "cache_write_tokens",
    "cache_write_1h": "cache_write_1h_tokens",
}
_MILLION = 1_000_000
_EACH = {
    "request": (REQUESTS, 1),
    "image": ("images", 1),
    "minute": ("audio_seconds", 60),
    "web_search": ("web_searches", 1),
}
_MANY = dict.fromkeys((INPUT, OUTPUT, REQUESTS, "images", "audio_seconds"), _MILLION)
"""Counts at which the price is visible however small the rates."""
_ONE_OF_EACH = {REQUESTS: 1, "images": 1, "audio_seconds": 60}
"""Units besides tokens that a call is estimated to use."""

CallNames = tuple[str | None, str | None, str | None]
"""The model of a call as served, sent and asked for."""
Names = tuple[str, ...]
"""Names that a call's model goes by, the most reliable first."""


class Tariff(Struct, frozen=True):
    """The source of a price, and its rates by time (seconds since the epoch) and service tier.

    `written`: it stands in the file.
    """

    name: str
    rates: Callable[[float, str | None], Rates]
    written: bool = False


class PricedCall(Protocol):
    """A finished call, by its record or before it has one."""

    @property
    def method(self) -> str:
        """The HTTP method."""

    @property
    def status(self) -> int:
        """The status of its response."""

    @property
    def attempts(self) -> Sequence[AttemptRecord]:
        """Its attempts, the one whose response was relayed last."""

    @property
    def model_asked(self) -> str | None:
        """The model that the client named."""

    @property
    def model_served(self) -> str | None:
        """The model that the response names."""

    @property
    def usage(self) -> Usage | None:
        """The usage of its response."""

    @property
    def started(self) -> float:
        """The time of its beginning, in seconds since the epoch."""


class Prices:
    """The prices in force.

    `wall` returns seconds since the epoch: some prices begin on a day, or apply at hours of each.
    """

    def __init__(self, price_list: PriceList, wall: Callable[[], float]) -> None:
        self._list = price_list
        self._wall = wall
        self._written: tuple[tuple[Pattern, Tariff], ...] = ()
        self._cached: dict[tuple[str, str, tuple[str | None, ...]], Tariff | None] = {}
        self._reported: dict[tuple[str, str, str], str] = {}
        self._logged: dict[tuple[str, str], None] = {}

    @property
    def source(self) -> str:
        """Return the name and date of the list, for people."""
        return f"{self._list.name}, taken {self._list.taken}"

    def reconcile(self, snapshot: Snapshot) -> None:
        """Follow the configuration: calls that end from now on have its prices."""
        units = self._list.units
        self._written = tuple(
            (pattern, _tariff(price, units)) for pattern, price in snapshot.prices
        )
        self._cached.clear()
        for provider in snapshot.providers.values():
            for seller in self._list.sellers(self._listed_as(provider)):
                self._list.models(seller)  # decoded now, and not while a call waits

    def log_unpriced(
        self, key: str, model: str | None, served: str | None, provider: str, so: str
    ) -> None:
        """Log that no price is known, once for each key and model; `so` is what follows from it."""
        pair = (key, model or "")
        if pair in self._logged:
            return
        if len(self._logged) >= MAX_LOGGED_PAIRS:
            del self._logged[next(iter(self._logged))]
        self._logged[pair] = None
        log.warning(
            'key "%s": no price is known for %s at %s, so %s; write priced_as: on the route, or a '
            "price under prices:",
            key, served, provider, so,
        )  # fmt: skip

    def cost(
        self, call: PricedCall, provider: Provider, group: Group, priced_as: str | None = None
    ) -> Cost | None:
        """Return the cost of a finished call that `provider` served for a key of `group`.

        None when its usage or its price is unknown, and when it used nothing. A price in the file
        precedes the vendor's reported cost, and that precedes the list. `priced_as` replaces all
        names of the model.
        """
        if call.method == "GET" or not 200 <= call.status < 300:
            return None
        asked, served = call.model_asked, call.model_served
        sent = call.attempts[-1].model if call.attempts else None
        if (sent or asked) != served:
            self._learn(provider, sent or asked, served)
        names = (priced_as, None, None) if priced_as else (served, sent, asked)
        return self._cost(call.usage or _NOTHING, provider, group, names, call.started)

    def spent(
        self, usage: Usage | None, provider: Provider, group: Group, names: CallNames,
        started: float,
    ) -> Cost | None:  # fmt: skip
        """Return the cost of a failed attempt, by the usage that its vendor reported.

        Without a report only a free provider has a known cost. `names` are the model as served,
        sent and asked for.
        """
        if usage is None and not (_is_free(provider) or provider.takes_login):
            return None
        return self._cost(usage or _NOTHING, provider, group, names, started)

    def _cost(
        self, usage: Usage, provider: Provider, group: Group, names: CallNames, started: float
    ) -> Cost | None:
        if _is_free(provider):
            return Cost(0, 0, FREE, parts=(Cost(0, 0, FREE),) * len(usage.parts))
        tariff = self._find(provider, names)
        said = usage.reported_cost if provider.vendor.reports_cost else None
        if said is not None and not (tariff is not None and tariff.written):
            would: Cost | None = _charged(Fraction(said), group, REPORTED)
        elif usage.parts:
            would = self._of_parts(usage.parts, provider, group, names, started)
        elif tariff is None:
            would = None
        else:
            exact = tariff.rates(started, usage.service_tier).cost_of(usage)
            would = None if exact is None else _charged(exact, group, tariff.name)
        if not provider.takes_login:
            return would
        return Cost(0, 0, SUBSCRIPTION) if would is None else _paid_otherwise(would)

    def _of_parts(
        self, parts: Sequence[Part], provider: Provider, group: Group, names: CallNames,
        started: float,
    ) -> Cost | None:  # fmt: skip
        """Return the cost of several requests: each by its own model's price and size, the sum
        rounded once.

        A charge per request applies once a call.
        """
        found = []
        for number, part in enumerate(parts):
            own = names if part.model is None else (part.model, None, None)
            tariff = self._find(provider, own)
            found.append(_exact(tariff, part.usage, started, int(number == 0), part.largest))
        known = [each for each in found if each is not None]
        if not known:
            return None
        prices = " + ".join(dict.fromkeys(price for _, price in known))
        whole = _charged(sum((exact for exact, _ in known), Fraction()), group, prices)
        return structs.replace(
            whole,
            whole=len(known) == len(found),
            parts=tuple(each and _charged(each[0], group, each[1]) for each in found),
        )

    def estimate(
        self, provider: Provider, group: Group, asked: str | None, sent: str | None,
        input_tokens: int, output_tokens: int, priced_as: str | None = None,
    ) -> int | None:  # fmt: skip
        """Return the nano-dollars that so many tokens would be charged with.

        None without a price, and 0 only where the price is known to be zero. `asked` is the model
        that the client names, `sent` the one that the provider would get. No input counts as
        cached; of images, requests and minutes one is counted. Where neither name has a price, that
        of the model counts which the provider reported last.
        """
        if _is_free(provider) or provider.takes_login:
            return 0
        tariff = self._expected(provider, asked, sent, priced_as)
        if tariff is None:
            return None
        rates, times = tariff.rates(self._wall(), None), _fraction(group.multiplier)
        exact = rates.estimate({**_ONE_OF_EACH, INPUT: input_tokens, OUTPUT: output_tokens})
        if exact is None:
            return None
        return round(exact * times) or (1 if times and rates.estimate(_MANY) else 0)

    def price_source(
        self, provider: Provider, asked: str | None, sent: str | None, priced_as: str | None = None
    ) -> str | None:
        """Return the source of the price of a future call, for people; None when it has none."""
        if _is_free(provider):
            return FREE
        if provider.takes_login:
            return SUBSCRIPTION
        tariff = self._expected(provider, asked, sent, priced_as)
        if tariff is None and provider.vendor.reports_cost:
            return REPORTED
        return None if tariff is None else tariff.name

    def _expected(
        self, provider: Provider, asked: str | None, sent: str | None, priced_as: str | None
    ) -> Tariff | None:
        if priced_as:
            return self._find(provider, (priced_as, None, None))
        tariff = self._find(provider, (sent, None, asked))
        if tariff is None:
            reported = self._reported.get((provider.name, provider.base_url, sent or asked or ""))
            return None if reported is None else self._find(provider, (reported, sent, asked))
        return tariff

    def _learn(self, provider: Provider, sent: str | None, served: str | None) -> None:
        """Record which model answers to the name of another that was sent."""
        key = (provider.name, provider.base_url, sent or "")
        if self._reported.get(key) != served and _short(sent) and (served := _short(served)):
            if len(self._reported) >= MAX_MODELS:
                del self._reported[next(iter(self._reported))]
            self._reported[key] = served

    def _find(self, provider: Provider, names: CallNames) -> Tariff | None:
        try:
            return self._cached[provider.name, provider.base_url, names]
        except KeyError:
            return self._look_up(provider, names)

    def _look_up(self, provider: Provider, names: CallNames) -> Tariff | None:
        served, sent, _ = short = tuple(map(_short, names))
        key = (provider.name, provider.base_url, short)
        if key not in self._cached:
            if len(self._cached) >= MAX_MODELS:
                del self._cached[next(iter(self._cached))]
            self._cached[key] = self._choose(provider, _names(served, sent), _names(*short))
        return self._cached[key]

    def _choose(self, provider: Provider, served: Names, names: Names) -> Tariff | None:
        """Return the file's price for any of `names`, else the list's for one of `served`."""
        for pattern, tariff in self._written:
            if any(map(pattern.matches, names)):
                return tariff
        listed_as = self._listed_as(provider)
        for name in served:
            model = self._list.find(listed_as, name)
            if model is not None:
                return Tariff(f"{self._list.name} {model.name}", model.rates)
        return None

    def _listed_as(self, provider: Provider) -> str:
        """Return the list's name of a provider: by its address, else by its plugin."""
        return self._list.provider_at(provider.base_url) or provider.vendor.price_list or ""


def _is_free(provider: Provider) -> bool:
    """Return whether the file declares the provider free, or it is part of this process."""
    return provider.free or provider.vendor.local_server is not None


def _paid_otherwise(cost: Cost) -> Cost:
    """Return the cost of a call that the caller's own subscription pays: the list price stays
    visible, and nothing is charged."""
    return Cost(
        cost.listed,
        0,
        f"{SUBSCRIPTION}, {cost.price}",
        cost.whole,
        tuple(each and _paid_otherwise(each) for each in cost.parts),
    )


def _tariff(price: Price, units: Mapping[str, PriceUnit]) -> Tariff:
    """Return the rates of a price in the file, in the list's units."""
    rates: dict[str, Rate] = {}
    for name, dollars in price.per_million.items():
        unit = _PER_MILLION[name]
        rates[unit] = dollars * (units[unit].per // _MILLION)
    for name, dollars in price.each.items():
        unit, size = _EACH[name]
        rates[unit] = dollars * (units[unit].per // size)
    made = Rates(rates, units)
    return Tariff(price.place.short, lambda at, tier: made, written=True)  # noqa: ARG005


def _charged(listed: Exact, group: Group, name: str) -> Cost:
    if isinstance(listed, int) and group.multiplier == 1:
        return Cost(listed, listed, name)
    times = _fraction(group.multiplier)
    above, below = listed.numerator, listed.denominator
    return Cost(
        rounded(above, below),
        rounded(above * times.numerator, below * times.denominator),
        name,
    )


@lru_cache(maxsize=256)
def _fraction(multiplier: Decimal) -> Fraction:
    return Fraction(multiplier)


def _short(name: str | None) -> str | None:
    return name if name is None or len(name) <= MAX_NAME_CHARS else None


def _names(*some: str | None) -> Names:
    return tuple(dict.fromkeys(name for name in some if name))


def _exact(
    tariff: Tariff | None, usage: Usage, started: float, requests: int, size: int | None
) -> tuple[Exact, str] | None:
    """Return the exact nano-dollars of a part before the multiplier, and the name of the price;
    None when unknown."""
    if tariff is None:
        return None
    exact = tariff.rates(started, usage.service_tier).cost(counts_of(usage, requests), size)
    return None if exact is None else (exact, tariff.name)
