"""Estimates: never above the bound of a request, and rarely below what a call takes."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from sidecar.scheduling.estimates.tokens import (
    DEFAULT_OUTPUT_TOKENS,
    KEPT_SAMPLES,
    MAX_PAIRS,
    MIN_SAMPLES,
    Estimates,
    Samples,
)


@given(st.lists(st.integers(0, 10**6), max_size=200))
def test_high_output_is_the_95th_percentile_of_the_latest(values: list[int]) -> None:
    samples = Samples()
    for value in values:
        samples.add(100, 20, value)
    latest = sorted(values[-KEPT_SAMPLES:])
    high = samples.high_output
    if len(latest) < MIN_SAMPLES:
        assert high is None
        return
    assert high in latest
    assert sum(each <= high for each in latest) >= 0.95 * len(latest)
    assert sum(each < high for each in latest) < 0.95 * len(latest)


def ranked(values: Sequence[float], share: float) -> float:
    """Return a quantile of the latest values, by nearest rank."""
    latest = sorted(values[-KEPT_SAMPLES:])
    return latest[math.ceil(share * len(latest)) - 1]


CALLS = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 5000), st.integers(0, 5000)), max_size=150
)


@given(CALLS, st.integers(0, 5000))
def test_estimate_is_that_of_all_latest_calls_counted_anew(
    calls: list[tuple[int, int, int]], by_size: int
) -> None:
    estimates = Estimates()
    for call in calls:
        estimates.learn("k", "m", *call)
    outputs = [made for _, _, made in calls]
    inputs = [read for size, read, _ in calls if size]
    ratios = [read / size for size, read, _ in calls if size]
    expected = by_size
    if len(ratios) >= MIN_SAMPLES:
        ratio, usual = ranked(ratios, 0.5), ranked(inputs, 0.5)
        if not usual or ranked(ratios, 0.95) / ratio <= ranked(inputs, 0.95) / usual:
            expected = max(1, math.ceil(by_size * ratio))
        else:
            expected = min(by_size, int(usual))
    most = ranked(outputs, 0.95) if len(outputs) >= MIN_SAMPLES else DEFAULT_OUTPUT_TOKENS
    assert estimates.tokens("k", "m", by_size, None) == (expected, most)


def output_of(estimates: Estimates, max_output: int | None, key: str = "k") -> int:
    return estimates.tokens(key, "m", 100, max_output)[1]


def input_of(estimates: Estimates, by_size: int) -> int:
    return estimates.tokens("k", "m", by_size, None)[0]


def test_output_estimate_is_at_most_the_bound_of_the_request() -> None:
    estimates = Estimates()
    assert output_of(estimates, None) == DEFAULT_OUTPUT_TOKENS
    assert output_of(estimates, 50) == 50
    for _ in range(MIN_SAMPLES):
        estimates.learn("k", "m", 100, 20, 300)
    assert output_of(estimates, None) == 300
    assert output_of(estimates, 50) == 50
    assert output_of(estimates, 100_000) == 300
    assert output_of(estimates, 100_000, "other") == DEFAULT_OUTPUT_TOKENS == 4096


OUTPUTS = st.lists(st.integers(0, 10**5), min_size=MIN_SAMPLES, max_size=KEPT_SAMPLES)


@given(OUTPUTS, st.one_of(st.none(), st.integers(0, 10**5)), st.integers(0, 100))
def test_output_reservation_shrinks_with_the_calls_that_run(
    outputs: list[int], max_output: int | None, running: int
) -> None:
    estimates = Estimates()
    for output in outputs:
        estimates.learn("k", "m", 100, 20, output)
    bound = output_of(estimates, max_output)
    alone, likely, next_one = (
        estimates.likely("k", "m", bound, others) for others in (0, running, running + 1)
    )
    assert alone == bound
    assert min(bound, int(sum(outputs) / len(outputs))) <= next_one <= likely <= bound


def test_output_reservations_of_twenty_calls_cover_them_in_95_percent_of_cases() -> None:
    """Each of twenty arrives while those before it run. Upper bounds would reserve half as much
    again without need."""
    exceeded = 0
    for seed in range(20):
        draw, estimates = random.Random(seed), Estimates()

        def output(draw: random.Random = draw) -> int:
            return int(300 * draw.lognormvariate(0, 0.7))

        for _ in range(KEPT_SAMPLES):
            estimates.learn("k", "m", 100, 20, output())
        bound = output_of(estimates, None)
        room = sum(estimates.likely("k", "m", bound, running) for running in range(20))
        assert room < 0.7 * 20 * bound
        exceeded += sum(sum(output() for _ in range(20)) > room for _ in range(100))
    assert exceeded < 0.05 * 20 * 100


def test_output_reservation_without_samples_is_the_upper_bound() -> None:
    assert Estimates().likely("k", "m", DEFAULT_OUTPUT_TOKENS, 10) == DEFAULT_OUTPUT_TOKENS


def test_input_estimate_of_images_and_cached_text_follows_earlier_calls() -> None:
    estimates = Estimates()
    assert input_of(estimates, 1000) == 1000
    for _ in range(MIN_SAMPLES):
        estimates.learn("k", "m", 1000, 30, 1)
    assert input_of(estimates, 2000) == 60


def test_input_estimate_scales_with_size_where_tokens_do() -> None:
    draw, estimates = random.Random(1), Estimates()
    for _ in range(KEPT_SAMPLES):
        by_size = draw.randint(100, 50_000)
        estimates.learn("k", "m", by_size, int(by_size * draw.uniform(1.1, 1.3)), 1)
    assert 1.15 < input_of(estimates, 100_000) / 100_000 < 1.25


def test_input_estimate_of_cached_conversations_is_their_new_part() -> None:
    draw, estimates = random.Random(1), Estimates()
    sizes = [draw.randint(5000, 100_000) for _ in range(KEPT_SAMPLES)]
    for by_size in sizes:
        estimates.learn("k", "m", by_size, draw.randint(1500, 2500), 1)
    assert all(1500 <= input_of(estimates, by_size) <= 2500 for by_size in sizes)


def test_input_estimates_sum_up_to_the_true_tokens() -> None:
    draw, estimates, reserved, taken = random.Random(1), Estimates(), 0, 0
    for _ in range(1000):
        input_tokens = int(2000 * draw.lognormvariate(0, 0.3))
        by_size = int(input_tokens * draw.uniform(0.8, 1.2))
        reserved += input_of(estimates, by_size)
        taken += input_tokens
        estimates.learn("k", "m", by_size, input_tokens, 1)
    assert 0.95 < reserved / taken < 1.05


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), max_size=80),
    st.integers(0, 10**6),
)
def test_input_estimate_is_never_negative(calls: list[tuple[int, int]], by_size: int) -> None:
    estimates = Estimates()
    for each, input_tokens in calls:
        estimates.learn("k", "m", each, input_tokens, 1)
    assert input_of(estimates, by_size) >= 0


def test_estimates_keep_a_bounded_number_of_pairs() -> None:
    estimates = Estimates()
    for number in range(MAX_PAIRS + 100):
        estimates.learn("k", f"m{number}", 1, 1, 1)
    assert len(estimates._samples) == MAX_PAIRS


def test_calls_are_collected_until_they_are_learnt_from_or_asked_about() -> None:
    estimates = Estimates()
    assert [estimates.collect("k", "m", 100, 20, 300) for _ in range(MIN_SAMPLES)] == [
        True, *[False] * (MIN_SAMPLES - 1),
    ]  # fmt: skip
    assert output_of(estimates, None) == DEFAULT_OUTPUT_TOKENS
    estimates.learn_collected()
    assert output_of(estimates, None) == 300
    for _ in range(MIN_SAMPLES):
        estimates.collect("other", "m", 100, 20, 300)
    assert estimates.has_learned("other", "m")
