"""The cost of each call is exact to the nano-dollar in ledger, metrics, log and headers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from ledger_checks import rows
from recorded_answers import MESSAGE_DELTA, MESSAGE_START, MESSAGE_STOP, MESSAGE_TEXT, sse
from running_sidecar import Sidecar
from running_sidecar import sidecar as start_sidecar
from scripted_vendor import STREAM_HEAD, ScriptedVendor, answer, chunk, cut, paced, stream
from vendor_apis import figures, settled

from sidecar.access_log import CallLog
from sidecar.proxy import in_flight
from sidecar.records import Cost

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
YAML = """
prices:
  gpt-tuned-*: {{input: 3, output: 15}}
  grok-own: {{input: 1, output: 10}}
providers:
  oa: {{plugin: openai, base_url: "{url}/v1", credential: none}}
  an: {{plugin: anthropic, base_url: "{url}", credential: none}}
  xa: {{plugin: xai, base_url: "{url}/v1", credential: none}}
  router: {{plugin: openrouter, base_url: "{url}/v1", credential: none}}
  house: {{plugin: vllm, base_url: "{url}/v1", price: free}}
groups:
  GPT:
    vendor: openai
    routes:
      - oa: {{models: "gpt-*"}}
      - xa: {{models: grok-*}}
      - router: {{models: "*/*"}}
      - house: {{models: qwen*}}
  Claude: {{vendor: anthropic, multiplier: 0.9, routes: [an]}}
keys:
  gpt: {{group: GPT, hash: "{{gpt}}"}}
  claude: {{group: Claude, hash: "{{claude}}"}}
