"""A credential that is replaced at run time leaves the cooldown of the old one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from running_sidecar import Sidecar
from running_sidecar import sidecar as start_sidecar
from scripted_vendor import Script, ScriptedVendor, Wire, answer
from vendor_apis import CHAT, until

OLD, NEW = "sk-old-unpaid", "sk-new-paid"
YAML = """
defaults: {{max_wait: {wait}}}
providers: {{oa: {{plugin: openai, base_url: "{url}/v1", credential: {credential}}}}}
groups: {{GPT: {{vendor: openai, routes: [oa]}}}}
keys: {{gpt: {{group: GPT, hash: "{{gpt}}"}}}}
"""
GOOD = answer(b'{"id":"c1","model":"gpt-5-mini","choices":[]}')
SPENT = answer(
    b'{"error":{"message":"no","type":"insufficient_quota","code":"insufficient_quota"}}',
    "429 Too Many Requests",
)
SLOW = answer(
    b'{"error":{"message":"no","type":"requests","code":"rate_limit_exceeded"}}',
    "429 Too Many Requests", retry_after="200",
)  # fmt: skip
REJECTED = answer(b'{"error":{"message":"no","code":"invalid_api_key"}}', "401 Unauthorized")
NONE_LEFT = answer(
    b'{"id":"c1","model":"gpt-5-mini","choices":[]}',
    x_ratelimit_limit_requests="100", x_ratelimit_remaining_requests="0",
    x_ratelimit_reset_requests="4m",
)  # fmt: skip
SOON = 5.0
"""Seconds until a replaced credential must be in use, on a busy machine."""


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the time between two checks for a replaced credential."""
    monkeypatch.setattr("sidecar.config.manager.POLL_SECONDS", 0.05)


@dataclass
class Place:
    """Where a credential is kept: how the file names it, and how it is replaced."""

    written: str
    replace: Callable[[Sidecar], None]
    environ: dict[str, str]


def place(kind: str, folder: Path) -> Place:
    path = folder / "cred.txt"
    path.write_text(OLD)
    environ = {"CRED": OLD}

    def write(_: Sidecar) -> None:
        path.write_text(NEW)

    def export(proxy: Sidecar) -> None:
        environ["CRED"] = NEW
        proxy.file.write_text(proxy.file.read_text() + "# again\n")

    return {
        "file": Place("file:cred.txt", write, environ),
        "env": Place("env:CRED", export, environ),
        "command": Place(f"{{command: [cat, {path}], refresh: 1s}}", write, environ),
        "several": Place("[file:cred.txt]", write, environ),
    }[kind]


@asynccontextmanager
async def served(
    folder: Path, vendor: ScriptedVendor, where: Place, wait: str = "0s"
) -> AsyncIterator[Sidecar]:
    text = YAML.format(url=vendor.url, credential=where.written, wait=wait)
    async with start_sidecar(folder, text, ("gpt",), environ=where.environ) as proxy:
        yield proxy


def sent(vendor: ScriptedVendor) -> list[str]:
    """The credentials that reached the vendor, in order."""
    return [each.get("authorization")[0].removeprefix("Bearer ") for each in vendor.requests]


def is_cooling(proxy: Sidecar) -> bool:
    return any(account.cooldown.is_active for account in proxy.running.services.scheduler.upstreams)


@pytest.mark.parametrize("kind", ["file", "env", "command", "several"])
@pytest.mark.parametrize("no", [SPENT, SLOW], ids=["spent", "slow"])
async def test_replaced_credential_after_a_429_is_used_at_once(
    tmp_path: Path, vendor: ScriptedVendor, kind: str, no: Script
) -> None:
    where = place(kind, tmp_path)
    vendor.play(no, GOOD)
    async with served(tmp_path, vendor, where) as proxy:
        assert (await CHAT.call(proxy)).status == 429
        assert (await CHAT.call(proxy)).status == (402 if no is SPENT else 429)
        assert sent(vendor) == [OLD]
        where.replace(proxy)
        await until(lambda: not is_cooling(proxy), SOON)
        assert (await CHAT.call(proxy)).status == 200
    assert sent(vendor) == [OLD, NEW]


@pytest.mark.parametrize("kind", ["file", "env", "command"])
@pytest.mark.parametrize("no", [SLOW, NONE_LEFT], ids=["cooldown", "quota"])
async def test_waiting_call_is_sent_with_the_replaced_credential_at_once(
    tmp_path: Path, vendor: ScriptedVendor, kind: str, no: Script
) -> None:
    where = place(kind, tmp_path)
    vendor.play(no, GOOD)
    async with served(tmp_path, vendor, where, wait="5m") as proxy:
        if no is NONE_LEFT:
            await CHAT.call(proxy)
        call = asyncio.create_task(CHAT.call(proxy))
        await until(lambda: len(proxy.running.services.scheduler.waiting) == 1)
        where.replace(proxy)
        assert (await asyncio.wait_for(call, SOON)).status == 200
    assert sent(vendor) == [OLD, NEW]


@pytest.mark.parametrize("kind", ["file", "command"])
async def test_rejected_credential_that_was_replaced_is_read_again_within_the_call(
    tmp_path: Path, vendor: ScriptedVendor, kind: str
) -> None:
    where = place(kind, tmp_path)
    vendor.play(REJECTED, GOOD)
    async with served(tmp_path, vendor, where) as proxy:
        where.replace(proxy)
        assert (await CHAT.call(proxy)).status == 200
    assert sent(vendor) == [OLD, NEW]


def held_until(event: asyncio.Event, script: Script) -> Script:
    """The answer, once `event` is set."""

    async def held(wire: Wire) -> None:
        await event.wait()
        await script(wire)

    return held


@pytest.mark.parametrize("kind", ["file", "command"])
async def test_credential_renewed_after_a_401_leaves_the_cooldown_of_the_old_one(
    tmp_path: Path, vendor: ScriptedVendor, kind: str
) -> None:
    where, go = place(kind, tmp_path), asyncio.Event()
    vendor.play(held_until(go, REJECTED), SPENT, GOOD, GOOD)
    async with served(tmp_path, vendor, where) as proxy:
        first = asyncio.create_task(CHAT.call(proxy))
        await vendor.arrived.wait()
        assert (await proxy.ask(CHAT.path, b'{"model":"gpt-5-mini"}')).status == 429
        where.replace(proxy)
        go.set()
        assert (await first).status == 200
        assert (await CHAT.call(proxy)).status == 200
    assert sent(vendor) == [OLD, OLD, NEW, NEW]


@pytest.mark.parametrize("no", [SPENT, SLOW, REJECTED], ids=["spent", "slow", "rejected"])
async def test_late_401_of_the_old_credential_does_not_affect_the_new_one(
    tmp_path: Path, vendor: ScriptedVendor, no: Script
) -> None:
    where, go = place("file", tmp_path), asyncio.Event()
    vendor.play(held_until(go, no), GOOD, GOOD)
    async with served(tmp_path, vendor, where) as proxy:
        first = asyncio.create_task(CHAT.call(proxy))
        await vendor.arrived.wait()
        where.replace(proxy)
        provider = proxy.running.snapshot.providers["oa"]
        vault = proxy.running.services.configuration.vault
        ref = provider.credentials[0]
        await until(lambda: str(vault.secret(ref).reveal()) == NEW, SOON)  # type: ignore[union-attr]
        go.set()
        assert (await first).status == 200
        assert (await CHAT.call(proxy)).status == 200
    assert sent(vendor) == [OLD, NEW, NEW]
