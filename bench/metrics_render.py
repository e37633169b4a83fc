"""Measure what one scrape takes of the event loop: 200 keys x 20 models, the text's full bound.

Prints the size of the text; the loop's own time (CPU, so that neighbours count less) for one scrape
after a hundred calls, and after calls of every key and model; the longest stretch that other work
had to wait meanwhile; and what counting one call costs. For comparison it prints the same of
prometheus-client's writer over the same samples, in the loop and in a thread.

Run: `python bench/metrics_render.py`; `--most 5` makes it an error when a scrape takes more
milliseconds even at its best, which is what an idle machine gives.
"""

from __future__ import annotations

import asyncio
import gc
import math
import sys
import time
from argparse import ArgumentParser
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent / "tests/support"))

from ledger_checks import call, snapshot
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from sidecar.metrics.metrics import Metrics
from sidecar.records import CallRecord


async def longest_pause(stop: asyncio.Event) -> float:
    """The longest time between two turns of a task that is always ready."""
    longest, last = 0.0, time.perf_counter()
    while not stop.is_set():
        await asyncio.sleep(0)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    return longest


def fill(metrics: Metrics, keys: int, models: int) -> tuple[list[CallRecord], float]:
    """Count one call for every pair; those calls, and the CPU seconds of counting one more."""
    names = [f"key {number}" for number in range(keys)]
    metrics.reconcile(snapshot({name: name for name in names}))
    calls = [
        call(key=name, group="G", model_asked=f"model-{m}") for name in names for m in range(models)
    ]
    play(metrics, calls)
    start = time.process_time()
    play(metrics, calls)
    return calls, (time.process_time() - start) / len(calls)


def play(metrics: Metrics, calls: list[CallRecord]) -> None:
    """Have these calls come, and end."""
    for record in calls:
        metrics.call_finished(record)


async def loop_time(metrics: Metrics, calls: list[CallRecord], scrapes: int) -> list[float]:
    """CPU seconds of each scrape, with these calls before each."""
    taken = []
    for _ in range(scrapes):
        play(metrics, calls)
        start = time.process_time()
        await metrics.render(from_zero=True)
        taken.append(time.process_time() - start)
    return taken


async def measure(keys: int, models: int, scrapes: int) -> float:
    """Print the figures; the loop's seconds for a usual scrape, at its best."""
    metrics = Metrics(version="bench")
    calls, cost = fill(metrics, keys, models)
    await metrics.render()
    gc.collect()
    some = calls[:: max(1, len(calls) // 100)]
    few = await loop_time(metrics, some, scrapes)
    all_ = await loop_time(metrics, calls, scrapes)
    text = await metrics.render()
    pauses = await pauses_during(metrics.render, scrapes)
    samples = sum(1 for line in text.splitlines() if not line.startswith(b"#"))
    print(f"{keys} keys x {models} models: {samples} series, {len(text) / 1e6:.2f} MB")
    print(f"loop time of one scrape after {len(some)} calls: {summary(few)}")
    print(f"loop time of one scrape after {len(calls)} calls: {summary(all_)}")
    print(f"longest hold-up of other work: {summary(pauses)}")
    print(f"counting one call: {cost * 1e6:.1f} us")
    await compare(bytes(text), scrapes)
    return min(few)


async def pauses_during(work: Callable[[], Awaitable[object]], times: int) -> list[float]:
    """Return the longest hold-up of other work during each run of `work`, in seconds."""
    pauses = []
    for _ in range(times):
        stop = asyncio.Event()
        watching = asyncio.create_task(longest_pause(stop))
        await asyncio.sleep(0)
        await work()
        stop.set()
        pauses.append(await watching)
    return pauses


class Samples(Collector):
    """The samples of an exposition, built beforehand: only their writing is measured."""

    def __init__(self, text: bytes) -> None:
        self._families = list(text_string_to_metric_families(text.decode()))

    def collect(self) -> Iterable[Metric]:
        return self._families


async def compare(text: bytes, scrapes: int) -> None:
    """Print the time of prometheus-client's writer for the same samples, and its hold-up."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Samples(text))
    taken = []
    for _ in range(scrapes):
        start = time.process_time()
        generate_latest(registry)
        taken.append(time.process_time() - start)
    pauses = await pauses_during(lambda: asyncio.to_thread(generate_latest, registry), scrapes)
    print(f"prometheus-client, in the loop: {summary(taken)}")
    print(f"prometheus-client, in a thread, longest hold-up: {summary(pauses)}")


def summary(seconds: list[float]) -> str:
    best, middle, worst = (each(seconds) * 1e3 for each in (min, median, max))
    return f"best {best:.2f} ms, median {middle:.2f} ms, worst {worst:.2f} ms"


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--scrapes", type=int, default=50)
    parser.add_argument("--most", type=float, default=math.inf, help="milliseconds of loop time")
    options = parser.parse_args()
    taken = asyncio.run(measure(options.keys, options.models, options.scrapes))
    sys.exit(taken * 1e3 > options.most)


if __name__ == "__main__":
    main()
