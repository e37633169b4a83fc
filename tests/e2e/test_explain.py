"""The forecast of `explain` is compared with the call that follows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from admin_client import explained, order, see
from running_sidecar import Raw, Sidecar
from running_sidecar import sidecar as start_sidecar
from scripted_vendor import STREAM_HEAD, ScriptedVendor, Wire, answer, chunk
from vendor_apis import settled, until

from sidecar.admin.api_types.live import Explanation
from sidecar.cli.render.explain import NO_PRICE
from sidecar.cli.render.explain import explanation_lines as lines_of

CHAT = "/v1/chat/completions"
USED = (
    b'{"model":"gpt-5","choices":[],"usage":{"prompt_tokens":100,"completion_tokens":20,'
    b'"total_tokens":120}}'
)
YAML = """
limits: {{concurrency: 9}}
providers:
  main: {{plugin: openai, base_url: "{url}/main/v1", credential: env:UPSTREAM_KEY}}
  spare: {{plugin: openai, base_url: "{url}/spare/v1", credential: env:UPSTREAM_KEY, limits: {{rpm: 5}}}}
groups:
  GPT:
    vendor: openai
    headroom: {{background: 50%}}
    limits: {{rpm: 10, tpm: 10k, models: {{gpt-5*: {{rpm: 4}}}}}}
    routes: [main]
  Both: {{vendor: openai, routes: [main, spare: {{as: {{gpt-5: other/gpt-5}}}}]}}
  One: {{vendor: openai, limits: {{concurrency: 1}}, routes: [main]}}
  Shared: {{vendor: openai, routes: [main: {{priority: 1, weight: 3}}, spare: {{priority: 1}}]}}
  Paid: {{vendor: openai, budget: $10/day, routes: [main: {{max_input: 2k}}, spare]}}
keys:
  codex: {{group: GPT, hash: "{{codex}}", urgency: interactive}}
  nightly: {{group: GPT, hash: "{{nightly}}", urgency: background}}
  both: {{group: Both, hash: "{{both}}"}}
  one: {{group: One, hash: "{{one}}", max_wait: 60s}}
  two: {{group: One, hash: "{{two}}", urgency: interactive}}
  shared: {{group: Shared, hash: "{{shared}}", models: gpt-5*}}
  off: {{group: One, hash: "{{off}}", enabled: false}}
  old: {{group: One, hash: "{{old}}", expires: 2020-01-01}}
  none: {{group: One, hash: "{{none}}", limits: {{rpm: 0}}}}
  paid: {{group: Paid, hash: "{{paid}}"}}
