"""What the list of prices cannot vouch for: told whenever it is made, for a person to look at.

Nothing here changes a price. It names what the source says that it cannot say, what is left out
because nothing in a call's usage tells it, and what looks wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from genai_prices import types
from pricechanges import ALIASES, DAYS

Json = dict[str, Any]

_ADMITTED = re.compile(
    r"not (?:yet )?modell?ed|not represented|upper bound|trusting|verify against|has no unit"
    r"|cannot say|per minute|[Pp]remium over|carry a|bill 1\.1x|Priority tier is"
)
"""Words with which the source's comments admit that its prices are not the whole truth."""
_HEARD = re.compile(r"audio|voice|realtime|(?<![a-z])live(?![a-z])")
_SHOWN = 6


def doubts(
    providers: list[types.Provider], rows: dict[str, list[Json]], tiers: set[str]
) -> Iterator[str]:
    """Yield a line for each doubt. `rows` is the list as it is written, by provider; `tiers` are
    the words by which variants of prices are told apart."""
    for provider in providers:
        found = [
            *_changes(rows[provider.id]),
            *_variants(provider, tiers),
            *_aliases(provider),
            *_hours(provider.id, rows[provider.id]),
            *_unheard(rows[provider.id]),
            *_unpriced(rows[provider.id]),
            *_admitted(provider),
        ]
        yield from (f"{provider.id}: {each}" for each in found)


def _changes(rows: list[Json]) -> Iterator[str]:
    for row in rows:
        if "changed" in row:
            yield f"{row['id']} is changed by hand: {row['changed']}"


def _variants(provider: types.Provider, tiers: set[str]) -> Iterator[str]:
    for model in provider.models:
        for variant in model.price_variants or ():
            words = [f"{kind} {word}" for kind, word in variant.when.items() if kind not in tiers]
            if words:
                yield f"{model.id} has a price for {', '.join(words)}: left out, no usage tells it"


def _aliases(provider: types.Provider) -> Iterator[str]:
    """Yield the aliases of a newest model that mean one of several, and not by date."""
    for model in provider.models:
        for alias in _latest(model.match):
            stem = alias.removesuffix("-latest")
            others = [
                each.id
                for each in provider.models
                if each is not model and re.match(rf"{re.escape(stem)}[-.\d]", each.id)
            ]
            dated = model.id.endswith("-latest")
            if others and not dated and (provider.id, alias) not in ALIASES:
                yield f"{alias} means {model.id}; is it newer than {_some(others)}?"


def _latest(clause: types.MatchLogic) -> Iterator[str]:
    if isinstance(clause, types.ClauseOr):
        for each in clause.or_:
            yield from _latest(each)
    elif isinstance(clause, types.ClauseEquals) and clause.equals.endswith("-latest"):
        yield clause.equals.lower()


def _hours(provider: str, rows: list[Json]) -> Iterator[str]:
    for row in rows:
        if any("hours" in each for each in row["prices"]):
            known = (provider, row["id"]) in DAYS
            what = "public holidays are not known" if known else "they are taken to count every day"
            yield f"{row['id']} has prices by the hour: {what}"


def _unheard(rows: list[Json]) -> Iterator[str]:
    for row in rows:
        units = {unit for each in row["prices"] for unit in each["rates"]}
        if units and _HEARD.search(row["id"]) and not any("audio" in unit for unit in units):
            yield f"{row['id']} has no price for audio: it is paid as text"


def _unpriced(rows: list[Json]) -> Iterator[str]:
    names = [row["id"] for row in rows if not any(each["rates"] for each in row["prices"])]
    if names:
        yield f"no price at all for {_some(names)}"


def _admitted(provider: types.Provider) -> Iterator[str]:
    """Yield what the source's comments admit, once for all models that it is said of."""
    said: dict[str, list[str]] = {}
    for model in provider.models:
        text = " ".join((model.price_comments or "").split())
        for sentence in re.split(r"(?<=[.)])\s+(?=[A-Z])", text):
            if _ADMITTED.search(sentence):
                said.setdefault(sentence, []).append(model.id)
    for sentence, names in said.items():
        yield f"{_some(names)}: the source says: {sentence}"


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
