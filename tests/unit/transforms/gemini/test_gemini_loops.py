"""Loops of five rounds with parallel calls, with Gemini as the model and Google's SDK as agent."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types
from scripted_vendor import Wire, scripted_vendor
from translating_vendor import translating
from translation_samples import (
    CHAT_USAGE,
    SSE,
    call_deltas,
    chat_stream,
    generate_stream,
    message_stream,
)

from sidecar_transforms.translation import ResponseTranslator, translate_request

Shape = dict[str, Any]
ROUNDS = 5
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}


def gemini_model(request: Shape) -> bytes:
    """Two parallel calls in each round, of which the first must come back with its signature."""
    parts = [part for content in request["contents"] for part in content["parts"]]
    calls = [part for part in parts if "functionCall" in part]
    results = [part["functionResponse"] for part in parts if "functionResponse" in part]
    assert [r["id"] for r in results] == [c["functionCall"]["id"] for c in calls]
    assert [r["response"] for r in results] == [
        {"output": f"result {n}"} for n in range(len(results))
    ]
    assert [c.get("thoughtSignature") for c in calls[::2]] == [
        f"signature{n}" for n in range(len(calls) // 2)
    ]
    assert not [c for c in calls[1::2] if "thoughtSignature" in c]
    roles = [content["role"] for content in request["contents"]]
    assert roles == ["user", *["model", "user"] * (len(calls) // 2)]
    if len(results) == 2 * ROUNDS:
        return generate_stream([{"text": "Do"}], [{"text": "ne."}])
    n = len(results)
    first, second = ({"functionCall": {"name": "count", "args": {"n": n + k}}} for k in (0, 1))
    return generate_stream(
        [{"text": "Counting.", "thought": True}],
        [{"text": f"Round {n // 2}."}],
        [{**first, "thoughtSignature": f"signature{n // 2}"}],
        [second],
    )


def message_model(request: Shape) -> bytes:
    """The same in Anthropic's protocol, with signed thinking in each round."""
    blocks = [b for m in request["messages"] for b in m["content"]]
    results = [b for b in blocks if b["type"] == "tool_result"]
    calls = [b for b in blocks if b["type"] == "tool_use"]
    thinking = [b["signature"] for b in blocks if b["type"] == "thinking"]
    assert [r["tool_use_id"] for r in results] == [c["id"] for c in calls]
    assert thinking == [f"signature{n}" for n in range(len(calls) // 2)]
    if len(results) == 2 * ROUNDS:
        return message_stream({"type": "text", "text": "Done."})
    n = len(results)
    uses = [
        {"type": "tool_use", "id": f"toolu_{n + k}", "name": "count", "input": {"n": n + k}}
        for k in (0, 1)
    ]
    thought = {"type": "thinking", "thinking": "Counting.", "signature": f"signature{n // 2}"}
    return message_stream(
        thought, {"type": "text", "text": f"Round {n // 2}."}, *uses, stop="tool_use"
    )


def chat_model(request: Shape) -> bytes:
    """The same in chat."""
    results = [m for m in request["messages"] if m["role"] == "tool"]
    calls = [c for m in request["messages"] for c in m.get("tool_calls") or ()]
    assert [r["tool_call_id"] for r in results] == [c["id"] for c in calls]
    if len(results) == 2 * ROUNDS:
        return chat_stream({"content": "Done."}, usage=CHAT_USAGE)
    n = len(results)
    return chat_stream(
        {"content": f"Round {n // 2}."},
        *call_deltas(0, f"call_{n}", "count", f'{{"n":{n}}}'),
        *call_deltas(1, f"call_{n + 1}", "count", '{"n":', f"{n + 1}}}"),
        finish="tool_calls",
        usage=CHAT_USAGE,
    )


async def test_agent_of_anthropic_loops_five_rounds_on_gemini() -> None:
    tools = [{"name": "count", "description": "Count.", "input_schema": SCHEMA}]
    messages: list[Shape] = [{"role": "user", "content": "Count."}]
    async with scripted_vendor() as vendor:
        vendor.play(translating("anthropic", "gemini", gemini_model, "gemini-3-pro"))
        async with anthropic.AsyncAnthropic(base_url=vendor.url, api_key="k") as client:
            for n in range(ROUNDS + 1):
                async with client.messages.stream(
                    model="m", max_tokens=99, messages=messages, tools=tools
                ) as stream:
                    message = await stream.get_final_message()
                calls = [block for block in message.content if block.type == "tool_use"]
                assert len(calls) == (2 if n < ROUNDS else 0)
                results = [
                    {"type": "tool_result", "tool_use_id": call.id,
                     "content": f"result {call.input['n']}"}
                    for call in calls
                ]  # fmt: skip
                messages += [
                    {"role": "assistant", "content": message.content},
                    {"role": "user", "content": results},
                ]
    assert message.content[-1].text == "Done."
    assert len(vendor.requests) == ROUNDS + 1


async def test_agent_of_chat_loops_five_rounds_on_gemini() -> None:
    tools = [{"type": "function", "function": {"name": "count", "parameters": SCHEMA}}]
    messages: list[Any] = [{"role": "user", "content": "Count."}]
    async with scripted_vendor() as vendor:
        vendor.play(translating("openai_chat", "gemini", gemini_model, "gemini-3-pro"))
        async with openai.AsyncOpenAI(base_url=vendor.url, api_key="k") as client:
            for n in range(ROUNDS + 1):
                async with client.chat.completions.stream(
                    model="m", messages=messages, tools=tools
                ) as stream:
                    message = (await stream.get_final_completion()).choices[0].message
                calls = message.tool_calls or []
                assert len(calls) == (2 if n < ROUNDS else 0)
                messages.append(message.to_dict())
                messages += [
                    {"role": "tool", "tool_call_id": call.id,
                     "content": f"result {json.loads(call.function.arguments)['n']}"}
                    for call in calls
                ]  # fmt: skip
    assert message.content == "Done."


@pytest.mark.parametrize(
    ("target", "model"), [("anthropic", message_model), ("openai_chat", chat_model)]
)
async def test_google_agent_that_drops_thoughts_loops_five_rounds(target: str, model: Any) -> None:
    declaration = types.FunctionDeclaration(name="count", parameters_json_schema=SCHEMA)
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[declaration])],
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    contents = [types.Content(role="user", parts=[types.Part(text="Count.")])]
    async with scripted_vendor() as vendor:
        vendor.play(translating("gemini", target, model, "gemini-3-pro"))
        options = types.HttpOptions(base_url=vendor.url)
        client = genai.Client(api_key="k", http_options=options)
        for n in range(ROUNDS + 1):
            responses = await client.aio.models.generate_content_stream(
                model="m", contents=contents, config=config
            )
            parts = [
                part async for each in responses for part in each.candidates[0].content.parts
                if not part.thought
            ]  # fmt: skip
            calls = [part.function_call for part in parts if part.function_call]
            assert len(calls) == (2 if n < ROUNDS else 0)
            results = [
                types.Part.from_function_response(
                    name=call.name, response={"result": f"result {call.args['n']}"}
                )
                for call in calls
            ]
            contents.append(types.Content(role="model", parts=parts))
            contents.append(types.Content(role="user", parts=results))
    assert "".join(part.text for part in parts if part.text) == "Done."
    assert len(vendor.requests) == ROUNDS + 1


@pytest.mark.parametrize("streaming", [False, True])
async def test_chat_of_the_genai_sdk_keeps_its_history(*, streaming: bool) -> None:
    def model(request: Shape) -> bytes:
        texts = [b["text"] for m in request["messages"] for b in m["content"]]
        assert texts in (["Hello."], ["Hello.", "Done.", "Again."])
        return message_stream({"type": "text", "text": "Done."})

    async def script(wire: Wire) -> None:
        if streaming:
            await translating("gemini", "anthropic", model, "gemini-3-pro")(wire)
            return
        sent = translate_request("gemini", "anthropic", wire.request.body, model="m")
        answer = ResponseTranslator(sent.context, status=200, content_type=SSE)
        body = answer.feed(model(json.loads(sent.body))) + answer.end(complete=True)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        await wire.send(head % len(body) + body)

    async with scripted_vendor() as vendor:
        vendor.play(script)
        options = types.HttpOptions(base_url=vendor.url)
        chat = genai.Client(api_key="k", http_options=options).aio.chats.create(model="m")
        for text in ("Hello.", "Again."):
            if streaming:
                async for _ in await chat.send_message_stream(text):
                    pass
            else:
                assert (await chat.send_message(text)).text == "Done."
    assert len(vendor.requests) == 2
