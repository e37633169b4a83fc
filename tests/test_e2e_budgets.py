"""Money is a limit like any other: reserved by estimate, settled by what the vendor said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import anthropic
import openai
import pytest
from apis_in_test import until
from scripted_vendor import ScriptedVendor, answer, cut
from sidecar_in_test import Raw, Sidecar, sidecar
from test_e2e_sdks import CHAT, HELLO, body
from test_e2e_waiting import Gate

from sidecar.estimates import ENOUGH
from sidecar.gates import Unit
from sidecar.limits import NANO

YAML = """
timezone: UTC{top}
prices: {{dear*: {{input: 1000, output: 2000}}, "*": {{input: 1, output: 1}}}}
providers:
  oa: {{plugin: openai, base_url: "{url}/v1", credential: env:UPSTREAM_KEY{oa}}}
  an: {{plugin: anthropic, base_url: "{url}", credential: env:UPSTREAM_KEY}}
groups:
  GPT: {{vendor: openai, multiplier: 0.5, routes: [oa]{gpt}}}
  Claude: {{vendor: anthropic, routes: [an], budget: $0/day}}
keys:
  day: {{group: GPT, hash: "{{day}}"{key}}}
  other: {{group: GPT, hash: "{{other}}"}}
  claude: {{group: Claude, hash: "{{claude}}"}}
