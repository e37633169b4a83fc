"""How long one scrape holds the event loop up: 200 keys x 20 models, the text's full bound.

Prints the size of the text, the time of a whole scrape, the longest stretch that other work had
to wait meanwhile, and what counting one call costs. Run: `python bench/metrics_render.py`.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from bookkeeping import CALL, snapshot

from sidecar.metrics import Metrics


async def longest_pause(stop: asyncio.Event) -> float:
    """The longest time between two turns of a task that is always ready."""
    longest, last = 0.0, time.perf_counter()
    while not stop.is_set():
        await asyncio.sleep(0)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    return longest


def fill(metrics: Metrics, keys: int, models: int) -> float:
    """Count one call for every pair; seconds for a further one, every series being made."""
    names = [f"key {number}" for number in range(keys)]
    metrics.reconcile(snapshot({name: name for name in names}))
    calls = [
        replace(CALL, key=name, model_asked=f"model-{m}") for name in names for m in range(models)
    ]
    for record in calls:
        metrics.call_finished(record)
    start = time.perf_counter()
    for record in calls:
        metrics.call_started(record.key, record.group)
        metrics.call_finished(record)
        metrics.call_ended(record.key)
    return (time.perf_counter() - start) / len(calls)


async def measure(keys: int, models: int, scrapes: int) -> None:
    metrics = Metrics(version="bench")
    cost = fill(metrics, keys, models)
    gc.collect()
    times, pauses = [], []
    text = b""
    for _ in range(scrapes):
        stop = asyncio.Event()
        watching = asyncio.create_task(longest_pause(stop))
        await asyncio.sleep(0)
        start = time.perf_counter()
        text = await metrics.render()
        times.append(time.perf_counter() - start)
        stop.set()
        pauses.append(await watching)
    samples = sum(1 for line in text.splitlines() if not line.startswith(b"#"))
    print(f"{keys} keys x {models} models: {samples} series, {len(text) / 1e6:.2f} MB")
    print(f"one scrape: {summary(times)}")
    print(f"longest hold-up of other work: {summary(pauses)}")
    print(f"counting one call: {cost * 1e6:.1f} us")


def summary(seconds: list[float]) -> str:
    return f"median {median(seconds) * 1e3:.2f} ms, worst {max(seconds) * 1e3:.2f} ms"


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--scrapes", type=int, default=50)
    options = parser.parse_args()
    asyncio.run(measure(options.keys, options.models, options.scrapes))


if __name__ == "__main__":
    main()
