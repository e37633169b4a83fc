"""LiteLLM's SDK; its models begin with their provider."""

from __future__ import annotations

import json
from typing import Any

import litellm
from orders import ADD, HELLO, add, obey

ASKED: list[Any] = [{"role": "user", "content": HELLO}]


def chat(model: str) -> Any:
    return litellm.completion(model, messages=ASKED).choices[0].message.content


def stream(model: str) -> str:
    events = litellm.completion(model, messages=ASKED, stream=True)
    return "".join(each.choices[0].delta.content or "" for each in events)


def tools(model: str) -> Any:
    messages = list(ASKED)
    while True:
        made = litellm.completion(
            model, messages=messages, tools=[{"type": "function", "function": ADD}]
        )
        message = made.choices[0].message
        if not message.tool_calls:
            return message.content
        messages.append(message)
        for call in message.tool_calls:
            total = add(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": str(total)})


def cancel(model: str) -> Any:
    events = litellm.completion(model, messages=ASKED, stream=True)
    first = next(each.choices[0].delta.content for each in events if each.choices[0].delta.content)
    events.completion_stream.close()
    return first


obey(chat=chat, stream=stream, tools=tools, cancel=cancel)
