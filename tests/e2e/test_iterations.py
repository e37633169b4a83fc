"""A call of several model requests (iterations) is counted and priced by each of them."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from cli_runner import Cli
from ledger_checks import assert_in_step, rows
from recorded_answers import MESSAGE_STOP, sse
from running_sidecar import Sidecar
from running_sidecar import sidecar as start_sidecar
from scripted_vendor import STREAM_HEAD, ScriptedVendor, answer, chunk, cut, stream
from vendor_apis import figures, settled

from sidecar.records import UsageState

MESSAGES = "/v1/messages"
YAML = """
groups:
  Claude: {{vendor: anthropic, multiplier: 0.9, routes: [an], budget: $1/day}}
providers:
  an: {{plugin: anthropic, base_url: "{url}", credential: none}}
keys:
  claude: {{group: Claude, hash: "{{claude}}"}}
"""
ASKED = b'{"model":"claude-haiku-4-5","max_tokens":9}'
ADVISED = {
    "input_tokens": 412, "output_tokens": 531, "server_tool_use": {"web_search_requests": 2},
    "iterations": [
        {"type": "message", "input_tokens": 412, "output_tokens": 89},
        {"type": "advisor_message", "model": "claude-opus-4-7", "input_tokens": 823,
         "output_tokens": 1612},
        {"type": "message", "input_tokens": 1348, "cache_read_input_tokens": 412,
         "output_tokens": 442},
    ],
}  # fmt: skip
# 412 read at 1000 nano-dollars, 89 written at 5000 and two searches for a cent each; 823 at 5000
# and 1612 at 25000; 1348 at 1000, 412 of a cache at 100 and 442 at 5000.
EXECUTOR, ADVISOR = 20_857_000 + 3_599_200, 44_415_000
LISTED = EXECUTOR + ADVISOR
CHARGED, ADVISOR_CHARGED = LISTED * 9 // 10, ADVISOR * 9 // 10


@pytest.fixture
async def proxy(tmp_path: Path, vendor: ScriptedVendor) -> AsyncIterator[Sidecar]:
    async with start_sidecar(tmp_path, YAML.format(url=vendor.url), ("claude",)) as started:
        yield started


def message(usage: object, model: str = "claude-haiku-4-5-20251001") -> bytes:
    return json.dumps({"id": "m", "model": model, "usage": usage}).encode()


async def test_advisor_iteration_is_priced_as_its_own_model(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(message(ADVISED)))
    await proxy.ask(MESSAGES, ASKED, key="claude")
    record = await proxy.record()
    assert record.cost is not None
    assert (record.cost.listed, record.cost.charged) == (LISTED, CHARGED)
    assert record.cost.whole
    await settled(proxy.running)
    await proxy.running.services.ledger.flush()
    (row,) = rows(proxy.state)
    assert (row["input_tokens"], row["output_tokens"]) == (412 + 823 + 1760, 2143)
    assert (row["cost_listed"], row["cost_charged"]) == (LISTED, CHARGED)
    assert_in_step(proxy.state)
    tokens = await figures(proxy.running, "sidecar_tokens_total")
    assert by_model(tokens, "output") == {"claude-haiku-4-5": 531, "claude-opus-4-7": 1612}
    assert by_model(tokens, "input") == {"claude-haiku-4-5": 1760, "claude-opus-4-7": 823}
    cost = await figures(proxy.running, "sidecar_cost_dollars_total")
    assert by_model(cost) == {
        "claude-haiku-4-5": (CHARGED - ADVISOR_CHARGED) / 1e9,
        "claude-opus-4-7": ADVISOR_CHARGED / 1e9,
    }
    (spent,) = (
        limiter.used
        for name, limiter, _ in proxy.running.services.scheduler.limits
        if name[-2] == "budget/day"
    )
    assert spent == CHARGED


def by_model(series: dict[str, float], kind: str = "") -> dict[str, float]:
    return {
        found[1]: value
        for labels, value in series.items()
        if (found := re.search(r'\bmodel="([^"]*)"', labels))
        and (not kind or f'kind="{kind}"' in labels)
    }


async def test_reports_and_call_details_show_iterations(
    proxy: Sidecar, vendor: ScriptedVendor, tmp_path: Path
) -> None:
    vendor.play(answer(message(ADVISED)))
    await proxy.ask(MESSAGES, ASKED, key="claude")
    record = await proxy.record()
    await settled(proxy.running)
    await proxy.running.services.ledger.flush()
    run = partial(asyncio.to_thread, Cli(tmp_path, text="").run)  # the process answers meanwhile
    for more in ((), ("--since", "2h")):  # by the days, and by the calls themselves
        sheet = (await run("usage", "--by", "model", "--csv", *more)).out
        lines = {line["model"]: line for line in csv.DictReader(io.StringIO(sheet))}
        assert {name: line["calls"] for name, line in lines.items()} == {
            "claude-haiku-4-5": "1", "claude-opus-4-7": "0",
        }  # fmt: skip
        assert lines["claude-opus-4-7"]["output_tokens"] == "1612"
        assert lines["claude-opus-4-7"]["cost_usd"] == "0.0399735"
        assert lines["claude-haiku-4-5"]["input_tokens"] == "2172"
        assert lines["claude-haiku-4-5"]["cache_read_tokens"] == "412"
        assert lines["claude-haiku-4-5"]["cost_usd"] == "0.02201058"
    text = (await run("why", record.call_id)).out
    assert "1. message: 412 input, 89 output, 2 web searches, $0.0187713 by genai-prices" in text
    assert (
        "2. advisor message of claude-opus-4-7: 823 input, 1,612 output, $0.0399735 by genai-prices"
        in text
    )
    story = json.loads((await run("why", record.call_id, "--json")).out)
    assert [part["model"] for part in story["usage"]["parts"]] == [None, "claude-opus-4-7", None]


async def test_compaction_is_priced_with_its_cache_writes(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    usage = {
        "input_tokens": 100, "output_tokens": 10,
        "iterations": [
            {"type": "compaction", "input_tokens": 20, "output_tokens": 300,
             "cache_creation_input_tokens": 55_096, "cache_read_input_tokens": 1000},
            {"type": "message", "input_tokens": 100, "output_tokens": 10},
        ],
    }  # fmt: skip
    events = (
        {"type": "message_start", "message": {"model": "claude-haiku-4-5", "usage": {
            "input_tokens": 100, "output_tokens": 1}}},
        {"type": "message_delta", "usage": usage}, MESSAGE_STOP,
    )  # fmt: skip
    vendor.play(stream(sse(*events, names=True)))
    await proxy.ask(MESSAGES, ASKED[:-1] + b',"stream":true}', key="claude")
    record = await proxy.record()
    assert record.cost is not None
    assert record.cost.listed == 120 * 1000 + 310 * 5000 + 55_096 * 1250 + 1000 * 100
    assert record.usage is not None
    assert record.usage.cache_write_tokens == 55_096


async def test_iteration_without_a_price_leaves_the_cost_incomplete(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    unheard = json.loads(json.dumps(ADVISED).replace("claude-opus-4-7", "unheard-of"))
    vendor.play(answer(message(unheard)))
    await proxy.ask(MESSAGES, ASKED, key="claude")
    record = await proxy.record()
    assert record.cost is not None
    assert (record.cost.listed, record.cost.whole) == (EXECUTOR, False)
    assert record.unpriced


async def test_stream_cut_after_an_advisor_keeps_the_reported_usage(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    start = {"model": "claude-haiku-4-5", "usage": {"input_tokens": 412, "output_tokens": 1}}
    events = (
        {"type": "message_start", "message": start},
        {"type": "message_delta", "usage": ADVISED},
    )
    vendor.play(cut(STREAM_HEAD + chunk(sse(*events, names=True))))
    await proxy.ask(MESSAGES, ASKED[:-1] + b',"stream":true}', key="claude")
    record = await proxy.record()
    assert record.usage_state is UsageState.PARTIAL
    assert record.cost is not None
    assert record.cost.listed == LISTED
