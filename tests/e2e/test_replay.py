"""A request is not resent once a provider may have served it, unless its route allows it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from running_sidecar import Raw, Sidecar, sidecar
from scripted_vendor import Script, ScriptedVendor, Wire, answer, hang, raw
from vendor_apis import attempts

YAML = """
defaults: {{max_wait: 0s}}
providers:
  one:
    plugin: openai
    base_url: "{one}/v1"
    credential: env:UPSTREAM_KEY
    timeouts: {{connect: 2s, first_byte: 600ms}}
  two: {{plugin: openai, base_url: "{two}/v1", credential: env:UPSTREAM_KEY}}
groups:
  GPT: {{vendor: openai, routes: [one{options}, two]}}
keys:
  gpt: {{group: GPT, hash: "{{gpt}}"}}
"""
CHAT, BATCHES = "/v1/chat/completions", "/v1/batches"
ASKED = b'{"model":"m"}'
GOOD = answer(b'{"id":"c1","choices":[]}')
AFTER_WINDOW_SECONDS = 0.15


async def reset(wire: Wire) -> None:
    wire.reset()


def late(how: str) -> Script:
    """Take the whole request, and close without an answer when it may have been served."""

    async def script(wire: Wire) -> None:
        await asyncio.sleep(AFTER_WINDOW_SECONDS)
        if how == "rst":
            wire.reset()
        wire.writer.close()

    return script


@asynccontextmanager
async def pair(
    path: Path, one: str, two: ScriptedVendor, options: str = ""
) -> AsyncIterator[Sidecar]:
    two.play(GOOD)
    async with sidecar(path, YAML.format(one=one, two=two.url, options=options), ("gpt",)) as proxy:
        yield proxy


async def ask(proxy: Sidecar, path: str = CHAT, method: str = "POST") -> Raw:
    return await proxy.ask(path, ASKED if method == "POST" else b"", method=method)


@pytest.mark.parametrize("path", [CHAT, BATCHES])
@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_replay_after_a_kept_connection_died_late_is_refused(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor, path: str, how: str
) -> None:
    vendor.play(GOOD, late(how), GOOD)
    async with pair(tmp_path, vendor.url, other) as proxy:
        assert (await ask(proxy, path)).status == 200
        found = await ask(proxy, path)
        assert (found.status, len(vendor.requests), len(other.requests)) == (502, 2, 0)
        assert "may have been served" in found.message
        assert "retry: at-least-once" in found.message


async def test_replay_after_a_kept_connection_died_at_once_uses_a_new_one(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor
) -> None:
    vendor.play(GOOD, reset, GOOD)
    async with pair(tmp_path, vendor.url, other) as proxy:
        assert (await ask(proxy)).status == 200
        assert (await ask(proxy)).status == 200
        assert (vendor.connections, len(vendor.requests), len(other.requests)) == (2, 3, 0)


LOST: dict[str, tuple[Script, int]] = {
    "closed": (raw(b"", close=True), 502),
    "reset": (reset, 502),
    "no HTTP": (raw(b"nonsense\r\n\r\n", close=True), 502),
    "no status": (raw(b"HTTP/1.1 777 What\r\nContent-Length: 0\r\n\r\n"), 502),
    "silent": (hang, 504),
    "interim only": (raw(b"HTTP/1.1 103 Early Hints\r\n\r\n", close=True), 502),
}


@pytest.mark.parametrize("case", LOST)
async def test_failover_after_a_request_without_a_head_is_refused(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor, case: str
) -> None:
    script, status = LOST[case]
    vendor.play(script)
    async with pair(tmp_path, vendor.url, other) as proxy:
        assert (await ask(proxy)).status == status
        assert (len(vendor.requests), len(other.requests)) == (1, 0)
        assert (await proxy.record()).usage_state == "unknown"


@pytest.mark.parametrize("case", LOST)
async def test_failover_after_a_request_without_a_head_follows_retry_at_least_once(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor, case: str
) -> None:
    vendor.play(LOST[case][0])
    async with pair(tmp_path, vendor.url, other, ": {retry: at-least-once}") as proxy:
        found = await ask(proxy)
        assert (found.status, found.headers["x-sidecar-provider"]) == (200, "two")
        assert await attempts(proxy.running) == {"one": "failed", "two": "take"}


async def test_replay_after_a_kept_connection_died_late_follows_retry_at_least_once(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor
) -> None:
    vendor.play(GOOD, late("fin"), GOOD)
    async with pair(tmp_path, vendor.url, other, ": {retry: at-least-once}") as proxy:
        assert (await ask(proxy)).status == 200
        assert (await ask(proxy)).headers["x-sidecar-provider"] == "one"
        assert (len(vendor.requests), len(other.requests)) == (3, 0)


async def test_replay_of_a_get_is_always_allowed(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor
) -> None:
    vendor.play(GOOD, late("fin"), GOOD)
    async with pair(tmp_path, vendor.url, other) as proxy:
        assert (await ask(proxy)).status == 200
        assert (await ask(proxy, "/v1/files", "GET")).status == 200
        assert len(vendor.requests) == 3


async def test_failover_after_a_429_and_a_lost_request_names_both(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor
) -> None:
    """The first one's 429 would have the client ask again, for what may have been served."""
    vendor.play(answer(b'{"error":{"message":"slow"}}', "429 Slow", retry_after="30"))
    async with pair(tmp_path, vendor.url, other) as proxy:
        other.play(raw(b"", close=True))
        found = await ask(proxy)
        assert (found.status, len(vendor.requests), len(other.requests)) == (502, 1, 1)
        assert "may have been served" in found.message


@pytest.mark.parametrize("what", ["refused", "name", "tls"])
async def test_failover_before_a_byte_was_written_is_allowed(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor, what: str
) -> None:
    closed = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    port = closed.sockets[0].getsockname()[1]
    closed.close()
    await closed.wait_closed()
    url = {
        "refused": f"http://127.0.0.1:{port}",
        "name": "https://no-such-host.invalid",
        "tls": vendor.url.replace("http", "https"),
    }[what]
    vendor.play(GOOD)
    async with pair(tmp_path, url, other) as proxy:
        assert (await ask(proxy)).headers["x-sidecar-provider"] == "two"


@pytest.mark.parametrize("status", ["429 Slow", "500 Oops", "503 No", "529 Overloaded"])
async def test_failover_after_a_head_is_allowed(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor, status: str
) -> None:
    vendor.play(answer(b"{}", status))
    async with pair(tmp_path, vendor.url, other) as proxy:
        assert (await ask(proxy)).headers["x-sidecar-provider"] == "two"


async def test_failover_after_an_error_with_a_truncated_body_is_allowed(
    tmp_path: Path, vendor: ScriptedVendor, other: ScriptedVendor
) -> None:
    vendor.play(raw(b"HTTP/1.1 500 No\r\nContent-Length: 99\r\n\r\n{", close=True))
    async with pair(tmp_path, vendor.url, other) as proxy:
        assert (await ask(proxy)).headers["x-sidecar-provider"] == "two"
