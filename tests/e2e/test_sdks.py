"""The vendors' own SDKs, through a real socket, to a scripted vendor."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from recorded_answers import (
    CHAT_USAGE,
    MESSAGE_DELTA,
    MESSAGE_START,
    MESSAGE_STOP,
    MESSAGE_TEXT,
    delta,
    generated,
    sse,
)
from recorded_answers import chunk as chat_chunk
from running_sidecar import CANARY, Sidecar
from sample_answers import CHAT, HELLO, MESSAGE, body
from scripted_vendor import ScriptedVendor, Wire, answer, stream

RESPONSE = {
    "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "gpt-5",
    "output": [{"id": "m", "type": "message", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": "Hi", "annotations": []}]}],
    "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "metadata": {}, "error": None,
    "incomplete_details": None, "instructions": None, "temperature": 1, "top_p": 1,
    "usage": {"input_tokens": 3, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 2,
              "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 5},
}  # fmt: skip


@pytest.fixture
async def gpt(proxy: Sidecar) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key=proxy.keys["gpt"]) as client:
        yield client


@pytest.fixture
async def claude(proxy: Sidecar) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=proxy.url, api_key=proxy.keys["claude"]) as client:
        yield client


@pytest.fixture
async def gemini(proxy: Sidecar) -> AsyncIterator[genai.client.AsyncClient]:
    client = genai.Client(api_key=proxy.keys["gemini"], http_options={"base_url": proxy.url}).aio
    yield client
    await client.aclose()


def paid(vendor: ScriptedVendor) -> list[str]:
    return [v for name, v in vendor.last.headers if CANARY in v or "sk-sidecar" in v]


async def test_openai_sdk_chat_completion_returns_content_and_usage(
    gpt: openai.AsyncOpenAI, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(body(CHAT)))
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    found = await gpt.chat.completions.create(model="gpt-5-mini", messages=HELLO, tools=tools)  # type: ignore[call-overload]
    assert found.choices[0].message.content == "Hi"
    assert found.usage.prompt_tokens == 1200
    assert vendor.last.line == "POST /v1/chat/completions HTTP/1.1"
    assert vendor.last.json()["tools"] == tools
    assert paid(vendor) == [f"Bearer {CANARY}"]


async def test_openai_sdk_chat_stream_yields_every_chunk(
    gpt: openai.AsyncOpenAI, vendor: ScriptedVendor, proxy: Sidecar
) -> None:
    events = sse(chat_chunk(choices=[delta("H")]), chat_chunk(choices=[delta("i", "stop")]),
                 chat_chunk(choices=[], usage=CHAT_USAGE), "[DONE]")  # fmt: skip
    vendor.play(stream(events[:50], events[50:90], events[90:]))
    text, usage = "", None
    async for part in await gpt.chat.completions.create(
        model="gpt-5-mini", messages=HELLO, stream=True, stream_options={"include_usage": True}
    ):  # type: ignore[call-overload]
        text += "".join(choice.delta.content or "" for choice in part.choices)
        usage = part.usage or usage
    assert text == "Hi"
    assert usage is not None
    proxy.running.services.finished.flush()
    assert proxy.running.services.ledger.times("gpt").last_used is not None


async def test_openai_sdk_response_returns_text_and_usage(
    gpt: openai.AsyncOpenAI, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(body(RESPONSE)))
    found = await gpt.responses.create(model="gpt-5", input="Hello")
    assert found.output_text == "Hi"
    assert vendor.last.path == "/v1/responses"


async def test_openai_sdk_response_stream_yields_every_event(
    gpt: openai.AsyncOpenAI, vendor: ScriptedVendor
) -> None:
    events = [
        {"type": "response.created", "sequence_number": 0, "response": {**RESPONSE, "usage": None}},
        {"type": "response.output_text.delta", "sequence_number": 1, "item_id": "m", "output_index": 0,
         "content_index": 0, "delta": "Hi", "logprobs": []},
        {"type": "response.completed", "sequence_number": 2, "response": RESPONSE},
    ]  # fmt: skip
    vendor.play(stream(sse(*events, names=True)))
    kinds = [
        each.type
        async for each in await gpt.responses.create(model="gpt-5", input="x", stream=True)
    ]
    assert kinds == ["response.created", "response.output_text.delta", "response.completed"]


async def test_openai_sdk_embeddings_return_vectors(
    gpt: openai.AsyncOpenAI, vendor: ScriptedVendor
) -> None:
    row = {"object": "embedding", "index": 0, "embedding": [0.5, 0.5]}
    vendor.play(
        answer(
            body(
                {
                    "object": "list",
                    "model": "e",
                    "data": [row],
                    "usage": {"prompt_tokens": 1, "total_tokens": 1},
                }
            )
        )
    )
    found = await gpt.embeddings.create(model="text-embedding-3-small", input="x")
    assert found.data[0].embedding == [0.5, 0.5]


async def test_openai_sdk_files_and_audio_are_sent_as_forms(
    gpt: openai.AsyncOpenAI, vendor: ScriptedVendor
) -> None:
    vendor.play(
        answer(body({"id": "file_1", "object": "file", "bytes": 3, "created_at": 1, "filename": "a", "purpose": "batch", "status": "processed"})),
        answer(b'{"text":"hi","usage":{"type":"duration","seconds":2}}'),
    )  # fmt: skip
    assert (await gpt.files.create(file=("a.txt", b"abc"), purpose="batch")).id == "file_1"
    assert b"abc" in vendor.last.body
    heard = await gpt.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"RIFF"))
    assert heard.text == "hi"
    assert b"whisper-1" in vendor.last.body


async def test_openai_sdk_models_are_those_the_key_may_use(
    vendor: ScriptedVendor, proxy: Sidecar
) -> None:
    rows = [
        {"id": name, "object": "model", "created": 1, "owned_by": "v"}
        for name in ("gpt-5-mini", "o9")
    ]
    vendor.play(answer(body({"object": "list", "data": rows})))
    async with openai.AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key=proxy.keys["mini"]) as client:
        assert [each.id async for each in client.models.list()] == ["gpt-5-mini"]


async def test_anthropic_sdk_message_returns_text_and_usage(
    claude: anthropic.AsyncAnthropic, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(body(MESSAGE)))
    found = await claude.messages.create(model="claude-x", max_tokens=9, messages=HELLO)  # type: ignore[arg-type]
    assert found.content[0].text == "Hi"  # type: ignore[union-attr]
    assert vendor.last.path == "/v1/messages"
    assert paid(vendor) == [CANARY]
    assert vendor.last.get("x-api-key") == [CANARY]


async def test_anthropic_sdk_stream_with_tools_yields_the_tool_call(
    claude: anthropic.AsyncAnthropic, vendor: ScriptedVendor
) -> None:
    start = {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "text", "text": ""},
    }
    stop = {"type": "content_block_stop", "index": 0}
    vendor.play(stream(sse(MESSAGE_START, start, {"type": "ping"}, MESSAGE_TEXT, stop, MESSAGE_DELTA,
                           MESSAGE_STOP, names=True)))  # fmt: skip
    tools = [{"name": "f", "input_schema": {"type": "object"}}]
    async with claude.messages.stream(
        model="claude-x", max_tokens=9, messages=HELLO, tools=tools
    ) as events:  # type: ignore[arg-type]
        message = await events.get_final_message()
    assert message.usage.output_tokens == 89
    assert "🦊" in message.content[0].text  # type: ignore[union-attr]


async def test_anthropic_sdk_counts_tokens_and_lists_models(
    claude: anthropic.AsyncAnthropic, vendor: ScriptedVendor
) -> None:
    row = {
        "type": "model",
        "id": "claude-x",
        "display_name": "X",
        "created_at": "2026-01-01T00:00:00Z",
    }
    vendor.by_path["/v1/messages/count_tokens"] = answer(b'{"input_tokens":7}')
    vendor.by_path["/v1/models"] = answer(
        body({"data": [row], "has_more": False, "first_id": "claude-x", "last_id": "claude-x"})
    )
    assert (await claude.messages.count_tokens(model="claude-x", messages=HELLO)).input_tokens == 7  # type: ignore[arg-type]
    assert [each.display_name async for each in claude.models.list()] == ["X"]


async def test_anthropic_sdk_batch_is_created_and_read(
    claude: anthropic.AsyncAnthropic, vendor: ScriptedVendor
) -> None:
    batch = {
        "id": "msgbatch_1", "type": "message_batch", "processing_status": "in_progress",
        "request_counts": {"processing": 1, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
        "created_at": "2026-01-01T00:00:00Z", "expires_at": "2026-01-02T00:00:00Z", "ended_at": None,
        "archived_at": None, "cancel_initiated_at": None, "results_url": None,
    }  # fmt: skip
    vendor.play(answer(body(batch)))
    params = {"model": "claude-x", "max_tokens": 9, "messages": HELLO}
    made = await claude.messages.batches.create(requests=[{"custom_id": "a", "params": params}])  # type: ignore[typeddict-item]
    assert (await claude.messages.batches.retrieve(made.id)).id == "msgbatch_1"
    assert vendor.last.path == "/v1/messages/batches/msgbatch_1"


async def test_gemini_sdk_generates_text_and_usage(
    gemini: genai.client.AsyncClient, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(body(generated(100, 30, 12, "STOP"))))
    found = await gemini.models.generate_content(model="gemini-3", contents="Hello")
    assert found.text == "é"
    assert vendor.last.path.endswith("/models/gemini-3:generateContent")
    assert vendor.last.get("x-goog-api-key") == [CANARY]


async def test_gemini_sdk_stream_yields_every_chunk(
    gemini: genai.client.AsyncClient, vendor: ScriptedVendor
) -> None:
    vendor.play(
        stream(sse(generated(100, 1, None), generated(100, 30, 12, "STOP"), end="\r\n\r\n"))
    )
    parts = [
        each
        async for each in await gemini.models.generate_content_stream(
            model="gemini-3", contents="x"
        )
    ]
    assert [part.text for part in parts] == ["é", "é"]
    assert "alt=sse" in vendor.last.path


async def test_gemini_sdk_counts_embeds_and_lists(
    gemini: genai.client.AsyncClient, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b'{"totalTokens":4}'), answer(b'{"embeddings":[{"values":[0.5]}]}'),
                answer(b'{"models":[{"name":"models/gemini-3","displayName":"G"}]}'))  # fmt: skip
    assert (await gemini.models.count_tokens(model="gemini-3", contents="x")).total_tokens == 4
    found = await gemini.models.embed_content(model="e", contents="x")
    assert found.embeddings is not None
    listed = [each.name async for each in await gemini.models.list()]
    assert listed == ["models/gemini-3"]


@pytest.mark.parametrize(
    ("key", "kind", "words"),
    [
        ("off", openai.PermissionDeniedError, 'key "off" is disabled'),
        ("old", openai.PermissionDeniedError, 'key "old" expired'),
        ("mini", openai.PermissionDeniedError, 'did you mean "gpt-5-mini"'),
        ("", openai.AuthenticationError, "not a key of this Sidecar"),
    ],
)
async def test_rejections_are_exceptions_of_the_openai_sdk(
    proxy: Sidecar, key: str, kind: type[openai.APIStatusError], words: str
) -> None:
    text = proxy.keys.get(key, "sk-unknown")
    async with openai.AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key=text) as client:
        with pytest.raises(kind) as caught:
            await client.chat.completions.create(model="gpt5-mini", messages=HELLO)  # type: ignore[call-overload]
    assert words in caught.value.message
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert caught.value.request_id


async def test_rejections_are_exceptions_of_the_anthropic_sdk(proxy: Sidecar) -> None:
    async with anthropic.AsyncAnthropic(base_url=proxy.url, api_key="sk-unknown") as client:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            await client.messages.create(model="m", max_tokens=1, messages=HELLO)  # type: ignore[arg-type]
    assert "not a key of this Sidecar" in caught.value.message


async def test_rejections_are_exceptions_of_the_google_sdk(proxy: Sidecar) -> None:
    client = genai.Client(api_key="unknown", http_options={"base_url": proxy.url}).aio
    with pytest.raises(genai_errors.ClientError) as caught:
        await client.models.generate_content(model="m", contents="x")
    await client.aclose()
    assert (caught.value.code, caught.value.status) == (401, "UNAUTHENTICATED")


async def test_group_serves_the_api_of_its_vendor_only(proxy: Sidecar) -> None:
    async with anthropic.AsyncAnthropic(base_url=proxy.url, api_key=proxy.keys["gpt"]) as client:
        with pytest.raises(anthropic.NotFoundError) as caught:
            await client.messages.create(model="m", max_tokens=1, messages=HELLO)  # type: ignore[arg-type]
    assert "belongs to the anthropic API" in caught.value.message


async def test_vendor_error_reaches_the_sdk_unchanged(
    claude: anthropic.AsyncAnthropic, vendor: ScriptedVendor
) -> None:
    error = (
        b'{"type":"error","error":{"type":"invalid_request_error","message":"thinking signature"}}'
    )
    vendor.play(answer(error, "400 Bad Request", request_id="req_9"))
    with pytest.raises(anthropic.BadRequestError, match="thinking signature") as caught:
        await claude.messages.create(model="m", max_tokens=1, messages=HELLO)  # type: ignore[arg-type]
    assert caught.value.request_id == "req_9"
    assert caught.value.response.content == error


async def test_openai_sdk_stream_of_any_split_yields_the_tool_calls(
    gpt: openai.AsyncOpenAI, vendor: ScriptedVendor
) -> None:
    def part(**call: object) -> dict[str, object]:
        choice = {"index": 0, "delta": {"tool_calls": [{"index": 0, **call}]}}
        return chat_chunk(created=1, choices=[choice])

    last = {"index": 0, "delta": {}, "finish_reason": "tool_calls"}
    events = sse(
        part(id="call_1", type="function", function={"name": "weather", "arguments": ""}),
        part(function={"arguments": '{"city":"'}), part(function={"arguments": '東京"}'}),
        chat_chunk(created=1, choices=[last]),
        chat_chunk(created=1, choices=[], usage=CHAT_USAGE), "[DONE]",
    )  # fmt: skip
    vendor.play(stream(*(events[at : at + 7] for at in range(0, len(events), 7))))
    said: Any = HELLO
    async with gpt.chat.completions.stream(model="gpt-5", messages=said) as made:
        final = await made.get_final_completion()
    calls: Any = final.choices[0].message.tool_calls
    assert calls[0].function.name == "weather"
    assert json.loads(calls[0].function.arguments) == {"city": "東京"}


async def test_openai_sdk_batch_is_created_and_read(
    gpt: openai.AsyncOpenAI, vendor: ScriptedVendor
) -> None:
    batch = {
        "id": "batch_1", "object": "batch", "endpoint": "/v1/chat/completions", "created_at": 1,
        "status": "validating", "input_file_id": "file_1", "completion_window": "24h",
    }  # fmt: skip
    vendor.play(answer(body(batch)))
    made = await gpt.batches.create(
        input_file_id="file_1", endpoint="/v1/chat/completions", completion_window="24h"
    )
    assert (await gpt.batches.retrieve(made.id)).status == "validating"
    await gpt.batches.cancel(made.id)
    assert [each.line for each in vendor.requests] == [
        "POST /v1/batches HTTP/1.1", "GET /v1/batches/batch_1 HTTP/1.1",
        "POST /v1/batches/batch_1/cancel HTTP/1.1",
    ]  # fmt: skip


async def test_parallel_sdk_calls_each_get_their_own_response(
    gpt: openai.AsyncOpenAI, vendor: ScriptedVendor
) -> None:
    together = asyncio.Barrier(64)

    async def script(wire: Wire) -> None:
        asked: Any = wire.request.json()
        await together.wait()
        message = {"role": "assistant", "content": asked["messages"][0]["content"]}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        await answer(body({**CHAT, "choices": [choice]}))(wire)

    async def one(number: int) -> str | None:
        said: Any = [{"role": "user", "content": str(number)}]
        made = await gpt.chat.completions.create(model="gpt-5", messages=said)
        return made.choices[0].message.content

    vendor.play(script)
    assert await asyncio.gather(*map(one, range(64))) == [str(number) for number in range(64)]


async def test_rejected_stream_raises_like_any_other_call(proxy: Sidecar) -> None:
    async with openai.AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key=proxy.keys["off"]) as client:
        with pytest.raises(openai.PermissionDeniedError, match='key "off" is disabled'):
            await client.responses.create(model="m", input="x", stream=True)
    async with anthropic.AsyncAnthropic(base_url=proxy.url, api_key="sk-unknown") as claude:
        with pytest.raises(anthropic.AuthenticationError, match="not a key of this Sidecar"):
            async with claude.messages.stream(model="m", max_tokens=1, messages=HELLO):  # type: ignore[arg-type]
                raise AssertionError("it must not begin")
    google = genai.Client(api_key="unknown", http_options={"base_url": proxy.url}).aio
    with pytest.raises(genai_errors.ClientError, match="not a key of this Sidecar"):
        await anext(await google.models.generate_content_stream(model="m", contents="x"))
    await google.aclose()
