"""What the list of prices says otherwise than its source, by hand, and why.

The source has no words for days of the week, leaves some prices out, and lets some aliases mean a
retired model. Each change names where it is written down. A change that the source has taken in, or
whose model is gone, fails: then it is taken out here.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from typing import Any

Json = dict[str, Any]

_MISTRAL = "docs.mistral.ai/getting-started/models"
ALIASES: dict[tuple[str, str], tuple[str, str]] = {
    ("mistral", "mistral-large-latest"): ("mistral-large-2512", _MISTRAL),
    ("mistral", "codestral-latest"): ("codestral-2508", _MISTRAL),
}
"""By provider and alias: the model that it means today, and the source."""

_OPENAI = "developers.openai.com/api/docs/models"
RATES: dict[tuple[str, str], tuple[dict[str, str], str]] = {
    ("openai", "gpt-4o-audio-preview"): (
        {"input_audio_tokens": "40", "output_audio_tokens": "80"}, _OPENAI,
    ),
    ("openai", "gpt-4o-mini-audio-preview"): (
        {"input_audio_tokens": "10", "output_audio_tokens": "20"}, _OPENAI,
    ),
}  # fmt: skip
"""By provider and model: rates that the source leaves out, in its units, and where they stand."""

_WORKDAYS = [0, 1, 2, 3, 4]
_DEEPSEEK = "api-docs.deepseek.com/quick_start/pricing"
DAYS: dict[tuple[str, str], tuple[list[int], str]] = {
    ("deepseek", "deepseek-flash"): (_WORKDAYS, _DEEPSEEK),
    ("deepseek", "deepseek-v4-flash"): (_WORKDAYS, _DEEPSEEK),
    ("deepseek", "deepseek-v4-pro"): (_WORKDAYS, _DEEPSEEK),
}
"""By provider and model: the days (Monday is 0) on which the hours of its prices count. Hours from
01:00 to 10:00 UTC are of one day both in UTC and in Beijing."""


def changed(provider: str, rows: list[Json]) -> list[Json]:
    """Return the rows of a provider with all changes, each row that has one with its reasons."""
    by_id = {row["id"]: row for row in rows}
    for (seller, alias), (target, source) in ALIASES.items():
        if seller == provider:
            _move(rows, by_id[target], f"={alias}")
            _note(by_id[target], f"{alias} means it ({source})")
    for (seller, model), (rates, source) in RATES.items():
        if seller == provider:
            _add_rates(by_id[model], rates)
            _note(by_id[model], f"{', '.join(rates)} ({source})")
    for (seller, model), (days, source) in DAYS.items():
        if seller == provider:
            _limit_to(days, by_id[model])
            _note(by_id[model], f"its hours count on workdays ({source})")
    for row in rows:
        if tiers := [*_stepped(row)]:
            _note(row, f"steps by size in {', '.join(tiers)}, as in its usual prices")
    return rows


def _note(row: Json, why: str) -> None:
    row["changed"] = f"{row['changed']}; {why}" if "changed" in row else why


def _move(rows: Iterable[Json], target: Json, clause: str) -> None:
    found = [row for row in rows if clause in row["match"]]
    if found == [target] or not found:
        raise LookupError(f"{clause[1:]} needs no change any more: take it out of ALIASES")
    for row in found:
        row["match"].remove(clause)
    target["match"].append(clause)


def _add_rates(row: Json, rates: dict[str, str]) -> None:
    for each in row["prices"]:
        if not rates.keys().isdisjoint(each["rates"]):
            raise LookupError(f"{row['id']} has these rates by now: take it out of RATES")
        if "tier" not in each:
            each["rates"] |= rates


def _limit_to(days: list[int], row: Json) -> None:
    hours = [each for each in row["prices"] if "hours" in each]
    if not hours:
        raise LookupError(f"{row['id']} has no prices by the hour any more: take it out of DAYS")
    for each in hours:
        each["days"] = days


def _stepped(row: Json) -> Iterable[str]:
    """Give a tier with one price the steps by size that the usual price of the same unit has, in
    the same proportion; yield each tier once.

    The source does so for most models. OpenAI says that long prompts cost a multiple in flex and
    batch, too, and that priority has none (developers.openai.com/api/docs/models/gpt-5.5):
    such an answer says `default`. One that says `priority` all the same is not taken for cheap.
    """
    usual: Json = {}
    for each in row["prices"]:
        if "tier" not in each and "hours" not in each:
            usual = each["rates"]  # the last one, which counts today
    for each in row["prices"]:
        if "tier" not in each:
            continue
        flat = [
            unit
            for unit, rate in each["rates"].items()
            if isinstance(rate, str) and isinstance(usual.get(unit), list)
        ]
        for unit in flat:
            each["rates"][unit] = _in_proportion(each["rates"][unit], usual[unit])
        if flat:
            yield each["tier"]


def _in_proportion(rate: str, steps: list[tuple[int, str]]) -> list[list[int | str]]:
    base = steps[0][1]
    found: list[list[int | str]] = []
    for above, price in steps:
        scaled = Decimal(rate) * Decimal(price) / Decimal(base)
        if Fraction(scaled) != Fraction(rate) * Fraction(price) / Fraction(base):
            raise ValueError(f"{rate} x {price} / {base} has no end")
        found.append([above, f"{scaled.normalize():f}"])
    return found
