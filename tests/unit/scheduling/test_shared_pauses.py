"""Pauses of several processes on one server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from namespaces import Namespace, namespace
from real_redis import needs_redis, redis_server

from sidecar.config.loader import load
from sidecar.config.model import Snapshot
from sidecar.plugin_api.manager import discover
from sidecar.scheduling.pauses import COMMANDS, EVERYTHING, Pauses, PauseTarget, hashes_of
from sidecar.shared.engine import Engine

pytestmark = needs_redis
REGISTRY = discover()
KEY = ("key", "night ly/x")
SHARED_BY = "the command line at host0"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with redis_server() as url:
        yield url


class Process:
    """The pauses of one process, stored in a directory of its own."""

    def __init__(self, state: Path, engine: Engine) -> None:
        state.mkdir(exist_ok=True)
        self.engine, self.changes = engine, 0
        self.pauses = Pauses(state, lambda: 1.8e9)
        self.pauses.on_adopted = self._count
        self.pauses.share(engine.facts, engine.about().host)

    def _count(self) -> None:
        self.changes += 1

    async def sync(self) -> dict[PauseTarget, str]:
        await self.engine.facts.sync()
        return {each.target: each.by for each in self.pauses}


async def join(to: Namespace, state: Path) -> Process:
    engine, _ = await to.join()
    return Process(state, engine)


async def test_pause_and_resume_hold_in_every_process(server: str, tmp_path: Path) -> None:
    async with namespace(server) as found:
        one, other = [await join(found, tmp_path / name) for name in "ab"]
        assert one.pauses.pause(KEY, by=COMMANDS)
        assert await one.sync() == await other.sync() == {KEY: SHARED_BY}
        assert list(other.pauses.limiters(KEY[1], "G", "p"))
        assert not other.pauses.pause(KEY)
        assert other.pauses.resume(EVERYTHING)
        assert await other.sync() == await one.sync() == {}
        assert (one.changes, other.changes) == (1, 1)


async def test_pause_made_here_stays_in_its_process_until_it_is_widened(
    server: str, tmp_path: Path
) -> None:
    async with namespace(server) as found:
        one, other = [await join(found, tmp_path / name) for name in "ab"]
        assert one.pauses.pause(KEY, by=COMMANDS, here=True)
        assert (await one.sync(), await other.sync()) == ({KEY: COMMANDS}, {})
        assert one.pauses.pause(KEY, by=COMMANDS)
        assert await one.sync() == await other.sync() == {KEY: SHARED_BY}
        assert not one.pauses.resume(KEY, here=True)
        assert not one.pauses.pause(KEY, by=COMMANDS, here=True)


async def test_process_that_was_away_follows_what_was_paused_and_resumed(
    server: str, tmp_path: Path
) -> None:
    async with namespace(server) as found:
        one, other = [await join(found, tmp_path / name) for name in "ab"]
        one.pauses.pause(KEY, by=COMMANDS)
        await one.sync()
        await other.sync()
        assert [each.target for each in Pauses(tmp_path / "b", lambda: 0.0)] == [KEY]
        one.pauses.resume(KEY)
        one.pauses.pause(("group", "G"), by=COMMANDS)
        await one.sync()
        found.clock.advance(86400.0)
        restarted = await join(found, tmp_path / "b")
        assert await restarted.sync() == {("group", "G"): SHARED_BY}


async def test_stored_pause_is_published_again_where_the_server_lost_it(
    server: str, tmp_path: Path
) -> None:
    async with namespace(server) as found:
        one = await join(found, tmp_path / "a")
        one.pauses.pause(KEY, by=COMMANDS)
        await one.sync()
    async with namespace(server) as emptied:
        restarted, other = [await join(emptied, tmp_path / name) for name in "ab"]
        assert await restarted.sync() == await other.sync() == {KEY: SHARED_BY}


async def test_pause_of_a_key_that_one_process_renames_is_resumed_in_all(
    server: str, tmp_path: Path
) -> None:
    async with namespace(server) as found:
        one, other = [await join(found, tmp_path / name) for name in "ab"]
        other.pauses.reconcile(snapshot("old"))
        one.pauses.pause(("key", "old"), hashes_of(("key", "old"), snapshot("old")), COMMANDS)
        await one.sync()
        fact = one.engine.facts.get("pause", "key/old")
        assert fact
        assert f"{1:064x}" not in fact.value
        await other.sync()
        other.pauses.reconcile(snapshot("new"))
        assert await other.sync() == {("key", "new"): SHARED_BY}
        other.pauses.resume(("key", "new"))
        assert await other.sync() == await one.sync() == {}


def snapshot(key: str) -> Snapshot:
    text = "groups: {G: {vendor: openai}}\n"
    text += f'keys: {{{key}: {{group: G, hash: "sha256:{1:064x}"}}}}'
    return load(text.encode(), file="routes.yaml", registry=REGISTRY)
