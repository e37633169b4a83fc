"""A client that costs little: connections that each send a request when the last one is answered.

    python bench/load.py

Reads one `Load` a line from stdin, as JSON, and prints its `Tally` as one line of JSON. It is
HTTP enough for answers that this benchmark's own vendor makes, and no further.
"""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from itertools import cycle
from typing import cast

from answers import DIALECTS, LAST_CHUNK
from bodies import message
from machine import run_fast

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STAMP = re.compile(rb"@(\d{16})")
_LONGEST_HEAD = 4096
_EVENT = b"data: "


@dataclass(frozen=True, slots=True)
class Load:
    """`connections` clients of `port`: for `seconds`, or for one stream each of `chunks` chunks,
    `pace` milliseconds apart. `extra` is appended to the query. `together`: all begin at once.
    `headers` are more of them, each with its line end. Not `exact`: events may be written anew, but
    every piece of text arrives. Not `asks_usage`: streams in OpenAI's dialect do not ask for it."""

    connections: int
    body: int
    seconds: float = 0.0
    chunks: int = 0
    pace: int = 20
    extra: str = ""
    together: bool = False
    port: int = 0
    key: str = ""
    headers: str = ""
    dialect: str = "openai"
    exact: bool = True
    asks_usage: bool = True

    @property
    def query(self) -> str:
        asked = [f"chunks={self.chunks}&pace={self.pace}"] if self.chunks else []
        return "&".join([*asked, self.extra] if self.extra else asked)

    @property
    def events(self) -> int | None:
        """How many events a whole stream has, with its usage; None for any number."""
        own = DIALECTS[self.dialect].own_events
        return self.chunks + own if self.chunks and self.exact else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a load. `bad`: answers that were not a whole 200; `unmetered`: streams without
    usage. Medians and 99th percentiles are milliseconds: `whole` of answers, `first` of the first
    byte of streams, `delay` of chunks since the vendor wrote them; `latest` is the longest."""

    requests: int
    chunks: int
    bad: int
    unmetered: int
    whole: tuple[float, float]
    first: tuple[float, float]
    delay: tuple[float, float]
    latest: float


@dataclass(slots=True)
class Tally:
    """What a client counts, with the seconds of each answer and chunk."""

    requests: int = 0
    chunks: int = 0
    bad: int = 0
    unmetered: int = 0
    whole: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    delay: list[float] = field(default_factory=list)

    def sum_up(self) -> Outcome:
        return Outcome(
            self.requests, self.chunks, self.bad, self.unmetered,
            whole=middle(self.whole), first=middle(self.first), delay=middle(self.delay),
            latest=max(self.delay, default=0.0) * 1000,
        )  # fmt: skip


def middle(seconds: list[float]) -> tuple[float, float]:
    """Median and 99th percentile, in milliseconds."""
    if len(seconds) < 2:
        return (seconds[0] * 1000,) * 2 if seconds else (0.0, 0.0)
    return statistics.median(seconds) * 1000, statistics.quantiles(seconds, n=100)[98] * 1000


class Client(asyncio.Protocol):
    """One connection. `done` is set when it has sent its last request and got its last answer."""

    def __init__(self, load: Load, tally: Tally, until: float, requests: Iterator[bytes]) -> None:
        self.load, self.tally, self.until, self.requests = load, tally, until, requests
        self.done = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None
        self.began = 0.0
        self.answer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are transports in all but their base class.
        self.transport = cast("asyncio.Transport", transport)
        if not self.load.together:
            self.send()

    def send(self) -> None:
        assert self.transport is not None
        self.answer.clear()
        self.began = time.monotonic()
        self.transport.write(next(self.requests))

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if self.load.chunks:
            if not self.answer:
                self.tally.first.append(now - self.began)
            for stamp in _STAMP.finditer(data):
                self.tally.delay.append(now - int(stamp[1]) / 1e9)
        self.answer += data
        if (surplus := surplus_bytes(self.answer)) is not None:
            self.finish(now, good=self.is_good() and not surplus)

    def is_good(self) -> bool:
        answer, tally, load = self.answer, self.tally, self.load
        events = answer.count(_EVENT)
        tally.chunks += events
        unmetered = DIALECTS[load.dialect].usage not in answer
        tally.unmetered += unmetered
        whole = len(_STAMP.findall(answer)) == load.chunks
        if load.events is not None:
            whole = whole and events == load.events - unmetered
        return whole and answer.startswith(b"HTTP/1.1 200")

    def finish(self, now: float, *, good: bool) -> None:
        self.tally.requests += 1
        self.tally.bad += not good
        self.tally.whole.append(now - self.began)
        if now < self.until and good:
            self.send()
            return
        self.done.set_result(None)

    def connection_lost(self, _: Exception | None) -> None:
        if not self.done.done():
            self.tally.bad += 1
            self.done.set_result(None)


def surplus_bytes(answer: bytearray) -> int | None:
    """How many bytes an answer has too many, or None while it has not come to its end. The vendor's
    texts never look like a last chunk."""
    if answer.endswith(LAST_CHUNK):
        return 0
    end = answer.find(b"\r\n\r\n")
    length = _LENGTH.search(answer, 0, end + 2) if 0 < end < _LONGEST_HEAD else None
    surplus = -1 if length is None else len(answer) - (end + 4 + int(length[1]))
    return None if surplus < 0 else surplus


@lru_cache(maxsize=8)
def request(load: Load, *, model_first: bool) -> bytes:
    return message(
        load.key, load.body, load.query, streaming=bool(load.chunks), model_first=model_first,
        dialect=load.dialect, headers=load.headers, asks_usage=load.asks_usage,
    )  # fmt: skip


async def play(load: Load) -> Tally:
    loop = asyncio.get_running_loop()
    tally = Tally()
    requests = cycle([request(load, model_first=first) for first in (False, True)])
    until = time.monotonic() + load.seconds
    clients = []
    for _ in range(load.connections):
        _, client = await loop.create_connection(
            lambda: Client(load, tally, until, requests), "127.0.0.1", load.port
        )
        clients.append(client)
        if load.chunks and not load.together:
            # Streams that run in step would be served in batches, which real ones are not.
            await asyncio.sleep(load.pace / 1000 / load.connections)
    for client in clients if load.together else ():
        client.send()
    async with asyncio.timeout(load.seconds + load.chunks * load.pace / 1000 + 30):
        await asyncio.gather(*(client.done for client in clients))
    for client in clients:
        if client.transport is not None:
            client.transport.close()
    return tally


async def main() -> None:
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(asdict(await play(Load(**json.loads(line))))), flush=True)


if __name__ == "__main__":
    run_fast(main())
