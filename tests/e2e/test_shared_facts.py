"""Two instances and one Redis: what one of them finds out, the other one has."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from ledger_checks import rows
from real_redis import needs_redis, redis_server
from running_sidecar import Sidecar, sidecar
from sample_answers import CHAT, body
from scripted_vendor import ScriptedVendor, answer
from vendor_apis import figures, settled, until

from sidecar.api_keys import digest, mint
from sidecar.child_keys import ChildOrder
from sidecar.routing.owners import COUNTED_SECONDS
from sidecar.shared.engine import Engine

pytestmark = needs_redis
YAML = """
timezone: UTC
state: {{shared: "{server}", namespace: team}}
prices: {{"*": {{input: 1000, output: 1000}}}}
providers:
  a: {{plugin: openai, base_url: "{url}/a/v1", credential: env:UPSTREAM_KEY}}
  b: {{plugin: openai, base_url: "{url}/b/v1", credential: env:UPSTREAM_KEY}}
groups:
  GPT: {{vendor: openai, routes: [a, b]}}
  Other: {{vendor: openai, routes: [b, a]}}
keys:
  gpt: {{group: GPT, hash: "{{gpt}}"}}
  swapped: {{group: GPT, hash: "{{swapped}}", routes: [b, a]}}
  foreign: {{group: Other, hash: "{{foreign}}"}}
  turned: {{group: GPT, hash: "sha256:{turned}", routes: [{order}]}}
