"""Run agents of the vendors' SDKs that call two tools a round, and models that answer them.

Each agent sends an image, returns every part of an answer as its SDK gives it, and has the results
of both calls in its next request.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple

import anthropic
import openai
from google import genai
from google.genai import types
from responses_samples import message_item, response_stream
from running_sidecar import Sidecar
from translation_samples import (
    CHAT_USAGE,
    GEMINI_USAGE,
    call_deltas,
    chat_stream,
    generate_stream,
    message_stream,
)

Shape = dict[str, Any]
ROUNDS = 5
MOST = ROUNDS + 1
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
IMAGE = base64.b64encode(PNG).decode()
SCHEMA: Shape = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def signature(number: int) -> str:
    """Return the signature of the thinking of a round."""
    return base64.b64encode(b"signature %d" % number).decode()


# Models: the stream of each round, in each protocol


def chat_round(number: int) -> bytes:
    if number == ROUNDS:
        return chat_stream({"content": "Done."}, usage=CHAT_USAGE)
    first, second = 2 * number, 2 * number + 1
    return chat_stream(
        {"reasoning_content": f"thought {number}"}, {"content": f"Round {number}."},
        *call_deltas(0, f"call_{first}", "count", f'{{"n":{first}}}'),
        *call_deltas(1, f"call_{second}", "count", '{"n":', f"{second}}}"),
        finish="tool_calls", usage=CHAT_USAGE,
    )  # fmt: skip


def message_round(number: int) -> bytes:
    if number == ROUNDS:
        return message_stream({"type": "text", "text": "Done."})
    uses = [
        {"type": "tool_use", "id": f"toolu_{n}", "name": "count", "input": {"n": n}}
        for n in (2 * number, 2 * number + 1)
    ]
    thought = {"thinking": f"thought {number}", "signature": signature(number)}
    text = {"type": "text", "text": f"Round {number}."}
    return message_stream({"type": "thinking", **thought}, text, *uses, stop="tool_use")


def response_round(number: int) -> bytes:
    if number == ROUNDS:
        return response_stream(message_item("Done."))
    uses = [
        {"type": "function_call", "call_id": f"call_{n}", "name": "count",
         "arguments": f'{{"n":{n}}}'}
        for n in (2 * number, 2 * number + 1)
    ]  # fmt: skip
    summary = [{"type": "summary_text", "text": f"thought {number}"}]
    reasoning = {"summary": summary, "encrypted_content": signature(number)}
    return response_stream(
        {"type": "reasoning", **reasoning}, message_item(f"Round {number}."), *uses
    )


def generate_round(number: int) -> bytes:
    if number == ROUNDS:
        return generate_stream([{"text": "Done."}], usage=GEMINI_USAGE)
    uses: list[Shape] = [
        {"functionCall": {"name": "count", "args": {"n": n}}}
        for n in (2 * number, 2 * number + 1)
    ]  # fmt: skip
    uses[0]["thoughtSignature"] = signature(number)
    thought = {"text": f"thought {number}", "thought": True}
    return generate_stream([thought], [{"text": f"Round {number}."}], uses, usage=GEMINI_USAGE)


class Sent(NamedTuple):
    """The numbers of the calls that a provider got, results as text, images and signatures."""

    calls: list[int]
    results: list[str]
    images: list[str]
    signatures: list[str]


def sent_to(protocol: str, request: Shape) -> Sent:
    """Return the conversation of a request in a provider's own protocol."""
    found = Sent([], [], [], [])
    match protocol:
        case "messages":
            parts: Iterable[Shape] = (b for m in request["messages"] for b in m["content"])
        case "generate":
            parts = (part for turn in request["contents"] for part in turn["parts"])
        case "responses":
            inner = (p for item in request["input"] for p in _listed(item.get("content")))
            parts = [*request["input"], *inner]
        case _:
            inner = (p for m in request["messages"] for p in _listed(m["content"]))
            calls = (c for m in request["messages"] for c in m.get("tool_calls", ()))
            parts = [*request["messages"], *inner, *calls]
    for part in parts:
        _sort(part, found)
    return found


def _listed(content: Any) -> list[Shape]:
    return content if isinstance(content, list) else []


def _sort(part: Shape, found: Sent) -> None:
    match part:
        case {"type": "tool_use", "input": values}:
            found.calls.append(values["n"])
        case {"type": "function_call", "arguments": text}:
            found.calls.append(json.loads(text)["n"])
        case {"type": "function", "function": {"arguments": text}}:
            found.calls.append(json.loads(text)["n"])
        case {"functionCall": {"args": values}}:
            found.calls.append(values["n"])
        case {"type": "tool_result"} | {"type": "function_call_output"} | {"role": "tool"}:
            found.results.append(json.dumps(part.get("content") or part.get("output")))
        case {"functionResponse": {"response": values}}:
            found.results.append(json.dumps(values))
        case (
            {"type": "image"} | {"type": "input_image"} | {"type": "image_url"} | {"inlineData": _}
        ):
            found.images.append(json.dumps(part))
        case _:
            pass
    for name in ("signature", "encrypted_content", "thoughtSignature"):
        if name in part:
            found.signatures.append(part[name])


# Agents: each returns the texts of its answers