"""
PATH = "/v1/chat/completions"
USED = answer(body(CHAT | {"usage": {"prompt_tokens": 1000, "completion_tokens": 500}}))
"""At the price of `dear` and half of it: one dollar."""
WHERE = {"top": "", "oa": "", "gpt": "", "key": ""}


@asynccontextmanager
async def shop(path: Path, vendor: ScriptedVendor, **budgets: str) -> AsyncIterator[Sidecar]:
    text = YAML.format(url=vendor.url, **(WHERE | budgets))
    async with sidecar(path, text, ("day", "other", "claude")) as running:
        yield running


async def ask(proxy: Sidecar, key: str = "day", model: str = "dear-1", most: int = 100) -> Raw:
    asked = f'{{"model":"{model}","max_tokens":{most}}}'.encode()
    return await proxy.ask(PATH, asked, key=key)


def spent(proxy: Sidecar) -> dict[str, Decimal]:
    return {
        window.scope: Decimal(window.used) / NANO
        for _, window in proxy.running.scheduler.limits
        if window.kind.startswith("budget")
    }


@pytest.mark.parametrize(
    ("where", "budget", "scope"),
    [
        ("top", "\nbudget: $2/day", "everything together"),
        ("oa", ", budget: $2/week", "provider oa (env:UPSTREAM_KEY)"),
        ("gpt", ", budget: [$2/month]", "group GPT"),
        ("key", ", budget: $2/day", 'key "day"'),
    ],
    ids=["top", "provider", "group", "key"],
)
async def test_a_budget_is_spent_by_what_calls_cost_and_then_says_so(
    tmp_path: Path, vendor: ScriptedVendor, caplog: pytest.LogCaptureFixture,
    where: str, budget: str, scope: str,
) -> None:  # fmt: skip
    vendor.play(USED)
    async with shop(tmp_path, vendor, **{where: budget}) as proxy:
        assert [(await ask(proxy)).status for _ in range(2)] == [200, 200]
        assert spent(proxy)[scope] == 2
        found = await ask(proxy)
        assert found.status == 402
        error = found.json()["error"]
        assert (error["type"], error["code"]) == ("insufficient_quota", "insufficient_quota")
        assert f"{scope} is at its budget of $2/" in found.message
        assert "routes.yaml:" in found.message
        assert found.headers["x-should-retry"] == "false"
        assert "retry-after" not in found.headers
        assert len(vendor.requests) == 2
        await proxy.record(3)
        cost = [record.cost.charged for record in proxy.records if record.cost]
        assert cost == [NANO, NANO]
        warned = [r.getMessage() for r in caplog.records if r.name == "sidecar.limits"]
        assert len(warned) == 1
        assert f"{scope} has used 100 % of its budget of $2/" in warned[0]


async def test_what_runs_already_is_reserved_for(tmp_path: Path, vendor: ScriptedVendor) -> None:
    """Two calls of a budget for one: the second waits for what the first will really cost."""
    gate = Gate(CHAT | {"usage": {"prompt_tokens": 10, "completion_tokens": 5}})
    vendor.play(gate)
    async with shop(tmp_path, vendor, key=", budget: $1.5/day") as proxy:
        first = asyncio.create_task(ask(proxy, most=1000))
        await until(lambda: gate.at_once == 1)
        refused = await ask(proxy, most=1000)
        assert refused.status == 402  # it cannot fit today, unless the first one costs less
        gate.let(2)
        assert (await first).status == 200
        assert spent(proxy)['key "day"'] == Decimal("0.01")
        assert (await ask(proxy, most=1000)).status == 200


async def test_what_may_have_been_billed_stays_reserved_for(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(cut(b""))
    async with shop(tmp_path, vendor, key=", budget: $1/day") as proxy:
        assert (await ask(proxy, most=500)).status == 502
        record = await proxy.record()
        assert (record.usage_state, record.cost) == ("unknown", None)
        assert Decimal("0.5") < spent(proxy)['key "day"'] < Decimal("0.51")


@pytest.mark.parametrize("budget", ["", ", budget: $9/day"], ids=["without", "with a budget"])
async def test_a_budget_and_a_vendors_quota_count_the_most_that_a_call_takes(
    tmp_path: Path, vendor: ScriptedVendor, budget: str
) -> None:
    """Limits of the file count what it is likely to take, beside another one that runs."""
    gate = Gate(CHAT)
    vendor.play(gate)
    async with shop(tmp_path, vendor, key=", limits: {tpm: 1M}" + budget) as proxy:
        scheduler = proxy.running.scheduler
        for made in [100] * ENOUGH + [1000]:
            scheduler.estimates.learn("day", "dear-1", 10, 10, made)
        running = asyncio.create_task(ask(proxy))
        await until(lambda: gate.at_once == 1)
        (lease,) = scheduler.admission.leases
        key = proxy.running.configuration.current().keys["day"]
        option = scheduler.supposed(key, "dear-1", lease.place, 40, 1000)
        assert option is not None
        need = option.need
        read = need[Unit.INPUT]
        assert 250 < need[Unit.OUTPUT] < need[Unit.OUTPUT_AT_MOST] == 1000
        assert need[Unit.TOKENS] == read + need[Unit.OUTPUT]
        assert need[Unit.TOKENS_AT_MOST] == read + 1000
        assert need[Unit.MONEY] == ((read * 1000 + 1000 * 2000) * 500 if budget else 0)
        gate.let(1)
        await running


async def test_a_budget_of_a_key_binds_that_key_alone(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(USED)
    async with shop(tmp_path, vendor, key=", budget: $1/day") as proxy:
        assert [(await ask(proxy)).status for _ in range(2)] == [200, 402]
        assert (await ask(proxy, key="other")).status == 200


async def test_what_was_spent_survives_a_restart(tmp_path: Path, vendor: ScriptedVendor) -> None:
    vendor.play(USED)
    async with shop(tmp_path, vendor, key=", budget: $1/day") as proxy:
        assert (await ask(proxy)).status == 200
    async with shop(tmp_path, vendor, key=", budget: $1/day") as proxy:
        assert spent(proxy)['key "day"'] == 1
        assert (await ask(proxy)).status == 402


async def test_the_sdks_take_a_spent_budget_for_final(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    async with shop(tmp_path, vendor, key=", budget: $0/day") as proxy:
        gpt = openai.AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key=proxy.keys["day"])
        claude = anthropic.AsyncAnthropic(base_url=proxy.url, api_key=proxy.keys["claude"])
        async with gpt, claude:
            with pytest.raises(openai.APIStatusError, match="budget"):
                await gpt.chat.completions.create(model="dear", messages=HELLO)  # type: ignore[call-overload]
            with pytest.raises(anthropic.APIStatusError, match="budget") as caught:
                await claude.messages.create(model="c", max_tokens=9, messages=HELLO)  # type: ignore[arg-type]
        assert caught.value.status_code == 402
        assert vendor.requests == []
        await proxy.record(2)
        assert len(proxy.records) == 2  # neither of them asked twice


async def test_a_call_without_a_price_spends_nothing_unless_such_are_refused(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(body(CHAT | {"model": "who-knows"})))
    async with shop(tmp_path, vendor, top="\nbudget: $5/day") as proxy:
        assert await proxy.rewrite(lambda t: t.replace(', "*": {input: 1, output: 1}', ""))
        assert (await ask(proxy, model="who-knows")).status == 200
        assert spent(proxy)["everything together"] == 0
        text = (await proxy.admin("/metrics")).body.decode()
        assert "sidecar_calls_unpriced_total{" in text
        assert await proxy.rewrite(lambda t: t.replace("\nbudget:", "\nunpriced: refuse\nbudget:"))
        found = await ask(proxy, model="who-knows")
        assert found.status == 403
        assert "no price is known" in found.message
        assert "who-knows at oa" in found.message
        assert (await ask(proxy)).status == 200
