"""Two `sidecar serve` processes and one Redis: what one counts and finds out holds for both."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from pathlib import Path

from cli_runner import Cli
from fleet_nodes import Node, fleet
from held_vendor import Gate
from real_redis import needs_redis, redis_server
from running_sidecar import request
from sample_answers import CHAT, body
from scripted_vendor import ScriptedVendor, answer
from vendor_apis import until

pytestmark = needs_redis
DOLLAR = answer(body(CHAT | {"usage": {"prompt_tokens": 500, "completion_tokens": 500}}))
"""At the price of `dear`."""


async def test_requests_a_minute_are_counted_over_both_processes(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(body(CHAT)))
    async with fleet(tmp_path, vendor, "limits: {rpm: 10}") as nodes:
        replies = await asyncio.gather(*(each.ask() for each in nodes * 12))
    assert Counter(each.status for each in replies) == {200: 10, 429: 14}
    assert len(vendor.requests) == 10
    rejected = next(each for each in replies if each.status == 429)
    assert "limit of 10 rpm" in rejected.message
    assert 1 <= int(rejected.headers["retry-after"]) <= 60


async def test_concurrency_is_kept_over_both_processes_and_every_call_is_served(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    gate = Gate()
    vendor.play(gate)
    async with fleet(tmp_path, vendor, "limits: {concurrency: 3}", "60s") as nodes:
        calls = [asyncio.create_task(each.ask()) for each in nodes * 15]
        await until(lambda: gate.at_once == 3, 20)
        for served in range(30):
            await until(lambda served=served: len(gate.order) > served, 20)  # type: ignore[misc]
            gate.let(1)
        replies = await asyncio.gather(*calls)
    assert {each.status for each in replies} == {200}
    assert gate.most == 3


async def test_budget_is_spent_once_over_both_processes(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(DOLLAR)
    async with fleet(tmp_path, vendor, "budget: $4/day") as (one, other):
        for each in (one, other, other, one):
            assert (await each.ask("dear")).status == 200
        spent = [await each.ask("dear") for each in (one, other)]
    assert len(vendor.requests) == 4
    for each in spent:
        assert each.status == 402
        assert each.json()["error"]["type"] == "insufficient_quota"
        assert "budget of $4/day" in each.message


async def test_slots_of_a_killed_process_are_free_again(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    gate = Gate()
    vendor.play(gate)
    limit = "limits: {concurrency: 1}"
    with redis_server() as server:
        async with fleet(tmp_path, vendor, limit, "60s", server=server) as (one, other):
            held = asyncio.create_task(one.ask())
            await until(lambda: len(gate.order) == 1, 10)
            waits = asyncio.create_task(other.ask())
            await asyncio.sleep(0.5)
            assert len(gate.order) == 1
            one.process.kill()
            one.process.wait()
            await seem_silent_for(16, server)
            await until(lambda: len(gate.order) == 2, 30)
            gate.let(2)
            assert (await waits).status == 200
            held.cancel()
            await asyncio.gather(held, return_exceptions=True)


async def test_status_shows_the_processes_and_the_one_with_another_file(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    async with fleet(tmp_path, vendor, "limits: {rpm: 10}") as (one, _):
        file = tmp_path / "b" / "routes.yaml"
        file.write_text(file.read_text().replace("rpm: 10", "rpm: 11"))
        await printed(tmp_path / "b", 0)
        shown = ""
        async with asyncio.timeout(20):
            while not {"ANOTHER", "(2),"} <= set(shown.split()):
                shown = await printed(tmp_path / "a", 0)
        assert "limits hold for all processes (2)" in shown
        assert shown.count(", this one: version") == 1
        assert shown.count("ANOTHER FILE") == 1
        metrics = await scraped(one)
        assert "sidecar_shared_up 1" in metrics
        assert "sidecar_shared_processes 2" in metrics


async def test_cooldown_and_pause_of_one_process_hold_in_the_other(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b"{}", "429 Slow", Retry_After="40"), answer(body(CHAT)))
    async with fleet(tmp_path, vendor, "limits: {rpm: 10}") as (one, other):
        assert (await one.ask()).status == 429
        async with asyncio.timeout(10):
            while "sidecar_cooldown_seconds{" not in await scraped(other):
                pass
        rejected = await other.ask()
        assert rejected.status == 429
        assert 30 <= int(rejected.headers["retry-after"]) <= 41
        assert f"at {socket.gethostname()}" in rejected.message
        assert len(vendor.requests) == 1
        said = await printed(tmp_path / "a", 0, "pause", "gpt", "--config", config(tmp_path / "a"))
        assert 'paused: key "gpt" in all processes' in said
        by = f"by the command line at {socket.gethostname()}, in all processes"
        async with asyncio.timeout(10):
            while by not in (shown := await printed(tmp_path / "b", 0)):
                assert "paused" not in shown


async def seem_silent_for(seconds: int, server: str) -> None:
    """Put the last sign of life of the node that holds a lease back, in place of waiting."""
    from redis.asyncio import Redis

    async with Redis.from_url(server) as client:
        (leases,) = await client.keys("{team}:n:*")
        node = leases.rpartition(b":")[2]
        await client.zincrby("{team}:nodes", -seconds * 1_000_000, node)


def config(folder: Path) -> str:
    return str(folder / "routes.yaml")


async def printed(folder: Path, code: int, command: str = "status", *more: str) -> str:
    words = [command, "--state", str(folder / "state"), *more]
    done = await asyncio.to_thread(Cli(folder, text="").spawn, *words)
    assert done.status == code
    return done.out + done.err


async def scraped(one: Node) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", one.admin_port)
    writer.write(request("GET", "/metrics", {}, b""))
    try:
        return (await reader.read(-1)).decode()
    finally:
        writer.close()
