"""What a vendor tells again of a finished thing is booked once, also what only a look tells."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from apis_in_test import figures, settled
from bookkeeping import assert_in_step, rows
from scripted_vendor import ScriptedVendor, answer
from sidecar_in_test import Sidecar
from sidecar_in_test import sidecar as start_sidecar

from sidecar.usage import UsageState

YAML = """
prices:
  "m*": {{input: 1, output: 10, request: 0.01}}
providers:
  oa: {{plugin: openai, base_url: "{url}/v1", credential: none}}
  an: {{plugin: anthropic, base_url: "{url}", credential: none}}
  ge: {{plugin: gemini, base_url: "{url}", credential: none}}
groups:
  GPT: {{vendor: openai, routes: [oa], budget: $1/day}}
  Claude: {{vendor: anthropic, routes: [an]}}
  Gemini: {{vendor: gemini, routes: [ge]}}
keys:
  gpt: {{group: GPT, budget: $1/day, hash: "{{gpt}}"}}
  other: {{group: GPT, budget: $1/day, hash: "{{other}}"}}
  claude: {{group: Claude, hash: "{{claude}}"}}
  gemini: {{group: Gemini, hash: "{{gemini}}"}}
"""
KEYS = ("gpt", "other", "claude", "gemini")
RESPONSES = "/v1/responses"
USAGE = {"input_tokens": 900, "output_tokens": 100}
BACKGROUND = b'{"model":"m","background":true}'
COST = 900 * 1000 + 100 * 10_000 + 10_000_000


@pytest.fixture
async def proxy(tmp_path: Path, vendor: ScriptedVendor) -> AsyncIterator[Sidecar]:
    async with start_sidecar(tmp_path, YAML.format(url=vendor.url), KEYS) as started:
        yield started


def told(**fields: object) -> bytes:
    return json.dumps(fields).encode()


async def books(proxy: Sidecar) -> list[dict[str, object]]:
    await settled(proxy.running)
    await proxy.running.ledger.flush()
    assert_in_step(proxy.state)
    return rows(proxy.state)


CHAT_USAGE = {"prompt_tokens": 900, "completion_tokens": 100}
RETOLD = [
    ("gpt", "POST", "/v1/responses/r_1/cancel", {"id": "r_1", "model": "m", "usage": USAGE}),
    ("gpt", "POST", "/v1/chat/completions/c_1", {"id": "c_1", "model": "m", "usage": CHAT_USAGE}),
    ("gpt", "POST", "/v1/batches/b_1/cancel", {"id": "b_1", "model": "m", "usage": USAGE}),
    ("gpt", "POST", "/v1/fine_tuning/jobs/f_1/cancel", {"id": "f_1", "model": "m", "usage": USAGE}),
    ("gpt", "POST", "/v1/threads/t_1/runs/run_1/cancel",
     {"id": "run_1", "model": "m", "usage": CHAT_USAGE}),
    ("gpt", "POST", "/v1/unheard/x_1/stop", {"id": "x_1", "model": "m", "usage": USAGE}),
    ("gpt", "DELETE", "/v1/responses/r_1", {"id": "r_1", "model": "m", "usage": USAGE}),
    ("claude", "POST", "/v1/messages/batches/b_2/cancel",
     {"id": "b_2", "model": "m", "usage": USAGE}),
    ("claude", "POST", "/v1/unheard/x_2/stop", {"id": "x_2", "model": "m", "usage": USAGE}),
    ("gemini", "POST", "/v1beta/interactions/i_1/cancel",
     {"id": "i_1", "model": "m", "usage": {"total_input_tokens": 900, "total_tokens": 1000}}),
    ("gemini", "POST", "/v1beta/batches/b_3:cancel",
     {"name": "batches/b_3", "usageMetadata": {"promptTokenCount": 900}}),
]  # fmt: skip


@pytest.mark.parametrize(("key", "method", "path", "said"), RETOLD, ids=lambda each: str(each)[:40])
async def test_usage_of_a_finished_thing_is_not_booked_again(
    proxy: Sidecar, vendor: ScriptedVendor, key: str, method: str, path: str, said: object
) -> None:
    vendor.play(answer(json.dumps(said).encode()))
    headers = [("anthropic-version", "2023-06-01")] if key == "claude" else []
    body = b"" if method == "DELETE" else b"{}"
    got = await proxy.ask(path, body, key=key, method=method, headers=headers)
    assert got.status == 200, got.body
    record = await proxy.record()
    assert (record.usage, record.usage_state, record.cost) == (None, UsageState.NONE, None)
    assert await figures(proxy.running, "sidecar_tokens_total") == {}
    assert await figures(proxy.running, "sidecar_cost_dollars_total") == {}
    assert await figures(proxy.running, "sidecar_calls_unpriced_total") == {}
