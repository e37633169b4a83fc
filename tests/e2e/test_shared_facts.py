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

pytestmark = needs_redis
YAML = """
timezone: UTC
state: {{shared: "{server}", namespace: team}}
prices: {{"*": {{input: 1000, output: 1000}}}}
providers:
  oa: {{plugin: openai, base_url: "{url}/v1", credential: env:UPSTREAM_KEY}}
groups: {{GPT: {{vendor: openai, routes: [oa]}}}}
keys: {{gpt: {{group: GPT, hash: "{{gpt}}"}}}}
"""
CHAT_CALL = json.dumps({"model": "gpt-5", "max_tokens": 100}).encode()


@asynccontextmanager
async def pair(folder: Path, vendor: ScriptedVendor) -> AsyncIterator[tuple[Sidecar, Sidecar]]:
    (folder / "one").mkdir()
    (folder / "two").mkdir()
    async with AsyncExitStack() as stack:
        server = stack.enter_context(redis_server())
        yaml = YAML.format(url=vendor.url, server=server)
        one = await stack.enter_async_context(sidecar(folder / "one", yaml, ("gpt",)))
        two = await stack.enter_async_context(sidecar(folder / "two", yaml, ("gpt",)))
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
        keys.close("c-1")
        await until(lambda: not list(known), 10)
        late = await two.ask("/v1/chat/completions", CHAT_CALL, key="child")
        assert late.status == 403
        assert "has ended" in late.message
