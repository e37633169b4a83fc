"""The latest use of a key by any process that shares state."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from lease_rooms import NOON
from ledger_checks import used
from manual_clock import HandClock
from real_redis import needs_redis, redis_server

from sidecar.ledger.ledger import Ledger
from sidecar.ledger.shared_times import PUBLISH_SECONDS, SharedTimes
from sidecar.records import KeyTimes
from sidecar.shared.engine import Engine, open_engine

pytestmark = needs_redis


class Pair:
    """Two processes with ledgers of their own, on one server and one clock."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.engines: list[Engine] = []
        self.ledgers: list[Ledger] = []

    def wall(self) -> float:
        return NOON + self.clock.now

    def share(self) -> None:
        for host, engine, ledger in zip("ab", self.engines, self.ledgers, strict=True):
            ledger.share(SharedTimes(engine.facts, host, self.wall))

    async def sync(self) -> None:
        for each in self.engines * 2:
            await each.facts.sync()


@asynccontextmanager
async def pair(folder: Path) -> AsyncIterator[Pair]:
    found = Pair()
    async with AsyncExitStack() as stack:
        server = stack.enter_context(redis_server())
        for name in "ab":
            (folder / name).mkdir()
            opened = open_engine(server, "n", found.clock, found.wall)
            found.engines.append(await stack.enter_async_context(opened))
            ledger = Ledger(folder / name, wall=found.wall)
            found.ledgers.append(await stack.enter_async_context(ledger))
        yield found


async def test_use_of_a_key_shows_the_latest_of_all_processes_and_its_machine(
    tmp_path: Path,
) -> None:
    async with pair(tmp_path) as both:
        a, b = both.ledgers
        used(a, "k", "codex/1.0")
        both.share()
        await both.sync()
        assert b.times_of_all("k") == KeyTimes(None, NOON, None, "codex/1.0", "a")
        assert b.times("k") == KeyTimes()
        both.clock.advance(1)
        used(b, "k", "claude/2.0")
        await both.sync()
        assert b.times_of_all("k") == KeyTimes(NOON + 1, NOON + 1, None, "claude/2.0")
        assert a.times_of_all("k") == KeyTimes(NOON, NOON + 1, None, "claude/2.0", "b")


async def test_use_before_a_later_one_elsewhere_does_not_replace_it(tmp_path: Path) -> None:
    async with pair(tmp_path) as both:
        a, b = both.ledgers
        both.share()
        used(a, "k")
        both.clock.advance(1)
        used(b, "k")
        await both.engines[1].facts.sync()  # the earlier use arrives later
        await both.sync()
        assert a.times_of_all("k").host == "b"
        assert b.times_of_all("k").host == ""


async def test_use_of_a_busy_key_is_sent_every_thirty_seconds_alone(tmp_path: Path) -> None:
    async with pair(tmp_path) as both:
        a, b = both.ledgers
        both.share()
        seen = set()
        for _ in range(6):
            used(a, "k")
            await both.sync()
            seen.add(b.times_of_all("k").last_used)
            both.clock.advance(PUBLISH_SECONDS / 3)
        assert seen == {NOON, NOON + PUBLISH_SECONDS}


async def test_use_on_a_machine_whose_clock_is_ahead_is_shown_as_now(tmp_path: Path) -> None:
    async with pair(tmp_path) as both:
        both.share()
        text = '{"at": 1e300, "program": "p", "host": "h\\u001b[2J"}'
        both.engines[0].facts.publish("used", "k", text, 60.0)
        await both.sync()
        found = both.ledgers[1].times_of_all("k")
        assert (found.last_used, found.host) == (both.wall(), "h\\x1b[2J")
