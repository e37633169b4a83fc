"""What a way with a queue is made of: a configuration, its limits, calls as Sidecar reads them."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from day.account import EPOCH, Quotas
from day.agents import Agent
from day.jobs import Answer, Job
from sidecar.config.loader import load
from sidecar.config.model import Snapshot
from sidecar.errors import LocalReply
from sidecar.http.body_memory import BodyMemory, HeldBody
from sidecar.http.headers import RequestFields
from sidecar.plugin_api.dialect import Facts
from sidecar.plugin_api.manager import Registry, discover
from sidecar.pricing import price_list
from sidecar.pricing.prices import Prices
from sidecar.records import Usage
from sidecar.routing import candidates
from sidecar.routing.call import Call
from sidecar.routing.candidates import Candidate
from sidecar.scheduling.lease import Sources
from sidecar.scheduling.scheduler import Scheduler
from sidecar.scheduling.windows import CountingLimiter

MODEL = "some-model"
PATHS = {"anthropic": "/v1/messages", "openai": "/v1/chat/completions"}
KINDS = {"requests": "rpm", "tokens": "tpm", "input-tokens": "itpm", "output-tokens": "otpm"}
"""What the file calls the vendors' quotas."""


class Laptop:
    """The file, and the scheduler that follows it. `written` are the limits that stand in it;
    `max_wait` is seconds."""

    def __init__(
        self, vendor: str, agents: Sequence[Agent], written: Quotas, max_wait: float, seed: str,
        state: Path,
    ) -> None:  # fmt: skip
        loop = asyncio.get_running_loop()
        self.max_wait = max_wait
        self.clock = loop.time
        self.draw = random.Random(seed).random
        sources = Sources(self.clock, self.wall, self.draw, loop.call_at)
        self.prices = Prices(price_list.load(), self.wall)
        self.scheduler = Scheduler(sources, self.prices, lambda _: None, state)
        self._snapshot = _snapshot(vendor, agents, written, max_wait)
        self._dialect = _registry().dialects[vendor]
        located = self._dialect.locate("POST", PATHS[vendor])
        assert located is not None
        self._located = located
        self._candidates = {name: self._plan(name) for name in self._snapshot.keys}
        self._body = bytes(1 << 20)
        self._bodies = BodyMemory(1 << 40, Path(), self.clock)
        self.scheduler.reconcile(self._snapshot)

    def wall(self) -> float:
        """The time of day."""
        return EPOCH + self.clock()

    def understood(self, job: Job) -> tuple[Call, Sequence[Candidate]]:
        """A job as Sidecar knows calls, and where it may go."""
        key = self._snapshot.keys[job.agent]
        body = self._body[: job.size]
        held = HeldBody(self._bodies)
        held.keep(body, body)
        call = Call(
            self._snapshot, key, self._dialect, self._located, self._located.endpoint, "POST", "",
            RequestFields(()), held, Facts((MODEL,), max_output=job.bound), MODEL, True, False, "",
            urgency=job.urgency,
        )  # fmt: skip
        return call, self._candidates[job.agent]

    def windows(self, call: Call, candidate: Candidate) -> list[CountingLimiter]:
        """Return the limits of the file that a call counts in."""
        limiters = self.scheduler.limiters(call.key, candidate, MODEL)
        return [each for each in limiters if isinstance(each, CountingLimiter)]

    def refused(self, why: LocalReply) -> Answer:
        """A refusal as `sidecar.proxy.responses.local_reply` sends it."""
        status, _ = self._dialect.error(why, "call_1")
        headers = {} if why.retryable else {"x-should-retry": "false"}
        if why.retry_after is not None:
            headers["retry-after"] = str(max(1, math.ceil(why.retry_after)))
            headers["retry-after-ms"] = str(max(1, math.ceil(why.retry_after * 1000)))
        return Answer(status, headers)

    def _plan(self, name: str) -> Sequence[Candidate]:
        key = self._snapshot.keys[name]
        endpoint = self._located.endpoint
        found = candidates.plan_candidates(
            key, self._dialect, endpoint, (MODEL,), lambda _: ((), ""), self.draw
        )
        candidates.require_candidates(found, key, endpoint, (MODEL,))
        return found.candidates


def usage(job: Job) -> Usage:
    """What the vendor reports of a job at its end."""
    read = job.fresh + job.cached
    return Usage(input_tokens=read, output_tokens=job.output, cache_read_tokens=job.cached)


@cache
def _registry() -> Registry:
    return discover()


def _snapshot(vendor: str, agents: Sequence[Agent], written: Quotas, max_wait: float) -> Snapshot:
    limits = ", ".join(f"{KINDS.get(n, n)}: {int(each)}" for n, each in written.items())
    keys = "".join(
        f"  {agent.name}: {{group: all, urgency: {agent.urgency.name.lower()},"
        f" hash: 'sha256:{number:064x}'}}\n"
        for number, agent in enumerate(agents, 1)
    )
    text = (
        f"defaults: {{max_wait: {max_wait:g}s}}\n"
        f"providers:\n  {vendor}: {{credential: none, limits: {{{limits}}}}}\n"
        f"groups:\n  all: {{vendor: {vendor}}}\nkeys:\n{keys}"
    )
    return load(text.encode(), file="day.yaml", registry=_registry())
