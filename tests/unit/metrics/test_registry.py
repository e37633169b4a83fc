from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from sidecar.metrics.registry import SERIES_PER_SLICE, Metric, MetricsRegistry, escape, number

CALLS = Metric("calls_total", "counter", "Calls.", ("key", "outcome"), frozenset({"outcome"}))
TIME = Metric("time_seconds", "histogram", "Time.", ("key",), buckets=(0.1, 1.0, 10.0))


def parsed(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample as Prometheus would read it, none twice."""
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            name = (sample.name, tuple(sorted(sample.labels.items())))
            assert name not in found
            found[name] = sample.value
    return found


@given(st.text(), st.text())
async def test_label_value_is_read_back_unchanged(one: str, two: str) -> None:
    book = MetricsRegistry()
    book.samples(CALLS).at(one, two).value += 1
    shown = (("key", one), ("outcome", two))
    assert parsed(await book.text()) == {("calls_total", shown): 1.0}


def test_label_value_with_broken_characters_stays_on_one_line() -> None:
    assert escape('a"b\\c\nd') == r"a\"b\\c\nd"
    escape("\ud800").encode()


@given(st.floats() | st.integers(-(10**30), 10**30))
def test_number_is_read_back_exactly(value: float) -> None:
    read = float(number(value))
    assert read == float(value) or (math.isnan(read) and math.isnan(value))


@given(st.lists(st.floats(0, 100) | st.sampled_from(TIME.buckets)))
async def test_histogram_counts_what_a_naive_one_counts(values: list[float]) -> None:
    book = MetricsRegistry()
    times = book.histograms(TIME)
    times.at("k")
    for value in values:
        times.at("k").observe(value)
    expected = {
        ("time_seconds_bucket", (("key", "k"), ("le", number(bound)))): float(
            sum(1 for value in values if value <= bound)
        )
        for bound in (*TIME.buckets, math.inf)
    }
    found = parsed(await book.text())
    total = found.pop(("time_seconds_sum", (("key", "k"),)))
    assert math.isclose(total, math.fsum(values), abs_tol=1e-9)
    assert found.pop(("time_seconds_count", (("key", "k"),))) == len(values)
    assert found == expected


async def test_series_beyond_the_maximum_are_folded_and_counted() -> None:
    book = MetricsRegistry(most=5)
    calls = book.samples(CALLS)
    for number_ in range(20):
        calls.at(f"k{number_}", "ok").value += 1
        calls.at(f"k{number_}", "cut").value += 1
    found = parsed(await book.text())
    assert sum(found.values()) == 40, "nothing goes uncounted"
    assert found["calls_total", (("key", "other"), ("outcome", "ok"))] == 17
    assert found["calls_total", (("key", "other"), ("outcome", "cut"))] == 18
    assert len(found) == 7
    assert calls.folded == 35


async def test_histogram_counts_all_its_lines_as_series() -> None:
    book = MetricsRegistry(most=12)
    times = book.histograms(TIME)
    for key in ("a", "b", "c"):
        times.at(key).observe(1.0)
    found = parsed(await book.text())
    assert {dict(labels)["key"] for _, labels in found} == {"a", "b", "other"}


async def test_removed_series_leave_the_text_and_make_room() -> None:
    book = MetricsRegistry(most=2)
    calls = book.samples(CALLS)
    calls.at("a", "ok").value += 1
    calls.at("b", "ok").value += 1
    calls.keep_only("key", {"b"})
    calls.keep_only("no such label", set())
    calls.at("c", "ok").value += 1
    assert {dict(labels)["key"] for _, labels in parsed(await book.text())} == {"b", "c"}
    assert (book.lines, calls.folded) == (2, 0)


async def test_readers_are_called_at_each_scrape() -> None:
    book = MetricsRegistry()
    figures = {"a": 1.0}
    gauge = Metric("room", "gauge", "Room\nleft \\ free.", ("key",))
    book.read(gauge, lambda: (((key,), value) for key, value in figures.items()))
    assert parsed(await book.text()) == {("room", (("key", "a"),)): 1.0}
    figures["b"] = 2.5
    assert len(parsed(await book.text())) == 2


async def test_exposition_yields_to_other_work() -> None:
    book = MetricsRegistry()
    calls = book.samples(CALLS)
    for key in range(SERIES_PER_SLICE * 4):
        calls.at(str(key), "ok").value += 1
    text, turns = await text_and_turns(book, lambda turn: calls.at(f"new {turn}", "ok"))
    assert turns >= 3
    assert len(parsed(text)) >= SERIES_PER_SLICE * 4


async def test_reader_of_many_samples_yields_to_other_work() -> None:
    book = MetricsRegistry()
    keys = {str(number): 1.0 for number in range(SERIES_PER_SLICE * 4)}
    gauge = Metric("room", "gauge", "Room.", ("key",))
    book.read(gauge, lambda: (((key,), value) for key, value in keys.items()))
    text, turns = await text_and_turns(book, lambda _: None)
    assert turns >= 3
    assert len(parsed(text)) == SERIES_PER_SLICE * 4


async def text_and_turns(book: MetricsRegistry, work: Callable[[int], object]) -> tuple[bytes, int]:
    """The exposition, and the number of turns that other work had meanwhile."""
    turns = 0

    async def other_work() -> None:
        nonlocal turns
        while True:
            turns += 1
            work(turns)
            await asyncio.sleep(0)

    working = asyncio.create_task(other_work())
    text = await book.text()
    working.cancel()
    return text, turns


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1.0, "1"), (0.25, "0.25"), (1e21, "1e+21"), (True, "1"), (math.inf, "+Inf")],
)
def test_number_has_no_needless_digits(value: float, text: str) -> None:
    assert number(value) == text


async def test_new_counter_is_exposed_as_zero_first_to_prometheus() -> None:
    book = MetricsRegistry()
    calls, times = book.samples(CALLS), book.histograms(TIME)
    state = book.samples(Metric("state", "gauge", "State."))
    kept = {"waits_total": 4.0, "room": 5.0}
    for name, type_ in (("waits_total", "counter"), ("room", "gauge")):
        book.read(Metric(name, type_, "Kept elsewhere."), lambda name=name: [((), kept[name])])
    calls.at("k", "ok").value += 3
    times.at("k").observe(0.5)
    state.at().value = 1
    shown = await scrape(book)
    gauges = {("state", ()): 1.0, ("room", ()): 5.0}
    assert {name: value for name, value in shown.items() if value} == gauges
    kept["waits_total"] += 1
    assert await scrape(book) == parsed(await book.text())
    calls.at("new", "ok").value += 1
    assert (await scrape(book))["calls_total", (("key", "new"), ("outcome", "ok"))] == 0
    assert await scrape(book) == parsed(await book.text())


async def scrape(book: MetricsRegistry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return parsed(await book.text(from_zero=True))


async def test_new_counter_has_its_value_at_once_for_other_clients() -> None:
    book = MetricsRegistry()
    book.samples(CALLS).at("k", "ok").value += 3
    assert sum(parsed(await book.text()).values()) == 3
    assert sum((await scrape(book)).values()) == 0
