"""Ten agents of one laptop: one that a person talks to, three that work by themselves, six that
work off lists.

What an agent wants is drawn from its own random numbers, in its own order: the same day whatever
lies between it and the vendor. It asks for the next thing when it has the last one.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from day.clients import ClaudeCode, Client, Codex, Stainless
from day.jobs import Job
from sidecar.config.model import Urgency

WIDTHS = (2, 3, 3, 4, 5, 8)
"""How many calls each of the agents that work off lists wants at one time: some are greedier."""
BOUNDS = {Urgency.INTERACTIVE: 8192, Urgency.NORMAL: 8192, Urgency.BACKGROUND: 4096}
"""The largest answers that each kind asks for, in tokens."""
OPENING, COMPACTED = 12_000, 60_000
"""Tokens of instructions and tools that a conversation begins with, and to which it is cut back."""


@dataclass(frozen=True)
class Agent:
    """One agent, by its key's name. Whoever never `rests` begins the next list at once."""

    name: str
    urgency: Urgency
    client: Client
    width: int = 1
    rests: bool = True


@dataclass(frozen=True)
class Step:
    """After `pause` seconds, these calls, `width` at a time, each after some work of its own that
    takes `work` seconds."""

    pause: float
    jobs: Sequence[tuple[float, Job]]
    width: int


def ten(vendor: str, widths: Sequence[int] = WIDTHS, *, rest: bool = True) -> list[Agent]:
    """The agents, with the clients that speak this vendor's API."""
    sdk = Stainless(None if vendor == "anthropic" else 120.0)
    coder: Client = ClaudeCode() if vendor == "anthropic" else Codex()
    normal = [coder, coder, sdk]
    return [
        Agent("person", Urgency.INTERACTIVE, coder),
        *(Agent(f"coder {n}", Urgency.NORMAL, each) for n, each in enumerate(normal, 1)),
        *(
            Agent(f"list {n}", Urgency.BACKGROUND, sdk, each, rest)
            for n, each in enumerate(widths, 1)
        ),
    ]


def steps(agent: Agent, draw: random.Random) -> Iterator[Step]:
    """What an agent does, without an end."""
    kinds = {Urgency.INTERACTIVE: _talk, Urgency.NORMAL: _tasks, Urgency.BACKGROUND: _lists}
    return kinds[agent.urgency](agent, draw)


def _talk(agent: Agent, draw: random.Random) -> Iterator[Step]:
    """Turns, each a chain of tool calls; now and then a longer break, and a new conversation."""
    while True:
        pause, conversation = draw.uniform(600, 1800), _Conversation(agent, draw)
        for _ in range(draw.randint(10, 25)):
            pause += 5 + draw.expovariate(1 / 40)
            for _ in range(draw.randint(2, 12)):
                yield Step(pause, [(0.0, conversation.job(1800, 350))], 1)
                pause = draw.uniform(0.2, 3.0)


def _tasks(agent: Agent, draw: random.Random) -> Iterator[Step]:
    """Tasks of many steps, some of which fan out a little; each task is a new conversation."""
    while True:
        pause, conversation = draw.uniform(60, 420), _Conversation(agent, draw)
        for _ in range(draw.randint(20, 70)):
            several = draw.randint(2, 4) if draw.random() < 0.1 else 1
            jobs = [(0.0, conversation.job(2200, 450)) for _ in range(several)]
            yield Step(pause, jobs, several)
            pause = draw.uniform(0.5, 8.0)


def _lists(agent: Agent, draw: random.Random) -> Iterator[Step]:
    """Lists of like things to do, several at a time. Who does more at a time has longer lists."""
    while True:
        count = agent.width * draw.randint(6, 20)
        jobs = [(draw.uniform(1, 15), _job(agent, draw, 4000, 0, 700)) for _ in range(count)]
        yield Step(draw.uniform(20, 180) if agent.rests else 0.0, jobs, agent.width)


class _Conversation:
    """Grows from call to call. What was said before is read from the vendor's cache; at first,
    nothing is there yet."""

    def __init__(self, agent: Agent, draw: random.Random) -> None:
        self._agent = agent
        self._draw = draw
        self._said = 0

    def job(self, fresh: int, output: int) -> Job:
        """Its next call."""
        opening = 0 if self._said else OPENING
        job = _job(self._agent, self._draw, fresh, self._said, output)
        job.fresh += opening
        job.size += opening * 4
        self._said = min(self._said + job.fresh + job.output, COMPACTED)
        return job


def _job(agent: Agent, draw: random.Random, fresh: int, cached: int, output: int) -> Job:
    """A call of about this size: log-normal, with a long tail."""
    bound = BOUNDS[agent.urgency]
    fresh = int(fresh * draw.lognormvariate(0, 0.5))
    output = min(bound, int(output * draw.lognormvariate(0, 0.7)))
    size = int((fresh + cached) * draw.uniform(3.3, 4.4))
    return Job(agent.name, agent.urgency, size, fresh, cached, output, bound)


async def work(plan: Iterator[Step], serve: Callable[[Job], Awaitable[None]], until: float) -> None:
    """Do what an agent does until a moment; what was begun then is brought to its end."""
    clock = asyncio.get_running_loop().time
    for step in plan:
        await asyncio.sleep(step.pause)
        jobs = iter(step.jobs)

        async def worker(jobs: Iterator[tuple[float, Job]] = jobs) -> None:
            for pause, job in jobs:
                await asyncio.sleep(pause)
                if clock() >= until:
                    return
                await serve(job)

        if step.width == 1:
            await worker()
        else:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(step.width, len(step.jobs))):
                    group.create_task(worker())
        if clock() >= until:
            return
