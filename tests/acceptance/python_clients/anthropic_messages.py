"""Anthropic's SDK."""

from __future__ import annotations

from typing import Any

import anthropic
from orders import ADD, HELLO, add, obey

ASKED: list[Any] = [{"role": "user", "content": HELLO}]
TOOL = {"name": "add", "description": ADD["description"], "input_schema": ADD["parameters"]}


def chat(model: str) -> str:
    made = anthropic.Anthropic().messages.create(model=model, max_tokens=99, messages=ASKED)
    return made.content[0].text


def stream(model: str) -> str:
    client = anthropic.Anthropic()
    with client.messages.stream(model=model, max_tokens=99, messages=ASKED) as events:
        return "".join(events.text_stream)


def tools(model: str) -> str:
    client = anthropic.Anthropic()
    messages = list(ASKED)
    while True:
        made = client.messages.create(model=model, max_tokens=99, messages=messages, tools=[TOOL])
        if made.stop_reason != "tool_use":
            return made.content[0].text
        messages.append({"role": "assistant", "content": made.content})
        results = [
            {"type": "tool_result", "tool_use_id": each.id, "content": str(add(**each.input))}
            for each in made.content
            if each.type == "tool_use"
        ]
        messages.append({"role": "user", "content": results})


def cancel(model: str) -> str:
    client = anthropic.Anthropic()
    with client.messages.stream(model=model, max_tokens=99, messages=ASKED) as events:
        return next(iter(events.text_stream))


obey(chat=chat, stream=stream, tools=tools, cancel=cancel)
