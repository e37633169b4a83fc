"""The vendors' SDKs accept translated streams and answers, served on a real socket."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import openai
import pytest
from scripted_vendor import answer, scripted_vendor, stream
from translation_samples import (
    CHAT_USAGE,
    JSON,
    SSE,
    call_deltas,
    chat_stream,
    message_stream,
)

from sidecar_transforms.translation import ResponseTranslator, translate_error, translate_request

TOOLS = [{"name": "read", "description": "Read a file.", "input_schema": {"type": "object"}}]
CHAT_TOOLS = [{"type": "function", "function": {"name": "read", "parameters": {"type": "object"}}}]
ASK = [{"role": "user", "content": "Read a and b."}]


def translated(
    source: str, target: str, request: dict[str, Any], provider: bytes, content_type: str = SSE
) -> list[bytes]:
    """Return the client's answer, as the provider's arrives in pieces of 50 bytes."""
    context = translate_request(source, target, json.dumps(request).encode(), model="m").context
    answer = ResponseTranslator(context, status=200, content_type=content_type)
    pieces = [answer.feed(provider[at : at + 50]) for at in range(0, len(provider), 50)]
    return [*filter(None, pieces), answer.end(complete=True)]


def anthropic_client(vendor: Any) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=vendor.url, api_key="k", max_retries=0)


def openai_client(vendor: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=vendor.url, api_key="k", max_retries=0)


@pytest.fixture
async def vendor() -> Any:
    async with scripted_vendor() as found:
        yield found


async def test_anthropic_sdk_accepts_a_translated_stream_of_chat(vendor: Any) -> None:
    provider = chat_stream(
        {"reasoning_content": "two "}, {"reasoning_content": "calls"},
        {"content": "Read"}, {"content": "ing."},
        *call_deltas(0, "call_a", "read", '{"pa', 'th":"a"}'),
        *call_deltas(1, "call_b", "read", '{"path":"b"}'),
        finish="tool_calls", usage=CHAT_USAGE,
    )  # fmt: skip
    request = {"max_tokens": 9, "messages": ASK, "tools": TOOLS, "stream": True}
    vendor.play(stream(*translated("anthropic", "openai_chat", request, provider)))
    async with (
        anthropic_client(vendor) as client,
        client.messages.stream(model="m", max_tokens=9, messages=ASK) as events,
    ):
        kinds = [event.type async for event in events]
        message = await events.get_final_message()
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use", "tool_use"]
    thinking, text, *calls = message.content
    assert (thinking.thinking, text.text) == ("two calls", "Reading.")
    assert [(c.id, c.name, c.input) for c in calls] == [
        ("call_a", "read", {"path": "a"}), ("call_b", "read", {"path": "b"}),
    ]  # fmt: skip
    assert message.stop_reason == "tool_use"
    assert message.id == "msg_9"
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (
        112, 1024, 340,
    )  # fmt: skip
    assert usage.cache_creation_input_tokens == 64


async def test_openai_sdk_accepts_a_translated_stream_of_a_message(vendor: Any) -> None:
    provider = message_stream(
        {"type": "thinking", "thinking": "two calls", "signature": "c2ln"},
        {"type": "text", "text": "Reading."},
        {"type": "tool_use", "id": "toolu_a", "name": "read", "input": {"path": "a"}},
        {"type": "tool_use", "id": "toolu_b", "name": "read", "input": {"path": "b"}},
        stop="tool_use",
    )
    request = {
        "messages": ASK, "tools": CHAT_TOOLS, "stream": True,
        "stream_options": {"include_usage": True},
    }  # fmt: skip
    vendor.play(stream(*translated("openai_chat", "anthropic", request, provider)))
    options = {"include_usage": True}
    async with (
        openai_client(vendor) as client,
        client.chat.completions.stream(model="m", messages=ASK, stream_options=options) as events,
    ):
        async for _ in events:
            pass
        completion = await events.get_final_completion()
    (choice,) = completion.choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "Reading.")
    calls = [(c.id, c.function.name, c.function.arguments) for c in choice.message.tool_calls or ()]
    assert calls == [("toolu_a", "read", '{"path": "a"}'), ("toolu_b", "read", '{"path": "b"}')]
    assert completion.usage is not None
    assert completion.usage.to_dict() == CHAT_USAGE


async def test_openai_sdk_without_usage_gets_no_chunk_of_usage(vendor: Any) -> None:
    provider = message_stream({"type": "text", "text": "Hello."})
    request = {"messages": ASK, "stream": True}
    vendor.play(stream(*translated("openai_chat", "anthropic", request, provider)))
    async with openai_client(vendor) as client:
        chunks = await client.chat.completions.create(model="m", messages=ASK, stream=True)
        found = [chunk async for chunk in chunks]
    assert all(len(chunk.choices) == 1 and chunk.usage is None for chunk in found)
    assert found[0].choices[0].delta.role == "assistant"
    assert found[-1].choices[0].finish_reason == "stop"


async def test_sdks_accept_translated_whole_answers(vendor: Any) -> None:
    call = {"id": "call_a", "type": "function", "function": {"name": "read", "arguments": "{}"}}
    message = {"role": "assistant", "content": "Reading.", "tool_calls": [call]}
    chat = {
        "id": "chatcmpl-9", "object": "chat.completion", "created": 1, "model": "gpt-x",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": CHAT_USAGE,
    }  # fmt: skip
    body = json.dumps(chat).encode()
    (given,) = translated(
        "anthropic", "openai_chat", {"max_tokens": 9, "messages": ASK}, body, JSON
    )
    vendor.play(answer(given))
    async with anthropic_client(vendor) as client:
        found = await client.messages.create(model="m", max_tokens=9, messages=ASK)
    assert [block.type for block in found.content] == ["text", "tool_use"]
    assert (found.stop_reason, found.usage.cache_read_input_tokens) == ("tool_use", 1024)
    (back,) = translated("openai_chat", "anthropic", {"messages": ASK}, given, JSON)
    vendor.play(answer(back))
    async with openai_client(vendor) as client:
        completion = await client.chat.completions.create(model="m", messages=ASK)
    assert completion.choices[0].message.tool_calls[0].function.arguments == "{}"
    assert completion.usage.to_dict() == CHAT_USAGE | {
        "completion_tokens_details": {"reasoning_tokens": 200}
    }


async def test_client_of_json_gets_json_from_a_provider_that_streams(vendor: Any) -> None:
    provider = chat_stream({"content": "Hello."}, usage=CHAT_USAGE)
    (given,) = translated("anthropic", "openai_chat", {"max_tokens": 9, "messages": ASK}, provider)
    assert json.loads(given)["content"] == [{"type": "text", "text": "Hello."}]


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (429, "rate_limit_exceeded", anthropic.RateLimitError),
        (429, "insufficient_quota", anthropic.APIStatusError),
        (503, "server_is_overloaded", anthropic.InternalServerError),
        (400, "invalid_request_error", anthropic.BadRequestError),
        (401, "invalid_api_key", anthropic.AuthenticationError),
    ],
)
async def test_anthropic_sdk_raises_its_own_error_for_one_of_chat(
    vendor: Any, status: int, code: str, error: type[Exception]
) -> None:
    request = json.dumps({"max_tokens": 9, "messages": ASK}).encode()
    context = translate_request("anthropic", "openai_chat", request, model="m").context
    body = {"error": {"message": "Not now.", "type": "any", "code": code}}
    given, out = translate_error(context, status, json.dumps(body).encode())
    vendor.play(answer(out, f"{given} Error"))
    async with anthropic_client(vendor) as client:
        with pytest.raises(error) as raised:
            await client.messages.create(model="m", max_tokens=9, messages=ASK)
    assert isinstance(raised.value, anthropic.APIStatusError)
    assert raised.value.body == json.loads(out)
    assert "Not now." in str(raised.value)


@pytest.mark.parametrize(
    ("status", "kind", "given"),
    [(529, "overloaded_error", 503), (429, "rate_limit_error", 429), (402, "billing_error", 402)],
)
async def test_openai_sdk_retries_what_it_would_retry_at_openai(
    vendor: Any, status: int, kind: str, given: int
) -> None:
    request = json.dumps({"messages": ASK}).encode()
    context = translate_request("openai_chat", "anthropic", request, model="m").context
    body = {"type": "error", "error": {"type": kind, "message": "Not now."}}
    found, out = translate_error(context, status, json.dumps(body).encode())
    assert found == given
    vendor.play(answer(out, f"{found} Error", retry_after_ms="1"))
    async with openai.AsyncOpenAI(base_url=vendor.url, api_key="k", max_retries=1) as client:
        with pytest.raises(openai.APIStatusError, match="Not now"):
            await client.chat.completions.create(model="m", messages=ASK)
    assert len(vendor.requests) == (1 if kind == "billing_error" else 2)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
async def test_sdks_raise_where_a_translated_stream_was_cut(vendor: Any, share: float) -> None:
    chat = chat_stream({"content": "Hel"}, {"content": "lo."}, usage=CHAT_USAGE)
    cut = chat[: int(len(chat) * share)]
    request = {"max_tokens": 9, "messages": ASK, "stream": True}
    vendor.play(stream(*_cut("anthropic", "openai_chat", request, cut)))
    async with anthropic_client(vendor) as client:
        with pytest.raises(anthropic.APIStatusError, match="broke off"):
            async with client.messages.stream(model="m", max_tokens=9, messages=ASK) as events:
                await events.get_final_message()
    message = message_stream({"type": "text", "text": "Hello."})
    cut = message[: int(len(message) * share)]
    vendor.play(stream(*_cut("openai_chat", "anthropic", {"messages": ASK, "stream": True}, cut)))
    async with openai_client(vendor) as client:
        chunks = await client.chat.completions.create(model="m", messages=ASK, stream=True)
        with pytest.raises(openai.APIError, match="broke off"):
            [chunk async for chunk in chunks]


def _cut(source: str, target: str, request: dict[str, Any], provider: bytes) -> list[bytes]:
    context = translate_request(source, target, json.dumps(request).encode(), model="m").context
    found = ResponseTranslator(context, status=200, content_type=SSE)
    return [*filter(None, [found.feed(provider)]), found.end(complete=False)]
