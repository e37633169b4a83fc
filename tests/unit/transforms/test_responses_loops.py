"""Loops of five rounds with parallel calls, with the Responses API on either side."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest
from responses_samples import PATCH, TOOLS, message_item, response_stream
from scripted_vendor import scripted_vendor
from translating_vendor import translating
from translation_samples import (
    CHAT_USAGE,
    call_deltas,
    chat_stream,
    generate_stream,
    message_stream,
)

Shape = dict[str, Any]
ROUNDS = 5


def message_model(request: Shape) -> bytes:
    """Think, patch and run in each round; the thinking must come back."""
    blocks = [block for message in request["messages"] for block in message["content"]]
    uses = [block for block in blocks if block["type"] == "tool_use"]
    results = [block for block in blocks if block["type"] == "tool_result"]
    thoughts = [block["signature"] for block in blocks if block["type"] == "thinking"]
    assert [each["tool_use_id"] for each in results] == [each["id"] for each in uses]
    assert [each["input"] for each in uses[::2]] == [{"input": PATCH}] * (len(uses) // 2)
    assert thoughts == [f"sig{n}" for n in range(len(uses) // 2)]
    n = len(uses)
    if n == 2 * ROUNDS:
        return message_stream({"type": "text", "text": "Done."})
    return message_stream(
        {"type": "thinking", "thinking": "Next.", "signature": f"sig{n // 2}"},
        {"type": "tool_use", "id": f"toolu_{n}", "name": "apply_patch", "input": {"input": PATCH}},
        {"type": "tool_use", "id": f"toolu_{n + 1}", "name": "exec", "input": {"n": n}},
        stop="tool_use",
    )


def chat_model(request: Shape) -> bytes:
    """Patch and run in each round."""
    calls = [call for message in request["messages"] for call in message.get("tool_calls") or ()]
    results = [message for message in request["messages"] if message["role"] == "tool"]
    assert [each["tool_call_id"] for each in results] == [each["id"] for each in calls]
    n = len(calls)
    if n == 2 * ROUNDS:
        return chat_stream({"content": "Done."}, usage=CHAT_USAGE)
    patch = json.dumps({"input": PATCH})
    return chat_stream(
        *call_deltas(0, f"call_{n}", "apply_patch", patch[:20], patch[20:]),
        *call_deltas(1, f"call_{n + 1}", "exec", "{}"),
        finish="tool_calls", usage=CHAT_USAGE,
    )  # fmt: skip


def gemini_model(request: Shape) -> bytes:
    """Patch and run in each round; the signature of the first call must come back."""
    parts = [part for content in request["contents"] for part in content["parts"]]
    calls = [part for part in parts if "functionCall" in part]
    results = [part["functionResponse"]["id"] for part in parts if "functionResponse" in part]
    assert results == [part["functionCall"]["id"] for part in calls]
    signed = [part["thoughtSignature"] for part in calls[::2]]
    assert signed == [f"c2ln{at}" for at in range(len(calls) // 2)]
    n = len(calls)
    if n == 2 * ROUNDS:
        return generate_stream([{"text": "Done."}])
    patch = {"functionCall": {"id": f"f{n}", "name": "apply_patch", "args": {"input": PATCH}},
             "thoughtSignature": f"c2ln{n // 2}"}  # fmt: skip
    run = {"functionCall": {"id": f"f{n + 1}", "name": "exec", "args": {"n": n}}}
    return generate_stream([patch], [run])


def response_model(request: Shape) -> bytes:
    """Think and read twice in each round; the encrypted thinking must come back."""
    items: list[Shape] = request["input"]
    calls = [item for item in items if item["type"] == "function_call"]
    results = [item for item in items if item["type"] == "function_call_output"]
    thoughts = [item["encrypted_content"] for item in items if item["type"] == "reasoning"]
    assert [each["call_id"] for each in results] == [each["call_id"] for each in calls]
    assert thoughts == [f"gAAA{n}" for n in range(len(calls) // 2)]
    n = len(calls)
    if n == 2 * ROUNDS:
        return response_stream(message_item("Done."))
    summary = [{"type": "summary_text", "text": "Next."}]
    return response_stream(
        {"type": "reasoning", "summary": summary, "encrypted_content": f"gAAA{n // 2}"},
        message_item("Reading."),
        *(
            {"type": "function_call", "call_id": f"call_{n + k}", "name": "read",
             "arguments": json.dumps({"n": n + k})}
            for k in (0, 1)
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("target", "model", "name"),
    [
        ("anthropic", message_model, "claude-opus-5-5"),
        ("openai_chat", chat_model, "qwen3"),
        ("gemini", gemini_model, "gemini-3-pro"),
    ],
)
async def test_agent_of_responses_loops_five_rounds_on_every_model(
    target: str, model: Callable[[Shape], bytes], name: str
) -> None:
    items: list[Any] = [{"role": "user", "content": "Patch."}]
    async with scripted_vendor() as vendor:
        vendor.play(translating("openai_responses", target, model, name))
        async with openai.AsyncOpenAI(base_url=vendor.url, api_key="k") as client:
            for _ in range(ROUNDS):
                async with client.responses.stream(model="m", input=items, tools=TOOLS) as stream:
                    response = await stream.get_final_response()
                calls = [item for item in response.output if item.type.endswith("_call")]
                assert [(call.type, call.name) for call in calls] == [
                    ("custom_tool_call", "apply_patch"), ("function_call", "exec"),
                ]  # fmt: skip
                assert calls[0].input == PATCH
                items += [item.to_dict() for item in response.output]
                items += [
                    {"type": f"{call.type}_output", "call_id": call.call_id, "output": "ok"}
                    for call in calls
                ]
            async with client.responses.stream(model="m", input=items, tools=TOOLS) as stream:
                assert (await stream.get_final_response()).output_text == "Done."
    assert len(vendor.requests) == ROUNDS + 1


async def test_agent_of_anthropic_loops_five_rounds_on_a_model_of_responses() -> None:
    tools = [{"name": "read", "description": "Read.", "input_schema": {"type": "object"}}]
    messages: list[Shape] = [{"role": "user", "content": "Read."}]
    async with scripted_vendor() as vendor:
        vendor.play(translating("anthropic", "openai_responses", response_model, "gpt-6"))
        async with anthropic.AsyncAnthropic(base_url=vendor.url, api_key="k") as client:
            for _ in range(ROUNDS):
                async with client.messages.stream(
                    model="m", max_tokens=99, messages=messages, tools=tools
                ) as stream:
                    message = await stream.get_final_message()
                calls = [block for block in message.content if block.type == "tool_use"]
                assert len(calls) == 2
                messages.append({"role": "assistant", "content": message.content})
                results = [
                    {"type": "tool_result", "tool_use_id": call.id, "content": "ok"}
                    for call in calls
                ]
                messages.append({"role": "user", "content": results})
            async with client.messages.stream(
                model="m", max_tokens=99, messages=messages, tools=tools
            ) as stream:
                assert await stream.get_final_text() == "Done."
    assert len(vendor.requests) == ROUNDS + 1
