"""The ceiling for request bodies: who waits, who goes first, and what lies in files meanwhile."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from running_sidecar import Sidecar, parse, request, sidecar, talk
from scripted_vendor import Script, ScriptedVendor, Wire, answer
from vendor_apis import CHAT, GEMINI, MESSAGES, Api

from sidecar.errors import ErrorKind, ProxyError
from sidecar.http.body_memory import BodyMemory, HeldBody

MIB = 1 << 20
GOOD = answer(b'{"id":"c1","model":"gpt-5-mini","choices":[]}')
YAML = """
server: {{body_memory: 4MiB, max_body: 6MiB}}
providers:
  oa: {{plugin: openai, base_url: "{url}/v1", credential: env:UPSTREAM_KEY}}
  an: {{plugin: anthropic, base_url: "{url}", credential: env:UPSTREAM_KEY}}
  ge: {{plugin: gemini, base_url: "{url}", credential: env:UPSTREAM_KEY}}
groups:
  GPT: {{vendor: openai, routes: [oa]}}
  Claude: {{vendor: anthropic, routes: [an]}}
  Gemini: {{vendor: gemini, routes: [ge]}}
keys:
  gpt: {{group: GPT, hash: "{{gpt}}", max_wait: 20s}}
  renamed: {{group: GPT, hash: "{{renamed}}", routes: [oa: {{as: {{"gpt-*": "other/gpt-*"}}}}]}}
  one: {{group: GPT, hash: "{{one}}", max_wait: 20s, limits: {{concurrency: 1}}}}
  hasty: {{group: GPT, hash: "{{hasty}}", max_wait: 100ms}}
  claude: {{group: Claude, hash: "{{claude}}", max_wait: 100ms}}
  gemini: {{group: Gemini, hash: "{{gemini}}", max_wait: 100ms}}
