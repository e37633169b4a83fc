"""Chat completions by a client class, such as `openai:OpenAI`; Groq's SDK has the same methods."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

from orders import ADD, HELLO, add, obey

MODULE, _, NAME = sys.argv[1].partition(":")
CLIENT: Any = getattr(importlib.import_module(MODULE), NAME)
ASKED: list[Any] = [{"role": "user", "content": HELLO}]


def chat(model: str) -> Any:
    made = CLIENT().chat.completions.create(model=model, messages=ASKED)
    return made.choices[0].message.content


def stream(model: str) -> str:
    events = CLIENT().chat.completions.create(model=model, messages=ASKED, stream=True)
    return "".join(each.choices[0].delta.content or "" for each in events if each.choices)


def tools(model: str) -> Any:
    client = CLIENT()
    messages = list(ASKED)
    while True:
        made = client.chat.completions.create(
            model=model, messages=messages, tools=[{"type": "function", "function": ADD}]
        )
        message = made.choices[0].message
        if not message.tool_calls:
            return message.content
        messages.append(message)
        for call in message.tool_calls:
            total = add(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": str(total)})


def cancel(model: str) -> str:
    with CLIENT().chat.completions.create(model=model, messages=ASKED, stream=True) as events:
        return next(
            each.choices[0].delta.content
            for each in events
            if each.choices and each.choices[0].delta.content
        )


obey(chat=chat, stream=stream, tools=tools, cancel=cancel)
