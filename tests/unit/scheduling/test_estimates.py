"""What is reserved for an answer: never more than was asked for, mostly no less than it takes."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from sidecar.scheduling.estimates import (
    DEFAULT_OUTPUT_TOKENS,
    KEPT_SAMPLES,
    MAX_PAIRS,
    MIN_SAMPLES,
    Estimates,
    RecentValues,
)


@given(st.lists(st.integers(0, 10**6), max_size=200))
def test_a_sample_is_the_latest_figures_and_their_95th_percentile(figures: list[int]) -> None:
    sample = RecentValues()
    for figure in figures:
        sample.add(figure)
    latest = sorted(figures[-KEPT_SAMPLES:])
    typical = sample.high()
    if len(latest) < MIN_SAMPLES:
        assert typical is None
        return
    assert typical in latest
    assert sum(each <= typical for each in latest) >= 0.95 * len(latest)
    assert sum(each < typical for each in latest) < 0.95 * len(latest)


def test_the_bound_that_was_asked_for_is_never_exceeded() -> None:
    estimates = Estimates()
    assert estimates.output("k", "m", None) == DEFAULT_OUTPUT_TOKENS
    assert estimates.output("k", "m", 50) == 50
    for _ in range(MIN_SAMPLES):
        estimates.learn("k", "m", 100, 20, 300)
    assert estimates.output("k", "m", None) == 300
    assert estimates.output("k", "m", 50) == 50
    assert estimates.output("k", "m", 100_000) == 300
    assert estimates.output("other", "m", 100_000) == DEFAULT_OUTPUT_TOKENS == 4096


OUTPUTS = st.lists(st.integers(0, 10**5), min_size=MIN_SAMPLES, max_size=KEPT_SAMPLES)


@given(OUTPUTS, st.one_of(st.none(), st.integers(0, 10**5)), st.integers(0, 100))
def test_the_more_run_the_less_room_each_one_adds(
    outputs: list[int], asked: int | None, running: int
) -> None:
    estimates = Estimates()
    for output in outputs:
        estimates.learn("k", "m", 100, 20, output)
    most = estimates.output("k", "m", asked)
    alone, likely, next_one = (
        estimates.likely("k", "m", most, others) for others in (0, running, running + 1)
    )
    assert alone == most
    assert min(most, int(sum(outputs) / len(outputs))) <= next_one <= likely <= most


def test_what_calls_will_take_together_is_hardly_ever_more_than_was_reserved() -> None:
    """Each of twenty comes while those before it run: a bound for each would hold half as much
    again for nothing."""
    exceeded = 0
    for seed in range(20):
        draw, estimates = random.Random(seed), Estimates()

        def output(draw: random.Random = draw) -> int:
            return int(300 * draw.lognormvariate(0, 0.7))

        for _ in range(KEPT_SAMPLES):
            estimates.learn("k", "m", 100, 20, output())
        most = estimates.output("k", "m", None)
        room = sum(estimates.likely("k", "m", most, running) for running in range(20))
        assert room < 0.7 * 20 * most
        exceeded += sum(sum(output() for _ in range(20)) > room for _ in range(100))
    assert exceeded < 0.05 * 20 * 100


def test_nothing_is_taken_to_be_likely_before_enough_was_seen() -> None:
    assert Estimates().likely("k", "m", DEFAULT_OUTPUT_TOKENS, 10) == DEFAULT_OUTPUT_TOKENS


def test_requests_full_of_pictures_or_cached_text_are_reserved_for_by_what_they_took() -> None:
    estimates = Estimates()
    assert estimates.input("k", "m", 1000) == 1000
    for _ in range(MIN_SAMPLES):
        estimates.learn("k", "m", 1000, 30, 1)
    assert estimates.input("k", "m", 2000) == 60


def test_requests_that_are_counted_by_their_size_are_reserved_for_by_it() -> None:
    draw, estimates = random.Random(1), Estimates()
    for _ in range(KEPT_SAMPLES):
        guessed = draw.randint(100, 50_000)
        estimates.learn("k", "m", guessed, int(guessed * draw.uniform(1.1, 1.3)), 1)
    assert 1.15 < estimates.input("k", "m", 100_000) / 100_000 < 1.25


def test_of_long_conversations_that_are_cached_what_is_new_is_reserved_for() -> None:
    draw, estimates = random.Random(1), Estimates()
    guesses = [draw.randint(5000, 100_000) for _ in range(KEPT_SAMPLES)]
    for guessed in guesses:
        estimates.learn("k", "m", guessed, draw.randint(1500, 2500), 1)
    assert all(1500 <= estimates.input("k", "m", guessed) <= 2500 for guessed in guesses)


def test_what_is_reserved_for_requests_comes_to_what_they_take() -> None:
    draw, estimates, reserved, taken = random.Random(1), Estimates(), 0, 0
    for _ in range(1000):
        read = int(2000 * draw.lognormvariate(0, 0.3))
        guessed = int(read * draw.uniform(0.8, 1.2))
        reserved += estimates.input("k", "m", guessed)
        taken += read
        estimates.learn("k", "m", guessed, read, 1)
    assert 0.95 < reserved / taken < 1.05


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), max_size=80),
    st.integers(0, 10**6),
)
def test_whatever_was_learned_a_request_is_reserved_for_by_a_count(
    calls: list[tuple[int, int]], guessed: int
) -> None:
    estimates = Estimates()
    for each, read in calls:
        estimates.learn("k", "m", each, read, 1)
    assert estimates.input("k", "m", guessed) >= 0


def test_no_number_of_names_fills_the_memory() -> None:
    estimates = Estimates()
    for number in range(MAX_PAIRS + 100):
        estimates.learn("k", f"m{number}", 1, 1, 1)
    assert len(estimates._outputs) == len(estimates._inputs) == len(estimates._ratios) == MAX_PAIRS
