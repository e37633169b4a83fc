"""Three nodes, one of them killed, and a server that is killed, too: each ledger has what the
vendor sent, to the token, and no more calls ran at one time than the shared limit."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import pytest
from fleet_nodes import Node, fleet
from ledger_checks import rows
from real_redis import needs_redis, real_redis
from sample_answers import CHAT, body
from scripted_vendor import ScriptedVendor, Wire, answer

pytestmark = needs_redis
CLIENTS, SLOTS = 24, 20
"""Clients, eight for each node, and the calls that may run at one time."""
LAST_SECOND = 1.0
"""Seconds before a kill of which the ledger may lack calls."""


@dataclass
class BookVendor:
    """Records the tokens of each answer, and the most calls at one time."""

    sent: dict[str, tuple[int, int]] = field(default_factory=dict)
    at_once: int = 0
    most: int = 0

    async def __call__(self, wire: Wire) -> None:
        name = str(wire.request.json()["user"])
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await asyncio.sleep(random.uniform(0.0, 0.02))
        finally:
            self.at_once -= 1
        number = len(self.sent) + 1
        self.sent[name] = (number, number % 97)
        usage = {"prompt_tokens": number, "completion_tokens": number % 97}
        await answer(body(CHAT | {"usage": usage}))(wire)


@dataclass
class Fleet:
    """The calls to make, and when each ended, by its name."""

    nodes: list[Node]
    waiting: list[str]
    ended: dict[str, tuple[int, float]] = field(default_factory=dict)
    killed_at: float = 0.0
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    async def client(self, at: int) -> None:
        """Make calls, again if they are rejected; clients of the killed node use others."""
        while self.waiting:
            name = self.waiting.pop()
            self.moved.set()
            status = 0
            while status != 200:
                at = at if at or not self.killed_at else random.choice((1, 2))
                try:
                    status = (await self.nodes[at].ask(session=name)).status
                except (OSError, AssertionError):
                    assert at == 0  # it was killed
                    name += "-again"
                if status == 503:
                    await asyncio.sleep(0.05)
            self.ended[name] = (at, monotonic())

    async def until(self, left: int) -> None:
        while len(self.waiting) > left:
            self.moved.clear()
            await self.moved.wait()


@pytest.mark.timeout(600)
async def test_ledgers_of_a_fleet_agree_with_the_vendor_after_kills(
    tmp_path: Path, vendor: ScriptedVendor, pytestconfig: pytest.Config
) -> None:
    number = int(pytestconfig.getoption("--calls"))
    book = BookVendor()
    vendor.play(book)
    with real_redis("--appendonly", "yes", "--appendfsync", "always") as server:
        async with fleet(
            tmp_path, vendor, f"limits: {{concurrency: {SLOTS}}}", "60s", server=server.url,
            names=("a", "b", "c"), on_outage="refuse",
        ) as nodes:  # fmt: skip
            run = Fleet(nodes, [f"call-{each}" for each in range(number)])
            clients = [asyncio.create_task(run.client(each % 3)) for each in range(CLIENTS)]
            await run.until(number * 2 // 3)
            run.killed_at = monotonic()
            nodes[0].process.kill()
            await run.until(number // 3)
            server.kill()
            server.start()
            await asyncio.gather(*clients)
            for each in nodes[1:]:
                each.process.send_signal(signal.SIGTERM)
                await asyncio.to_thread(each.process.wait)
    assert book.most <= SLOTS
    assert len(run.ended) == number
    compare(run, book, [each.state for each in nodes])


def compare(run: Fleet, book: BookVendor, states: list[Path]) -> None:
    """Find each answer in the ledger of its node, once."""
    found: Counter[tuple[int, str]] = Counter()
    for at, state in enumerate(states):
        for row in rows(state):
            if row["status"] == 200:
                found[at, row["session"]] += 1
                tokens = (row["input_tokens"], row["output_tokens"])
                assert tokens == book.sent[row["session"]]
    assert set(found.values()) == {1}
    for name, (at, ended) in run.ended.items():
        is_late = at == 0 and ended > run.killed_at - LAST_SECOND
        assert found[at, name] or is_late, f"{name} is not in the ledger of its node"
