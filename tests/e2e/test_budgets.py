"""Budgets: reserved by estimate, settled by the cost of the reported usage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import anthropic
import openai
import pytest
from held_vendor import Gate as VendorGate
from held_vendor import waiting
from running_sidecar import Raw, Sidecar, sidecar
from sample_answers import CHAT, HELLO, body
from scripted_vendor import ScriptedVendor, answer, cut
from vendor_apis import until

from sidecar.records import NANODOLLARS
from sidecar.scheduling.estimates.tokens import MIN_SAMPLES
from sidecar.scheduling.limiter import LimitUnit

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
USED_CHAT = CHAT | {"usage": {"prompt_tokens": 1000, "completion_tokens": 500}}
USED = answer(body(USED_CHAT))
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
        window.scope: Decimal(window.used) / NANODOLLARS
        for _, window, _ in proxy.running.services.scheduler.limits
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
async def test_budget_is_spent_by_the_cost_of_calls_and_then_rejects(
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
        assert cost == [NANODOLLARS, NANODOLLARS]
        warned = [r.getMessage() for r in caplog.records if r.name == "sidecar.scheduling.limits"]
        assert len(warned) == 1
        assert f"{scope} has used 100% of its budget of $2/" in warned[0]


async def test_budget_reserved_by_a_running_call_is_waited_for(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    """Two calls of a budget for one: the second waits for what the first will really cost."""
    limiter = VendorGate(CHAT | {"usage": {"prompt_tokens": 10, "completion_tokens": 5}})
    vendor.play(limiter)
    async with shop(tmp_path, vendor, key=", budget: $1.5/day") as proxy:
        first = asyncio.create_task(ask(proxy, most=1000))
        await until(lambda: limiter.at_once == 1)
        second = asyncio.create_task(ask(proxy, most=1000))
        await until(lambda: waiting(proxy) == 1)
        limiter.let(2)
        assert (await first).status == 200
        assert (await second).status == 200
        assert spent(proxy)['key "day"'] == Decimal("0.02")


async def test_budget_reserved_for_longer_than_max_wait_is_a_429_to_retry(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    """The budget is not spent: no message says so, and SDKs may retry."""
    limiter = VendorGate()
    vendor.play(limiter)
    async with shop(tmp_path, vendor, key=", max_wait: 50ms, budget: $1.5/day") as proxy:
        first = asyncio.create_task(ask(proxy, most=1000))
        await until(lambda: limiter.at_once == 1)
        refused = await ask(proxy, most=1000)
        limiter.let(1)
        await first
        assert refused.status == 429
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.headers.get("x-should-retry") != "false"
        assert (
            'key "day" has running calls that may use up its budget of $1.5/day' in refused.message
        )


@pytest.mark.parametrize("calls", [3, 10])
async def test_small_budget_serves_every_call_with_an_output_limit_of_128000_tokens(
    tmp_path: Path, vendor: ScriptedVendor, calls: int
) -> None:
    """As an agent asks: one after the other, and at once. Each costs a hundredth of a dollar."""
    vendor.play(answer(body(CHAT | {"usage": {"prompt_tokens": 10, "completion_tokens": 5}})))
    async with shop(tmp_path, vendor, key=", budget: $2/day") as proxy:
        found = [(await ask(proxy, most=128_000)).status for _ in range(3)]
        at_once = await asyncio.gather(*(ask(proxy, most=128_000) for _ in range(calls)))
        assert found + [each.status for each in at_once] == [200] * (3 + calls)
        assert spent(proxy)['key "day"'] == Decimal("0.01") * (3 + calls)


async def test_waiting_call_is_refused_at_once_when_the_budget_is_spent_meanwhile(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    """A running call is not ended, although it costs more than was left."""
    limiter = VendorGate(CHAT | {"usage": {"prompt_tokens": 1000, "completion_tokens": 1000}})
    vendor.play(limiter)
    async with shop(tmp_path, vendor, key=", max_wait: 1m, budget: $1.2/day") as proxy:
        first = asyncio.create_task(ask(proxy, most=1000))
        await until(lambda: limiter.at_once == 1)
        others = [asyncio.create_task(ask(proxy, most=1000)) for _ in range(3)]
        await until(lambda: waiting(proxy) == 3)
        limiter.let(1)
        assert (await first).status == 200
        for refused in await asyncio.gather(*others):
            assert refused.status == 402
            assert refused.json()["error"]["code"] == "insufficient_quota"
            assert "retry-after" not in refused.headers
        assert spent(proxy)['key "day"'] == Decimal("1.5")
        assert len(vendor.requests) == 1


async def test_nearly_spent_budget_admits_one_call_at_a_time(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    """Their estimates are far above what is left, and they do not wait for the next day."""
    limiter = VendorGate(CHAT | {"usage": {"prompt_tokens": 10, "completion_tokens": 5}})
    vendor.play(limiter)
    async with shop(tmp_path, vendor, key=", budget: $0.025/day") as proxy:
        calls = [asyncio.create_task(ask(proxy, most=128_000)) for _ in range(4)]
        limiter.let(4)
        found = await asyncio.gather(*calls)
        assert limiter.most == 1
        assert sorted(each.status for each in found) == [200, 200, 200, 402]
        assert spent(proxy)['key "day"'] == Decimal("0.03")


async def test_budget_log_and_metrics_show_spend_without_reservations(
    tmp_path: Path, vendor: ScriptedVendor, caplog: pytest.LogCaptureFixture
) -> None:
    limiter = VendorGate(CHAT | {"usage": {"prompt_tokens": 10, "completion_tokens": 5}})
    vendor.play(limiter)
    async with shop(tmp_path, vendor, key=", budget: $1/day") as proxy:
        running = asyncio.create_task(ask(proxy, most=128_000))
        await until(lambda: limiter.at_once == 1)
        text = (await proxy.admin("/metrics")).body.decode()
        ratio = 'sidecar_limit_used_ratio{scope="key \\"day\\"",limit="budget/day",models=""}'
        assert f"{ratio} 0" in text
        limiter.let(1)
        assert (await running).status == 200
        assert spent(proxy)['key "day"'] == Decimal("0.01")
    assert not [r for r in caplog.records if r.name == "sidecar.scheduling.limits"]


async def test_reservation_of_a_possibly_billed_call_is_kept(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(cut(b""))
    async with shop(tmp_path, vendor, key=", budget: $1/day") as proxy:
        assert (await ask(proxy, most=500)).status == 502
        record = await proxy.record()
        assert (record.usage_state, record.cost) == ("unknown", None)
        assert Decimal("0.5") < spent(proxy)['key "day"'] < Decimal("0.51")


@pytest.mark.parametrize("budget", ["", ", budget: $9/day"], ids=["without", "with a budget"])
async def test_budget_and_vendor_quota_reserve_the_largest_demand_of_a_call(
    tmp_path: Path, vendor: ScriptedVendor, budget: str
) -> None:
    """Limits of the file count what it is likely to take, beside another one that runs."""
    limiter = VendorGate(CHAT)
    vendor.play(limiter)
    async with shop(tmp_path, vendor, key=", limits: {tpm: 1M}" + budget) as proxy:
        scheduler = proxy.running.services.scheduler
        for made in [100] * MIN_SAMPLES + [1000]:
            scheduler._estimates.learn("day", "dear-1", 10, 10, made)
        running = asyncio.create_task(ask(proxy))
        await until(lambda: limiter.at_once == 1)
        (lease,) = scheduler._admission.leases
        key = proxy.running.services.configuration.current().keys["day"]
        waiter, _ = scheduler.dry_run(key, "dear-1", [lease.candidate], 40, 1000)
        need = waiter.all_options[0].demand
        read = need[LimitUnit.INPUT]
        assert 250 < need[LimitUnit.OUTPUT] < need[LimitUnit.OUTPUT_UPPER_BOUND] == 1000
        assert need[LimitUnit.TOKENS] == read + need[LimitUnit.OUTPUT]
        assert need[LimitUnit.TOKENS_UPPER_BOUND] == read + 1000
        assert need[LimitUnit.MONEY] == ((read * 1000 + 1000 * 2000) * 500 if budget else 0)
        limiter.let(1)
        await running


async def test_budget_of_a_key_binds_that_key_alone(tmp_path: Path, vendor: ScriptedVendor) -> None:
    vendor.play(USED)
    async with shop(tmp_path, vendor, key=", budget: $1/day") as proxy:
        assert [(await ask(proxy)).status for _ in range(2)] == [200, 402]
        assert (await ask(proxy, key="other")).status == 200


async def test_budget_spend_survives_a_restart(tmp_path: Path, vendor: ScriptedVendor) -> None:
    vendor.play(USED)
    async with shop(tmp_path, vendor, key=", budget: $1/day") as proxy:
        assert (await ask(proxy)).status == 200
    async with shop(tmp_path, vendor, key=", budget: $1/day") as proxy:
        assert spent(proxy)['key "day"'] == 1
        assert (await ask(proxy)).status == 402


async def test_spent_budget_is_not_retried_by_the_sdks(
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


ALIASES = """
timezone: UTC
budget: $0.01/day
prices: {{dear-1: {{input: 1000, output: 2000}}}}
providers:
  oa: {{plugin: openai, base_url: "{url}/v1", credential: env:UPSTREAM_KEY{oa}}}
  home: {{plugin: openai, base_url: "{url}/v1", credential: none, price: free}}
