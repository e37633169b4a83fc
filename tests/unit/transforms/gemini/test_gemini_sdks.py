"""Google's SDK accepts translated answers of every provider, and other SDKs those of Gemini."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors, types
from scripted_vendor import Script, answer, scripted_vendor, stream
from translation_samples import (
    CHAT_USAGE,
    JSON,
    SSE,
    call_deltas,
    chat_stream,
    generate_stream,
    generated,
    message_stream,
)

from sidecar_transforms.translation import (
    ResponseTranslator,
    TranslationContext,
    translate_error,
    translate_request,
)

Shape = dict[str, Any]
CONTENTS = [{"role": "user", "parts": [{"text": "Read a and b."}]}]
MESSAGES = [{"role": "user", "content": "Read a and b."}]
SIGNATURE = "c2lnbmF0dXJl"
PROVIDERS = {
    "openai_chat": chat_stream(
        {"reasoning_content": "two "}, {"reasoning_content": "calls"},
        {"content": "Read"}, {"content": "ing."},
        *call_deltas(0, "call_a", "read", '{"pa', 'th":"a"}'),
        *call_deltas(1, "call_b", "read", '{"path":"b"}'),
        finish="tool_calls", usage=CHAT_USAGE,
    ),
    "anthropic": message_stream(
        {"type": "thinking", "thinking": "two calls", "signature": "c2ln"},
        {"type": "text", "text": "Reading."},
        {"type": "tool_use", "id": "call_a", "name": "read", "input": {"path": "a"}},
        {"type": "tool_use", "id": "call_b", "name": "read", "input": {"path": "b"}},
        stop="tool_use",
    ),
    "gemini": generate_stream(
        [{"text": "two calls", "thought": True}], [{"text": "Read"}], [{"text": "ing."}],
        [{"functionCall": {"id": "call_a", "name": "read", "args": {"path": "a"}},
          "thoughtSignature": SIGNATURE},
         {"functionCall": {"id": "call_b", "name": "read", "args": {"path": "b"}}}],
    ),
}  # fmt: skip


def context(source: str, target: str, *, streaming: bool = True) -> TranslationContext:
    request: Shape = {"contents": CONTENTS}
    if source != "gemini":
        request = {
            "max_tokens": 9, "messages": MESSAGES, "stream": streaming,
            "stream_options": {"include_usage": True},
        }  # fmt: skip
    body = json.dumps(request).encode()
    return translate_request(
        source, target, body, model="m", streaming=streaming, query="alt=sse"
    ).context


def pieces(found: TranslationContext, provider: bytes, content_type: str = SSE) -> list[bytes]:
    """Return the client's answer, as the provider's arrives in pieces of 50 bytes."""
    translator = ResponseTranslator(found, status=200, content_type=content_type)
    made = [translator.feed(provider[at : at + 50]) for at in range(0, len(provider), 50)]
    return [*filter(None, made), translator.end(complete=True)]


def genai_client(vendor: Any) -> genai.Client:
    options = types.HttpOptions(base_url=vendor.url, api_version="v1beta")
    return genai.Client(api_key="k", http_options=options)


@pytest.fixture
async def vendor() -> Any:
    async with scripted_vendor() as found:
        yield found


@pytest.mark.parametrize("target", ["openai_chat", "anthropic"])
async def test_genai_sdk_accepts_a_translated_stream(vendor: Any, target: str) -> None:
    vendor.play(stream(*pieces(context("gemini", target), PROVIDERS[target])))
    client = genai_client(vendor)
    found = [
        each
        async for each in await client.aio.models.generate_content_stream(
            model="m", contents="Read a and b."
        )
    ]
    parts = [part for each in found for part in each.candidates[0].content.parts]
    assert "".join(part.text for part in parts if part.thought and part.text) == "two calls"
    assert "".join(part.text for part in parts if part.text and not part.thought) == "Reading."
    calls = [part.function_call for part in parts if part.function_call]
    assert [(c.id, c.name, c.args) for c in calls] == [
        ("call_a", "read", {"path": "a"}), ("call_b", "read", {"path": "b"}),
    ]  # fmt: skip
    assert found[-1].candidates[0].finish_reason == types.FinishReason.STOP
    usage = found[-1].usage_metadata
    assert usage.prompt_token_count == 1200
    assert usage.cached_content_token_count == 1024
    assert (usage.candidates_token_count, usage.thoughts_token_count) == (140, 200)
    assert usage.total_token_count == 1540
    assert len({each.response_id for each in found}) == 1
    assert vendor.requests[0].path == "/v1beta/models/m:streamGenerateContent?alt=sse"


@pytest.mark.parametrize("target", ["openai_chat", "anthropic"])
async def test_genai_sdk_accepts_a_translated_whole_answer(vendor: Any, target: str) -> None:
    vendor.play(answer(*pieces(context("gemini", target, streaming=False), PROVIDERS[target])))
    found = await genai_client(vendor).aio.models.generate_content(model="m", contents="Read.")
    assert found.text == "Reading."
    assert [call.id for call in found.function_calls or ()] == ["call_a", "call_b"]
    assert found.usage_metadata.thoughts_token_count == 200


async def test_anthropic_sdk_accepts_a_translated_stream_of_gemini(vendor: Any) -> None:
    vendor.play(stream(*pieces(context("anthropic", "gemini"), PROVIDERS["gemini"])))
    async with (
        anthropic.AsyncAnthropic(base_url=vendor.url, api_key="k", max_retries=0) as client,
        client.messages.stream(model="m", max_tokens=9, messages=MESSAGES) as events,
    ):
        message = await events.get_final_message()
    thinking, text, signed, *calls = message.content
    assert (thinking.thinking, text.text) == ("two calls", "Reading.")
    assert (signed.thinking, signed.signature) == ("", f"sidecar|gemini|m|{SIGNATURE}")
    assert [(c.id, c.name, c.input) for c in calls] == [
        ("call_a", "read", {"path": "a"}), ("call_b", "read", {"path": "b"}),
    ]  # fmt: skip
    assert message.stop_reason == "tool_use"
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (
        176, 1024, 340,
    )  # fmt: skip
    assert usage.output_tokens_details.thinking_tokens == 200


async def test_openai_sdk_accepts_a_translated_stream_of_gemini(vendor: Any) -> None:
    vendor.play(stream(*pieces(context("openai_chat", "gemini"), PROVIDERS["gemini"])))
    async with (
        openai.AsyncOpenAI(base_url=vendor.url, api_key="k", max_retries=0) as client,
        client.chat.completions.stream(
            model="m", messages=MESSAGES, stream_options={"include_usage": True}
        ) as events,
    ):
        async for _ in events:
            pass
        completion = await events.get_final_completion()
    (choice,) = completion.choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "Reading.")
    calls = [(c.id, c.function.name, c.function.arguments) for c in choice.message.tool_calls or ()]
    assert calls == [("call_a", "read", '{"path":"a"}'), ("call_b", "read", '{"path":"b"}')]
    assert completion.usage.prompt_tokens_details.cached_tokens == 1024
    assert completion.usage.completion_tokens == 340


async def test_sdks_accept_translated_whole_answers_of_gemini(vendor: Any) -> None:
    body = json.dumps(generated({"text": "Hello."})).encode()
    found = context("anthropic", "gemini", streaming=False)
    vendor.play(answer(*pieces(found, body, JSON)))
    async with anthropic.AsyncAnthropic(base_url=vendor.url, api_key="k") as client:
        message = await client.messages.create(model="m", max_tokens=9, messages=MESSAGES)
    assert (message.content[0].text, message.stop_reason) == ("Hello.", "end_turn")
    found = context("openai_chat", "gemini", streaming=False)
    vendor.play(answer(*pieces(found, body, JSON)))
    async with openai.AsyncOpenAI(base_url=vendor.url, api_key="k") as chat:
        completion = await chat.chat.completions.create(model="m", messages=MESSAGES)
    assert completion.choices[0].message.content == "Hello."


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("target", ["openai_chat", "anthropic"])
async def test_genai_sdk_raises_where_a_translated_stream_was_cut(
    vendor: Any, target: str, share: float
) -> None:
    whole = PROVIDERS[target]
    translator = ResponseTranslator(context("gemini", target), status=200, content_type=SSE)
    sent = [translator.feed(whole[: int(len(whole) * share)]), translator.end(complete=False)]
    vendor.play(stream(*filter(None, sent)))
    with pytest.raises(errors.ServerError, match="broke off"):
        await consume(vendor)


async def consume(vendor: Any) -> list[Any]:
    responses = await genai_client(vendor).aio.models.generate_content_stream(
        model="m", contents="Hello."
    )
    return [each async for each in responses]


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
async def test_sdks_raise_where_a_stream_of_gemini_was_cut(vendor: Any, share: float) -> None:
    cut = PROVIDERS["gemini"][: int(len(PROVIDERS["gemini"]) * share)]
    for complete in (False, True):  # Google's stream has no sign of its end but the last reason
        translator = ResponseTranslator(
            context("anthropic", "gemini"), status=200, content_type=SSE
        )
        vendor.play(stream(*filter(None, [translator.feed(cut), translator.end(complete)])))
        async with anthropic.AsyncAnthropic(
            base_url=vendor.url, api_key="k", max_retries=0
        ) as client:
            with pytest.raises(anthropic.APIStatusError, match="broke off"):
                async with client.messages.stream(
                    model="m", max_tokens=9, messages=MESSAGES
                ) as events:
                    await events.get_final_message()


@pytest.mark.parametrize(
    ("target", "status", "body", "code", "word"),
    [
        ("openai_chat", 429, {"error": {"message": "Slow.", "code": "rate_limit_exceeded"}},
         429, "RESOURCE_EXHAUSTED"),
        ("openai_chat", 429, {"error": {"message": "Spent.", "code": "insufficient_quota"}},
         429, "RESOURCE_EXHAUSTED"),
        ("openai_chat", 404, {"error": {"message": "None.", "code": "model_not_found"}},
         404, "NOT_FOUND"),
        ("anthropic", 529, {"error": {"type": "overloaded_error", "message": "Busy."}},
         503, "UNAVAILABLE"),
        ("anthropic", 401, {"error": {"type": "authentication_error", "message": "No."}},
         401, "UNAUTHENTICATED"),
    ],
)  # fmt: skip
async def test_genai_sdk_raises_its_own_error(
    vendor: Any, target: str, status: int, body: Shape, code: int, word: str
) -> None:
    given, out = translate_error(context("gemini", target), status, json.dumps(body).encode())
    assert given == code
    vendor.play(answer(out, f"{given} Error"))
    with pytest.raises(errors.APIError, match=body["error"]["message"]) as raised:
        await consume(vendor)
    assert (raised.value.code, raised.value.status) == (code, word)
    spent = body["error"].get("code") == "insufficient_quota"
    assert ("details" in json.loads(out)["error"]) is spent


@pytest.mark.parametrize(
    ("status", "word", "error"),
    [
        (429, "RESOURCE_EXHAUSTED", anthropic.RateLimitError),
        (503, "UNAVAILABLE", anthropic.InternalServerError),
        (400, "INVALID_ARGUMENT", anthropic.BadRequestError),
        (403, "PERMISSION_DENIED", anthropic.PermissionDeniedError),
    ],
)
async def test_anthropic_sdk_raises_its_own_error_for_one_of_gemini(
    vendor: Any, status: int, word: str, error: type[Exception]
) -> None:
    body = {"error": {"code": status, "message": "Not now.", "status": word}}
    found = context("anthropic", "gemini")
    given, out = translate_error(found, status, json.dumps(body).encode())
    vendor.play(answer(out, f"{given} Error"))
    async with anthropic.AsyncAnthropic(base_url=vendor.url, api_key="k", max_retries=0) as client:
        with pytest.raises(error, match="Not now"):
            await client.messages.create(model="m", max_tokens=9, messages=MESSAGES)


def reading_model(target: str) -> Script:
    """Answer through a translation: two calls, and a text once their results came."""

    async def script(wire: Any) -> None:
        streaming = "stream" in wire.request.path
        sent = translate_request(
            "gemini", target, wire.request.body, model="m", streaming=streaming, query="alt=sse"
        )
        results = sent.body.count(b"contents of ")
        assert results in {0, 2}, sent.body
        done = (
            chat_stream({"content": "Done."}, usage=CHAT_USAGE)
            if target == "openai_chat"
            else message_stream({"type": "text", "text": "Done."})
        )
        made = pieces(sent.context, done if results else PROVIDERS[target])
        await (stream(*made) if streaming else answer(*made))(wire)

    return script


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("target", ["openai_chat", "anthropic"])
async def test_automatic_function_calls_of_the_genai_sdk_run(
    vendor: Any, target: str, streaming: bool
) -> None:
    read: list[str] = []

    async def read_file(path: str) -> str:
        """Read a file."""
        read.append(path)
        return f"contents of {path}"

    read_file.__name__ = "read"
    vendor.play(reading_model(target))
    client = genai_client(vendor)
    config = types.GenerateContentConfig(tools=[read_file])
    if streaming:
        responses = await client.aio.models.generate_content_stream(
            model="m", contents="Read a and b.", config=config
        )
        texts = [each.text async for each in responses if each.text]
        assert "".join(texts).endswith("Done.")
    else:
        found = await client.aio.models.generate_content(
            model="m", contents="Read a and b.", config=config
        )
        assert found.text == "Done."
    assert read == ["a", "b"]
