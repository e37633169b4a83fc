"""What is reserved for an answer: never more than was asked for, mostly no less than it takes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sidecar.estimates import ENOUGH, MOST_PAIRS, REMEMBERED, UNSEEN, Estimates, Sample


@given(st.lists(st.integers(0, 10**6), max_size=200))
def test_a_sample_is_the_latest_figures_and_their_95th_percentile(figures: list[int]) -> None:
    sample = Sample()
    for figure in figures:
        sample.add(figure)
    latest = sorted(figures[-REMEMBERED:])
    typical = sample.typical()
    if len(latest) < ENOUGH:
        assert typical is None
        return
    assert typical in latest
    assert sum(each <= typical for each in latest) >= 0.95 * len(latest)
    assert sum(each < typical for each in latest) < 0.95 * len(latest)


def test_the_bound_that_was_asked_for_is_never_exceeded() -> None:
    estimates = Estimates()
    assert estimates.output("k", "m", None) == UNSEEN
    assert estimates.output("k", "m", 50) == 50
    for _ in range(ENOUGH):
        estimates.learn("k", "m", 100, 20, 300)
    assert estimates.output("k", "m", None) == 300
    assert estimates.output("k", "m", 50) == 50
    assert estimates.output("k", "m", 100_000) == 300
    assert estimates.output("other", "m", 100_000) == 100_000


def test_requests_full_of_pictures_or_cached_text_are_reserved_for_by_what_they_took() -> None:
    estimates = Estimates()
    assert estimates.input("k", "m", 1000) == 1000
    for _ in range(ENOUGH):
        estimates.learn("k", "m", 1000, 30, 1)
    assert estimates.input("k", "m", 2000) == 60


def test_no_number_of_names_fills_the_memory() -> None:
    estimates = Estimates()
    for number in range(MOST_PAIRS + 100):
        estimates.learn("k", f"m{number}", 1, 1, 1)
    assert len(estimates._outputs) == len(estimates._inputs) == MOST_PAIRS