async def anthropic_agent(proxy: Sidecar, key: str) -> list[str]:
    source = {"type": "base64", "media_type": "image/png", "data": IMAGE}
    content = [{"type": "text", "text": "Count."}, {"type": "image", "source": source}]
    messages: list[Any] = [{"role": "user", "content": content}]
    texts = []
    async with anthropic.AsyncAnthropic(
        base_url=proxy.url, api_key=proxy.keys[key], max_retries=0
    ) as client:
        for _ in range(MOST):
            async with client.messages.stream(
                model="claude-5", max_tokens=4000, messages=messages,
                thinking={"type": "enabled", "budget_tokens": 1024},
                tools=[{"name": "count", "description": "Count.", "input_schema": SCHEMA}],
            ) as stream:  # fmt: skip
                message = await stream.get_final_message()
            texts += [block.text for block in message.content if block.type == "text"]
            calls = [block for block in message.content if block.type == "tool_use"]
            messages.append({"role": "assistant", "content": message.content})
            results = [
                {"type": "tool_result", "tool_use_id": call.id, "content": result(call.input)}
                for call in calls
            ]
            if not results:
                break
            messages.append({"role": "user", "content": results})
    return texts


async def chat_agent(proxy: Sidecar, key: str) -> list[str]:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}}
    content = [{"type": "text", "text": "Count."}, image]
    messages: list[Any] = [{"role": "user", "content": content}]
    tools: Any = [{"type": "function", "function": {"name": "count", "parameters": SCHEMA}}]
    texts = []
    async with openai_client(proxy, key) as client:
        for _ in range(MOST):
            async with client.chat.completions.stream(
                model="gpt-5", messages=messages, tools=tools, reasoning_effort="high"
            ) as stream:
                message = (await stream.get_final_completion()).choices[0].message
            texts.append(message.content or "")
            calls = message.tool_calls or []
            if not calls:
                break
            messages.append(message.model_dump(exclude_none=True))
            for call in messages[-1]["tool_calls"]:
                call.pop("index", None)
                call["function"].pop("parsed_arguments", None)
            messages += [
                {"role": "tool", "tool_call_id": call.id,
                 "content": result(json.loads(call.function.arguments))}
                for call in calls
            ]  # fmt: skip
    return texts


async def responses_agent(proxy: Sidecar, key: str) -> list[str]:
    image = {"type": "input_image", "image_url": f"data:image/png;base64,{IMAGE}"}
    content = [{"type": "input_text", "text": "Count."}, image]
    items: list[Any] = [{"role": "user", "content": content}]
    tools: Any = [{"type": "function", "name": "count", "parameters": SCHEMA, "strict": False}]
    texts = []
    async with openai_client(proxy, key) as client:
        for _ in range(MOST):
            async with client.responses.stream(
                model="gpt-5", input=items, tools=tools, store=False,
                include=["reasoning.encrypted_content"],
                reasoning={"effort": "high", "summary": "auto"},
            ) as stream:  # fmt: skip
                response = await stream.get_final_response()
            texts.append(response.output_text)
            items += [item.model_dump(exclude_none=True) for item in response.output]
            calls = [item for item in response.output if item.type == "function_call"]
            items += [
                {"type": "function_call_output", "call_id": call.call_id,
                 "output": result(json.loads(call.arguments))}
                for call in calls
            ]  # fmt: skip
            for item in items:
                item.pop("parsed_arguments", None)
            if not calls:
                break
    return texts


async def gemini_agent(proxy: Sidecar, key: str) -> list[str]:
    options = types.HttpOptions(base_url=proxy.url)
    client = genai.Client(api_key=proxy.keys[key], http_options=options)
    declared = types.FunctionDeclaration(name="count", parameters_json_schema=SCHEMA)
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[declared])],
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_budget=2048),
    )
    image = types.Part.from_bytes(data=PNG, mime_type="image/png")
    contents: list[Any] = [types.Content(role="user", parts=[types.Part(text="Count."), image])]
    texts = []
    for _ in range(MOST):
        parts: list[types.Part] = []
        stream = await client.aio.models.generate_content_stream(
            model="gemini-3-pro", contents=contents, config=config
        )
        async for each in stream:
            for candidate in each.candidates or ():
                parts += (candidate.content and candidate.content.parts) or ()
        texts.append("".join(part.text or "" for part in parts if not part.thought))
        contents.append(types.Content(role="model", parts=parts))
        calls = [part.function_call for part in parts if part.function_call]
        if not calls:
            break
        results = []
        for call in calls:
            told = types.FunctionResponse(
                id=call.id, name=call.name, response={"output": result(call.args or {})}
            )
            results.append(types.Part(function_response=told))
        contents.append(types.Content(role="user", parts=results))
    return texts


def openai_client(proxy: Sidecar, key: str, retries: int = 0) -> openai.AsyncOpenAI:
    """Return OpenAI's SDK with a local key."""
    return openai.AsyncOpenAI(
        base_url=f"{proxy.url}/v1", api_key=proxy.keys[key], max_retries=retries
    )


def result(values: Any) -> str:
    """Return what the tool makes of its arguments."""
    return f"result {values['n']}"


AGENTS: dict[str, Callable[[Sidecar, str], Awaitable[list[str]]]] = {
    "messages": anthropic_agent,
    "chat": chat_agent,
    "responses": responses_agent,
    "generate": gemini_agent,
}
MODELS: dict[str, Callable[[int], bytes]] = {
    "messages": message_round,
    "chat": chat_round,
    "responses": response_round,
    "generate": generate_round,
}
