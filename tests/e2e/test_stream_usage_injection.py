"""`usage: ask`: usage is requested from the vendor and stripped for clients that did not ask."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path

import openai
import pytest
from recorded_answers import CHAT, CHAT_USAGE, chunk, delta, sse
from running_sidecar import Sidecar
from running_sidecar import sidecar as start_sidecar
from scripted_vendor import STREAM_HEAD, Script, ScriptedVendor, Wire, answer, cut
from scripted_vendor import chunk as http_chunk
from vendor_apis import settled

YAML = """
providers:
  oa: {{plugin: openai, base_url: "{url}/v1", credential: env:UPSTREAM_KEY}}
  az: {{plugin: azure, base_url: "{url}", credential: env:UPSTREAM_KEY}}
  vl: {{plugin: vllm, base_url: "{url}/v1", credential: env:UPSTREAM_KEY}}
  mi: {{plugin: mistral, base_url: "{url}/v1", credential: env:UPSTREAM_KEY}}
groups:
  Asking: {{vendor: openai, usage: ask, routes: [oa]}}
  Azure: {{vendor: openai, usage: ask, routes: [az]}}
  Vllm: {{vendor: openai, usage: ask, routes: [vl: {{as: served}}]}}
  Mistral: {{vendor: openai, usage: ask, routes: [mi]}}
  AsIs: {{vendor: openai, routes: [oa]}}
keys:
  asking: {{group: Asking, hash: "{{asking}}"}}
  azure: {{group: Azure, hash: "{{azure}}"}}
  vllm: {{group: Vllm, hash: "{{vllm}}"}}
  mistral: {{group: Mistral, hash: "{{mistral}}"}}
  as-is: {{group: AsIs, hash: "{{as-is}}"}}