"""
GPT_4O = b'{"model":"gpt-4o"}'
# 176 plain at 2500 nano-dollars, 1024 cached at 1250, 340 of output at 10000.
FIGURES = (
    b'"prompt_tokens":1200,"completion_tokens":340,"prompt_tokens_details":{"cached_tokens":1024}'
)
ANSWER = b'{"model":"gpt-4o-2024-08-06","usage":{%s}}' % FIGURES
COST = 5_120_000
LISTED = "genai-prices 0.2.3 openai/gpt-4o"
# 12 plain at 4000, 5000 read at 200, 100 written at 5000, 200 for an hour at 8000, 89 of output at
# 20000 and two searches for a cent each; of a stream that is cut, one of output and no search.
CLAUDE_COST, CLAUDE_CUT = 24_928_000, 3_168_000


@pytest.fixture
async def proxy(tmp_path: Path, vendor: ScriptedVendor) -> AsyncIterator[Sidecar]:
    yaml = YAML.format(url=vendor.url)
    async with start_sidecar(tmp_path, yaml, ("gpt", "claude")) as started:
        yield started


async def test_cost_of_a_call_is_in_ledger_metrics_and_log(
    proxy: Sidecar, vendor: ScriptedVendor, tmp_path: Path
) -> None:
    vendor.play(answer(ANSWER))
    await proxy.ask(CHAT, GPT_4O)
    record = await proxy.record()
    assert record.cost == Cost(COST, COST, LISTED)
    labels = 'group="GPT",key="gpt",model="gpt-4o",provider="oa"'
    (cost,) = (await figures(proxy.running, "sidecar_cost_dollars_total")).items()
    assert (sorted(cost[0].strip("{}").split(",")), cost[1]) == (labels.split(","), 0.00512)
    assert await figures(proxy.running, "sidecar_calls_unpriced_total") == {}
    await settled(proxy.running)
    await proxy.running.services.ledger.flush()
    (row,) = rows(proxy.state)
    assert (row["cost_listed"], row["cost_charged"], row["price"]) == (COST, COST, LISTED)
    with (tmp_path / "log").open("w") as file:
        CallLog(file)(record)
    assert json.loads((tmp_path / "log").read_text())["cost_usd"] == 0.00512


async def test_stream_is_priced_at_the_multiplier_of_its_group(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    events = sse(MESSAGE_START, MESSAGE_TEXT, MESSAGE_DELTA, MESSAGE_STOP, names=True)
    vendor.play(stream(events))
    await proxy.ask(MESSAGES, b'{"model":"claude-opus-5-5","stream":true}', key="claude")
    record = await proxy.record()
    price = "genai-prices 0.2.3 anthropic/claude-opus-5-5"
    assert record.cost == Cost(CLAUDE_COST, CLAUDE_COST * 9 // 10, price)


async def test_truncated_response_costs_the_usage_reported_before(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(cut(STREAM_HEAD + chunk(sse(MESSAGE_START, MESSAGE_TEXT, names=True))))
    await proxy.ask(MESSAGES, b'{"model":"claude-opus-5-5","stream":true}', key="claude")
    record = await proxy.record()
    assert (record.outcome, record.usage_state) == ("cut", "partial")
    assert record.cost is not None
    assert record.cost.listed == CLAUDE_CUT


async def test_unknown_cost_is_counted_and_not_zero(proxy: Sidecar, vendor: ScriptedVendor) -> None:
    vendor.play(
        answer(b'{"usage":{%s}}' % FIGURES),
        stream(b'data: {"choices":[{"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'),
    )
    await proxy.ask(CHAT, b'{"model":"gpt-nobody-knows"}')
    await proxy.ask(CHAT, b'{"model":"gpt-4o","stream":true}')
    await proxy.record(2)
    assert [record.cost for record in proxy.records] == [None, None]
    for name in ("sidecar_calls_unpriced_total", "sidecar_usage_unknown_total"):
        (count,) = (await figures(proxy.running, name)).values()
        assert count == 1, name
    assert await figures(proxy.running, "sidecar_cost_dollars_total") == {}
    await proxy.running.services.ledger.flush()
    assert [row["cost_charged"] for row in rows(proxy.state)] == [None, None]


async def test_failed_call_costs_the_usage_that_its_vendor_reported(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(
        answer(b"{}", "400 Bad"), answer(b"{}", "404 Not Found"),
        answer(ANSWER, "400 Bad"), answer(ANSWER, "404 Not Found"),
    )  # fmt: skip
    for model in (b"gpt-4o", b"gpt-4o", b"gpt-4o", b"gpt-4o", b"o9"):
        await proxy.ask(CHAT, b'{"model":"%s"}' % model)
    await proxy.record(5)
    cost = Cost(COST, COST, LISTED)
    assert [record.cost for record in proxy.records] == [None, None, cost, cost, None]
    assert await figures(proxy.running, "sidecar_calls_unpriced_total") == {}


async def test_price_comes_from_file_then_vendor_then_is_unknown(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    figures_of = b'{"usage":{"prompt_tokens":1000,"completion_tokens":100%s}}'
    vendor.play(
        answer(figures_of % b""),
        # Reasoning stands beside the completion, and is output: 200 x 10000 + 1000 x 1000
        answer(figures_of % b',"completion_tokens_details":{"reasoning_tokens":100}'),
        answer(figures_of % b',"cost_in_usd_ticks":37756000'),
        answer(figures_of % b',"cost":0.00014'),
        answer(figures_of % b""),
    )
    models = ("gpt-tuned-7", "grok-own", "grok-4", "nobody/knows", "qwen3")
    for model in models:
        await proxy.ask(CHAT, json.dumps({"model": model}).encode())
    await proxy.record(len(models))
    assert [record.cost for record in proxy.records] == [
        Cost(4_500_000, 4_500_000, "routes.yaml:3"),
        Cost(3_000_000, 3_000_000, "routes.yaml:4"),
        Cost(3_775_600, 3_775_600, "reported"),
        Cost(140_000, 140_000, "reported"),
        Cost(0, 0, "free"),
    ]


async def test_price_edit_during_a_call_does_not_change_its_price(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    edited = asyncio.Event()
    events = sse({"choices": [{"finish_reason": "stop"}], "usage": {"prompt_tokens": 1000}})
    vendor.play(paced(STREAM_HEAD, edited, chunk(events), b"0\r\n\r\n"))
    asked = asyncio.create_task(proxy.ask(CHAT, b'{"model":"gpt-tuned-7","stream":true}'))
    await vendor.arrived.wait()
    assert await proxy.rewrite(lambda text: text.replace("{input: 3,", "{input: 6,"))
    edited.set()
    await asked
    record = await proxy.record()
    assert record.cost == Cost(6_000_000, 6_000_000, "routes.yaml:3")


async def test_price_edit_just_after_a_call_does_not_change_its_price(
    proxy: Sidecar, vendor: ScriptedVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_flight, "BATCH_SECONDS", 3600.0)  # only the edit ends the batch
    vendor.play(answer(b'{"usage":{"prompt_tokens":1000,"completion_tokens":0}}'))
    await proxy.ask(CHAT, b'{"model":"gpt-tuned-7"}')
    assert await proxy.rewrite(lambda text: text.replace("{input: 3,", "{input: 6,"))
    record = await proxy.record()
    assert record.cost == Cost(3_000_000, 3_000_000, "routes.yaml:3")
