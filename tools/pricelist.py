"""Write `sidecar/pricing/pricelist.json`, the bundled price list, from the genai-prices package.

    python tools/pricelist.py            write it anew, dated today, and print what is in doubt
    python tools/pricelist.py --check    exit 1 if it is not what the installed version says
    python tools/pricelist.py --doubts   print what is in doubt, and write nothing

genai-prices knows far more than a price (how to read answers, descriptions, a schema) and takes a
quarter of a second and 39 MB to say it; this keeps what a running sidecar asks for, with the
changes of `pricechanges.py`. Where it represents something that the list cannot say, this fails, or
names it among the doubts (`pricedoubts.py`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from genai_prices import types
from genai_prices.data import providers
from genai_prices.data_units import unit_data
from pricechanges import RATES, changed
from pricedoubts import doubts

SOURCE = "genai-prices"
FILE = Path(__file__).parent.parent / "sidecar" / "pricing" / "pricelist.json"
NAMED_IN_FILES = {
    "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens",
    "cache_write_1h_tokens", "requests", "audio_seconds", "web_searches",
}  # fmt: skip
"""Units that prices in a configuration may name; and images, for which the source has no word."""
TIERED_BY = {"service_tier", "processing", "speed"}
"""What a call's usage can tell; variants by anything else (a route, a kind of search) cannot be."""
SIGNS = {
    types.ClauseEquals: ("=", "equals"),
    types.ClauseStartsWith: ("^", "starts_with"),
    types.ClauseEndsWith: ("$", "ends_with"),
    types.ClauseContains: ("*", "contains"),
    types.ClauseRegex: ("~", "regex"),
}
Json = dict[str, Any]


UNITS_BY_PRICE = {unit["price_key"]: name for name, unit in unit_data.items()}


def units() -> dict[str, Json]:
    """Each unit in use: how many of it a price is for, and the wider ones that it is part of."""
    rows = [row for each in providers for model in each.models for row in prices(model)]
    used = NAMED_IN_FILES.union(
        *(row["rates"] for row in rows), *(each for each, _ in RATES.values())
    )
    kept = {name: unit for name, unit in unit_data.items() if name in used}
    spans = {name: unit["dimensions"].items() for name, unit in kept.items()}
    return {
        name: {"per": unit["per"], "of": [wide for wide in kept if spans[wide] < spans[name]]}
        for name, unit in kept.items()
    } | {"images": {"per": 1, "of": []}}


def match(clause: types.MatchLogic) -> list[str | list[str]]:
    """Alternatives: a sign and a text, or a list of them that must all hold."""
    if isinstance(clause, types.ClauseOr):
        return [each for inner in clause.or_ for each in match(inner)]
    if isinstance(clause, types.ClauseAnd):
        return [[simple(inner) for inner in clause.and_]]
    return [simple(clause)]


def simple(clause: types.MatchLogic) -> str:
    sign, field = SIGNS[type(clause)]
    text: str = getattr(clause, field)
    return sign + (text if sign == "~" else text.lower())


def rate(price: Decimal | types.TieredPrices) -> object:
    """A price as text; with tiers, pairs of [input tokens above which, price], the lowest first."""
    if isinstance(price, types.TieredPrices):
        return [[0, str(price.base)], *([tier.start, str(tier.price)] for tier in price.tiers)]
    return str(price)


def rates(price: types.ModelPrice) -> Json:
    return {
        UNITS_BY_PRICE[key]: rate(value)
        for key, value in price.__dict__.items()
        if value is not None
    }


def when(constraint: object) -> Json:
    match constraint:
        case None:
            return {}
        case types.StartDateConstraint(start_date=start):
            return {"since": start.isoformat()}
        case types.TimeOfDateConstraint(start_time=start, end_time=end):
            if not (start.utcoffset() or end.utcoffset()):
                return {"hours": [f"{each:%H:%M:%S}" for each in (start, end)]}
    raise TypeError(f"the list has no words for {constraint!r}")


def prices(model: types.ModelInfo) -> Iterator[Json]:
    """The usual prices, of which the last that holds counts, then those of service tiers, of which
    the first that holds counts for each unit."""
    usual = model.prices if isinstance(model.prices, list) else [(model.prices)]
    for each in usual:
        if isinstance(each, types.ModelPrice):
            yield {"rates": free_or(model, rates(each))}
        else:
            yield {"rates": free_or(model, rates(each.prices)), **when(each.constraint)}
    for variant in model.price_variants or ():
        (kind, word), *more = variant.when.items()
        if more:
            raise TypeError(f"{model.id} has a price for two words at once: {variant.when}")
        if kind in TIERED_BY and (found := rates(variant.prices)):
            yield {"rates": found, "tier": word, **when(variant.constraint)}


def free_or(model: types.ModelInfo, found: Json) -> Json:
    """No price at all is an unknown one, unless the name says that it is free."""
    if found or not model.id.endswith(":free"):
        return found
    return {"input_tokens": "0", "output_tokens": "0"}


def compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def lines(taken: str) -> Iterator[str]:
    """The file, a model a line, so that an update can be read as a difference."""
    found = distribution(SOURCE)
    notice = next(each for each in found.files or () if each.name.startswith("LICENSE"))
    head = {
        "source": SOURCE, "version": found.version, "taken": taken,
        "notice": notice.read_text(encoding="utf-8"), "units": units(),
    }  # fmt: skip
    yield compact(head)[:-1] + ',"providers":{'
    yield ",\n".join(map(provider, providers))
    yield "}}"


def provider(one: types.Provider) -> str:
    head = {"url": one.api_pattern, "borrows": one.fallback_model_providers or []}
    rows: Sequence[str] = [compact(row) for row in models(one)]
    return f'{compact(one.id)}:{compact(head)[:-1]},"models":[\n' + ",\n".join(rows) + "\n]}"


def models(one: types.Provider) -> list[Json]:
    """The models of a provider as they stand in the list."""
    return changed(
        one.id,
        [
            {"id": model.id, "match": match(model.match), "prices": [*prices(model)]}
            for model in one.models
        ],
    )


def main() -> int:
    if sys.argv[1:] == ["--doubts"]:
        print_doubts()
        return 0
    old = FILE.read_text(encoding="utf-8") if FILE.exists() else '{"taken":""}'
    check = sys.argv[1:] == ["--check"]
    taken = json.loads(old)["taken"] if check else f"{datetime.now(UTC):%Y-%m-%d}"
    new = "\n".join(lines(taken)) + "\n"
    if check:
        if new != old:
            version = distribution(SOURCE).version
            print(f"{FILE} is not what {SOURCE} {version} says: run make prices")
        return new != old
    FILE.write_text(new, encoding="utf-8")
    print_doubts()
    return 0


def print_doubts() -> None:
    rows = {each.id: models(each) for each in providers}
    for line in doubts(list(providers), rows, TIERED_BY):
        print(line)


if __name__ == "__main__":
    sys.exit(main())