"""
TARGET = "/v1/chat/completions"
BODY = b'{"model":"gpt-5-mini","stream":true, "messages":[]}'
QUESTION = b',"stream_options":{"include_usage":true}}'
FILTERED = {"id": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]}
SAID = (delta("Hi"), delta(" there"), delta("", "stop"))


@pytest.fixture
async def asking(tmp_path: Path, vendor: ScriptedVendor) -> AsyncIterator[Sidecar]:
    keys = ("asking", "azure", "vllm", "mistral", "as-is")
    async with start_sidecar(tmp_path, YAML.format(url=vendor.url), keys) as started:
        yield started


def speaks(key: str, *, asked: bool) -> bytes:
    """A stream as that vendor sends it."""
    null = {"usage": None} if asked and key != "vllm" else {}
    chunks = [chunk(choices=[row], **null, obfuscation="x7") for row in SAID]
    if key == "azure":
        chunks.insert(0, {**FILTERED, **null})
    if asked:
        chunks.append(chunk(choices=[], usage=CHAT_USAGE, obfuscation="x"))
    return sse(*chunks, "[DONE]")


def answering(key: str, piece: int = 7) -> Script:
    """Does as it is asked, and sends it in small pieces."""

    async def script(wire: Wire) -> None:
        options = wire.request.json().get("stream_options") or {}
        assert isinstance(options, dict)
        body = speaks(key, asked=options.get("include_usage") is True)
        await wire.send(STREAM_HEAD)
        for start in range(0, len(body), piece):
            await wire.send(http_chunk(body[start : start + piece]))
        await wire.send(b"0\r\n\r\n")

    return script


@pytest.mark.parametrize("key", ["asking", "azure", "vllm"])
async def test_stream_with_injected_usage_reaches_the_client_without_it(
    asking: Sidecar, vendor: ScriptedVendor, key: str
) -> None:
    vendor.play(answering(key))
    found = await asking.ask(TARGET, BODY, key=key)
    assert found.body == speaks(key, asked=False)
    assert found.ended
    sent = BODY[:-1] + QUESTION
    assert vendor.last.body == (sent.replace(b"gpt-5-mini", b"served") if key == "vllm" else sent)
    record = await asking.record()
    assert (record.usage, record.usage_state, record.outcome) == (CHAT, "reported", "ok")


@pytest.mark.parametrize("key", ["asking", "azure", "vllm"])
async def test_sdk_that_did_not_ask_for_usage_gets_none(
    asking: Sidecar, vendor: ScriptedVendor, key: str
) -> None:
    vendor.play(answering(key))
    url = f"{asking.url}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key=asking.keys[key]) as client:
        stream = await client.chat.completions.create(
            model="gpt-5-mini", messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        chunks = [each async for each in stream]
    assert [each.choices[0].delta.content for each in chunks if each.choices] == [
        "Hi",
        " there",
        "",
    ]
    assert len(chunks) == len(SAID) + (key == "azure")
    assert all("usage" not in each.model_fields_set for each in chunks)
    assert (await asking.record()).usage == CHAT


async def test_sdk_that_asked_for_usage_gets_it(asking: Sidecar, vendor: ScriptedVendor) -> None:
    vendor.play(answering("asking"))
    url = f"{asking.url}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key=asking.keys["asking"]) as client:
        stream = await client.chat.completions.create(
            model="gpt-5-mini", messages=[], stream=True, stream_options={"include_usage": True}
        )
        chunks = [each async for each in stream]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens == CHAT_USAGE["prompt_tokens"]
    assert (await asking.record()).usage == CHAT


@pytest.mark.parametrize("key", ["as-is", "mistral"])
async def test_stream_without_usage_injection_is_unchanged(
    asking: Sidecar, vendor: ScriptedVendor, key: str
) -> None:
    """Off by default, and without effect where usage comes anyway. Unreported usage is unknown."""
    vendor.play(answering(key))
    found = await asking.ask(TARGET, BODY, key=key)
    assert vendor.last.body == BODY
    assert found.body == speaks(key, asked=False)
    record = await asking.record()
    assert (record.usage, record.usage_state) == (None, "unknown")


async def test_include_usage_false_counts_as_not_asked(
    asking: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answering("asking"))
    body = BODY[:-1] + QUESTION.replace(b"true", b"false")
    found = await asking.ask(TARGET, body, key="asking")
    assert vendor.last.body == BODY[:-1] + QUESTION
    assert found.body == speaks("asking", asked=False)


async def test_call_without_streaming_gets_no_usage_option(
    asking: Sidecar, vendor: ScriptedVendor
) -> None:
    whole = b'{"choices":[],"usage":null}'
    vendor.play(answer(whole))
    body = BODY.replace(b"true", b"false")
    assert (await asking.ask(TARGET, body, key="asking")).body == whole
    assert vendor.last.body == body


async def test_compressed_body_with_injected_usage_is_relayed_decoded(
    asking: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answering("asking"))
    headers = [("Content-Encoding", "gzip")]
    found = await asking.ask(TARGET, gzip.compress(BODY), key="asking", headers=headers)
    assert vendor.last.body == BODY[:-1] + QUESTION
    assert vendor.last.get("content-encoding") == []
    assert found.body == speaks("asking", asked=False)


async def test_stream_with_a_length_loses_it_when_usage_is_stripped(
    asking: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(speaks("asking", asked=True), content_type="text/event-stream"))
    found = await asking.ask(TARGET, BODY, key="asking")
    assert found.body == speaks("asking", asked=False)
    assert found.ended


async def test_json_response_to_a_stream_passes_unchanged(
    asking: Sidecar, vendor: ScriptedVendor
) -> None:
    body = json.dumps({"choices": [], "usage": None}).encode()
    vendor.play(answer(body))
    assert (await asking.ask(TARGET, BODY, key="asking")).body == body


async def test_truncated_stream_with_injected_usage_stays_truncated(
    asking: Sidecar, vendor: ScriptedVendor
) -> None:
    begun = sse(chunk(choices=[delta("Hi")], usage=None))
    vendor.play(cut(STREAM_HEAD + http_chunk(begun + b'data: {"choices":[],"us')))
    found = await asking.ask(TARGET, BODY, key="asking")
    assert found.body == sse(chunk(choices=[delta("Hi")])) + b'data: {"choices":[],"us'
    assert not found.ended
    await settled(asking.running)
    assert (await asking.record()).outcome == "cut"
