"""Two instances and one Redis: what one of them finds out, the other one has."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from real_redis import needs_redis, redis_server
from running_sidecar import Sidecar, sidecar
from sample_answers import CHAT, body
from scripted_vendor import ScriptedVendor, answer
from vendor_apis import until

from sidecar.api_keys import digest, mint
from sidecar.child_keys import ChildOrder
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


@asynccontextmanager
async def pair(folder: Path, vendor: ScriptedVendor) -> AsyncIterator[tuple[Sidecar, Sidecar]]:
    async with AsyncExitStack() as stack:
        server = stack.enter_context(redis_server())

        async def started(name: str, order: str) -> Sidecar:
            (folder / name).mkdir()
            yaml = YAML.format(
                url=vendor.url, server=server, order=order, turned=digest(TURNED).hex()
            )
            found = await stack.enter_async_context(sidecar(folder / name, yaml, KEYS))
            found.keys["turned"] = TURNED
            return found

        yield await started("one", "a, b"), await started("two", "b, a")


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


def engine_of(one: Sidecar) -> Engine:
    engine = one.running.services.scheduler.engine
    assert engine is not None
    return engine


def has_unsent(one: Sidecar) -> bool:
    return bool(engine_of(one).object_ids._unsent)
