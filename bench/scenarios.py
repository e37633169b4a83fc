"""What `full.py` measures: each scenario makes a row of figures."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from statistics import median
from threading import Event

import features
from answers import DIALECTS
from load import Load, request, surplus_bytes
from machine import REST, cpu_seconds, memory_mib, on_core
from metrics_render import fill, loop_time, pauses_during
from rig import Gateway, Rig

from sidecar.metrics.metrics import Metrics

Row = dict[str, float]
"""Figures by name, in the unit that the name holds."""
KEYS = 10_000
"""How many keys a large file has."""
SCRAPED = (200, 20)
"""Keys and models of a large text of metrics."""


def latency(rig: Rig, gateway: Gateway, body: int) -> Row:
    """One client, one request after another."""
    load = Load(1, body, seconds=2.0)
    direct = rig.play(rig.vendor, load)
    used, outcome = rig.measure(gateway, load)
    check(gateway, outcome.bad)
    return {
        "added p50 ms": outcome.whole[0] - direct.whole[0],
        "p99 ms": outcome.whole[1],
        "CPU µs a call": used * 1e6 / outcome.requests,
    }


def throughput(rig: Rig, gateway: Gateway, connections: int, body: int) -> Row:
    """As many requests as it can."""
    used, outcome = rig.measure(gateway, Load(connections, body, seconds=2.0))
    check(gateway, outcome.bad)
    return {"requests per CPU-s": outcome.requests / used, "p50 ms": outcome.whole[0]}


def starts(rig: Rig, gateway: Gateway, count: int) -> Row:
    """Streams that all begin at once: when each gets its first byte."""
    load = Load(count, 1 << 10, chunks=5, pace=20, together=True)
    direct = rig.play(rig.vendor, load)
    _, outcome = rig.measure(gateway, load)
    check(gateway, outcome.bad + outcome.unmetered)
    return {
        "first byte added ms": outcome.first[0] - direct.first[0],
        "first byte p99 ms": outcome.first[1],
    }


def memory(rig: Rig, gateway: Gateway, calls: int) -> Row:
    """Memory after a tenth of the calls, and after all of them."""
    done, early = 0, 0.0
    while done < calls:
        outcome = rig.serve(gateway, Load(32, 1 << 10, seconds=1.0))
        check(gateway, outcome.bad)
        done += outcome.requests
        if not early and done >= calls / 10:
            early = memory_mib(gateway.pid)
    return {"memory early MiB": early, "memory MiB": memory_mib(gateway.pid)}


def streams(rig: Rig, gateway: Gateway, count: int, scrape: bool = False) -> Row:  # noqa: FBT001
    """Paced streams, 50 chunks a second each; with `scrape`, metrics are read meanwhile."""
    load = Load(count, 1 << 10, chunks=150, pace=20)
    direct = rig.play(rig.vendor, load)
    with scraping(rig, gateway) if scrape and gateway.admin else nullcontext():
        used, outcome = rig.measure(gateway, load)
    check(gateway, outcome.bad + outcome.unmetered)
    return {
        "CPU µs a chunk": used * 1e6 / outcome.chunks,
        "first byte added ms": outcome.first[0] - direct.first[0],
        "chunk delay p50 ms": outcome.delay[0],
        "chunk delay p99 ms": outcome.delay[1],
        "memory MiB": memory_mib(gateway.pid),
    }


def beside(rig: Rig, gateway: Gateway, body: int) -> Row:
    """A stream of a chunk each 5 ms, while another client sends one large request after another."""
    load = Load(1, 1 << 10, chunks=400, pace=5)
    alone = rig.serve(gateway, load)
    large = Load(1, body, key=gateway.key or rig.key, headers=gateway.headers)
    with meanwhile(lambda: call(gateway.port, request(large, model_first=False)), pause=0.01):
        outcome = rig.serve(gateway, load)
    check(gateway, alone.bad + outcome.bad)
    return {
        "chunk delay p99 ms": outcome.delay[1],
        "latest chunk ms": outcome.latest,
        "latest chunk otherwise ms": alone.latest,
    }


def call(port: int, message: bytes) -> None:
    """Send a request, and read the answer to its end."""
    answer = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(message)
        while surplus_bytes(answer) is None:
            piece = connection.recv(65536)
            if not piece:
                raise ConnectionError("a large request has no whole answer")
            answer += piece


def scraping(rig: Rig, gateway: Gateway) -> AbstractContextManager[None]:
    """Read metrics ten times a second, as no Prometheus does, until the block ends."""
    return meanwhile(lambda: rig.scrape(gateway), pause=0.1)


@contextmanager
def meanwhile(work: Callable[[], object], *, pause: float) -> Iterator[None]:
    """Do `work` again and again, with pauses, until the block ends."""
    over = Event()

    def again() -> None:
        with on_core(REST):
            while not over.wait(pause):
                work()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(again)
        try:
            yield
        finally:
            over.set()
            running.result()


def check(gateway: Gateway, bad: int) -> None:
    if bad:
        sys.exit(f"{gateway.name}: {bad} answers were not whole")


def dialect(rig: Rig, gateway: Gateway, name: str) -> Row:
    """Calls and streams in a dialect."""
    used, outcome = rig.measure(gateway, Load(32, 1 << 10, seconds=1.0, dialect=name))
    load = Load(32, 1 << 10, chunks=50, pace=20, dialect=name)
    streaming, streamed = rig.measure(gateway, load)
    check(gateway, outcome.bad + outcome.unmetered + streamed.bad + streamed.unmetered)
    return {
        "requests per CPU-s": outcome.requests / used,
        "CPU µs a chunk": streaming * 1e6 / streamed.chunks,
    }


def growth(rig: Rig, number: int) -> Row:
    """One key calls, in a file of ten keys and in a large one."""
    load, found = Load(32, 1 << 10, seconds=0.3), {}
    sizes = (10, KEYS)
    gateways = [
        rig.sidecar(f"growth-{number}-{keys}", config=rig.config(idle_keys=keys - 1))
        for keys in sizes
    ]
    rig.compare(gateways, load, 2)  # warm
    for keys, gateway, (used, outcomes) in zip(
        sizes, gateways, rig.compare(gateways, load, 6), strict=True
    ):
        check(gateway, sum(each.bad for each in outcomes))
        found[f"{keys:,} keys, req/CPU-s"] = sum(each.requests for each in outcomes) / used
        rig.stop(gateway)
    return found


def reload(rig: Rig, number: int) -> Row:
    """A large file is replaced while a vendor's stream of a chunk each 5 ms passes."""
    name, text = f"reload-{number}", rig.config(idle_keys=KEYS)
    gateway = rig.sidecar(name, config=text)
    load = Load(1, 1 << 10, chunks=600, pace=5)
    quiet, before = rig.measure(gateway, load)
    file = rig.config_file(name)
    edited = file.with_suffix(".new")
    edited.write_text(text.replace("rpm: 1000", "rpm: 1001", 1))
    edited.chmod(0o600)
    reloads = rig.reloads(gateway)
    rig.settle(gateway)
    was = cpu_seconds(gateway.pid)
    edited.replace(file)
    os.kill(gateway.pid, signal.SIGHUP)
    latest, chunks, used, done = 0.0, 0, 0.0, False
    while not done:
        outcome = rig.serve(gateway, load)
        check(gateway, before.bad + outcome.bad)
        latest, chunks = max(latest, outcome.latest), chunks + outcome.chunks
        rig.settle(gateway)
        used = cpu_seconds(gateway.pid) - was - quiet * chunks / before.chunks
        done = rig.reloads(gateway) > reloads
    rig.stop(gateway)
    return {"latest chunk ms": latest, "otherwise ms": before.latest, "CPU s": used}


