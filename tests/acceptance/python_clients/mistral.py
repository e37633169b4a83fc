"""Mistral's SDK. No variable has its address: the line of `sidecar env mistral` is code."""

from __future__ import annotations

import json
import os
from typing import Any

from mistralai.client import Mistral
from orders import ADD, HELLO, add, obey

ASKED: list[Any] = [{"role": "user", "content": HELLO}]


def client() -> Mistral:
    return Mistral(server_url=os.environ["SIDECAR_URL"])


def chat(model: str) -> Any:
    return client().chat.complete(model=model, messages=ASKED).choices[0].message.content


def stream(model: str) -> str:
    events = client().chat.stream(model=model, messages=ASKED)
    return "".join(each.data.choices[0].delta.content or "" for each in events if each.data.choices)


def tools(model: str) -> Any:
    messages = list(ASKED)
    while True:
        made = client().chat.complete(
            model=model, messages=messages, tools=[{"type": "function", "function": ADD}]
        )
        message = made.choices[0].message
        if not message.tool_calls:
            return message.content
        messages.append(message)
        for call in message.tool_calls:
            total = add(**json.loads(str(call.function.arguments)))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": str(total)})


def cancel(model: str) -> Any:
    with client().chat.stream(model=model, messages=ASKED) as events:
        return next(
            each.data.choices[0].delta.content
            for each in events
            if each.data.choices and each.data.choices[0].delta.content
        )


obey(chat=chat, stream=stream, tools=tools, cancel=cancel)
