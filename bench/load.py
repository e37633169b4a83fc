"""A client that costs little: connections that each send a request when the last one is answered.

    python bench/load.py

Reads one `Load` a line from stdin, as JSON, and prints what came of it as one line of JSON. It is
HTTP enough for answers that this benchmark's own vendor makes, and no further.
"""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import sys
import time
from dataclasses import asdict, dataclass, field
from functools import lru_cache
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
    every piece of text arrives."""

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

    @property
    def query(self) -> str:
        asked = [f"chunks={self.chunks}&pace={self.pace}"] if self.chunks else []
        return "&".join([*asked, self.extra] if self.extra else asked)


@dataclass(slots=True)
class Outcome:
    """What came of a load. `bad`: answers that were not a whole 200; `unmetered`: streams without
    usage. Medians and 99th percentiles are milliseconds: `whole` of answers, `first` of the first
    byte of streams, `delay` of chunks since the vendor wrote them; `latest` is the longest."""

    requests: int = 0
    chunks: int = 0
    bad: int = 0
    unmetered: int = 0
    whole: tuple[float, float] = (0.0, 0.0)
    first: tuple[float, float] = (0.0, 0.0)
    delay: tuple[float, float] = (0.0, 0.0)
    latest: float = 0.0


@dataclass(slots=True)
class Tally:
    outcome: Outcome = field(default_factory=Outcome)
    whole: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    delay: list[float] = field(default_factory=list)

    def sum_up(self) -> Outcome:
        outcome = self.outcome
        outcome.whole, outcome.first = middle(self.whole), middle(self.first)
        outcome.delay = middle(self.delay)
        outcome.latest = max(self.delay, default=0.0) * 1000
        return outcome


def middle(seconds: list[float]) -> tuple[float, float]:
    """Median and 99th percentile, in milliseconds."""
    if len(seconds) < 2:
        return (seconds[0] * 1000,) * 2 if seconds else (0.0, 0.0)
    return statistics.median(seconds) * 1000, statistics.quantiles(seconds, n=100)[98] * 1000


class Client(asyncio.Protocol):
    """One connection. `done` is set when it has sent its last request and got its last answer."""

    def __init__(self, load: Load, tally: Tally, until: float) -> None:
        self.load, self.tally, self.until = load, tally, until
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
        number = self.tally.outcome.requests
        self.transport.write(request(self.load, model_first=bool(number % 2)))

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if self.load.chunks:
            if not self.answer:
                self.tally.first.append(now - self.began)
            for stamp in _STAMP.finditer(data):
                self.tally.delay.append(now - int(stamp[1]) / 1e9)
        self.answer += data
        if is_whole(self.answer):
            self.finish(now, good=self.is_good())

    def is_good(self) -> bool:
        answer, outcome, load = self.answer, self.tally.outcome, self.load
        dialect = DIALECTS[load.dialect]
        events = answer.count(_EVENT)
        outcome.chunks += events
        unmetered = dialect.usage not in answer
        outcome.unmetered += unmetered
        whole = len(_STAMP.findall(answer)) == load.chunks
        if load.chunks and load.exact:
            whole = events == load.chunks + dialect.own_events - unmetered
        return whole and answer.startswith(b"HTTP/1.1 200")

    def finish(self, now: float, *, good: bool) -> None:
        self.tally.outcome.requests += 1
        self.tally.outcome.bad += not good
        self.tally.whole.append(now - self.began)
        if now < self.until and good:
            self.send()
            return
        self.done.set_result(None)

    def connection_lost(self, _: Exception | None) -> None:
        if not self.done.done():
            self.tally.outcome.bad += 1
            self.done.set_result(None)


def is_whole(answer: bytearray) -> bool:
    """Whether an answer has come to its end. The vendor's texts never look like a last chunk."""
    if answer.endswith(LAST_CHUNK):
        return True
    end = answer.find(b"\r\n\r\n")
    length = _LENGTH.search(answer, 0, end + 2) if 0 < end < _LONGEST_HEAD else None
    return length is not None and len(answer) == end + 4 + int(length[1])


@lru_cache(maxsize=8)
def request(load: Load, *, model_first: bool) -> bytes:
    return message(
        load.key, load.body, load.query, streaming=bool(load.chunks), model_first=model_first,
        dialect=load.dialect, headers=load.headers,
    )  # fmt: skip


async def play(load: Load) -> Outcome:
    loop = asyncio.get_running_loop()
    tally = Tally()
    request(load, model_first=True), request(load, model_first=False)
    until = time.monotonic() + load.seconds
    clients = []
    for _ in range(load.connections):
        _, client = await loop.create_connection(
            lambda: Client(load, tally, until), "127.0.0.1", load.port
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
    return tally.sum_up()


async def main() -> None:
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(asdict(await play(Load(**json.loads(line))))), flush=True)


if __name__ == "__main__":
    run_fast(main())