"""
KEYS = ("gpt", "swapped", "foreign")
TURNED = mint()
"""A key that both instances accept, as replicas do, with its routes in another order."""
CHAT_CALL = json.dumps({"model": "gpt-5", "max_tokens": 100}).encode()


def existing(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


@asynccontextmanager
async def instance(
    folder: Path, server: str, vendor: ScriptedVendor, order: str = "a, b"
) -> AsyncIterator[Sidecar]:
    yaml = YAML.format(url=vendor.url, server=server, order=order, turned=digest(TURNED).hex())
    async with sidecar(existing(folder), yaml, KEYS) as found:
        found.keys["turned"] = TURNED
        yield found


@asynccontextmanager
async def pair(folder: Path, vendor: ScriptedVendor) -> AsyncIterator[tuple[Sidecar, Sidecar]]:
    with redis_server() as server:
        async with (
            instance(folder / "one", server, vendor) as one,
            instance(folder / "two", server, vendor, "b, a") as two,
        ):
            yield one, two


async def test_child_key_of_one_instance_is_served_by_both_within_its_budget_until_its_run_ends(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(body(CHAT | {"usage": {"prompt_tokens": 500, "completion_tokens": 500}})))
    async with pair(tmp_path, vendor) as (one, two):
        secret = two.keys["child"] = one.keys["child"] = mint()
        order = ChildOrder(name="c-1", digest=digest(secret).hex(), key="gpt", budgets=["$2/day"])
        keys, known = one.running.services.child_keys, two.running.services.child_keys
        keys.renew(order, one.running.snapshot)
        await until(lambda: bool(list(known)), 10)
        asked = [await each.ask("/v1/chat/completions", CHAT_CALL, key="child")
                 for each in (two, one, two)]  # fmt: skip
        assert [each.status for each in asked] == [200, 200, 402]
        assert "child key" in asked[2].message
        await until(lambda: keys.totals("c-1").calls == 3, 10)
        keys.close("c-1")
        await until(lambda: not list(known), 10)
        late = await two.ask("/v1/chat/completions", CHAT_CALL, key="child")
        assert late.status == 403
        assert "has ended" in late.message


async def test_object_that_one_instance_created_is_fetched_by_the_other_from_its_provider(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b'{"id":"file-1","object":"file"}'))
    async with pair(tmp_path, vendor) as (one, two):
        await one.ask("/v1/files", b"x" * 9, key="gpt")
        await until(lambda: not has_unsent(one), 10)
        await two.ask("/v1/files/file-2", key="swapped", method="GET")
        assert vendor.last.path == "/b/v1/files/file-2"
        found = await two.ask("/v1/files/file-1", key="swapped", method="GET")
        assert (found.status, vendor.last.path) == (200, "/a/v1/files/file-1")
        foreign = await two.ask("/v1/files/file-1", key="foreign", method="GET")
        assert (foreign.status, len(vendor.requests)) == (404, 3)


async def test_conversation_that_one_instance_served_goes_to_its_provider_at_the_other(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(body(CHAT)))
    async with pair(tmp_path, vendor) as (one, two):
        call = json.dumps({"model": "gpt-5", "prompt_cache_key": "talk"}).encode()
        await one.ask("/v1/chat/completions", call, key="turned")
        await until(lambda: list(engine_of(two).facts.known("pin")), 10)
        await two.ask("/v1/chat/completions", call, key="turned")
        await two.ask("/v1/chat/completions", CHAT_CALL, key="turned")
        paths = [each.path for each in vendor.requests]
        assert [each[:3] for each in paths] == ["/a/", "/a/", "/b/"]


QUEUED = answer(b'{"id":"r_1","model":"m-1","status":"queued"}')
USED = {"input_tokens": 900, "output_tokens": 100}
DONE = answer(body({"id": "r_1", "model": "m-1", "status": "completed", "usage": USED}))
COST = 1000 * 1_000_000


async def create(one: Sidecar) -> None:
    """Start a background response, whose owner is then on the server."""
    await one.ask("/v1/responses", b'{"model":"m","background":true}', key="gpt")
    await until(lambda: not has_unsent(one), 10)


async def look(at: Sidecar) -> None:
    got = await at.ask("/v1/responses/r_1", method="GET", key="swapped")
    assert got.status == 200, got.body


async def booked(one: Sidecar) -> list[tuple[object, ...]]:
    """The calls in its ledger that have usage, with their key, tokens and cost."""
    await settled(one.running)
    await one.running.services.ledger.flush()
    names = ("key", "usage_state", "input_tokens", "output_tokens", "cost_charged")
    return [tuple(row[name] for name in names) for row in rows(one.state) if row["input_tokens"]]


async def test_usage_that_one_instance_learns_is_counted_once_by_the_one_that_began_the_work(
    tmp_path: Path, vendor: ScriptedVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor.play(QUEUED, QUEUED, DONE)
    async with pair(tmp_path, vendor) as (one, two):
        await create(one)
        await look(two)
        with monkeypatch.context() as full:
            full.setattr("sidecar.routing.owners.MAX_REPORTS", 0)
            await look(two)
            await settled(two.running)
        assert list(engine_of(two).facts.known("usage")) == []
        for _ in range(2):
            await look(two)
        claims = one.running.services.ledger.claimed
        await until(lambda: not list(claims()), 10)
        await look(one)
        assert await booked(one) == [("gpt", "reported", 900, 100, COST)]
        assert await booked(two) == []
        [fact] = engine_of(one).facts.known("usage")
        assert fact.until <= asyncio.get_running_loop().time() + COUNTED_SECONDS
        tokens = await figures(one.running, "sidecar_tokens_total")
        assert sorted(tokens.values()) == [100, 900]
        assert await figures(two.running, "sidecar_tokens_total") == {}


async def test_usage_that_was_learnt_while_its_instance_was_down_is_counted_once_after_restarts(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(QUEUED, DONE)
    with redis_server() as server:
        async with instance(tmp_path / "two", server, vendor) as two:
            async with instance(tmp_path / "one", server, vendor) as one:
                await create(one)
            await look(two)
            for _ in range(2):
                async with instance(tmp_path / "one", server, vendor) as one:
                    assert await booked(one) == [("gpt", "reported", 900, 100, COST)]
                    await look(two)
                    await look(one)
            assert await booked(two) == []


def engine_of(one: Sidecar) -> Engine:
    engine = one.running.services.scheduler.engine
    assert engine is not None
    return engine


def has_unsent(one: Sidecar) -> bool:
    return bool(engine_of(one).object_ids._unsent)
