"""`sidecar usage` where processes share a server: the usage of all of them, or of one."""

from __future__ import annotations

import asyncio
import csv
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from cli_runner import Cli, Done
from real_redis import RealRedis, needs_redis, real_redis
from running_sidecar import Sidecar, sidecar
from sample_answers import CHAT, body
from scripted_vendor import ScriptedVendor, answer
from shared_usage import write_node

from sidecar.shared.engine import Engine
from sidecar.shared.usage import this_host

pytestmark = needs_redis
YAML = """
timezone: UTC
state: {shared: "SERVER", namespace: team}
prices: {"*": {input: 1, output: 1}}
providers: {main: {plugin: openai, base_url: "URL/v1", credential: env:UPSTREAM_KEY}}
groups: {GPT: {vendor: openai, routes: [main]}}
keys: {gpt: {group: GPT, hash: "{gpt}"}}
"""
PATH = "/v1/chat/completions"
COUNTED = answer(body(CHAT | {"usage": {"prompt_tokens": 900, "completion_tokens": 100}}))


@asynccontextmanager
async def fleet(
    folder: Path, vendor: ScriptedVendor, *names: str
) -> AsyncIterator[tuple[RealRedis, list[Sidecar]]]:
    vendor.play(COUNTED)
    async with AsyncExitStack() as stack:
        server = stack.enter_context(real_redis())
        yaml = YAML.replace("SERVER", server.url).replace("URL", vendor.url)
        nodes = []
        for name in names:
            (folder / name).mkdir()
            nodes.append(await stack.enter_async_context(sidecar(folder / name, yaml, ("gpt",))))
        yield server, nodes


def engine_of(node: Sidecar) -> Engine:
    found = node.running.services.scheduler.engine
    assert found is not None
    return found


async def asked(node: Sidecar, number: int) -> None:
    for at in range(number):
        assert (await node.ask(PATH, b'{"model":"gpt-5","messages":[]}')).status == 200
        await node.record(at + 1)


async def printed(node: Sidecar, *words: str) -> Done:
    cli = Cli(node.file.parent, text="")
    return await asyncio.to_thread(cli.run, "usage", *words)


async def rows(node: Sidecar, *words: str) -> Any:
    done = await printed(node, *words, "--json")
    assert done.status == 0, done.err
    return done.json


async def test_usage_of_two_processes_is_shown_together_and_by_node(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    async with fleet(tmp_path, vendor, "a", "b") as (_, (one, other)):
        await asked(one, 1)
        await asked(other, 2)
        await engine_of(other).usage.push()
        [line] = await rows(one)
        assert (line["key"], line["calls"], line["input_tokens"]) == ("gpt", 3, 2700)
        assert line["cost_usd"] == 0.003
        by_node = await rows(one, "--by", "node,key")
        assert [each["calls"] for each in by_node] == [2, 1]
        name = by_node[0]["node"]
        assert name.startswith(f"{this_host()}-")
        assert [each["calls"] for each in await rows(one, "--node", name)] == [2]
        assert await rows(one, "--node", "all") == [line]
        shown = await printed(one, "--by", "node", "--csv")
        assert {each["node"]: each["calls"] for each in csv.DictReader(shown.out.splitlines())} == {
            each["node"]: str(each["calls"]) for each in by_node
        }
        unknown = await printed(one, "--node", "elsewhere")
        assert unknown.status == 2
        assert f'no node "elsewhere" is known; there is: {by_node[1]["node"]}' in unknown.err


async def test_usage_by_session_is_of_this_node_and_says_so(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    async with fleet(tmp_path, vendor, "a") as (_, (one,)):
        await write_node(one, "ci", [("gpt", 7)])
        await asked(one, 1)
        alone = await printed(one, "--by", "session", "--json")
        assert [each["calls"] for each in alone.json] == [1]
        assert "only the usage of this node: that of others is known by day" in alone.err
        assert (await printed(one, "--by", "session,node")).status == 2


async def test_stale_node_is_noted_with_the_time_of_its_usage(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    async with fleet(tmp_path, vendor, "a") as (_, (one,)):
        await write_node(one, "ci", [("gpt", 7)], time.time() - 7200)
        await write_node(one, "laptop", [("gpt", 1)])
        done = await printed(one, "--by", "node", "--json")
        assert [(each["node"], each["calls"]) for each in done.json] == [("ci", 7), ("laptop", 1)]
        assert "ci: as of " in done.err
        assert "(2 hours ago)" in done.err
        assert "laptop: as of" not in done.err


async def test_own_usage_is_shown_in_an_outage_with_a_line_on_the_others(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    async with fleet(tmp_path, vendor, "a") as (server, (one,)):
        await write_node(one, "ci", [("gpt", 7)])
        await asked(one, 1)
        assert [each["calls"] for each in await rows(one)] == [8]
        assert (
            "sidecar_shared_usage_pushed_timestamp_seconds 1"
            in (await one.admin("/metrics")).body.decode()
        )
        server.kill()
        for _ in range(2):
            done = await printed(one, "--json")
            assert [each["calls"] for each in done.json] == [1]
            assert "only the usage of this node: the server of shared state cannot" in done.err
        unknown = (await printed(one, "--node", "ci")).err
        assert 'no node "ci" is known, as the server of shared state cannot be reached' in unknown


async def test_usage_without_shared_state_is_of_this_node(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(COUNTED)
    yaml = YAML.replace("URL", vendor.url).replace(
        'state: {shared: "SERVER", namespace: team}\n', ""
    )
    async with sidecar(tmp_path, yaml, ("gpt",)) as one:
        await asked(one, 1)
        done = await printed(one, "--by", "node,key", "--json")
        assert [(each["node"], each["key"]) for each in done.json] == [(this_host(), "gpt")]
        assert done.err == ""