unpriced: refuse
prices: {{dear*: {{input: 1000, output: 2000}}}}
"""  # noqa: E501
KEYS = ("codex", "nightly", "both", "one", "two", "shared", "off", "old", "none", "paid")


@pytest.fixture
async def proxy(tmp_path: Path, vendor: ScriptedVendor) -> AsyncIterator[Sidecar]:
    vendor.play(answer(USED))
    async with start_sidecar(tmp_path, YAML.format(url=vendor.url), KEYS) as started:
        yield started


def calling(proxy: Sidecar, key: str, model: str = "gpt-5") -> asyncio.Task[Raw]:
    return asyncio.create_task(proxy.ask(CHAT, f'{{"model":"{model}"}}'.encode(), key=key))


def gate(candidate: Any, kind: str, models: str | None = None) -> Any:
    (found,) = [
        each for each in candidate["gates"]
        if each.get("kind") == kind and each.get("models") == models
    ]  # fmt: skip
    return found


class Busy:
    """A provider that holds its answers back until it is told."""

    def __init__(self, vendor: ScriptedVendor) -> None:
        self.gate = asyncio.Event()
        self.vendor = vendor
        vendor.play(self.script)

    async def script(self, wire: Wire) -> None:
        await self.gate.wait()
        await answer(USED)(wire)


async def test_explain_shows_limits_with_used_and_left(proxy: Sidecar) -> None:
    assert (await calling(proxy, "codex")).status == 200
    await settled(proxy.running)
    found = await explained(proxy, "codex", "gpt-5")
    assert (found["live"], found["now"]["outcome"]) == (True, "goes")
    assert found["now"]["text"] == "It would go to main now."
    (main,) = found["candidates"]
    assert (main["goes"], main["behind"], main["line"]) == (True, None, "routes.yaml:11")
    tokens, calls = gate(main, "tpm"), gate(main, "rpm", "gpt-5*")
    assert {name: tokens[name] for name in ("limit", "used", "left", "kept", "line", "unit")} == {
        "limit": 10000, "used": 120, "left": 9880, "kept": 0, "line": "routes.yaml:10",
        "unit": "tokens",
    }  # fmt: skip
    assert (calls["limit"], calls["used"], calls["left"]) == (4, 1, 3)
    assert 0 < calls["reset"] <= 60
    assert gate(main, "concurrency")["reset"] is None
    others = await explained(proxy, "codex", "o3")
    assert [each["models"] for each in others["candidates"][0]["gates"]] == [None] * 3


async def test_explain_shows_headroom_to_the_calls_it_binds(proxy: Sidecar) -> None:
    for _ in range(2):
        assert (await calling(proxy, "codex")).status == 200
    found = await explained(proxy, "nightly", "gpt-5")
    (main,) = found["candidates"]
    assert gate(main, "rpm", "gpt-5*")["kept"] == 2
    assert found["now"]["outcome"] == "waits"
    assert "group GPT is at its limit of 4 rpm for gpt-5* (routes.yaml:10)" in found["now"]["text"]
    assert 0 < main["behind"]["opens"] <= 60
    assert (await explained(proxy, "codex", "gpt-5"))["now"]["outcome"] == "goes"


async def test_explain_shows_waiting_calls_and_the_calls_ahead(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    busy = Busy(vendor)
    running = calling(proxy, "one")
    await vendor.arrived.wait()
    waiting = [calling(proxy, "one") for _ in range(2)]
    await until(lambda: len(proxy.running.services.scheduler.waiting) == 2)
    normal, urgent = await explained(proxy, "one", "m"), await explained(proxy, "two", "m")
    assert normal["candidates"][0]["behind"] == {
        "gate": "group One is at its limit of 1 concurrency (routes.yaml:13)",
        "scope": "group One", "kind": "concurrency", "before": 2, "opens": 0,
    }  # fmt: skip
    assert "2 calls go before it; room as soon as a call ends" in normal["now"]["text"]
    assert urgent["candidates"][0]["behind"]["before"] == 0
    assert (normal["waiting"], normal["candidates"][0]["gates"][0]["waiting"]) == (2, 2)
    lines = (await see(proxy, "live"))["lines"]
    assert [line["behind"][0]["before"] for line in lines] == [0, 1]
    assert [line["behind"][0]["provider"] for line in lines] == ["main", "main"]
    busy.gate.set()
    assert [(await each).status for each in (running, *waiting)] == [200] * 3


async def test_explain_takes_no_capacity_and_no_turn(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    busy = Busy(vendor)
    running, waiting = calling(proxy, "one"), calling(proxy, "one")
    await until(lambda: len(proxy.running.services.scheduler.waiting) == 1)
    before = await see(proxy, "live")
    for _ in range(3):
        await explained(proxy, "two", "m")
        await explained(proxy, "one", "m")
    after = await see(proxy, "live")
    for name in ("limits", "waiting", "granted"):
        assert after[name] == before[name]
    busy.gate.set()
    assert [(await each).status for each in (running, waiting)] == [200, 200]


async def test_explain_shows_a_cooldown_with_its_reason_and_the_next_candidate(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    error = b'{"error":{"code":"rate_limit_exceeded","message":"slow down"}}'
    vendor.by_path["/main/v1/chat/completions"] = answer(
        error, "429 Too Many Requests", retry_after="40"
    )
    assert (await calling(proxy, "both")).status == 200
    found = await explained(proxy, "both", "gpt-5")
    main, spare = found["candidates"]
    assert (main["goes"], spare["goes"], spare["model"]) == (False, True, "other/gpt-5")
    (cooldown,) = [each for each in main["gates"] if each["what"] == "cooldown"]
    assert (cooldown["reason"], cooldown["verdict"]) == ("429 rate_limit_exceeded", "rate_limited")
    assert 0 < cooldown["seconds"] <= 41
    assert found["now"]["provider"] == "spare"
    assert found["now"]["text"].startswith("It would go to spare now, and not to main: provider")
    assert (await calling(proxy, "both")).status == 200
    assert vendor.last.path.startswith("/spare/")
    (told,) = (await see(proxy, "live"))["cooldowns"]
    assert (told["provider"], told["family"]) == ("main", "gpt-5")
    assert told["credential"] == "env:UPSTREAM_KEY"


KIND = "requests/minute"
"""What the headers are about, by their vendor's own reckoning."""


