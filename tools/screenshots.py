"""Pictures of every page of the console, and how quick it is: `make screenshots`.

Not a test: a person looks at the pictures, and reads the figures.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from statistics import median

from admin_client import over_socket
from browser import Tab, a_window, chromium
from console_session import sign_in
from ledger_checks import CALL
from msgspec.structs import replace
from playwright.async_api import Browser
from running_sidecar import Sidecar, request, sidecar
from scripted_vendor import STREAM_HEAD, ScriptedVendor, answer, chunk, hang, paced, scripted_vendor

from sidecar.records import Cost, Usage, UsageState

YAML = """\
# My agents, and what they may use.
budget: $30/day

providers:
  openai:     {base_url: "URL/v1", credential: env:UPSTREAM_KEY, limits: {tpm: 2M}}
  anthropic:  {base_url: "URL", credential: env:UPSTREAM_KEY, budget: $25/day}
  azure-eu:   {plugin: azure, base_url: https://example.openai.azure.com, api_version: v1, credential: env:AZURE_KEY}
  openrouter: {base_url: "URL/v1", credential: env:UPSTREAM_KEY}
  ollama:     {price: free, limits: {concurrency: 1}}

groups:
  Claude:
    vendor: anthropic
    description: agents that speak Anthropic's API
    multiplier: 0.9
    limits: {rpm: 300, concurrency: 40}
    budget: $20/day
    routes:                        # tried in this order
      - anthropic
      - openrouter: {as: {claude-sonnet-4-5: anthropic/claude-sonnet-4.5}}
      - ollama: {models: qwen3*, max_input: 32k}
  GPT:
    vendor: openai
    limits: {rpm: 500, tpm: 200k}
    routes:
      - openai: {models: gpt-*}
      - azure-eu: {models: gpt-5*}
      - openrouter
  Local: {vendor: openai, description: nothing leaves this machine, routes: [ollama]}

keys:
  claude-code:
    group: Claude
    description: the assistant in my editor
    urgency: interactive
    hash: "{claude-code}"
    created: 2026-09-14T09:00:00Z
    limits: {concurrency: 4}
  codex:
    group: GPT
    description: the agent in my terminal
    urgency: interactive
    hash: "{codex}"
    created: 2026-10-02T09:00:00Z
  nightly batch:
    group: GPT
    description: summaries, while I sleep
    urgency: background
    models: gpt-5-mini
    budget: $2/day
    hash: "{nightly batch}"
    created: 2026-06-11T09:00:00Z
  evals:
    group: GPT
    hash: "{evals}"
    created: 2026-11-20T10:00:00Z
    expires: 2099-12-31
    limits: {tpm: 50k, models: {gpt-5*: {rpm: 10}}}
    routes:
      - azure-eu: {priority: 1, weight: 3}
      - openai: {priority: 1, models: gpt-5*, limits: {rpm: 20}}
      - openrouter: {priority: 2}
  workshop:
    group: GPT
    description: for the event in May
    hash: "{workshop}"
    created: 2026-05-01T10:00:00Z
    expires: 2026-06-01
  old laptop: {group: Claude, hash: "{old laptop}", created: 2025-12-01T10:00:00Z, enabled: false}
  local dev: {group: Local, hash: "{local dev}", created: 2026-11-22T10:00:00Z}
"""  # noqa: E501 - one line each
NAMES = ("claude-code", "codex", "nightly batch", "evals", "workshop", "old laptop", "local dev")
USAGE = {
    "prompt_tokens": 140_000,
    "completion_tokens": 9_000,
    "input_tokens": 5_200,
    "output_tokens": 800,
}
QUOTA = {
    "x_ratelimit_limit_requests": "5000", "x_ratelimit_remaining_requests": "4210",
    "x_ratelimit_reset_requests": "6m0s", "x_ratelimit_limit_tokens": "2000000",
    "x_ratelimit_remaining_tokens": "310000", "x_ratelimit_reset_tokens": "50s",
}  # fmt: skip
MODELS = ("claude-haiku-4-5", "claude-opus-4-5", "claude-sonnet-4-5", "gpt-4.1", "gpt-5",
          "gpt-5-mini", "gpt-5-nano", "o5")  # fmt: skip
CALLS = (
    ("claude-code", "/v1/messages", b'{"model":"claude-sonnet-4-5","messages":[],"max_tokens":9}',
     "claude-cli/2.1.3"),
    ("codex", "/v1/responses", b'{"model":"gpt-5","input":"x"}', "codex_cli_rs/0.63.0"),
    ("evals", "/v1/chat/completions", b'{"model":"gpt-5","messages":[]}', "OpenAI/Python 3.54"),
)  # fmt: skip


@dataclass(frozen=True)
class Shot:
    """A picture: its name, the page, and what to press before it is taken."""

    name: str
    place: str
    presses: tuple[str, ...] = ()


PAST = "Why: the call of "
SHOTS = (
    Shot("keys", "keys"),
    Shot("create", "keys", ("Create a key",)),
    Shot("key", "keys/claude-code"),
    Shot("routes", "keys/codex", ("Move openrouter up",)),
    Shot("delete", "keys/codex", ("Delete",)),
    Shot("rotate", "keys/codex", ("Rotate",)),
    Shot("live", "live"),
    Shot("why", "live", (PAST,)),
    Shot("pause", "live", ("Pause …",)),
    Shot("usage", "usage?days=30"),
    Shot("usage-models", "usage?days=7&by=model&key=codex"),
    Shot("models", "models"),
    Shot("groups", "groups"),
    Shot("group", "groups/Claude"),
    Shot("providers", "providers", ("Test openai",)),
    Shot("provider", "providers/openai"),
    Shot("config", "config"),
)
SIZES = {"light": (1280, 800), "dark": (1280, 800), "phone": (390, 844)}


async def main(folder: Path) -> None:
    """Take all pictures and print the figures."""
    async with AsyncExitStack() as stack:
        browser = await stack.enter_async_context(chromium())
        vendor = await stack.enter_async_context(scripted_vendor())
        here = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        proxy = await stack.enter_async_context(
            sidecar(here, YAML.replace("URL", vendor.url), NAMES)
        )
        some_history(proxy)
        await some_traffic(proxy, vendor)
        await figures(browser, proxy)
        for size in SIZES:
            async with running_calls(proxy, vendor):
                await pictures(browser, proxy, folder, size)
        await refused(browser, proxy, folder)
    print(f"{len(SHOTS) * len(SIZES) + 1} pictures in {folder}")


async def some_traffic(proxy: Sidecar, vendor: ScriptedVendor) -> None:
    models = {"data": [{"id": name} for name in MODELS], "usage": USAGE}
    vendor.play(answer(json.dumps(models).encode(), **QUOTA))
    for key, target, body, agent in CALLS:
        await proxy.ask(target, body, key=key, headers=[("User-Agent", agent)])
    await proxy.rewrite(lambda text: text.replace("multiplier: 1.0", "multiplier: 0.9"))
    await proxy.rewrite(lambda text: text.replace("rpm: 300", "rpm: 320"))
    await proxy.rewrite(lambda text: text.replace("tpm: 50k", "tpm: 40k"))


def some_history(proxy: Sidecar) -> None:
    """Months of use, written into the ledger at once."""
    dice = Random(7)
    models = {"claude-code": ("claude-sonnet-4-5", "claude-opus-4-5"), "codex": ("gpt-5", "o5"),
              "evals": ("gpt-5-mini",), "nightly batch": ("gpt-5-mini",)}  # fmt: skip
    for number in range(900):
        key = dice.choices(tuple(models), (9, 6, 2, 3))[0]
        claude = key == "claude-code"
        began = time.time() - dice.uniform(0, 45) * 86_400
        if datetime.fromtimestamp(began, UTC).weekday() > 4 and key != "nightly batch":
            continue
        read = dice.randint(4_000, 150_000)
        usage = Usage(input_tokens=read, output_tokens=dice.randint(100, 6_000),
                      cache_read_tokens=int(read * dice.uniform(0.3, 0.95)),
                      reasoning_tokens=dice.randint(0, 900))  # fmt: skip
        cost = int(read * 1_400 * dice.uniform(0.5, 1.6))
        proxy.running.services.ledger.finished(replace(
            CALL, call_id=f"call_{number}", started=began, key=key, usage=usage,
            group="Claude" if claude else "GPT", provider="anthropic" if claude else "openai",
            model_asked=dice.choice(models[key]), duration=dice.uniform(1, 40),
            usage_state=UsageState.REPORTED,
            cost=Cost(cost, int(cost * 0.9) if claude else cost, "a list"),
        ))  # fmt: skip


@asynccontextmanager
async def running_calls(proxy: Sidecar, vendor: ScriptedVendor) -> AsyncIterator[None]:
    """Calls that run and wait while a picture is taken."""
    more = asyncio.Event()
    begun = chunk(b'event: message_start\ndata: {"type":"message_start","message":{"usage":'
                  b'{"input_tokens":48210,"output_tokens":412}}}\n\n')  # fmt: skip
    vendor.by_path["/v1/messages"] = paced(STREAM_HEAD, begun, more)
    vendor.by_path["/v1/responses"] = hang
    vendor.by_path["/v1/chat/completions"] = hang
    await over_socket(proxy, "POST", "/api/pause/key/nightly%20batch")
    asked = [CALLS[0], CALLS[0], CALLS[1], CALLS[2],
             ("nightly batch", "/v1/responses", b'{"model":"gpt-5-mini","input":"x"}', "batch/2"),
             *[CALLS[0]] * 6]  # fmt: skip
    writers = []
    for key, target, body, agent in asked:
        _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        head = {**proxy.bearer(key), "User-Agent": agent}
        streaming = body.replace(b'"max_tokens":9', b'"max_tokens":9,"stream":true')
        writer.write(request("POST", target, head, streaming))
        writers.append(writer)
        await asyncio.sleep(0.2)
    try:
        yield
    finally:
        for writer in writers:
            writer.close()
        await over_socket(proxy, "POST", "/api/resume/key/nightly%20batch")


async def pictures(browser: Browser, proxy: Sidecar, folder: Path, size: str) -> None:
    width, height = SIZES[size]
    scheme = "dark" if size == "dark" else "light"
    async with a_window(
        browser, viewport={"width": width, "height": height}, color_scheme=scheme
    ) as context:
        tab = await Tab(await context.new_page(), proxy).sign_in()
        for shot in SHOTS:
            await tab.page.goto("about:blank")  # else only the fragment would change
            await tab.page.goto(f"{tab.url}/#/{shot.place}")
            await tab.page.locator("main h1").wait_for()
            for name in shot.presses:
                await tab.scope.get_by_role("button", name=name, exact=name != PAST).first.click()
            await tab.page.wait_for_timeout(700)
            await tab.page.screenshot(
                path=folder / f"{shot.name}-{size}.png", full_page=not shot.presses
            )


async def refused(browser: Browser, proxy: Sidecar, folder: Path) -> None:
    await proxy.rewrite(lambda text: text.replace("group: GPT", "group: GTP", 1))
    async with a_window(browser, viewport={"width": 1280, "height": 800}) as context:
        tab = await Tab(await context.new_page(), proxy).sign_in()
        await tab.go("config", "Configuration")
        await tab.says("1 mistake")
        await tab.page.screenshot(path=folder / "refused-light.png")


async def figures(browser: Browser, proxy: Sidecar) -> None:
    static = Path(__file__).parent.parent / "sidecar/admin/console/static"
    weight = sum(path.stat().st_size for path in static.rglob("*") if path.is_file())
    print(f"all files of the console: {weight / 1000:.0f} KB")
    paints, sent = [], 0
    for _ in range(10):
        async with a_window(browser) as context:  # nothing is cached in a new one
            tab = await Tab(await context.new_page(), proxy).sign_in()
            await tab.page.locator("tbody tr").first.wait_for()
            paints.append(await tab.page.evaluate(PAINT))
            sent = await tab.page.evaluate(SENT)
    print(f"first contentful paint: {median(paints):.0f} ms (median of 10 first visits)")
    print(f"sent for the first page: {sent / 1000:.0f} KB, answers of the API included")
    api = await sign_in(proxy)
    for path in (
        "keys",
        "key?name=codex",
        "groups",
        "config",
        "models",
        "live",
        "recent",
        "calls",
        "usage?days=30",
    ):
        times = []
        for _ in range(30):
            began = time.perf_counter()
            await api.get(path)
            times.append(time.perf_counter() - began)
        print(f"GET {path}: {median(times) * 1000:.1f} ms")
    edit = {"do": "edit_key", "name": "codex", "fields": {"description": "x"}}
    times = []
    for number in range(10):
        edit["fields"] = {"description": f"number {number}"}
        seen = await api.digest()
        began = time.perf_counter()
        found = await api.send(edit, seen)
        times.append(time.perf_counter() - began)
        assert found.status == 200
    print(f"an edit, written and in force: {median(times) * 1000:.1f} ms")
    await api.change("edit_key", "codex", fields={"description": "the agent in my terminal"})


PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
SENT = """[...performance.getEntriesByType('resource'),
    ...performance.getEntriesByType("navigation")]
    .reduce((sum, each) => sum + each.transferSize, 0)"""

if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
