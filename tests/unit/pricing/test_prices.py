"""What calls cost: real prices of November 2026, added up by hand, and who overrules the list."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_checks import call

from sidecar.config.loader import load
from sidecar.config.model import Snapshot
from sidecar.plugin_api.manager import discover
from sidecar.pricing.price_list import load as load_list
from sidecar.pricing.prices import MAX_MODELS, Prices
from sidecar.records import AttemptRecord, Cost, Usage, UsageState

REGISTRY = discover()
LIST = load_list()
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()
YAML = """
prices:
  gpt-tuned*: {input: 3, output: 15}
  dall-e-9: {image: $0.04}
  voice-*: {minute: 0.006}
  rerank-1: {request: 0.002}
  claude-own: {input: 4, output: 20, cache_read: 0.2, cache_write: 5,
               cache_write_1h: 8, web_search: 0.01}
  half: {input: 3}
  "gpt-tuned-*": {input: 1, output: 1}
providers:
  ollama: {price: free}
  azure-eu: {plugin: azure, base_url: "https://x.openai.azure.com"}
  gateway: {plugin: openai, base_url: "https://llm.corp.example/v1"}
  elsewhere: {plugin: openai, base_url: "https://api.deepseek.com/v1"}
  voyage: {plugin: openai, base_url: "https://api.voyageai.com/v1"}
  house: {plugin: vllm, base_url: "http://127.0.0.1:9/v1"}
groups:
  List: {vendor: openai, routes: [openai, azure-eu, gateway, elsewhere, house, ollama, openrouter,
         xai, deepseek, mistral, groq, voyage]}
  Tenth: {vendor: openai, multiplier: 0.1, routes: [openai, openrouter]}
  Claude: {vendor: anthropic}
  Gemini: {vendor: gemini}
  Demo: {vendor: echo}
