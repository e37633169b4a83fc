"""Everything that a sidecar can live to see in a minute, so that no metric is without a figure.

When it is through, some calls still run, wait and are held: what is shown of now has something to
show.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from real_redis import redis_server
from recorded_answers import RECORDED
from running_sidecar import Raw, Sidecar, sidecar
from scripted_vendor import (
    STREAM_HEAD,
    Script,
    ScriptedVendor,
    Wire,
    answer,
    chunk,
    cut,
    scripted_vendor,
    stream,
)
from vendor_apis import APIS, CHAT, MESSAGES, Api, until

TOKEN = "a secret of Prometheus' own"
HELD_SECONDS = 180
"""For the calls that are held while Prometheus starts and scrapes, on any machine."""
YAML = """
server: {{metrics_token: "file:{folder}/token"}}
plugins: [grumbling.py]
timezone: UTC
state: {{shared: "{shared}", namespace: load}}
budget: $100/day
defaults: {{max_wait: 180s}}
providers:
  oa: {{plugin: openai, base_url: "{url}/v1", credential: env:UPSTREAM_KEY, limits: {{rpm: 1000}}}}
  an: {{plugin: anthropic, base_url: "{url}", credential: env:UPSTREAM_KEY}}
  ge: {{plugin: gemini, base_url: "{url}", credential: env:UPSTREAM_KEY}}
  one: {{plugin: openai, base_url: "{slow}/v1", credential: none, limits: {{concurrency: 1}}}}
  gone: {{plugin: openai, credential: env:NOT_THERE}}
groups:
  GPT: {{vendor: openai, routes: [oa]}}
  Claude: {{vendor: anthropic, routes: [an], budget: $20/day}}
  Gemini: {{vendor: gemini, routes: [ge]}}
  One at a time: {{vendor: openai, routes: [one]}}
  Nowhere: {{vendor: openai, routes: [gone]}}
keys:
  gpt: {{group: GPT, hash: "{{gpt}}"}}
  claude: {{group: Claude, hash: "{{claude}}", max_wait: 0s}}
  gemini: {{group: Gemini, hash: "{{gemini}}"}}
  patient: {{group: One at a time, hash: "{{patient}}", urgency: interactive}}
  hurried: {{group: One at a time, hash: "{{hurried}}", max_wait: 100ms}}
  parked: {{group: GPT, hash: "{{parked}}"}}
  poor: {{group: GPT, hash: "{{poor}}", budget: $0/day}}
  lost: {{group: Nowhere, hash: "{{lost}}"}}
  "a \\"quoted\\" name": {{group: GPT, hash: "{{quoted}}", models: gpt-5-mini}}
"""
KEYS = ("gpt", "claude", "gemini", "patient", "hurried", "parked", "poor", "lost", "quoted")
PLUGIN = """
from sidecar import hookimpl

@hookimpl
def sidecar_call_finished(record):
    raise ValueError("never content")
