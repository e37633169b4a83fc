"""An agent's loop of five rounds with parallel calls, over real sockets, in both directions."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import openai
from scripted_vendor import scripted_vendor
from translating_vendor import translating
from translation_samples import CHAT_USAGE, call_deltas, chat_stream, message_stream

Shape = dict[str, Any]
ROUNDS = 5
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}


def chat_model(request: Shape) -> bytes:
    """Two parallel calls in each round, which check the results of the last; then a text."""
    results = [m for m in request["messages"] if m["role"] == "tool"]
    calls = [c for m in request["messages"] for c in m.get("tool_calls") or ()]
    assert [r["tool_call_id"] for r in results] == [c["id"] for c in calls]
    assert [r["content"] for r in results] == [f"result {n}" for n in range(len(results))]
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


def message_model(request: Shape) -> bytes:
    """The same in Anthropic's protocol."""
    blocks = [b for m in request["messages"] for b in m["content"]]
    results = [b for b in blocks if b["type"] == "tool_result"]
    calls = [b for b in blocks if b["type"] == "tool_use"]
    assert [r["tool_use_id"] for r in results] == [c["id"] for c in calls]
    assert [m["role"] for m in request["messages"]][::2] == ["user"] * (len(calls) // 2 + 1)
    if len(results) == 2 * ROUNDS:
        return message_stream({"type": "text", "text": "Done."})
    n = len(results)
    uses = [
        {"type": "tool_use", "id": f"toolu_{n + k}", "name": "count", "input": {"n": n + k}}
        for k in (0, 1)
    ]
    return message_stream({"type": "text", "text": f"Round {n // 2}."}, *uses, stop="tool_use")


async def test_agent_of_anthropic_loops_five_rounds_on_a_model_of_chat() -> None:
    tools = [{"name": "count", "description": "Count.", "input_schema": SCHEMA}]
    messages: list[Shape] = [{"role": "user", "content": "Count."}]
    async with scripted_vendor() as vendor:
        vendor.play(translating("anthropic", "openai_chat", chat_model, "claude-opus-5-5"))
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
                    {"type": "tool_result", "tool_use_id": call.id,
                     "content": f"result {call.input['n']}"}
                    for call in calls
                ]  # fmt: skip
                messages.append({"role": "user", "content": results})
            async with client.messages.stream(
                model="m", max_tokens=99, messages=messages, tools=tools
            ) as stream:
                assert await stream.get_final_text() == "Done."
    assert len(vendor.requests) == ROUNDS + 1


async def test_agent_of_chat_loops_five_rounds_on_a_model_of_anthropic() -> None:
    tools = [{"type": "function", "function": {"name": "count", "parameters": SCHEMA}}]
    messages: list[Shape] = [{"role": "user", "content": "Count."}]
    async with scripted_vendor() as vendor:
        vendor.play(translating("openai_chat", "anthropic", message_model, "claude-opus-5-5"))
        async with openai.AsyncOpenAI(base_url=vendor.url, api_key="k") as client:
            for _ in range(ROUNDS):
                async with client.chat.completions.stream(
                    model="m", messages=messages, tools=tools
                ) as stream:
                    completion = await stream.get_final_completion()
                message = completion.choices[0].message
                assert len(message.tool_calls or ()) == 2
                calls = [
                    {"id": c.id, "type": "function",
                     "function": {"name": c.function.name, "arguments": c.function.arguments}}
                    for c in message.tool_calls
                ]  # fmt: skip
                messages.append(
                    {"role": "assistant", "content": message.content, "tool_calls": calls}
                )
                messages += [
                    {"role": "tool", "tool_call_id": c["id"],
                     "content": f"result {json.loads(c['function']['arguments'])['n']}"}
                    for c in calls
                ]  # fmt: skip
            async with client.chat.completions.stream(
                model="m", messages=messages, tools=tools
            ) as stream:
                final = await stream.get_final_completion()
    assert final.choices[0].message.content == "Done."
    assert len(vendor.requests) == ROUNDS + 1