"""


@dataclass
class Shop:
    """Prices under a configuration."""

    snapshot: Snapshot
    now: float = NOON
    prices: Prices = field(init=False)

    def __post_init__(self) -> None:
        self.prices = Prices(LIST, lambda: self.now)
        self.prices.reconcile(self.snapshot)

    def cost(
        self, provider: str, model: str | None, usage: Usage | None, **more: Any
    ) -> Cost | None:
        """What a call of this usage costs; `sent` and `served` may differ from what was asked."""
        group = self.snapshot.groups[more.pop("group", "List")]
        sent = more.pop("sent", model)
        attempt = AttemptRecord(provider, "", sent, "ok", 200, "", 1.0)
        fields: dict[str, Any] = {
            "provider": provider, "model_asked": model, "model_served": more.pop("served", sent),
            "attempts": (attempt,), "usage": usage, "started": self.now,
        }  # fmt: skip
        if usage is None:
            fields["usage_state"] = UsageState.UNKNOWN
        return self.prices.cost(call(**fields | more), self.snapshot.providers[provider], group)

    def estimate(
        self,
        provider: str,
        model: str,
        tokens: tuple[int, int],
        sent: str = "",
        group: str = "List",
    ) -> int | None:
        found = self.snapshot.providers[provider], self.snapshot.groups[group]
        return self.prices.estimate(*found, model, sent or model, *tokens)


@pytest.fixture
def shop() -> Shop:
    return Shop(load(YAML.encode(), file="/etc/routes.yaml", registry=REGISTRY))


def units(**counts: int) -> tuple[tuple[str, int], ...]:
    return tuple(counts.items())


@pytest.mark.parametrize(
    ("provider", "model", "usage", "nano"),
    [
        # $2.5, cached $1.25, $10 a million: 176 x 2500 + 1024 x 1250 + 340 x 10000
        ("openai", "gpt-4o", Usage(1200, 340, 1024, None, None, 200), 5_120_000),
        ("openai", "GPT-4o-2024-08-06", Usage(1200, 340, 1024), 5_120_000),
        # $0.02: 8 x 20
        ("openai", "text-embedding-3-small", Usage(8, None), 160),
        # $5 and $30 up to 272,000 tokens of input, beyond them $10 and $45
        ("openai", "gpt-5.5", Usage(272_000, 1000), 1_390_000_000),
        ("openai", "gpt-5.5", Usage(272_001, 1000), 2_765_010_000),
        # flex beyond them: $5 and $22.5
        ("openai", "gpt-5.5", Usage(300_000, 1000, service_tier="flex"), 1_522_500_000),
        # priority: $12.5, cached $1.25, $75
        ("openai", "gpt-5.5", Usage(1000, 100, 400, service_tier="priority"), 15_500_000),
        ("openai", "gpt-5.5", Usage(1000, 100, 400, service_tier="default"), 6_200_000),
        # priority beyond 272,000, as of every model: $25, cached $2.5, $112.5:
        # 1 x 25000 + 272000 x 2500 + 100 x 112500
        ("openai", "gpt-5.5", Usage(272_001, 100, 272_000, service_tier="priority"), 691_275_000),
        ("openai", "gpt-5.5", Usage(272_000, 100, 0, service_tier="priority"), 3_407_500_000),
        # $5 and $0.5 and $30, beyond them $10, $1, $45
        ("openai", "gpt-5.4", Usage(300_000, 100, 299_999, service_tier="fast"), 304_509_000),
        ("openai", "gpt-6-sol", Usage(300_000, 100, service_tier="priority"), 2_403_000_000),
        # flex beyond them: $30 and $135
        ("openai", "gpt-5.5-pro", Usage(300_000, 100, service_tier="flex"), 9_013_500_000),
        # text $2.5 and $10, audio $40 and $80: 20 x 2500 + 70 x 40000 + 10 x 10000 + 50 x 80000
        ("openai", "gpt-4o-audio-preview",
         Usage(90, 60, units=units(input_audio_tokens=70, output_audio_tokens=50)), 6_950_000),
        ("openai", "gpt-4o-mini-audio-preview-2024-12-17",
         Usage(90, 60, units=units(input_audio_tokens=70, output_audio_tokens=50)), 1_709_000),
        # $0.5 and $1.5, and not the $2 and $6 of the model of 2024
        ("mistral", "mistral-large-latest", Usage(1000, 100), 650_000),
        # $0.3, cached $0.03, $0.9: 100 x 300 + 900 x 30 + 100 x 900
        ("mistral", "codestral-latest", Usage(1000, 100, 900), 147_000),
        ("openai", "gpt-5.5", Usage(10, 0, units=units(web_searches=2)), 20_050_000),
        # $0.36 an hour: 31 s are 0.31 cents
        ("openai", "whisper-1", Usage(units=units(audio_seconds=31)), 3_100_000),
        # text $5, images $8, images made $32
        ("openai", "gpt-image-1.5",
         Usage(50, 1000, units=units(input_image_tokens=40, output_image_tokens=1000, images=1)),
         32_370_000),
        # 12 x 4000 + 5000 x 200 + 100 x 5000 + 200 x 8000 + 89 x 20000 + 2 x 10000000
        ("anthropic", "claude-opus-5-5",
         Usage(5312, 89, 5000, 300, 200, 40, units(web_searches=2), "standard"), 24_928_000),
        # fast: $8 and $40; in a batch $2 and $10
        ("anthropic", "claude-opus-5-5", Usage(10, 10, service_tier="fast"), 480_000),
        ("anthropic", "claude-opus-5-5", Usage(10, 10, service_tier="batch"), 120_000),
        # beyond 200,000, most of them cached: $6 and $0.6 and $22.5
        ("anthropic", "claude-sonnet-4-5-20250929", Usage(250_000, 1000, 240_000), 226_500_000),
        # $0.3, audio $1, $2.5
        ("gemini", "gemini-2.5-flash", Usage(1000, 100, units=units(input_audio_tokens=500)),
         900_000),
        # $0.3, images made $30
        ("gemini", "gemini-2.5-flash-image", Usage(10, 1290, units=units(output_image_tokens=1290)),
         38_703_000),
        # $0.3, cached $0.03, $2.5; a prompt with searches is $35 a thousand before Gemini 3:
        # 80 x 300 + 20 x 30 + 42 x 2500 + 35000000
        ("gemini", "gemini-2.5-flash", Usage(100, 42, 20, units=units(web_searches=1)), 35_129_600),
        # $1.5, cached $0.15, $9, and $14 a thousand queries:
        # 80 x 1500 + 20 x 150 + 42 x 9000 + 2 x 14000000
        ("gemini", "gemini-3.5-flash", Usage(100, 42, 20, units=units(web_searches=2)), 28_501_000),
        # $0.1, $0.4 and $0.24 an hour heard: 4 x 100 + 635 x 400 + 203 x 240000000 / 3600
        ("mistral", "voxtral-small-latest", Usage(4, 635, units=units(audio_seconds=203)),
         13_787_733),
        # $2 and $12, beyond 200,000 tokens of input $4 and $18: of one request, not of all together
        ("gemini", "gemini-3.1-pro-preview", Usage(250_000, 5, context_tokens=60_000), 500_060_000),
        ("gemini", "gemini-3.1-pro-preview", Usage(250_000, 5), 1_000_090_000),
        # $4 for a thousand pages, $5 for those that are annotated
        ("mistral", "mistral-ocr-latest", Usage(units=units(input_document_pages=29)), 116_000_000),
        ("mistral", "mistral-ocr-latest",
         Usage(units=units(input_document_pages=2, input_annotated_document_pages=2)), 10_000_000),
        # $0.06: 5000 x 60
        ("voyage", "voyage-4", Usage(5000), 300_000),
        # by day: $0.27, cached $0.07, $1.1
        ("deepseek", "deepseek-chat", Usage(10, 2, 8), 3_300),
        ("elsewhere", "deepseek-chat", Usage(10, 2, 8), 3_300),
        ("gateway", "gpt-4o", Usage(1200, 340, 1024), 5_120_000),
        ("azure-eu", "gpt-4o", Usage(1200, 340, 1024), 5_120_000),
        ("openrouter", "anthropic/claude-sonnet-4.5", Usage(1000, 100), 4_500_000),
        ("openrouter", "qwen/qwen3-coder:free", Usage(1000, 100), 0),
    ],
)  # fmt: skip
def test_call_costs_the_list_price(
    shop: Shop, provider: str, model: str, usage: Usage, nano: int
) -> None:
    cost = shop.cost(provider, model, usage)
    assert cost is not None
    assert cost.listed == nano
    assert cost.charged == nano
    assert cost.price.startswith("genai-prices 0.2.3 ")


def test_price_by_hour_is_cheaper_at_night(shop: Shop) -> None:
    shop.now = datetime(2026, 11, 24, 20, tzinfo=UTC).timestamp()
    cost = shop.cost("deepseek", "deepseek-chat", Usage(10, 2, 8))
    assert cost == Cost(1_650, 1_650, "genai-prices 0.2.3 deepseek/deepseek-chat")


@pytest.mark.parametrize(
    ("price", "tokens", "multiplier", "listed", "charged"),
    [
        ("3", 1, "0.9", 3000, 2700),
        # 0.5, 1.5 and 2.5 nano-dollars: the even one is nearest enough.
        ("0.0005", 1, "1", 0, 0),
        ("0.0005", 3, "1", 2, 2),
        ("0.0005", 5, "1", 2, 2),
        # What is charged is ten times 0.4, and not ten times nothing.
        ("0.0004", 1, "10", 0, 4),
        ("3", 1, "0", 3000, 0),
    ],
)
def test_cost_is_rounded_once(
    price: str, tokens: int, multiplier: str, listed: int, charged: int
) -> None:
    yaml = (
        f"prices: {{m: {{input: {price}}}}}\n"
        f"groups: {{List: {{vendor: openai, multiplier: {multiplier}}}}}\n"
    )
    shop = Shop(load(yaml.encode(), file="routes.yaml", registry=REGISTRY))
    assert shop.cost("openai", "m", Usage(tokens)) == Cost(listed, charged, "routes.yaml:1")


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.decimals(0, 10, places=4))
def test_charged_cost_scales_with_the_multiplier(
    read: int, written: int, multiplier: Decimal
) -> None:
    yaml = f"groups: {{List: {{vendor: openai, multiplier: {multiplier}}}}}\n"
    shop = Shop(load(yaml.encode(), file="routes.yaml", registry=REGISTRY))
    cost = shop.cost("openai", "gpt-4o", Usage(read, written))
    assert cost is not None
    assert cost.listed == read * 2500 + written * 10_000
    assert abs(cost.charged - cost.listed * multiplier) <= Decimal("0.5")


@pytest.mark.parametrize(
    ("provider", "model", "usage"),
    [
        ("openai", "gpt-4o", None),
        ("openai", "gpt-4o", Usage(units=units(images=1))),
        ("openai", "my-own-model", Usage(1000, 100)),
        ("openai", None, Usage(1000, 100)),
        ("house", "gpt-4o", Usage(1000, 100)),
        ("azure-eu", "my-deployment", Usage(1000, 100)),
        ("openai", "dall-e-9", Usage(1000, 100)),
        ("openai", "dall-e-9", None),
        ("openai", "voice-1", Usage(1000, 100)),
        ("openai", "half", Usage(1000, 100)),
        # Google sells it, but the list has no rate for it.
        ("gemini", "gemma-3", Usage(1000, 100)),
    ],
)
def test_unknown_cost_is_never_zero(
    shop: Shop, provider: str, model: str | None, usage: Usage | None
) -> None:
    assert shop.cost(provider, model, usage) is None


@pytest.mark.parametrize(
    ("model", "usage", "nano", "line"),
    [
        # Caches are input here, reasoning is output: 1000 x 3000 + 100 x 15000
        ("gpt-tuned-1", Usage(1000, 100, 900, 50, 20, 80), 4_500_000, 3),
        ("gpt-tuned", Usage(1000, 100, service_tier="flex"), 4_500_000, 3),
        ("dall-e-9", Usage(1000, 100, units=units(images=2)), 80_000_000, 4),
        ("voice-2", Usage(units=units(audio_seconds=31)), 3_100_000, 5),
        ("rerank-1", Usage(1000, 0), 2_000_000, 6),
        ("rerank-1", None, 2_000_000, 6),
        ("claude-own", Usage(5312, 89, 5000, 300, 200, 40, units(web_searches=2)), 24_928_000, 7),
        ("half", Usage(1000, 0), 3_000_000, 9),
    ],
)
def test_price_in_the_file_precedes_the_list(
    shop: Shop, model: str, usage: Usage | None, nano: int, line: int
) -> None:
    for provider in ("openai", "house"):
        cost = shop.cost(provider, model, usage)
        assert cost == Cost(nano, nano, f"routes.yaml:{line}")


def test_price_by_request_needs_no_usage(shop: Shop) -> None:
    cost = shop.cost("openai", "rerank-1", None, endpoint="other", usage_state=UsageState.NONE)
    assert cost == Cost(2_000_000, 2_000_000, "routes.yaml:6")


def test_price_pattern_matches_asked_sent_or_served_names(shop: Shop) -> None:
    usage = Usage(1000, 100)
    names = {"sent": "x", "served": "y"}
    for known in ("asked", "sent", "served"):
        each = {**names, known: "gpt-tuned"}
        cost = shop.cost("house", each.pop("asked", "z"), usage, **each)
        assert cost == Cost(4_500_000, 4_500_000, "routes.yaml:3")


def test_list_price_is_that_of_the_served_model(shop: Shop) -> None:
    usage = Usage(1000, 100)
    mini = shop.cost("openai", "gpt-4o-mini", usage)
    assert shop.cost("openai", "gpt-4o", usage, served="gpt-4o-mini") == mini
    assert shop.cost("openai", "gpt-4o", usage, sent="gpt-4o-mini", served="odd") == mini
    assert shop.cost("azure-eu", "x", usage, sent="my-mini", served="gpt-4o-mini") is not None
    assert shop.cost("openai", "gpt-4o", usage, sent="other-model") is None


def test_free_provider_has_a_known_cost_of_zero(shop: Shop) -> None:
    for usage in (Usage(1000, 100), None):
        assert shop.cost("ollama", "qwen3", usage) == Cost(0, 0, "free")
        assert shop.cost("echo", "qwen3", usage, group="Demo") == Cost(0, 0, "free")
    assert shop.estimate("ollama", "qwen3", (10, 10)) == 0


def test_reported_cost_precedes_the_list_and_follows_the_file(shop: Shop) -> None:
    said = Usage(1000, 100, reported_cost=1234)
    model = "anthropic/claude-sonnet-4.5"
    assert shop.cost("openrouter", model, said) == Cost(1234, 1234, "reported")
    assert shop.cost("openrouter", "nobody/knows-this", said) == Cost(1234, 1234, "reported")
    assert shop.cost("openrouter", model, said, group="Tenth") == Cost(1234, 123, "reported")
    written = shop.cost("openrouter", "gpt-tuned", said)
    assert written is not None
    assert written.price == "routes.yaml:3"
    # Who speaks of money without being known to mean it is not believed.
    listed = shop.cost("openai", "gpt-4o", said)
    assert listed is not None
    assert listed.price == "genai-prices 0.2.3 openai/gpt-4o"


@pytest.mark.parametrize("changes", [{"status": 404}, {"status": 0}, {"method": "GET"}])
def test_unserved_call_costs_nothing(shop: Shop, changes: dict[str, Any]) -> None:
    for provider in ("openai", "ollama"):
        changes = {**changes, "usage_state": UsageState.NONE}
        assert shop.cost(provider, "gpt-4o", None, **changes) is None
    assert not call(cost=None, usage=None, **changes).unpriced


@pytest.mark.parametrize(
    ("state", "cost", "unpriced"),
    [
        (UsageState.REPORTED, Cost(1, 1, "x"), False),
        (UsageState.REPORTED, None, True),
        (UsageState.PARTIAL, None, True),
        (UsageState.UNKNOWN, None, False),
        (UsageState.UNKNOWN, Cost(0, 0, "free"), False),
        (UsageState.NONE, None, False),
        (UsageState.REPORTED, Cost(1, 1, "x", whole=False), True),
        (UsageState.UNKNOWN, Cost(1, 1, "x", whole=False), False),
    ],
)
def test_unpriced_calls_have_usage_and_no_price(
    state: UsageState, cost: Cost | None, *, unpriced: bool
) -> None:
    assert call(usage_state=state, cost=cost).unpriced is unpriced


@pytest.mark.parametrize(
    ("provider", "model", "tokens", "nano"),
    [
        ("openai", "gpt-4o", (1000, 100), 3_500_000),
        ("openai", "gpt-5.5", (300_000, 0), 3_000_000_000),
        ("openai", "gpt-tuned", (1000, 100), 4_500_000),
        ("openai", "half", (1000, 100), 3_000_000),
        ("openai", "dall-e-9", (1000, 100), 40_000_000),
        ("openai", "voice-1", (1000, 100), 6_000_000),
        ("openai", "rerank-1", (1000, 100), 2_000_000),
        ("openai", "my-own-model", (1000, 100), None),
        ("gemini", "gemma-3", (1000, 100), None),
    ],
)
def test_estimate_prices_the_reserved_tokens(
    shop: Shop, provider: str, model: str, tokens: tuple[int, int], nano: int | None
) -> None:
    assert shop.estimate(provider, model, tokens) == nano


def test_estimate_uses_the_sent_model_and_the_multiplier(shop: Shop) -> None:
    assert shop.estimate("openai", "best", (1000, 100), sent="gpt-4o") == 3_500_000
    assert shop.estimate("openai", "gpt-4o", (1000, 100), sent="my-deployment") is None
    assert shop.estimate("openai", "gpt-4o", (1000, 100), group="Tenth") == 350_000


def test_estimate_is_zero_only_where_the_price_is_known_to_be_zero() -> None:
    text = YAML.replace(
        "prices:", "prices:\n  gift: {input: 0, output: 0}\n  tiny: {input: 0.0001}", 1
    )
    shop = Shop(load(text.encode(), file="/etc/routes.yaml", registry=REGISTRY))
    assert shop.estimate("openai", "gift", (1000, 1000)) == 0
    assert shop.estimate("openai", "tiny", (0, 0)) == 1
    assert shop.estimate("openai", "gpt-5-mini", (0, 0)) == 1
    assert shop.estimate("house", "who-knows", (1, 1)) is None


def test_priced_as_replaces_every_name_of_a_model(shop: Shop) -> None:
    azure, group = shop.snapshot.providers["azure-eu"], shop.snapshot.groups["List"]
    expected = shop.estimate("azure-eu", "gpt-5-mini", (1000, 1000))
    assert expected
    assert shop.estimate("azure-eu", "mine", (1000, 1000), sent="my-deployment") is None
    assert shop.prices.estimate(
        azure, group, "mine", "my-deployment", 1000, 1000, "gpt-5-mini"
    ) == expected  # fmt: skip
    assert shop.prices.price_source(azure, "mine", "my-deployment", "who-knows") is None


def test_reported_model_prices_the_estimates_of_a_deployment(shop: Shop) -> None:
    used = Usage(input_tokens=10, output_tokens=10)
    shop.cost("azure-eu", "mine", used, sent="my-deployment", served="gpt-5-mini")
    found = shop.estimate("azure-eu", "mine", (1000, 1000), sent="my-deployment")
    assert found == shop.estimate("azure-eu", "gpt-5-mini", (1000, 1000))
    assert shop.estimate("openai", "mine", (1000, 1000), sent="my-deployment") is None


def test_edited_price_applies_to_calls_that_end_later(shop: Shop) -> None:
    usage = Usage(1000, 100)
    before = shop.cost("openai", "gpt-4o", usage)
    edited = YAML.replace("half:", "gpt-4o:")
    shop.prices.reconcile(load(edited.encode(), file="routes.yaml", registry=REGISTRY))
    assert before != shop.cost("openai", "gpt-4o", usage)
    assert shop.cost("openai", "gpt-4o", Usage(1000, 0)) == Cost(
        3_000_000, 3_000_000, "routes.yaml:9"
    )


def test_price_cache_is_bounded(shop: Shop) -> None:
    for number in range(MAX_MODELS + 50):
        assert shop.estimate("openai", f"made-up-{number}", (1, 1)) is None
    assert len(shop.prices._cached) == MAX_MODELS
    assert shop.estimate("openai", "gpt-tuned" + "x" * 247, (1, 1)) == 18_000
    assert shop.estimate("openai", "gpt-tuned" + "x" * 248, (1, 1)) is None
    assert not [key for key in shop.prices._cached if "x" * 248 in str(key)]
    assert shop.estimate("openai", "gpt-4o", (1000, 100)) == 3_500_000


def test_price_source_names_list_and_date(shop: Shop) -> None:
    assert shop.prices.source == f"genai-prices 0.2.3, taken {LIST.taken}"