"""
QUOTA = {
    "x_ratelimit_limit_requests": "500", "x_ratelimit_remaining_requests": "499",
    "x_ratelimit_limit_tokens": "30000", "x_ratelimit_remaining_tokens": "29000",
}  # fmt: skip
WHOLE = {each.name: each.body for each in RECORDED}
BODIES = {
    "chat": "chat",
    "responses": "response",
    "messages": "message",
    "gemini": "generateContent",
}
PATH = "/v1/chat/completions"
NO_USAGE = stream(b'data: {"choices":[{"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')


@asynccontextmanager
async def loaded(folder: Path) -> AsyncIterator[Sidecar]:
    """A sidecar that has seen it all."""
    (folder / "token").write_text(TOKEN)
    (folder / "token").chmod(0o600)
    (folder / "grumbling.py").write_text(PLUGIN)
    async with AsyncExitStack() as stack:
        shared = stack.enter_context(redis_server())
        vendor = await stack.enter_async_context(scripted_vendor())
        slow = await stack.enter_async_context(scripted_vendor())
        text = YAML.format(url=vendor.url, slow=slow.url, folder=folder, shared=shared)
        async with sidecar(folder, text, KEYS) as proxy:
            for _ in range(2):
                await _answered(proxy, vendor)
            await _failing(proxy, vendor)
            await _refused(proxy)
            await _reloaded(proxy)
            async with _now(proxy, slow):
                yield proxy


async def _answered(proxy: Sidecar, vendor: ScriptedVendor) -> None:
    """All dialects, whole and as streams; with prices and without."""
    for api in APIS:
        for model in (None, "gpt-5-mini" if api.key == "gpt" else None):
            asked = replace(api, asked=api.asked | ({"model": model} if model else {}))
            vendor.play(answer(_body(api), **QUOTA))
            assert (await asked.call(proxy)).status == 200, api.name
            vendor.play(stream(api.begun, api.ended))
            assert (await asked.call(proxy, stream=True)).status == 200, api.name
    vendor.play(answer(_body(MESSAGES)))
    known = replace(MESSAGES, asked=MESSAGES.asked | {"model": "claude-opus-5-5"})
    assert (await known.call(proxy)).status == 200
    vendor.play(NO_USAGE)
    await CHAT.call(proxy, stream=True)


async def _failing(proxy: Sidecar, vendor: ScriptedVendor) -> None:
    """Play failures of vendors, a throttled credential last: its cooldown lasts to the end."""
    vendor.play(answer(b'{"error":{"message":"no"}}', "400 Bad Request"))
    await CHAT.call(proxy)
    for api in (CHAT, MESSAGES):  # the second reports usage at its start, so that it is partial
        vendor.play(cut(STREAM_HEAD + chunk(api.begun)))
        await api.call(proxy, stream=True)
    throttled = b'{"type":"error","error":{"type":"rate_limit_error","message":"slowly"}}'
    vendor.play(answer(throttled, "429 Too Many Requests", retry_after="200"))
    await MESSAGES.call(proxy)
    assert (await MESSAGES.call(proxy)).status == 429
    vendor.play(answer(_body(CHAT)))


async def _refused(proxy: Sidecar) -> None:
    """Send calls that Sidecar rejects: unknown key, model, spent budget, no provider."""
    asked = json.dumps(CHAT.asked).encode()
    assert (await _ask(proxy, asked, key="poor")).status == 402
    assert (await _ask(proxy, asked, key="lost")).status == 503
    assert (await _ask(proxy, b'{"model":"gpt-9"}', key="quoted")).status == 403
    proxy.keys["stranger"] = "sk-sidecar-nobody-knows-me"
    assert (await _ask(proxy, asked, key="stranger")).status == 401


async def _reloaded(proxy: Sidecar) -> None:
    assert await proxy.rewrite(lambda text: text + "# a remark\n")
    assert not await proxy.rewrite(lambda text: text + "nonsense: 1\n")


@asynccontextmanager
async def _now(proxy: Sidecar, slow: ScriptedVendor) -> AsyncIterator[None]:
    """One call runs, one waits for it, one has waited in vain, one is held."""
    go = asyncio.Event()
    slow.play(_held(go))
    asked = json.dumps(CHAT.asked).encode()
    scheduler = proxy.running.services.scheduler
    scheduler.pauses.pause(("key", "parked"))
    calls = [asyncio.create_task(_ask(proxy, asked, key="patient", seconds=HELD_SECONDS))]
    await slow.arrived.wait()
    assert (await _ask(proxy, asked, key="hurried")).status == 429
    calls += [
        asyncio.create_task(_ask(proxy, asked, key=key, seconds=HELD_SECONDS))
        for key in ("patient", "parked")
    ]
    await until(lambda: len(scheduler.waiting) == 2)
    try:
        yield
    finally:
        go.set()
        scheduler.pauses.resume(("key", "parked"))
        answers = await asyncio.gather(*calls)
    assert [each.status for each in answers] == [200, 200, 200]


def _held(go: asyncio.Event) -> Script:
    async def script(wire: Wire) -> None:
        await go.wait()
        await answer(_body(CHAT))(wire)

    return script


async def _ask(proxy: Sidecar, body: bytes, *, key: str, seconds: float = 10) -> Raw:
    return await proxy.ask(PATH, body, key=key, seconds=seconds)


def _body(api: Api) -> bytes:
    return WHOLE[BODIES[api.name]]
