"""Two hundred processes share one account through a real server, in virtual time.

Each process is the real scheduler with the real engine, on connections of its own to one Redis. Its
clock and the server's are those of the simulation, as are the agents and the vendor, which counts
sixty seconds exactly and answers 429 beyond its quota. Together the agents ask for more than the
account has. Run: `python bench/fleet.py`; docs/performance.md has the figures.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from argparse import ArgumentParser
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent / "tests/support"))

from lease_rooms import NOON, Process, open_process, snapshot
from real_redis import all_answered, redis_server
from virtual_time import run

from sidecar.config.model import Snapshot, Urgency
from sidecar.scheduling.limiter import demand_of
from sidecar.shared.engine import open_engine

WARM_SECONDS = 120.0
"""Seconds at the beginning that do not count: the account is unused, then all begin at once."""
FOR_EVER = 1e6
LEAST_USED = 0.95
TURN = 10
URGENCIES = (Urgency.INTERACTIVE, *[Urgency.NORMAL] * 4, *[Urgency.BACKGROUND] * 5)
"""Of ten processes."""


class Scenario(NamedTuple):
    """An account, and what its processes ask for; quotas are for each process.

    Attributes:
        tokens: The least and the most tokens of a call.
        over: By what part a call's estimate exceeds its tokens at most.
        headroom: Whether the limits keep headroom for more urgent calls.
        agents: The agents of a process, each with one call at a time.
        seconds: Seconds that a call takes, and that an agent thinks before the next.
    """

    title: str
    rpm: float
    tpm: float
    tokens: tuple[int, int] = (50, 350)
    over: float = 0.5
    headroom: bool = False
    agents: int = 1
    seconds: float = 4.0

    @property
    def calls(self) -> float:
        """The calls of an agent in a minute that the account has room for."""
        return min(self.rpm, self.tpm / (sum(self.tokens) / 2)) / self.agents

    @property
    def longest_wait(self) -> float:
        """The longest wait that is foreseen: the oldest call of all gets one of ten leases."""
        return 60 + TURN * 60 / self.calls


SCENARIOS = (
    Scenario("requests are scarce", rpm=3, tpm=1e6),
    Scenario("tokens are scarce", rpm=1e4, tpm=600),
    Scenario("both are scarce, headroom", rpm=3, tpm=600, over=0.1, headroom=True),
    Scenario("requests are very scarce", rpm=1, tpm=1e6, agents=2),
)


@dataclass
class Account:
    """What the vendor counts in sixty seconds, and what it rejects."""

    rpm: int
    tpm: int
    accepted: list[tuple[float, int]] = field(default_factory=list)
    rejected: int = 0
    _recent: deque[tuple[float, int]] = field(default_factory=deque)
    _tokens: int = 0

    def ask(self, now: float, tokens: int) -> None:
        """A call arrives."""
        now = round((NOON + now) * 1e6) - NOON * 1e6  # the tick of the server's clock
        while self._recent and self._recent[0][0] <= now - 60e6:
            self._tokens -= self._recent.popleft()[1]
        if len(self._recent) >= self.rpm or self._tokens + tokens > self.tpm:
            self.rejected += 1
            return
        self._recent.append((now, tokens))
        self._tokens += tokens
        self.accepted.append((now / 1e6, tokens))

    def used(self, until: float) -> float:
        """The part of the scarcer quota that was used after the warm-up."""
        counted = [tokens for at, tokens in self.accepted if at >= WARM_SECONDS]
        minutes = (until - WARM_SECONDS) / 60
        return max(len(counted) / self.rpm, sum(counted) / self.tpm) / minutes


@dataclass
class Agent:
    """Calls, thinks, and calls again, for ever."""

    process: Process
    urgency: Urgency
    draw: random.Random
    waits: list[float] = field(default_factory=list)
    asked_at: float | None = None

    async def work(self, file: Snapshot, scenario: Scenario, account: Account) -> None:
        clock = asyncio.get_running_loop().time
        await asyncio.sleep(self.draw.uniform(0, scenario.seconds))
        while True:
            used = self.draw.randint(*scenario.tokens)
            estimate = round(used * self.draw.uniform(1.0, 1.0 + scenario.over))
            waiter = self.process.call(file, "a", demand_of(estimate, 0), self.urgency)
            self.asked_at = began = clock()
            lease = await self.process.leases.acquire(waiter, FOR_EVER)
            self.asked_at = None
            account.ask(clock(), used)
            if clock() >= WARM_SECONDS:
                self.waits.append(clock() - began)
            await asyncio.sleep(self.draw.uniform(0.5, 1.5) * scenario.seconds)
            lease.settle(demand_of(used, 0))
            await asyncio.sleep(self.draw.expovariate(1 / self.thinks(scenario)))

    def thinks(self, scenario: Scenario) -> float:
        """Seconds between two calls: people think for longer, so that they leave room."""
        return scenario.seconds + (60.0 if self.urgency is Urgency.INTERACTIVE else 0.0)

    def longest(self, now: float) -> float:
        """The longest wait, that of the call that waits now included."""
        return max([*self.waits, 0.0 if self.asked_at is None else now - self.asked_at])


class Result(NamedTuple):
    """What a fleet did; `seconds` are those of the machine."""

    scenario: Scenario
    account: Account
    agents: list[Agent]
    until: float
    seconds: float

    @property
    def used(self) -> float:
        """The part of the scarcer quota that was used."""
        return self.account.used(self.until)

    @property
    def longest(self) -> float:
        """The longest wait of a call."""
        return max(each.longest(self.until) for each in self.agents)

    @property
    def is_good(self) -> bool:
        """Whether the vendor rejects no call, the quota is used, and no process starves."""
        return (
            not self.account.rejected
            and self.used >= LEAST_USED
            and self.longest <= self.scenario.longest_wait
        )

    def of(self, urgency: Urgency) -> list[Agent]:
        """The agents of an urgency."""
        return [each for each in self.agents if each.urgency is urgency]


def play(scenario: Scenario, nodes: int, minutes: float, seed: int) -> Result:
    """Let a fleet work for so many virtual minutes."""
    with redis_server() as server, all_answered(server) as receive:
        return run(partial(_play, scenario, nodes, minutes * 60, seed, server), receive)


async def _play(scenario: Scenario, nodes: int, until: float, seed: int, server: str) -> Result:
    began, loop = time.monotonic(), asyncio.get_running_loop()
    account = Account(round(scenario.rpm * nodes), round(scenario.tpm * nodes))
    file = snapshot(
        f"limits: {{rpm: {account.rpm}, tpm: {account.tpm}}}"
        + (", headroom: {background: 10%, normal: 3%}" if scenario.headroom else "")
    )

    def wall() -> float:
        return NOON + loop.time()

    agents: list[Agent] = []
    async with AsyncExitStack() as stack:
        for at in range(nodes):
            engine = await stack.enter_async_context(open_engine(server, "n", loop.time, wall))
            process = open_process(file, loop.time, wall, loop.call_at, engine)
            for number in range(scenario.agents):
                draw = random.Random(f"{seed}/{at}/{number}")
                agents.append(Agent(process, URGENCIES[at % len(URGENCIES)], draw))
        working = [asyncio.create_task(each.work(file, scenario, account)) for each in agents]
        await asyncio.sleep(until - loop.time())
        for each in working:
            each.cancel()
        await asyncio.gather(*working, return_exceptions=True)
    return Result(scenario, account, agents, until, time.monotonic() - began)


def lines(result: Result) -> Iterator[str]:
    """Text of a result."""
    account = result.account
    yield (
        f"{result.scenario.title}: {account.rejected} of {len(account.accepted)} calls rejected,"
        f" {result.used:.1%} used, longest wait {result.longest:.0f} s, in {result.seconds:.0f} s"
        + ("" if result.is_good else "   MISSED")
    )
    for urgency in Urgency:
        agents = result.of(urgency)
        waits = sorted(wait for each in agents for wait in each.waits) or [0.0]
        median, late = (waits[len(waits) * part // 100] for part in (50, 95))
        calls = [len(each.waits) for each in agents]
        yield (
            f"  {urgency.name.lower():12}{len(agents):4} agents,"
            f" {min(calls)} to {max(calls)} calls each,"
            f" median wait {median:.1f} s, 95 % {late:.1f} s,"
            f" longest {max(each.longest(result.until) for each in agents):.0f} s"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the results; 1 when an aim is missed."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="scenarios with this text in their title")
    options = parser.parse_args(arguments)
    is_good = True
    for scenario in SCENARIOS:
        if (options.only or "") in scenario.title:
            result = play(scenario, options.nodes, options.minutes, options.seed)
            print("\n".join(lines(result)), flush=True)
            is_good &= result.is_good
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
