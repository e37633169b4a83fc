"""The bundled list is what its source says, and our arithmetic on it is the source's own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import genai_prices
import pytest
from genai_prices.data import providers
from genai_prices.types import ModelInfo, Provider
from project_paths import ROOT
from recorded_answers import RECORDED

from sidecar.plugin_api.manager import discover
from sidecar.pricing.price_list import FILE, ListedModel, PriceList, load

LIST = load()
SOURCE = {each.id: each for each in providers}
# In one of them every kind is used, in sizes that no tier knows and that all do.
TEXT = {
    "input_tokens": 1000, "cache_read_tokens": 300, "cache_write_tokens": 100,
    "cache_write_1h_tokens": 40, "output_tokens": 500, "output_reasoning_tokens": 120,
    "web_searches": 3,
}  # fmt: skip
READ = {"input_tokens": 1000}
HEARD = {"audio_seconds": 7200}
LONG = {**TEXT, "input_tokens": 700_000}
MIXED = {
    **TEXT, "input_audio_tokens": 200, "cache_audio_read_tokens": 50, "input_image_tokens": 150,
    "cache_image_read_tokens": 40, "output_audio_tokens": 70, "output_image_tokens": 60,
    "output_citation_tokens": 30, "audio_seconds": 3600, "input_audio_seconds": 3600,
    "input_document_pages": 4, "input_annotated_document_pages": 2, "input_characters": 900,
}  # fmt: skip
MOMENTS = [
    datetime(2024, 6, 1, 12, tzinfo=UTC).timestamp(),
    datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp(),
    datetime(2026, 11, 24, 20, tzinfo=UTC).timestamp(),
]
CHANGED = {
    "openai/gpt-4o-audio-preview", "openai/gpt-4o-mini-audio-preview", "openai/gpt-5.4",
    "openai/gpt-5.5", "openai/gpt-5.5-pro",
}  # fmt: skip
"""Models whose rates are not the source's; their prices are checked by hand in test_prices.py."""
PEAKS = {
    f"deepseek/{model}" for model in ("deepseek-flash", "deepseek-v4-flash", "deepseek-v4-pro")
}
MOVED = {"MISTRAL-LARGE-LATEST": "mistral-large-2512", "CODESTRAL-LATEST": "codestral-2508"}
TIERS: dict[str | None, dict[str, str]] = {
    None: {},
    "default": {"service_tier": "default"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "fast": {"service_tier": "fast", "speed": "fast"},
    "batch": {"processing": "batch"},
}


def test_the_file_is_what_the_pinned_source_says() -> None:
    tool = [sys.executable, str(ROOT / "tools/pricelist.py"), "--check"]
    done = subprocess.run(tool, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    pinned = re.search(r'"genai-prices==([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert pinned is not None
    assert LIST.name == f"genai-prices {pinned[1]}"
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", LIST.taken)


def test_the_sources_notice_travels_with_it() -> None:
    assert "Permission is hereby granted" in FILE.read_text()


@pytest.mark.parametrize("provider", SOURCE.values(), ids=lambda each: each.id)
def test_a_cost_is_what_the_source_makes_it(provider: Provider) -> None:
    compared = 0
    for theirs, ours in zip(provider.models, LIST.models(provider.id), strict=True):
        assert ours.name == f"{provider.id}/{theirs.id}"
        compared += sum(1 for _ in differences(provider, theirs, ours))
    assert compared


def differences(provider: Provider, theirs: ModelInfo, ours: ListedModel) -> Iterator[None]:
    tiers = TIERS if theirs.price_variants else {None: TIERS[None], "flex": TIERS["flex"]}
    for counts in (TEXT, READ, HEARD, LONG, MIXED):
        usage = genai_prices.Usage(**counts)
        for at in MOMENTS:
            for tier, context in tiers.items():
                cost = ours.rates(at, tier).cost({**counts, "requests": 1})
                if cost is None or ours.name in CHANGED:
                    continue  # that is not for nothing, here: see below
                price = theirs.calc_price(
                    usage,
                    provider,
                    genai_request_timestamp=datetime.fromtimestamp(at, UTC),
                    price_context=context,
                )
                assert cost == Decimal(price.total_price) * 10**9, (ours.name, at, tier)
                yield


def test_a_model_without_any_price_is_unknown_unless_its_name_says_free() -> None:
    now = datetime.fromtimestamp(MOMENTS[1], UTC)
    for provider, source in SOURCE.items():
        for theirs, ours in zip(source.models, LIST.models(provider), strict=True):
            rates = ours.rates(MOMENTS[1], None)
            costs = [rates.cost({**each, "requests": 1}) for each in (READ, HEARD, MIXED)]
            if any(price is not None for price in theirs.get_prices(now).__dict__.values()):
                assert costs != [None, None, None], ours.name
            else:
                free = 0 if theirs.id.endswith(":free") else None
                assert costs == [free, None, free], ours.name


@pytest.mark.parametrize("provider", SOURCE.values(), ids=lambda each: each.id)
def test_every_name_means_the_model_that_it_means_to_the_source(provider: Provider) -> None:
    for name in names_in(provider.id) - MOVED.keys():
        theirs = provider.find_model(name, all_providers=providers)
        ours = LIST.find(provider.id, name)
        assert theirs is not None
        assert ours is not None
        assert ours.name.partition("/")[2] == theirs.id, name


def names_in(provider: str) -> set[str]:
    """The names that the list spells out, in the spelling of a client."""
    return {
        each[1:].upper()
        for row in json.loads(FILE.read_text())["providers"][provider]["models"]
        for clause in row["match"]
        for each in ([clause] if isinstance(clause, str) else clause)
        if each[0] in "=^"
    }


def test_changes_by_hand_are_these_and_have_their_reason() -> None:
    reasons = {
        f"{name}/{row['id']}": row["changed"]
        for name, provider in json.loads(FILE.read_text())["providers"].items()
        for row in provider["models"]
        if "changed" in row
    }
    assert reasons.keys() == CHANGED | {f"mistral/{model}" for model in MOVED.values()} | PEAKS
    assert all(reasons.values())


@pytest.mark.parametrize(("alias", "model"), MOVED.items())
def test_alias_of_the_newest_model_means_it_and_not_a_retired_one(alias: str, model: str) -> None:
    found = LIST.find("mistral", alias)
    assert found is not None
    assert found.name == f"mistral/{model}"


@pytest.mark.parametrize(
    ("moment", "nano"),
    [
        # $1.32 from 01:00 to 04:00 and from 06:00 to 10:00, else $0.66: Friday, Saturday to Monday
        ("2026-11-27T03:59", 1320), ("2026-11-27T04:00", 660), ("2026-11-27T09:59", 1320),
        ("2026-11-28T02:00", 660), ("2026-11-29T07:00", 660), ("2026-11-30T00:59", 660),
        ("2026-11-30T01:00", 1320),
    ],
)  # fmt: skip
def test_peak_hours_of_deepseek_count_from_monday_to_friday(moment: str, nano: int) -> None:
    model = LIST.find("deepseek", "deepseek-v4-pro")
    assert model is not None
    assert price(model, f"{moment}:00+00:00") == nano


def test_what_the_list_cannot_vouch_for_is_told() -> None:
    tool = [sys.executable, str(ROOT / "tools/pricelist.py"), "--doubts"]
    done = subprocess.run(tool, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    for doubt in (
        "mistral: mistral-large-2512 is changed by hand: mistral-large-latest means it",
        "x-ai: grok-latest means grok-4.5; is it newer than",
        "deepseek: deepseek-chat has prices by the hour: they are taken to count every day",
        "openrouter: openai/gpt-audio has no price for audio",
        "openrouter: mistralai/mistral-large-4-0 has a price for route mistral/eu",
        "openai: no price at all for moderation",
        "mistral: mistral-small-24b-instruct-2501: the source says: Can't find pricing",
    ):
        assert any(line.startswith(doubt) for line in lines), doubt


def test_what_nobody_knows_is_not_found() -> None:
    assert LIST.find("openai", "my-own-model") is None
    assert LIST.find("nobody", "gpt-5.5") is None
    assert "openai" in LIST
    assert "nobody" not in LIST


@pytest.mark.parametrize(
    ("base_url", "provider"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://api.deepseek.com", "deepseek"),
        ("https://generativelanguage.googleapis.com", "google"),
        ("https://x.openai.azure.com", "azure"),
        ("https://openrouter.ai/api/v1", "openrouter"),
        ("http://127.0.0.1:8000/v1", None),
        ("https://llm.example", None),
        ("", None),
    ],
)
def test_a_provider_is_known_by_its_address(base_url: str, provider: str | None) -> None:
    assert LIST.provider_at(base_url) == provider


def test_the_address_of_every_bundled_vendor_is_that_of_its_list() -> None:
    for vendor in discover().vendors.values():
        assert vendor.price_list is None or vendor.price_list in LIST
        if vendor.base_url is not None and vendor.price_list is not None:
            assert LIST.provider_at(vendor.base_url) in {None, vendor.price_list}


def test_what_readers_count_and_plugins_are_told_of_are_units_of_the_list() -> None:
    for recorded in RECORDED:
        reported = {} if recorded.usage is None else dict(recorded.usage.units)
        assert not reported.keys() - {*LIST.units, "web_fetches", "social_searches"}, recorded.name
    page = (ROOT / "docs/plugins.md").read_text()
    told = page.partition("- `units` are further counts")[2].partition("Other names")[0]
    named = set(re.findall(r"`([a-z_]+)`", told)) - {"units"}
    assert len(named) > 8
    assert not named - LIST.units.keys()


def row(*sets: str) -> ListedModel:
    data = (
        '{"source":"s","version":"1","taken":"2026-01-01","units":{"input_tokens":{"per":1000000,'
        '"of":[]},"output_tokens":{"per":1000000,"of":[]}},"providers":{"p":{"url":"x","borrows":[],'
        '"models":[{"id":"m","match":["=m"],"prices":[' + ",".join(sets) + "]}]}}}"
    )
    found = PriceList(data.encode()).find("p", "m")
    assert found is not None
    return found


def price(model: ListedModel, moment: str, tier: str | None = None) -> int:
    at = datetime.fromisoformat(moment).timestamp()
    cost = model.rates(at, tier).cost({"input_tokens": 1})
    assert cost is not None
    return int(cost)


def test_a_price_begins_on_its_day_and_the_last_that_began_counts() -> None:
    model = row(
        '{"rates":{"input_tokens":"1"}}',
        '{"rates":{"input_tokens":"2"},"since":"2026-02-01"}',
        '{"rates":{"input_tokens":"3"},"since":"2026-03-01"}',
    )
    assert price(model, "2026-01-31T23:59:59+00:00") == 1000
    assert price(model, "2026-02-01T00:00:00+00:00") == 2000
    assert price(model, "2026-02-28T20:00:00-04:00") == 3000  # the day is that of UTC


def test_before_the_first_day_the_first_price_counts() -> None:
    model = row(
        '{"rates":{"input_tokens":"1"},"since":"2026-02-01"}',
        '{"rates":{"input_tokens":"2"},"since":"2026-03-01"}',
    )
    assert price(model, "2020-01-01T00:00:00+00:00") == 1000


@pytest.mark.parametrize(
    ("clock", "cost"), [("00:29", 1000), ("00:30", 2000), ("16:29", 2000), ("16:30", 1000)]
)
def test_hours_of_the_day(clock: str, cost: int) -> None:
    model = row(
        '{"rates":{"input_tokens":"1"}}',
        '{"rates":{"input_tokens":"2"},"hours":["00:30:00","16:30:00"]}',
    )
    assert price(model, f"2026-05-05T{clock}:00+00:00") == cost


@pytest.mark.parametrize(
    ("clock", "cost"), [("21:59", 1000), ("22:00", 2000), ("05:59", 2000), ("06:00", 1000)]
)
def test_hours_over_midnight(clock: str, cost: int) -> None:
    model = row(
        '{"rates":{"input_tokens":"1"}}',
        '{"rates":{"input_tokens":"2"},"hours":["22:00:00","06:00:00"]}',
    )
    assert price(model, f"2026-05-05T{clock}:00+00:00") == cost


def test_a_tier_has_its_own_rates_from_its_day_and_the_usual_ones_else() -> None:
    model = row(
        '{"rates":{"input_tokens":"2","output_tokens":"8"}}',
        '{"rates":{"input_tokens":"1"},"tier":"flex","since":"2026-02-01"}',
    )
    after, before = "2026-02-02T00:00:00+00:00", "2026-01-02T00:00:00+00:00"
    assert price(model, after, "flex") == 1000
    assert price(model, after, "FLEX") == 1000
    assert price(model, before, "flex") == 2000
    assert price(model, after, "default") == 2000
    at = datetime.fromisoformat(after).timestamp()
    assert model.rates(at, "flex").cost({"input_tokens": 1, "output_tokens": 1}) == 9000
