"""The offline vendor, asked through a whole sidecar by the vendors' own SDKs."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from pathlib import Path

import anthropic
import openai
import pytest
from google import genai
from google.genai import types
from running_sidecar import Sidecar
from running_sidecar import sidecar as start_sidecar

from sidecar import Usage
from sidecar.records import UsageState

SAID = "You said: one two three"
USED = Usage(3, 5, 0, None, None, 0)
YAML = """
groups: {demo: {vendor: echo}}
keys: {demo: {group: demo, hash: "{demo}"}}
"""


@pytest.fixture
async def demo(tmp_path: Path) -> AsyncIterator[Sidecar]:
    async with start_sidecar(tmp_path, YAML, ("demo",)) as started:
        yield started


@pytest.fixture
async def gpt(demo: Sidecar) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{demo.url}/v1", api_key=demo.keys["demo"]) as client:
        yield client


@pytest.fixture
async def claude(demo: Sidecar) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=demo.url, api_key=demo.keys["demo"]) as client:
        yield client


@pytest.fixture
async def gemini(demo: Sidecar) -> AsyncIterator[genai.client.AsyncClient]:
    options = types.HttpOptions(base_url=demo.url)
    client = genai.Client(api_key=demo.keys["demo"], http_options=options)
    async with client.aio as inner:
        yield inner


async def settled(demo: Sidecar, usage: Usage | None) -> None:
    record = await demo.record()
    assert record.usage == usage
    assert record.usage_state is (UsageState.NONE if usage is None else UsageState.REPORTED)


ASKED = [{"role": "user", "content": "one two three"}]


async def test_echo_answers_chat(demo: Sidecar, gpt: openai.AsyncOpenAI) -> None:
    found = await gpt.chat.completions.create(model="any", messages=ASKED)  # type: ignore[arg-type]
    assert found.choices[0].message.content == SAID
    await settled(demo, USED)


async def test_echo_streams_chat(demo: Sidecar, gpt: openai.AsyncOpenAI) -> None:
    stream = await gpt.chat.completions.create(
        model="any",
        messages=ASKED,
        stream=True,
        stream_options={"include_usage": True},  # type: ignore[arg-type]
    )
    chunks = [chunk async for chunk in stream]
    texts = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(texts) == SAID
    await settled(demo, USED)


async def test_echo_answers_responses(demo: Sidecar, gpt: openai.AsyncOpenAI) -> None:
    found = await gpt.responses.create(model="any", input="one two three")
    assert found.output_text == SAID
    await settled(demo, USED)


async def test_echo_streams_responses(demo: Sidecar, gpt: openai.AsyncOpenAI) -> None:
    async with gpt.responses.stream(model="any", input="one two three") as stream:
        found = await stream.get_final_response()
    assert found.output_text == SAID
    await settled(demo, USED)


async def test_echo_answers_embeddings(demo: Sidecar, gpt: openai.AsyncOpenAI) -> None:
    found = await gpt.embeddings.create(model="any", input=["one two", "three"])
    assert all(math.hypot(*each.embedding) == 1 for each in found.data)
    await settled(demo, Usage(3, None))


async def test_echo_lists_models_for_openai(gpt: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in gpt.models.list()] == ["echo"]
    assert (await gpt.models.retrieve("echo")).id == "echo"


async def test_echo_answers_messages(demo: Sidecar, claude: anthropic.AsyncAnthropic) -> None:
    found = await claude.messages.create(model="any", max_tokens=9, messages=ASKED)  # type: ignore[arg-type]
    assert found.content[0].text == SAID  # type: ignore[union-attr]
    record = await demo.record()
    assert record.usage is not None
    assert (record.usage.input_tokens, record.usage.output_tokens) == (3, 5)


async def test_echo_streams_messages(demo: Sidecar, claude: anthropic.AsyncAnthropic) -> None:
    async with claude.messages.stream(model="any", max_tokens=9, messages=ASKED) as stream:  # type: ignore[arg-type]
        text = "".join([piece async for piece in stream.text_stream])
    assert text == SAID
    record = await demo.record()
    assert record.usage is not None
    assert (record.usage.input_tokens, record.usage.output_tokens) == (3, 5)


async def test_echo_counts_tokens(demo: Sidecar, claude: anthropic.AsyncAnthropic) -> None:
    found = await claude.messages.count_tokens(model="any", messages=ASKED)  # type: ignore[arg-type]
    assert found.input_tokens == 3
    await settled(demo, None)


async def test_echo_lists_models_for_anthropic(claude: anthropic.AsyncAnthropic) -> None:
    assert [model.id async for model in claude.models.list()] == ["echo"]
    assert (await claude.models.retrieve("echo")).id == "echo"


async def test_echo_answers_generate_content(
    demo: Sidecar, gemini: genai.client.AsyncClient
) -> None:
    found = await gemini.models.generate_content(model="any", contents="one two three")
    assert found.text == SAID
    await settled(demo, Usage(3, 5))


async def test_echo_streams_generate_content(
    demo: Sidecar, gemini: genai.client.AsyncClient
) -> None:
    stream = await gemini.models.generate_content_stream(model="any", contents="one two three")
    assert "".join([chunk.text or "" async for chunk in stream]) == SAID
    await settled(demo, Usage(3, 5))


async def test_echo_counts_and_embeds_for_gemini(gemini: genai.client.AsyncClient) -> None:
    counted = await gemini.models.count_tokens(model="any", contents="one two three")
    assert counted.total_tokens == 3
    vectors = await gemini.models.embed_content(model="any", contents=["one", "two"])
    assert len(vectors.embeddings or ()) == 2


async def test_echo_lists_models_for_gemini(gemini: genai.client.AsyncClient) -> None:
    assert [model.name async for model in await gemini.models.list()] == ["models/echo"]
    assert (await gemini.models.get(model="echo")).name == "models/echo"


async def test_echo_streams_a_json_array_without_alt_sse(demo: Sidecar) -> None:
    body = json.dumps({"contents": [{"parts": [{"text": "one two three"}]}]}).encode()
    got = await demo.ask("/v1beta/models/any:streamGenerateContent", body, key="demo")
    texts = [each["candidates"][0]["content"]["parts"][0]["text"] for each in got.json()]
    assert "".join(texts) == SAID
    await settled(demo, Usage(3, 5))


NONSENSE = [
    ("/v1/chat/completions", b'{"model":"m","messages":7,"stream_options":5,"stream":true}'),
    ("/v1/embeddings", b'{"model":"m"}'),
    ("/v1beta/models/m:generateContent", b"["),
    ("/v1beta/models/m:generateContent", b"[]"),
]  # fmt: skip


@pytest.mark.parametrize(("target", "body"), NONSENSE)
async def test_echo_answers_400_to_an_invalid_request(
    demo: Sidecar, target: str, body: bytes
) -> None:
    got = await demo.ask(target, body, key="demo")
    assert got.status == 400, got.body
    assert got.json()["error"]["message"]