async def test_explain_shows_the_quota_that_the_vendor_reported(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    headers = {
        "x_ratelimit_limit_requests": "100", "x_ratelimit_remaining_requests": "60",
        "x_ratelimit_reset_requests": "30s",
    }  # fmt: skip
    vendor.play(answer(USED, **headers))
    assert (await calling(proxy, "one")).status == 200
    found = await explained(proxy, "one", "gpt-5")
    quota = gate(found["candidates"][0], KIND)
    assert (quota["what"], quota["unit"], quota["limit"]) == ("quota", "calls", 100)
    assert 60 <= quota["left"] < 65
    assert 0 < quota["reset"] <= 30
    (told,) = (await see(proxy, "live"))["quotas"]
    assert (told["provider"], told["kind"], told["limit"]) == ("main", KIND, 100)


async def test_explain_puts_the_pinned_provider_of_a_session_first(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    await order(proxy, "pause", "provider", "main")
    body = b'{"model":"gpt-5","prompt_cache_key":"abc"}'
    assert (await proxy.ask(CHAT, body, key="both")).status == 200
    await order(proxy, "resume", "provider", "main")
    pinned = await explained(proxy, "both", "gpt-5", session="abc")
    assert pinned["home"] == "spare"
    assert [each["provider"] for each in pinned["candidates"]] == ["spare", "main"]
    assert pinned["now"]["text"] == "It would go to spare now."
    stranger = await explained(proxy, "both", "gpt-5", session="another")
    assert (stranger["home"], stranger["now"]["provider"]) == (None, "main")
    await order(proxy, "pause", "provider", "spare")
    away = await explained(proxy, "both", "gpt-5", session="abc")
    assert away["now"]["outcome"] == "waits"
    assert away["now"]["text"].startswith(
        "It would wait up to 5 s for spare, to which its session is pinned"
    )


async def test_explain_shows_the_reservation_of_a_call(proxy: Sidecar) -> None:
    (unknown,) = (await explained(proxy, "codex", "gpt-5"))["candidates"]
    assert unknown["reserves"] == {
        "input_tokens": None, "output_tokens": 4096, "usd": None, "learned": False,
    }  # fmt: skip
    found = await explained(proxy, "codex", "gpt-5", size="400", max_output="50")
    (bounded,) = found["candidates"]
    assert (bounded["reserves"]["input_tokens"], bounded["reserves"]["output_tokens"]) == (100, 50)
    for _ in range(5):
        assert (await calling(proxy, "shared")).status == 200
    await settled(proxy.running)
    learned = (await explained(proxy, "shared", "gpt-5"))["candidates"][0]["reserves"]
    assert (learned["output_tokens"], learned["learned"]) == (20, True)


async def test_explain_shows_the_budget_reservation_of_a_call(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    found = await explained(proxy, "paid", "dear-1", size="4000", max_output="500")
    assert [each["reserves"]["usd"] for each in found["candidates"]] == [2.0, 2.0]
    budget = gate(found["candidates"][0], "budget/day")
    assert (budget["unit"], budget["limit"], budget["used"]) == ("usd", 10.0, 0.0)
    assert (await calling(proxy, "paid", "dear-1")).status == 200
    await settled(proxy.running)
    found = await explained(proxy, "paid", "dear-1")
    assert gate(found["candidates"][0], "budget/day")["used"] == 0.14
    unpriced = await explained(proxy, "paid", "who-knows")
    assert (unpriced["now"]["status"], unpriced["candidates"]) == (403, [])
    assert ["no price is known" in each["why"] for each in unpriced["skipped"]] == [True, True]
    assert (await calling(proxy, "paid", "who-knows")).status == 403


async def test_explain_shows_a_spent_budget_and_its_calls_as_rejected(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    assert await proxy.rewrite(
        lambda t: t.replace("$10/day", "$0.01/day").replace("refuse", "allow")
    )
    assert (await explained(proxy, "paid", "who-knows"))["now"]["outcome"] == "goes"
    assert (await calling(proxy, "paid", "dear-1")).status == 200
    await settled(proxy.running)
    for model, price in (("dear-1", "routes.yaml:28"), ("who-knows", None)):
        found = await explained(proxy, "paid", model)
        assert [each["price"] for each in found["candidates"]] == [price] * 2
        budget = gate(found["candidates"][0], "budget/day")
        assert (budget["used"], budget["left"], budget["reserved"]) == (0.14, 0.0, 0.0)
        assert (found["now"]["outcome"], found["now"]["status"]) == ("refused", 402)
        assert "group Paid is at its budget of $0.01/day" in found["now"]["text"]
        assert (await calling(proxy, "paid", model)).status == 402
        shown = NO_PRICE in "\n".join(lines_of(msgspec.convert(found, Explanation)))
        assert shown == (price is None)
    live = await see(proxy, "live")
    assert live["unpriced"] == [
        {"key": "paid", "model": "who-knows", "provider": each} for each in ("main", "spare")
    ]


async def test_explain_leaves_out_a_provider_whose_limit_is_too_small(proxy: Sidecar) -> None:
    found = await explained(proxy, "paid", "dear-1", size="40000", max_output="10")
    assert [each["provider"] for each in found["candidates"]] == ["spare"]
    (skipped,) = found["skipped"]
    assert skipped["provider"] == "main"
    assert "max_input of 2,000 (routes.yaml:15)" in skipped["why"]


async def test_explain_shows_a_call_that_is_rejected_at_once(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    for key, status, says in (
        ("off", 403, 'key "off" is disabled (routes.yaml:23)'),
        ("old", 403, 'key "old" has expired (routes.yaml:24)'),
        ("none", 429, "is at its limit of 0 rpm (routes.yaml:25); nothing passes there"),
        ("shared", 403, 'model "m" is not offered to key "shared"'),
    ):
        now = (await explained(proxy, key, "m"))["now"]
        assert (now["outcome"], now["status"]) == ("refused", status), now
        assert says in now["text"]
        refused = await calling(proxy, key, "m")
        assert refused.status == status
    assert vendor.requests == []


async def test_explain_rejects_a_call_whose_wait_exceeds_max_wait(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b"{}", "429 Too Many Requests", retry_after="200"))
    await calling(proxy, "one")
    found = (await explained(proxy, "one", "gpt-5"))["now"]
    assert (found["outcome"], found["status"]) == ("refused", 429)
    assert "that is longer than its max_wait of 60 s" in found["text"]


async def test_explain_shows_the_shares_of_providers_of_one_priority(proxy: Sidecar) -> None:
    found = await explained(proxy, "shared", "gpt-5")
    assert [(each["provider"], each["share"]) for each in found["candidates"]] == [
        ("main", 0.75), ("spare", 0.25),
    ]  # fmt: skip


async def test_explain_shows_a_running_call_and_its_attempts(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    gate, usage = asyncio.Event(), asyncio.Event()

    async def script(wire: Wire) -> None:
        await gate.wait()
        await wire.send(STREAM_HEAD + chunk(b'data: {"model":"gpt-5","choices":[]}\n\n'))
        await usage.wait()
        await wire.send(chunk(b"data: " + USED + b"\n\n") + chunk(b'data: {"choi'))
        await wire.until_gone()

    vendor.play(script)
    body = b'{"model":"gpt-5","stream":true}'
    call = asyncio.create_task(proxy.ask(CHAT, body, key="one"))
    await vendor.arrived.wait()

    async def seen() -> Any:
        (found,) = (await see(proxy, "live"))["calls"]
        return found

    asked = await seen()
    assert (asked["state"], asked["key"], asked["provider"]) == ("asked", "one", "main")
    assert (asked["first_byte"], asked["bytes"], asked["input_tokens"]) == (None, 0, None)
    gate.set()
    async with asyncio.timeout(10):
        while (answering := await seen())["state"] != "answering":
            pass
    assert answering["first_byte"] > 0
    assert answering["bytes"] > 0
    assert answering["output_tokens"] is None
    usage.set()
    # Half an event came behind the figures: what is known already is shown, or nothing.
    async with asyncio.timeout(10):
        while (await seen())["bytes"] <= answering["bytes"]:
            pass
    assert (await seen())["output_tokens"] in {None, 20}
    call.cancel()
    await settled(proxy.running)
    record = await proxy.record()
    assert record.usage is not None
    assert record.usage.output_tokens == 20


async def test_explain_truncates_a_long_model_name(proxy: Sidecar, vendor: ScriptedVendor) -> None:
    busy = Busy(vendor)
    calls = [calling(proxy, "one", "m" * 500) for _ in range(2)]
    await until(lambda: len(proxy.running.services.scheduler.waiting) == 1)
    seen = await see(proxy, "live")
    assert [len(each["model"]) for each in (*seen["calls"], *seen["lines"])] == [256] * 3
    busy.gate.set()
    assert [(await each).status for each in calls] == [200, 200]
