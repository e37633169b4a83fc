"""A vendor's account in virtual time: what it allows, what it says of it, and its bad minutes.

Quotas are token buckets that fill up all the time, as Anthropic documents its own and OpenAI's
headers show theirs. Rate headers are in the vendor's own shape.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from day.jobs import Answer, Job, Unreachable

EPOCH = 1_795_600_800.0
"""The time of day at which a day begins, in seconds since the epoch."""
REFUSING = 0.15
"""Seconds that a vendor takes to say no."""


@dataclass(slots=True)
class Pool:
    """One quota: so much a minute. `counted` is all that was ever taken."""

    limit: float
    level: float = field(init=False)
    counted: float = 0.0
    at: float = 0.0

    def __post_init__(self) -> None:
        self.level = self.limit

    def fill(self, now: float) -> None:
        self.level = min(self.limit, self.level + (now - self.at) * self.limit / 60)
        self.at = now

    def take(self, amount: float) -> None:
        self.level -= amount
        self.counted += amount

    def lacks(self, amount: float) -> float:
        """Seconds until so much is there; one that is full gives anything."""
        missing = min(amount, self.limit) - self.level
        return max(0.0, missing) * 60 / self.limit

    def until_full(self) -> float:
        """Seconds until it is full."""
        return (self.limit - self.level) * 60 / self.limit


Pools = Mapping[str, Pool]
Quotas = Mapping[str, float]
"""Amounts a minute, by the name of what they count; `concurrency` is of calls at one time."""


class Shape(Protocol):
    """How a vendor counts, and how it says so."""

    vendor: str

    def first(self, job: Job) -> Mapping[str, float]:
        """What a call takes, and must find there, when it begins."""

    def last(self, job: Job) -> Mapping[str, float]:
        """What it takes by its end."""

    def headers(self, pools: Pools, now: float) -> dict[str, str]:
        """What is left."""

    def wait(self, seconds: float) -> dict[str, str]:
        """When to come again."""


class Anthropic:
    """Output is counted as it is made; tokens left are rounded to thousands, resets to seconds."""

    vendor = "anthropic"

    def first(self, job: Job) -> Mapping[str, float]:
        return {"requests": 1, "input-tokens": job.fresh, "output-tokens": 0}

    def last(self, job: Job) -> Mapping[str, float]:
        return {"output-tokens": job.output}

    def headers(self, pools: Pools, now: float) -> dict[str, str]:
        said = {}
        for name, pool in pools.items():
            stem = f"anthropic-ratelimit-{name}"
            grain = 1 if name == "requests" else 1000
            full = datetime.fromtimestamp(EPOCH + now + pool.until_full(), UTC)
            said[f"{stem}-limit"] = str(int(pool.limit))
            said[f"{stem}-remaining"] = str(max(0, round(pool.level / grain) * grain))
            said[f"{stem}-reset"] = full.strftime("%Y-%m-%dT%H:%M:%SZ")
        return said

    def wait(self, seconds: float) -> dict[str, str]:
        return {"retry-after": str(math.ceil(seconds))}


class OpenAI:
    """The largest answer asked for is counted up front, and nothing of it is given back."""

    vendor = "openai"

    def first(self, job: Job) -> Mapping[str, float]:
        return {"requests": 1, "tokens": job.fresh + job.bound}

    def last(self, job: Job) -> Mapping[str, float]:
        return {}

    def headers(self, pools: Pools, now: float) -> dict[str, str]:
        said = {}
        for name, pool in pools.items():
            said[f"x-ratelimit-limit-{name}"] = str(int(pool.limit))
            said[f"x-ratelimit-remaining-{name}"] = str(max(0, int(pool.level)))
            said[f"x-ratelimit-reset-{name}"] = f"{math.ceil(pool.until_full() * 1000)}ms"
        return said

    def wait(self, seconds: float) -> dict[str, str]:
        milliseconds = math.ceil(seconds * 1000)
        return {"retry-after-ms": str(milliseconds), "retry-after": str(math.ceil(seconds))}


Trouble = Callable[[float, random.Random], Answer | None]
"""What comes in place of an answer at a moment: a no, None for nothing; raises `Unreachable`."""


class Account:
    """What all calls of a day go to. `begins` hears of every call that is taken up; `throttled`
    counts the 429s by its quotas, `troubled` the calls that met a bad minute."""

    def __init__(
        self, shape: Shape, quotas: Quotas, trouble: Trouble, seed: str,
        clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self.shape = shape
        self.pools = {n: Pool(each) for n, each in quotas.items() if n != "concurrency"}
        self.begins: Callable[[Job], None] = lambda _: None
        self.requests = self.throttled = self.troubled = 0
        self._slots = quotas["concurrency"]
        self._trouble = trouble
        self._random = random.Random(seed)
        self._clock = clock
        self._running = 0

    async def ask(self, job: Job) -> Answer:
        """The head of an answer. After a 200, `finish` is to be awaited. Raises `Unreachable`."""
        self.requests += 1
        no = self._spoilt() or self._no(job)
        if no is not None:
            await asyncio.sleep(REFUSING)
            return no
        self._take(self.shape.first(job))
        self._running += 1
        job.begun = self._clock()
        self.begins(job)
        await asyncio.sleep(0.4 + job.fresh / 20_000 + job.cached / 200_000)
        return Answer(200, self._headers(), job.output / 70)

    async def finish(self, job: Job, answer: Answer) -> None:
        """The body of an answer, to its end."""
        try:
            await asyncio.sleep(answer.rest)
        finally:
            self._running -= 1
            self._take(self.shape.last(job))

    def _spoilt(self) -> Answer | None:
        """What trouble makes of a call."""
        try:
            bad = self._trouble(self._clock(), self._random)
        except Unreachable:
            self.troubled += 1
            raise
        self.troubled += bad is not None
        return bad

    def _no(self, job: Job) -> Answer | None:
        """What the quotas make of a call."""
        now, wait = self._clock(), 0.0
        for name, amount in self.shape.first(job).items():
            self.pools[name].fill(now)
            wait = max(wait, self.pools[name].lacks(amount))
        if self._running >= self._slots:
            wait = max(wait, 1.0)
        if not wait:
            return None
        self.throttled += 1
        return Answer(429, self._headers() | self.shape.wait(wait))

    def _take(self, amounts: Mapping[str, float]) -> None:
        for name, amount in amounts.items():
            self.pools[name].fill(self._clock())
            self.pools[name].take(amount)

    def _headers(self) -> dict[str, str]:
        now = self._clock()
        for pool in self.pools.values():
            pool.fill(now)
        return self.shape.headers(self.pools, now)


def calm(now: float, draw: random.Random) -> Answer | None:
    """No trouble at all."""
    return None


@dataclass(frozen=True)
class Spells:
    """From `first` on, every `every` seconds for `length` seconds: a `share` of calls get
    `answer`, or no connection."""

    first: float
    every: float
    length: float
    share: float
    answer: Answer | None

    def __call__(self, now: float, draw: random.Random) -> Answer | None:
        on = now >= self.first and (now - self.first) % self.every < self.length
        if not on or draw.random() >= self.share:
            return None
        if self.answer is None:
            raise Unreachable
        return self.answer


@dataclass(frozen=True)
class Hints:
    """A `share` of calls get a 429 with one of these as its `retry-after` (None: without)."""

    share: float
    hints: tuple[str | None, ...]

    def __call__(self, now: float, draw: random.Random) -> Answer | None:
        if draw.random() >= self.share:
            return None
        hint = draw.choice(self.hints)
        return Answer(429, {} if hint is None else {"retry-after": hint})