"""
KEYS = ("gpt", "renamed", "one", "hasty", "claude", "gemini")


@pytest_asyncio.fixture
async def small(tmp_path: Path, vendor: ScriptedVendor) -> AsyncIterator[Sidecar]:
    async with sidecar(tmp_path, YAML.format(url=vendor.url), KEYS) as found:
        yield found


def memory(ceiling: int, folder: Path = Path()) -> BodyMemory:
    return BodyMemory(ceiling, folder, asyncio.get_running_loop().time)


def body(bodies: BodyMemory, rank: int = 2, max_wait: float = 30.0) -> HeldBody:
    found = HeldBody(bodies)
    found.rank, found.max_wait = rank, max_wait
    return found


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_body_memory_full_serves_interactive_before_those_who_came_earlier() -> None:
    bodies = memory(100)
    first = body(bodies, rank=1)
    await first.reserve(100)
    order: list[str] = []

    async def ask(name: str, rank: int) -> None:
        held = body(bodies, rank)
        await held.reserve(60)
        order.append(name)
        held.release()

    tasks = [asyncio.create_task(ask("normal", 2)), asyncio.create_task(ask("interactive", 1))]
    await settle()
    assert bodies.waiting == 2
    first.release()
    await asyncio.gather(*tasks)
    assert order == ["interactive", "normal"]
    assert bodies.held == 0


async def test_body_memory_part_is_kept_for_interactive_calls() -> None:
    bodies = memory(100)
    normal, late, urgent = body(bodies), body(bodies, max_wait=0.0), body(bodies, rank=1)
    await normal.reserve(70)
    with pytest.raises(ProxyError) as refused:
        await late.reserve(10)
    assert refused.value.reply.kind is ErrorKind.OVERLOADED
    assert refused.value.reply.retry_after
    await urgent.reserve(30)
    assert bodies.held == 100


async def test_body_memory_body_over_the_ceiling_alone_is_granted() -> None:
    bodies = memory(100)
    held = body(bodies)
    await held.reserve(500)
    assert bodies.held == 500


async def test_body_memory_bodies_that_all_wait_to_grow_do_not_block_each_other() -> None:
    bodies = memory(100)
    one, other = body(bodies), body(bodies)
    await one.reserve(35)
    await other.reserve(35)

    async def grow(held: HeldBody) -> None:
        await held.reserve(70)
        held.release()

    async with asyncio.timeout(5):
        await asyncio.gather(grow(one), grow(other))
    assert bodies.held == 0


async def test_body_memory_waiter_cancelled_leaves_nothing_behind() -> None:
    bodies = memory(100)
    first, second, third = body(bodies, rank=1), body(bodies), body(bodies)
    await first.reserve(100)
    task = asyncio.create_task(second.reserve(50))
    next_task = asyncio.create_task(third.reserve(50))
    await settle()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    first.release()
    await next_task
    second.release()
    third.release()
    assert (bodies.held, bodies.waiting) == (0, 0)


@pytest.mark.parametrize("compressed", [False, True])
async def test_body_stored_and_restored_is_the_same_bytes_in_an_unnamed_file(
    tmp_path: Path, *, compressed: bool
) -> None:
    bodies = memory(100 * MIB, tmp_path)
    held = body(bodies)
    wire = bytes(range(256)) * 8192
    plain = wire[::-1] if compressed else wire
    await held.reserve(len(wire) * 2)
    held.keep(wire, plain)
    size = len(wire) * (2 if compressed else 1)
    assert bodies.held == size
    await held.store()
    assert (bodies.held, bodies.in_files) == (0, size)
    assert held.size == len(plain)
    assert not any(os.scandir(tmp_path))
    await held.restore(copy=False)
    assert (held.wire, held.plain) == (wire, plain)
    assert (bodies.held, bodies.in_files) == (size, 0)
    held.release()
    assert bodies.held == 0


async def test_body_with_no_room_on_disk_stays_in_memory(tmp_path: Path) -> None:
    bodies = memory(100 * MIB, tmp_path / "missing")
    held = body(bodies)
    await held.reserve(2 * MIB)
    held.keep(b"x" * 2 * MIB, b"")
    await held.store()
    await held.restore(copy=False)
    assert held.wire == b"x" * 2 * MIB
    assert (bodies.held, bodies.in_files) == (2 * MIB, 0)


# --- a running sidecar -------------------------------------------------------------------------


def padded(api: Api, size: int) -> bytes:
    text = json.dumps(api.asked).encode()
    return text[:-1] + b', "pad": "' + b"p" * size + b'"}'


def gated(more: asyncio.Event) -> Script:
    async def script(wire: Wire) -> None:
        await more.wait()
        await GOOD(wire)

    return script


async def metric(proxy: Sidecar, name: str) -> float:
    text = (await proxy.running.services.metrics.render()).decode()
    found = re.search(rf"^sidecar_{re.escape(name)} (\S+)$", text, re.MULTILINE)
    assert found is not None, name
    return float(found[1])


async def until(proxy: Sidecar, name: str, value: float) -> None:
    async with asyncio.timeout(10):
        while True:
            if await metric(proxy, name) == value:
                return
            await asyncio.sleep(0.01)


@asynccontextmanager
async def occupied(proxy: Sidecar, vendor: ScriptedVendor) -> AsyncIterator[asyncio.Event]:
    """While a call with a body of three quarters of the ceiling is served."""
    more = asyncio.Event()
    vendor.play(gated(more), GOOD)
    vendor.arrived.clear()
    first = asyncio.create_task(proxy.ask(CHAT.path, padded(CHAT, 5 * MIB)))
    await vendor.arrived.wait()
    try:
        yield more
    finally:
        more.set()
        assert (await first).status == 200


async def test_call_over_the_ceiling_waits_and_is_served_when_there_is_room(
    small: Sidecar, vendor: ScriptedVendor
) -> None:
    async with occupied(small, vendor) as more:
        second = asyncio.create_task(small.ask(CHAT.path, padded(CHAT, 2 * MIB)))
        await until(small, "request_bodies_waiting", 1)
        assert await metric(small, 'request_body_bytes{place="memory"}') > 5 * MIB
        assert await metric(small, "request_body_limit_bytes") == 4 * MIB
        more.set()
        got = await second
        assert got.status == 200
        assert int(got.headers["x-sidecar-wait-ms"]) > 0
    assert vendor.last.body == padded(CHAT, 2 * MIB)
    record = await small.record(2)
    assert [each.behind for each in record.waits] == [
        "memory for request bodies (server.body_memory)"
    ]
    await until(small, 'request_body_bytes{place="memory"}', 0)


@pytest.mark.parametrize(
    ("api", "key", "status"),
    [(CHAT, "hasty", 503), (MESSAGES, "claude", 529), (GEMINI, "gemini", 503)],
    ids=["chat", "messages", "gemini"],
)
@pytest.mark.parametrize("chunked", [False, True])
async def test_call_over_the_ceiling_beyond_its_longest_wait_is_refused_in_its_dialect(
    small: Sidecar, vendor: ScriptedVendor, api: Api, key: str, status: int, *, chunked: bool
) -> None:
    async with occupied(small, vendor):
        text = padded(api, 2 * MIB)
        head = list(api.headers(small.keys[key]).items())
        if chunked:
            head.append(("Transfer-Encoding", "chunked"))
            text = b"%x\r\n%b\r\n0\r\n\r\n" % (len(text), text)
        got = parse(await talk(small.port, request("POST", api.path, head, text)))
        assert got.status == status
        assert got.headers["retry-after"] == "2"
        assert "server.body_memory" in got.message
        assert "x-should-retry" not in got.headers
        assert len(vendor.requests) == 1
    await until(small, 'request_body_bytes{place="memory"}', 0)


async def test_compressed_body_is_reserved_with_its_decoded_copy(
    small: Sidecar, vendor: ScriptedVendor
) -> None:
    async with occupied(small, vendor):
        bomb = gzip.compress(padded(CHAT, 5 * MIB))
        assert len(bomb) < 64 * 1024
        got = await small.ask(CHAT.path, bomb, key="hasty", headers=[("Content-Encoding", "gzip")])
        assert got.status == 503


async def test_body_of_a_call_that_waits_for_a_lease_lies_in_a_file(
    small: Sidecar, vendor: ScriptedVendor
) -> None:
    more = asyncio.Event()
    vendor.play(gated(more), GOOD)
    first = asyncio.create_task(small.ask(CHAT.path, padded(CHAT, 1), key="one"))
    await vendor.arrived.wait()
    large = padded(CHAT, 2 * MIB)
    second = asyncio.create_task(small.ask(CHAT.path, large, key="one"))
    await until(small, 'request_body_bytes{place="file"}', len(large))
    assert await metric(small, 'request_body_bytes{place="memory"}') < MIB
    more.set()
    assert (await first).status == (await second).status == 200
    assert vendor.last.body == large
    await until(small, 'request_body_bytes{place="file"}', 0)


async def test_body_is_given_back_when_the_answer_begins(
    small: Sidecar, vendor: ScriptedVendor
) -> None:
    more = asyncio.Event()

    async def slow(wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
        await wire.send(b'Transfer-Encoding: chunked\r\n\r\n10\r\ndata: {"id": 1}\n\r\n')
        await more.wait()
        await wire.send(b"0\r\n\r\n")

    vendor.play(slow)
    task = asyncio.create_task(small.ask(CHAT.path, padded(CHAT, 3 * MIB)))
    await vendor.arrived.wait()
    await until(small, 'request_body_bytes{place="memory"}', 0)
    assert not task.done()
    more.set()
    await task


async def test_edited_copy_of_a_body_is_counted(small: Sidecar, vendor: ScriptedVendor) -> None:
    more = asyncio.Event()
    vendor.play(gated(more))
    large = padded(CHAT, MIB)
    task = asyncio.create_task(small.ask(CHAT.path, large, key="renamed"))
    await vendor.arrived.wait()
    assert await metric(small, 'request_body_bytes{place="memory"}') == 2 * len(large)
    more.set()
    assert (await task).status == 200
    assert b'"other/gpt-' in vendor.last.body
    await until(small, 'request_body_bytes{place="memory"}', 0)
