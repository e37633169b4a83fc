"""Usage that a vendor reports again is recorded once, also usage that only a GET by id reports."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from ledger_checks import assert_in_step, rows
from recorded_answers import sse
from running_sidecar import Sidecar
from running_sidecar import sidecar as start_sidecar
from scripted_vendor import STREAM_HEAD, ScriptedVendor, answer, chunk, cut, stream
from vendor_apis import figures, settled

from sidecar.records import UsageState

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
    await proxy.running.services.ledger.flush()
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
async def test_usage_of_a_finished_object_is_not_recorded_again(
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


def spent(proxy: Sidecar, key: str) -> int:
    (used,) = (
        limiter.used
        for name, limiter, _ in proxy.running.services.scheduler.limits
        if name[:2] == ("key", key) and name[2] == "budget/day"
    )
    return used


async def test_usage_of_a_background_response_is_recorded_once_from_a_get(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    queued = told(id="r_1", model="m-1", status="queued", usage=None)
    running = told(id="r_1", model="m-1", status="in_progress", usage=USAGE)
    done = told(id="r_1", model="m-1", status="completed", usage=USAGE)
    vendor.play(*map(answer, (queued, running, done, done)))
    await proxy.ask(RESPONSES, BACKGROUND)
    assert (await proxy.record()).usage_state is UsageState.UNKNOWN
    await proxy.ask(f"{RESPONSES}/r_1", method="GET")
    row, *_ = await books(proxy)
    assert row["usage_state"] == "unknown"
    # Another key of the group looks: it is the maker's all the same.
    await proxy.ask(f"{RESPONSES}/r_1", method="GET", key="other")
    await proxy.ask(f"{RESPONSES}/r_1", method="GET")
    made, *looks = await books(proxy)
    assert (made["key"], made["usage_state"], made["model_served"]) == ("gpt", "reported", "m-1")
    assert (made["input_tokens"], made["output_tokens"], made["cost_charged"]) == (900, 100, COST)
    assert made["cost_whole"] == 1
    assert {(look["usage_state"], look["input_tokens"]) for look in looks} == {("none", None)}
    tokens = await figures(proxy.running, "sidecar_tokens_total")
    assert sorted(tokens.values()) == [100, 900]
    assert all('key="gpt"' in labels for labels in tokens)
    (cost,) = (await figures(proxy.running, "sidecar_cost_dollars_total")).values()
    assert cost == COST / 1e9
    assert (spent(proxy, "gpt"), spent(proxy, "other")) == (COST, 0)


async def test_usage_first_reported_by_a_cancel_is_recorded(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    queued = told(id="r_1", model="m-1", status="queued")
    ended = told(id="r_1", model="m-1", status="cancelled", usage=USAGE)
    vendor.play(*map(answer, (queued, ended, ended)))
    await proxy.ask(RESPONSES, BACKGROUND)
    await proxy.ask(f"{RESPONSES}/r_1/cancel")
    await proxy.ask(f"{RESPONSES}/r_1", method="GET")
    made, *_ = await books(proxy)
    assert (made["usage_state"], made["input_tokens"]) == ("reported", 900)
    assert spent(proxy, "gpt") == COST


async def test_usage_from_a_get_is_not_recorded_again_after_a_restart(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    yaml = YAML.format(url=vendor.url)
    queued = told(id="r_1", model="m-1", status="queued")
    done = told(id="r_1", model="m-1", status="completed", usage=USAGE)
    vendor.play(*map(answer, (queued, done, done)))
    async with start_sidecar(tmp_path, yaml, KEYS) as proxy:
        await proxy.ask(RESPONSES, BACKGROUND)
        await books(proxy)
    for _ in range(2):
        async with start_sidecar(tmp_path, yaml, KEYS) as proxy:
            await proxy.ask(f"{RESPONSES}/r_1", method="GET")
            made, *_ = await books(proxy)
            assert (made["usage_state"], made["cost_charged"]) == ("reported", COST)
            assert spent(proxy, "gpt") == COST


async def test_stream_whose_client_left_is_completed_by_a_get(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    created = {"type": "response.created", "response": {"id": "r_1", "model": "m-1"}}
    done = {"id": "r_1", "model": "m-1", "status": "completed", "usage": USAGE}
    vendor.play(
        cut(STREAM_HEAD + chunk(sse(created, names=True))),
        stream(sse(created, {"type": "response.completed", "response": done}, names=True)),
        answer(told(**done)),
    )
    await proxy.ask(RESPONSES, b'{"model":"m","stream":true,"background":true}')
    await proxy.ask(f"{RESPONSES}/r_1?stream=true&starting_after=0", method="GET")
    await proxy.ask(f"{RESPONSES}/r_1", method="GET")
    made, *_ = await books(proxy)
    assert (made["outcome"], made["usage_state"]) == ("cut", "reported")
    assert (made["input_tokens"], made["cost_charged"]) == (900, COST)


async def test_usage_of_a_batch_is_recorded_in_the_batch_tier(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    none = {"input_tokens": 0, "output_tokens": 0}
    used = {"input_tokens": 900_000, "output_tokens": 100}
    vendor.play(
        answer(told(id="b_1", model="gpt-5.4", status="validating", usage=none)),
        answer(told(id="b_1", model="gpt-5.4", status="in_progress", usage=none)),
        answer(told(id="b_1", model="gpt-5.4", status="completed", usage=used)),
    )
    await proxy.ask("/v1/batches", b'{"input_file_id":"f"}')
    for _ in range(2):
        await proxy.ask("/v1/batches/b_1", method="GET")
    made, *_ = await books(proxy)
    assert (made["usage_state"], made["service_tier"]) == ("reported", "batch")
    assert made["input_tokens"] == 900_000
    # A dollar and a quarter for a million, and 7.5 for one of output: half the price of one by one,
    # and none for a long context, which the sum of many requests does not say.
    assert made["cost_listed"] == 900_000 * 1250 + 100 * 7500


async def test_usage_of_an_anthropic_batch_is_recorded_from_its_results(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    def line(model: str, read: int, made: int) -> bytes:
        usage = {"input_tokens": read, "output_tokens": made, "service_tier": "batch"}
        message = {"model": model, "usage": usage}
        result = {"custom_id": "x", "result": {"type": "succeeded", "message": message}}
        return json.dumps(result).encode() + b"\n"

    haiku, opus = "claude-haiku-4-5-20251001", "claude-opus-4-7"
    lines = (line(haiku, 1000, 10), line(opus, 500, 5), line(haiku, 300_000, 1), b'{"x":1}\n')
    vendor.play(
        answer(told(id="b_1", type="message_batch", processing_status="in_progress")),
        answer(b"".join(lines), content_type="application/x-jsonl"),
        answer(b"".join(lines), content_type="application/x-jsonl"),
    )
    version = [("anthropic-version", "2023-06-01")]
    body = b'{"requests":[{"params":{"model":"claude-haiku-4-5"}}]}'
    await proxy.ask("/v1/messages/batches", body, key="claude", headers=version)
    for _ in range(2):
        await proxy.ask(
            "/v1/messages/batches/b_1/results", key="claude", method="GET", headers=version
        )
    made, *_ = await books(proxy)
    assert (made["key"], made["usage_state"]) == ("claude", "reported")
    assert (made["input_tokens"], made["output_tokens"]) == (301_500, 16)
    assert made["cost_listed"] == 301_000 * 500 + 11 * 2500 + 500 * 2500 + 5 * 12_500


async def test_usage_of_an_interaction_is_recorded_from_a_get(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    usage = {"total_input_tokens": 900, "total_output_tokens": 100, "total_tokens": 1000}
    vendor.play(
        answer(told(id="i_1", model="m-1", status="in_progress")),
        answer(told(id="i_1", model="m-1", status="completed", usage=usage)),
    )
    await proxy.ask("/v1beta/interactions", BACKGROUND, key="gemini")
    await proxy.ask("/v1beta/interactions/i_1", key="gemini", method="GET")
    made, *_ = await books(proxy)
    assert (made["usage_state"], made["cost_charged"]) == ("reported", COST)


async def test_get_of_a_recorded_object_changes_nothing(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    done = told(id="r_1", model="m-1", status="completed", usage=USAGE)
    vendor.play(*[answer(done)] * 9)
    await proxy.ask(RESPONSES, b'{"model":"m"}')
    for end in ("", "", "/cancel", "/cancel"):
        method = "POST" if end else "GET"
        await proxy.ask(f"{RESPONSES}/r_1{end}", b"{}" if end else b"", method=method)
    made, *looks = await books(proxy)
    assert made["input_tokens"] == 900
    assert {look["input_tokens"] for look in looks} == {None}
    assert spent(proxy, "gpt") == COST


async def test_response_whose_id_is_a_word_of_its_path_is_recorded(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(told(id="completions", model="m-1", usage=CHAT_USAGE)))
    await proxy.ask("/v1/chat/completions", b'{"model":"m-1"}')
    record = await proxy.record()
    assert record.cost is not None
    assert record.cost.charged == COST
