"""Calls of Azure clients: the deployment in the path is the model for routes and prices."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import openai
import pytest
from running_sidecar import Sidecar
from running_sidecar import sidecar as start_sidecar
from scripted_vendor import ScriptedVendor, answer

from sidecar.records import Cost, Usage, UsageState

YAML = """
providers:
  azure: {{plugin: azure, base_url: "{url}", credential: none}}
  classic: {{plugin: azure, base_url: "{url}", credential: none, api_version: "2024-10-21"}}
  oa: {{plugin: openai, base_url: "{url}/v1", credential: none}}
groups:
  Azure: {{vendor: openai, routes: [azure]}}
  Classic: {{vendor: openai, routes: [classic: {{as: {{gpt-5-mini: d1}}}}]}}
  OpenAI: {{vendor: openai, routes: [oa]}}
keys:
  azure: {{group: Azure, hash: "{{azure}}"}}
  classic: {{group: Classic, hash: "{{classic}}"}}
  openai: {{group: OpenAI, hash: "{{openai}}"}}
  mini: {{group: OpenAI, models: [gpt-4o-mini], hash: "{{mini}}"}}
"""
QUERY = "api-version=2024-10-21"
CHAT = f"/openai/deployments/gpt-4o/chat/completions?{QUERY}"
# 1000 x 2500 + 100 x 10000 by the price of gpt-4o
ANSWER = b'{"model":"gpt-4o-2024-08-06","usage":{"prompt_tokens":1000,"completion_tokens":100}}'
COST = Cost(3_500_000, 3_500_000, "genai-prices 0.2.3 openai/gpt-4o")


@pytest.fixture
async def proxy(tmp_path: Path, vendor: ScriptedVendor) -> AsyncIterator[Sidecar]:
    keys = ("azure", "classic", "openai", "mini")
    async with start_sidecar(tmp_path, YAML.format(url=vendor.url), keys) as started:
        yield started


async def test_azure_sdk_call_to_azure_is_passed_on_and_priced(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(ANSWER))
    async with openai.AsyncAzureOpenAI(
        azure_endpoint=proxy.url, api_key=proxy.keys["azure"], api_version="2024-10-21"
    ) as client:
        await client.chat.completions.create(model="gpt-4o", messages=[])
    assert vendor.last.path == CHAT
    record = await proxy.record()
    assert (record.endpoint, record.model_asked) == ("chat", "gpt-4o")
    assert record.usage == Usage(1000, 100)
    assert record.usage_state is UsageState.REPORTED
    assert record.cost is not None
    assert record.cost.listed == 3_500_000


@pytest.mark.parametrize("body", [b'{"model":"gpt-4o","n":1}', b'{"model":"d9","n":1}', b'{"n":1}'])
async def test_azure_call_to_openai_names_the_deployment_as_its_model(
    proxy: Sidecar, vendor: ScriptedVendor, body: bytes
) -> None:
    vendor.play(answer(ANSWER))
    await proxy.ask(CHAT, body, key="openai")
    assert vendor.last.path == f"/v1/chat/completions?{QUERY}"
    assert b'"model":"gpt-4o"' in vendor.last.body
    assert b"d9" not in vendor.last.body
    assert (await proxy.record()).cost == COST


async def test_azure_call_whose_answer_has_no_usage_is_recorded_as_unknown(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b"{}"))
    await proxy.ask(CHAT, b'{"model":"gpt-4o"}', key="azure")
    assert (await proxy.record()).usage_state is UsageState.UNKNOWN


async def test_azure_call_is_renamed_in_its_path(proxy: Sidecar, vendor: ScriptedVendor) -> None:
    vendor.play(answer(ANSWER))
    await proxy.ask(CHAT.replace("gpt-4o", "gpt-5-mini"), b'{"n":1}', key="classic")
    assert vendor.last.path == CHAT.replace("gpt-4o", "d1")


@pytest.mark.parametrize(
    ("deployment", "model", "status"),
    [
        ("gpt-4o-mini", "gpt-4o-mini", 200),
        ("gpt-4o", "gpt-4o-mini", 403),
        ("gpt-4o-mini", "o1", 200),
    ],
)
async def test_azure_call_is_allowed_by_its_deployment_and_by_nothing_else(
    proxy: Sidecar, vendor: ScriptedVendor, deployment: str, model: str, status: int
) -> None:
    vendor.play(answer(ANSWER))
    got = await proxy.ask(
        CHAT.replace("gpt-4o", deployment), b'{"model":"%s"}' % model.encode(), key="mini"
    )
    assert got.status == status
    if status == 200:
        assert vendor.last.body == b'{"model":"gpt-4o-mini"}'


async def test_azure_form_names_the_deployment_as_its_model(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    def form(model: str) -> bytes:
        head = b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\n'
        return head + model.encode() + b"\r\n--B--\r\n"

    vendor.play(answer(b'{"usage":{"type":"duration","seconds":31}}'))
    await proxy.ask(
        f"/openai/deployments/whisper-1/audio/transcriptions?{QUERY}", form("w"), key="openai",
        headers=[("Content-Type", "multipart/form-data; boundary=B")],
    )  # fmt: skip
    assert vendor.last.body == form("whisper-1")
    # 31 seconds at $0.36 an hour
    assert (await proxy.record()).cost == Cost(
        3_100_000, 3_100_000, "genai-prices 0.2.3 openai/whisper-1"
    )