def scrape(_: Rig, __: int) -> Row:
    """The text of 200 keys and 20 models, all of which were called since the last scrape."""

    async def figures() -> Row:
        metrics = Metrics(version="bench")
        calls, cost = fill(metrics, *SCRAPED)
        await metrics.render()
        taken = await loop_time(metrics, calls, 10)
        pauses = await pauses_during(metrics.render, 10)
        return {
            "loop time ms": median(taken) * 1e3,
            "longest hold-up ms": median(pauses) * 1e3,
            "count a call CPU µs": cost * 1e6,
        }

    return asyncio.run(figures())


SCENARIOS: dict[str, Callable[[Rig, Gateway], Row]] = {
    "1 client, 1 KiB": lambda rig, gateway: latency(rig, gateway, 1 << 10),
    "1 client, 200 KiB": lambda rig, gateway: latency(rig, gateway, 200 << 10),
    "1 client, 2 MiB": lambda rig, gateway: latency(rig, gateway, 2 << 20),
    "32 clients, 1 KiB": lambda rig, gateway: throughput(rig, gateway, 32, 1 << 10),
    "16 clients, 200 KiB": lambda rig, gateway: throughput(rig, gateway, 16, 200 << 10),
    "1 stream": lambda rig, gateway: streams(rig, gateway, 1),
    "32 streams": lambda rig, gateway: streams(rig, gateway, 32),
    "256 streams": lambda rig, gateway: streams(rig, gateway, 256),
    "1000 streams": lambda rig, gateway: streams(rig, gateway, 1000),
    "32 starts at once": lambda rig, gateway: starts(rig, gateway, 32),
    "1 stream beside 2 MiB": lambda rig, gateway: beside(rig, gateway, 2 << 20),
    "32 streams, scraped": lambda rig, gateway: streams(rig, gateway, 32, scrape=True),
}
"""Every gateway takes part."""
OF_DIALECTS: dict[str, Callable[[Rig, Gateway], Row]] = {
    f"dialects, {name}": partial(dialect, name=name) for name in DIALECTS
}
"""Peers take no part: they are asked in OpenAI's dialect alone."""
OF_SIDECAR: dict[str, Callable[[Rig, int], Row]] = {
    "features": features.measure,
    "growth": growth,
    "reload": reload,
    "scrape": scrape,
}
"""What nothing can be compared with; Sidecar is started for it, or a part of it is measured."""
SHORT = {
    "lat1k": "1 client, 1 KiB",
    "lat200k": "1 client, 200 KiB",
    "lat2m": "1 client, 2 MiB",
    "thr1k": "32 clients, 1 KiB",
    "thr200k": "16 clients, 200 KiB",
    "paced1": "1 stream",
    "paced32": "32 streams",
    "paced256": "256 streams",
    "paced1000": "1000 streams",
    "start32": "32 starts at once",
    "beside2m": "1 stream beside 2 MiB",
    "scraped32": "32 streams, scraped",
    "scrape": "scrape",
}
"""Names for the command line; the others are short."""


def is_meant(only: str, name: str) -> bool:
    """Whether a scenario has this short name, or holds this text in its own."""
    return name == SHORT[only] if only in SHORT else only in name
