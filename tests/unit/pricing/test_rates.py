"""The arithmetic of prices: exact, nothing paid twice, nothing unknown taken for nothing."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.humanize import dollars
from sidecar.pricing.price_list import load
from sidecar.pricing.rates import Rate, Rates, counts_of
from sidecar.records import Usage

UNITS = load().units
D = Decimal
CLAUDE: dict[str, Rate] = {
    "input_tokens": D(4), "output_tokens": D(20), "cache_read_tokens": D("0.2"),
    "cache_write_tokens": D(5), "cache_write_1h_tokens": D(8), "web_searches": D(10),
}  # fmt: skip
TIERED: dict[str, Rate] = {
    "input_tokens": ((0, D("1.25")), (200_000, D("2.5"))),
    "output_tokens": ((0, D(10)), (200_000, D(15))),
}
SPOKEN: dict[str, Rate] = {
    "input_tokens": D("0.3"), "output_tokens": D("2.5"), "cache_read_tokens": D("0.03"),
    "input_audio_tokens": D(1), "cache_audio_read_tokens": D("0.1"),
}  # fmt: skip


def nano(rates: dict[str, Rate], **counts: int) -> Fraction | None:
    return Rates(rates, UNITS).cost({"requests": 1, **counts})


@pytest.mark.parametrize(
    ("rates", "counts", "cost"),
    [
        # 1,000 tokens at $4 a million are 0.4 cents.
        (CLAUDE, {"input_tokens": 1000}, 4_000_000),
        (CLAUDE, {"input_tokens": 0, "output_tokens": 0}, 0),
        # 700 plain at 4000, 100 read at 200, 150 written at 5000, 50 for an hour at 8000.
        (CLAUDE, {"input_tokens": 1000, "cache_read_tokens": 100, "cache_write_tokens": 200,
                  "cache_write_1h_tokens": 50}, 2_800_000 + 20_000 + 750_000 + 400_000),
        (CLAUDE, {"input_tokens": 1, "output_tokens": 1, "web_searches": 3}, 24_000 + 30_000_000),
        # Reasoning has no rate of its own: it is output.
        (CLAUDE, {"input_tokens": 0, "output_tokens": 10, "output_reasoning_tokens": 9}, 200_000),
        # At the bound the lower price holds, above it the higher one, for every token.
        (TIERED, {"input_tokens": 200_000, "output_tokens": 1}, 250_000_000 + 10_000),
        (TIERED, {"input_tokens": 200_001, "output_tokens": 1}, 500_002_500 + 15_000),
        (TIERED, {"input_tokens": 200_001, "cache_read_tokens": 200_000, "output_tokens": 0},
         500_002_500),
        # 1,000 of input: 600 read from a cache, 300 of these audio; 200 more audio; 200 plain.
        (SPOKEN, {"input_tokens": 1000, "output_tokens": 0, "cache_read_tokens": 600,
                  "input_audio_tokens": 500, "cache_audio_read_tokens": 300},
         300 * 30 + 300 * 100 + 200 * 1000 + 200 * 300),
        ({"audio_seconds": D("0.36")}, {"audio_seconds": 31}, Fraction(31 * 360_000_000, 3600)),
        ({"requests": D(2)}, {}, 2_000_000),
        ({"images": D("0.04")}, {"images": 2, "input_tokens": 9, "output_tokens": 900}, 80_000_000),
        ({"input_tokens": D(1), "requests": D(12)}, {"input_tokens": 5}, 12_005_000),
        # Figures that contradict each other are paid as they stand.
        (CLAUDE, {"input_tokens": 10, "cache_read_tokens": 100}, 20_000),
        (CLAUDE, {"output_tokens": 2}, 40_000),
    ],
)  # fmt: skip
def test_cost_equals_figures_computed_by_hand(
    rates: dict[str, Rate], counts: dict[str, int], cost: int | Fraction
) -> None:
    assert nano(rates, **counts) == cost


@pytest.mark.parametrize(
    ("rates", "counts"),
    [
        ({}, {"input_tokens": 5}),
        (CLAUDE, {}),
        (CLAUDE, {"audio_seconds": 5}),
        (CLAUDE, {"web_searches": 5}),
        ({"images": D("0.04")}, {"input_tokens": 9, "output_tokens": 900}),
        ({"audio_seconds": D(1)}, {"input_tokens": 9}),
        # Half a price is none.
        ({"input_tokens": D(3)}, {"input_tokens": 9, "output_tokens": 1}),
        ({"output_tokens": D(3)}, {"input_tokens": 9, "output_tokens": 1}),
        ({"input_tokens": D(3), "output_audio_tokens": D(9)},
         {"input_tokens": 9, "output_tokens": 5, "output_audio_tokens": 4}),
    ],
)  # fmt: skip
def test_cost_without_a_rate_is_unknown(rates: dict[str, Rate], counts: dict[str, int]) -> None:
    assert nano(rates, **counts) is None


def test_cost_needs_rates_of_used_kinds_only() -> None:
    assert nano({"input_tokens": D("0.02")}, input_tokens=50) == 1000
    assert nano({"input_tokens": D("0.02")}, input_tokens=50, output_tokens=0) == 1000
    speech = {"input_tokens": D("0.6"), "output_audio_tokens": D(12)}
    assert nano(speech, input_tokens=10, output_tokens=5, output_audio_tokens=5) == 66_000


def test_estimate_ignores_missing_rates() -> None:
    assert Rates({"input_tokens": D(3)}, UNITS).estimate({"output_tokens": 9}) == 0
    assert Rates({}, UNITS).estimate({"input_tokens": 9}) is None


COUNT = st.integers(0, 10**9)
RATE = st.decimals(0, 1000, places=6, allow_nan=False)
KINDS = ("plain", "read", "written", "kept", "said", "thought")
USED = st.fixed_dictionaries(dict.fromkeys(KINDS, COUNT))
OPTIONAL = (
    "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens", "output_reasoning_tokens",
)  # fmt: skip
PRICED: st.SearchStrategy[dict[str, Rate]] = st.fixed_dictionaries(
    {"input_tokens": RATE, "output_tokens": RATE},
    optional=dict.fromkeys(OPTIONAL, RATE),
)


def counted(used: dict[str, int]) -> dict[str, int]:
    """Disjoint kinds as vendors report them: totals and parts of them."""
    written = used["written"] + used["kept"]
    return {
        "input_tokens": used["plain"] + used["read"] + written,
        "cache_read_tokens": used["read"],
        "cache_write_tokens": written,
        "cache_write_1h_tokens": used["kept"],
        "output_tokens": used["said"] + used["thought"],
        "output_reasoning_tokens": used["thought"],
    }


@given(PRICED, USED)
def test_cost_is_the_sum_over_the_kinds(rates: dict[str, Rate], used: dict[str, int]) -> None:
    alone = [counted({**dict.fromkeys(KINDS, 0), kind: used[kind]}) for kind in KINDS]
    made = Rates(rates, UNITS)
    costs = [made.cost(each) for each in alone]
    assert made.cost(counted(used)) == sum(each for each in costs if each is not None)


@given(PRICED, USED, st.sampled_from(KINDS), COUNT)
def test_cost_never_falls_with_more_tokens(
    rates: dict[str, Rate], used: dict[str, int], kind: str, more: int
) -> None:
    made = Rates(rates, UNITS)
    before, after = (made.cost(counted(each)) for each in (used, {**used, kind: used[kind] + more}))
    assert before is not None
    assert after is not None
    assert before <= after


@given(PRICED, USED)
def test_token_is_charged_once(rates: dict[str, Rate], used: dict[str, int]) -> None:
    same: dict[str, Rate] = dict.fromkeys(rates, D(1))
    assert Rates(same, UNITS).cost(counted(used)) == 1000 * sum(used.values())


@given(st.dictionaries(st.sampled_from(sorted(UNITS)), COUNT), PRICED)
def test_cost_is_never_negative(counts: dict[str, int], rates: dict[str, Rate]) -> None:
    cost = Rates(rates, UNITS).cost(counts)
    assert cost is None or cost >= 0


SOME_COUNT = st.none() | st.integers(-5, 300) | COUNT
WHOLE = st.decimals(0, 1000, places=3, allow_nan=False)
"""Whole nano-dollars for a token."""
STEPPED = WHOLE | st.lists(WHOLE, min_size=1, max_size=3).map(
    lambda rates: tuple((100 * number, rate) for number, rate in enumerate(rates))
)
ANY_RATES: st.SearchStrategy[dict[str, Rate]] = st.dictionaries(
    st.sampled_from(
        ("input_tokens", "output_tokens", "requests", "output_audio_tokens", *OPTIONAL)
    ),
    STEPPED,
) | st.fixed_dictionaries(
    {"input_tokens": STEPPED, "output_tokens": STEPPED},
    optional=dict.fromkeys((*OPTIONAL, "requests"), STEPPED),
)
USAGE = st.builds(
    Usage,
    input_tokens=SOME_COUNT,
    output_tokens=SOME_COUNT,
    cache_read_tokens=SOME_COUNT,
    cache_write_tokens=SOME_COUNT,
    cache_write_1h_tokens=st.none() | SOME_COUNT,
    reasoning_tokens=SOME_COUNT,
    context_tokens=st.none() | SOME_COUNT,
    units=st.just(()) | st.just((("output_audio_tokens", 7),)),
)


@given(PRICED | ANY_RATES, USAGE)
def test_cost_of_usage_is_that_of_its_counts(rates: dict[str, Rate], usage: Usage) -> None:
    made = Rates(rates, UNITS)
    assert made.cost_of(usage) == made.cost(counts_of(usage, 1))


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "$0"),
        (1, "$0.000000001"),
        (23_400, "$0.0000234"),
        (1_960_000, "$0.00196"),
        (12_345_678, "$0.012346"),
        (1_500_000_000, "$1.5"),
        (100 * 10**9, "$100"),
    ],
)
def test_dollar_amounts_are_readable(amount: int, text: str) -> None:
    assert dollars(amount) == text