groups:
  GPT:
    vendor: openai
    routes: [oa: {{as: {{alias: deployment}}{route}}}, home: {{models: qwen}}]
keys:
  day: {{group: GPT, hash: "{{day}}"}}
"""


@asynccontextmanager
async def renamed(
    path: Path, vendor: ScriptedVendor, *, served: str = "dear-1", oa: str = "", route: str = ""
) -> AsyncIterator[Sidecar]:
    """A deployment's own name, whose calls cost $2 by the model that is reported as served."""
    vendor.play(answer(body(USED_CHAT | {"model": served})))
    async with sidecar(path, ALIASES.format(url=vendor.url, oa=oa, route=route), ("day",)) as proxy:
        yield proxy


async def test_spent_budget_refuses_a_model_without_a_price_and_admits_a_free_one(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    async with renamed(tmp_path, vendor) as proxy:
        assert (await ask(proxy, model="alias")).status == 200
        assert spent(proxy)["everything together"] == 2
        refused = await ask(proxy, model="alias")
        assert refused.json()["error"]["code"] == "insufficient_quota"
        assert (await ask(proxy, model="qwen")).status == 200
        assert spent(proxy)["everything together"] == 2


async def test_spent_budget_rejects_a_model_that_never_had_a_price(
    tmp_path: Path, vendor: ScriptedVendor, caplog: pytest.LogCaptureFixture
) -> None:
    async with renamed(tmp_path, vendor, served="who-knows") as proxy:
        text = "$0.01/day"
        assert [(await ask(proxy, model="alias")).status for _ in range(2)] == [200, 200]
        assert spent(proxy)["everything together"] == 0
        told = [r.getMessage() for r in caplog.records if r.name == "sidecar.pricing"]
        assert len(told) == 1, "once for each key and model"
        assert 'key "day": no price is known for deployment at oa' in told[0]
        assert "priced_as" in told[0]
        assert await proxy.rewrite(lambda t: t.replace(text, "$0/day"))
        assert (await ask(proxy, model="alias")).status == 402
        assert (await ask(proxy, model="qwen")).status == 200


async def test_reported_model_prices_the_next_calls_of_an_alias(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    async with renamed(tmp_path, vendor) as proxy:
        assert await proxy.rewrite(lambda t: t.replace("$0.01/day", "$50/day"))
        assert (await ask(proxy, model="alias")).status == 200
        limiter = VendorGate(USED_CHAT | {"model": "dear-1"})
        vendor.play(limiter)
        running = asyncio.create_task(ask(proxy, model="alias", most=1000))
        await until(lambda: limiter.at_once == 1)
        (lease,) = proxy.running.services.scheduler._admission.leases
        assert lease.option.demand[LimitUnit.MONEY] > 2 * NANODOLLARS
        limiter.let(1)
        await running


@pytest.mark.parametrize("where", ["oa", "route"])
async def test_priced_as_gives_an_alias_its_price_before_the_first_answer(
    tmp_path: Path, vendor: ScriptedVendor, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    async with renamed(
        tmp_path, vendor, served="who-knows", **{where: ", priced_as: dear-1"}
    ) as proxy:
        assert (await ask(proxy, model="alias")).status == 200
        assert spent(proxy)["everything together"] == 2
        assert (await ask(proxy, model="alias")).json()["error"]["code"] == "insufficient_quota"
        record = await proxy.record()
        assert record.cost is not None
        assert record.cost.charged == 2 * NANODOLLARS
    assert not [r for r in caplog.records if r.name == "sidecar.pricing"]


COUNTING = """
providers:
  an: {{plugin: anthropic, base_url: "{url}", credential: env:UPSTREAM_KEY}}
groups:
  Claude: {{vendor: anthropic, routes: [an], budget: $0/day}}
  Limited: {{vendor: anthropic, routes: [an], limits: {{rpm: 1, rpd: 1}}}}
  Shut: {{vendor: anthropic, routes: [an], limits: {{rpm: 0}}}}
keys:
  spent: {{group: Claude, hash: "{{spent}}"}}
  limited: {{group: Limited, max_wait: 0s, hash: "{{limited}}"}}
  shut: {{group: Shut, max_wait: 0s, hash: "{{shut}}"}}
"""


async def test_token_count_call_takes_no_request_limit_and_passes_a_spent_budget(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b'{"input_tokens":7}'))
    asked = b'{"model":"claude-x","messages":[],"max_tokens":9}'
    text, path = COUNTING.format(url=vendor.url), "/v1/messages/count_tokens"
    async with sidecar(tmp_path, text, ("spent", "limited", "shut")) as proxy:
        for key in ("spent", "limited"):
            assert [(await proxy.ask(path, asked, key=key)).status for _ in range(3)] == [200] * 3
        assert (await proxy.ask("/v1/messages", asked, key="limited")).status == 200
        assert (await proxy.ask("/v1/messages", asked, key="limited")).status == 429
        assert (await proxy.ask(path, asked, key="limited")).status == 200
        assert (await proxy.ask(path, asked, key="shut")).status == 429, "0 admits nothing"


async def test_call_without_a_price_spends_nothing_unless_unpriced_calls_are_rejected(
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
