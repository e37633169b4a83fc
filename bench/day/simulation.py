"""Plays one day: ten agents, one way, one account, in virtual time."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import floor, inf, log10
from pathlib import Path

from virtual_time import run

from day import ways
from day.account import Account, Quotas, calm
from day.agents import Agent, steps, ten, work
from day.figures import Figures, Watch
from day.jobs import Job, Unreachable
from day.laptop import Laptop
from day.scenarios import Scenario
from sidecar.config.model import Urgency

WAYS: Mapping[str, Callable[[Laptop, Account], ways.Way]] = {
    "sidecar": ways.Sidecar,
    "fifo": ways.Fifo,
    "none": lambda _, account: ways.Direct(account),
}
SLOTS = 24
"""Calls that the account takes at one time."""
ASLEEP = 3600.0
"""A client that would sleep for longer has failed its user."""


def play(scenario: Scenario, quotas: Quotas, way: str, seed: int, hours: float) -> Figures:
    """What came of one day."""
    return _play(scenario, quotas, way, seed, hours).figures()


def quotas_for(scenario: Scenario, seed: int, hours: float) -> Quotas:
    """The account's quotas: what the agents would use of an endless one, by the demand."""
    quotas = {
        name: _round(amount / scenario.demand * (1 if name == scenario.short else 2))
        for name, amount in _wanted(scenario, seed, hours).items()
    }
    return quotas | {"concurrency": SLOTS}


def _wanted(scenario: Scenario, seed: int, hours: float) -> Quotas:
    """What the agents use in a minute of an account without limits."""
    names = ("requests", "tokens", "input-tokens", "output-tokens")
    endless = dict.fromkeys(names, 1e12) | {"concurrency": inf}
    without = replace(scenario, written=False, trouble=calm)
    watch = _play(without, endless, "none", seed, hours)
    used = {name: pool.counted for name, pool in watch.account.pools.items() if pool.counted}
    return {name: amount / (hours * scenario.part * 60) for name, amount in used.items()}


def _play(scenario: Scenario, quotas: Quotas, way: str, seed: int, hours: float) -> Watch:
    until = hours * scenario.part * 3600
    with tempfile.TemporaryDirectory() as state:
        return run(lambda: _day(scenario, quotas, way, seed, until, Path(state)))


async def _day(
    scenario: Scenario, quotas: Quotas, way: str, seed: int, until: float, state: Path
) -> Watch:
    clock = asyncio.get_running_loop().time
    shape = scenario.shape()
    account = Account(shape, quotas, scenario.trouble, f"{seed}/vendor", clock)
    agents = ten(shape.vendor, scenario.widths, rest=scenario.rest)
    equal = frozenset(each.name for each in agents if each.urgency is Urgency.BACKGROUND)
    watch = Watch(account, clock, equal)
    account.begins = watch.begins
    written = quotas if scenario.written else {}
    laptop = Laptop(shape.vendor, agents, written, scenario.max_wait, f"{seed}/sidecar", state)
    chosen = WAYS[way](laptop, account)
    async with asyncio.TaskGroup() as group:
        for agent in agents:
            plan = steps(agent, random.Random(f"{seed}/{agent.name}"))
            again = random.Random(f"{seed}/{agent.name}/again")
            server = _Server(agent, chosen, watch, again)
            group.create_task(work(plan, server.serve, until))
    return watch


@dataclass(frozen=True)
class _Server:
    """An agent's calls, each with its client's timeout."""

    agent: Agent
    way: ways.Way
    watch: Watch
    draw: random.Random

    async def serve(self, job: Job) -> None:
        """One call to its end, good or bad."""
        job.asked = self.watch.clock()
        self.watch.asks(job)
        failures = 0
        while True:
            try:
                answer = await self.way.call(job)
            except Unreachable:
                answer = None
            if answer is not None and answer.status == 200:
                return self.watch.ends(job, served=True)
            failures += 1
            pause = self.agent.client.again(answer, failures, self.draw)
            if pause is None or pause > ASLEEP:
                return self.watch.ends(job, served=False)
            await asyncio.sleep(pause)


def _round(amount: float) -> int:
    """To two digits."""
    digit: int = 10 ** max(0, floor(log10(amount)) - 1)
    return round(amount / digit) * digit
