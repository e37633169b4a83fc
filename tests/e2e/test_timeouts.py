"""Timeouts of clients, and that calls whose clients left leave nothing behind."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from raw_http_client import TIMEOUT_SECONDS, connected, exchange
from running_sidecar import Sidecar, request
from scripted_vendor import STREAM_HEAD, ScriptedVendor, Wire, answer, chunk
from vendor_apis import until

CHAT, ASKED = "/v1/chat/completions", b'{"model":"gpt-5-mini"}'
DONE = b"data: [DONE]\n\n"


@pytest.fixture
def hasty_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the wait for a request head, on the agents' side and on the admin side."""
    monkeypatch.setattr("sidecar.http.wire.agent_protocol.HEAD_TIMEOUT_SECONDS", 0.1)


@pytest.mark.usefixtures("hasty_heads")
@pytest.mark.parametrize("side", ["agents", "admin"])
@pytest.mark.parametrize("begun", [b"P", b"POST / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "])
async def test_request_head_that_does_not_arrive_times_out(
    proxy: Sidecar, begun: bytes, side: str
) -> None:
    async with connected(proxy.port if side == "agents" else proxy.admin_port) as line:
        await line.send(begun)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            assert await line.reader.read(-1) == b""


@pytest.mark.usefixtures("hasty_heads")
async def test_request_head_that_arrives_slowly_times_out(proxy: Sidecar) -> None:
    async with connected(proxy.port) as line, asyncio.timeout(TIMEOUT_SECONDS):
        await line.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        while not line.reader.at_eof():
            try:
                await line.send(b"X-Drop: 1\r\n")
            except ConnectionError:
                break
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("framing", ["Content-Length: 22", "Transfer-Encoding: chunked"])
async def test_request_body_that_does_not_arrive_is_a_408(
    proxy: Sidecar, vendor: ScriptedVendor, monkeypatch: pytest.MonkeyPatch, framing: str
) -> None:
    monkeypatch.setattr("sidecar.http.body_reading.BODY_TIMEOUT_SECONDS", 0.05)
    name, _, value = framing.partition(": ")
    async with connected(proxy.port) as line:
        await line.send(request("POST", CHAT, [*proxy.bearer("gpt").items(), (name, value)]))
        await line.send(b"5\r\n{" if value == "chunked" else b"{")
        got = await line.answer()
    assert got.status == 408
    assert "stopped arriving" in got.message
    assert vendor.requests == []


async def test_long_call_has_no_total_timeout(
    proxy: Sidecar, vendor: ScriptedVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No limit of the server's on heads or bodies touches a call that is being answered."""
    monkeypatch.setattr("sidecar.http.wire.agent_protocol.HEAD_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr("sidecar.http.body_reading.BODY_TIMEOUT_SECONDS", 0.05)

    async def slowly(wire: Wire) -> None:
        await asyncio.sleep(0.2)
        await wire.send(STREAM_HEAD)
        for _ in range(4):
            await asyncio.sleep(0.06)
            await wire.send(chunk(b"data: {}\n\n"))
        await wire.send(chunk(DONE) + b"0\r\n\r\n")

    vendor.play(slowly)
    got = await exchange(proxy.port, request("POST", CHAT, proxy.bearer("gpt"), ASKED))
    assert (got.body, got.whole) == (b"data: {}\n\n" * 4 + DONE, True)


def own_tasks() -> int:
    """Return the number of tasks without those of the scripted vendor, one for each connection."""
    names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
    return sum("ScriptedVendor" not in name for name in names)


async def test_calls_whose_clients_left_at_any_time_leave_nothing_behind(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    chance = random.Random(7)

    async def somehow(wire: Wire) -> None:
        for _ in range(chance.randrange(3)):
            await asyncio.sleep(0)
        await wire.send(STREAM_HEAD)
        for _ in range(chance.randrange(4)):
            await wire.send(chunk(b"data: {}\n\n"))
            await asyncio.sleep(0)
        if chance.random() < 0.5:
            await wire.send(chunk(DONE) + b"0\r\n\r\n")
        else:
            await wire.until_gone()

    async def leave() -> None:
        sent = request("POST", CHAT, proxy.bearer("gpt"), ASKED)
        async with connected(proxy.port) as line:
            await line.send(sent[: chance.choice([len(sent), len(sent) - 5])])
            for _ in range(chance.randrange(30)):
                await asyncio.sleep(0)
            if chance.random() < 0.3:
                line.writer.transport.abort()

    async def quiet() -> None:
        await until(lambda: not len(proxy.running.services.live))
        await asyncio.sleep(0.05)

    at_once = 20
    vendor.play(somehow)
    await asyncio.gather(*(leave() for _ in range(at_once)))
    await quiet()
    tasks, files = own_tasks(), open_files()
    for _ in range(10):
        await asyncio.gather(*(leave() for _ in range(at_once)))
    await quiet()
    assert own_tasks() <= tasks + 2
    # Connections to the vendor are kept, at most one for each call at the time, with two ends here.
    assert open_files() <= files + 2 * at_once
    text = (await exchange(proxy.admin_port, request("GET", "/metrics", {}))).body.decode()
    assert 'sidecar_calls_in_flight{key="gpt",group="GPT"} 0' in text
    vendor.play(answer(b"{}"))
    got = await exchange(proxy.port, request("POST", CHAT, proxy.bearer("gpt"), ASKED))
    assert got.status == 200


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))
