"""OpenAI's SDK, responses."""

from __future__ import annotations

import json
from typing import Any

import openai
from orders import ADD, HELLO, add, obey


def chat(model: str) -> str:
    return openai.OpenAI().responses.create(model=model, input=HELLO).output_text


def stream(model: str) -> str:
    events = openai.OpenAI().responses.create(model=model, input=HELLO, stream=True)
    return "".join(each.delta for each in events if each.type == "response.output_text.delta")


def tools(model: str) -> str:
    client = openai.OpenAI()
    given: list[Any] = [{"role": "user", "content": HELLO}]
    while True:
        made = client.responses.create(
            model=model, input=given, tools=[{"type": "function", "strict": False, **ADD}]
        )
        calls = [each for each in made.output if each.type == "function_call"]
        if not calls:
            return made.output_text
        given += made.output
        for call in calls:
            total = str(add(**json.loads(call.arguments)))
            given.append({"type": "function_call_output", "call_id": call.call_id, "output": total})


def cancel(model: str) -> str:
    with openai.OpenAI().responses.create(model=model, input=HELLO, stream=True) as events:
        return next(each.delta for each in events if each.type == "response.output_text.delta")


obey(chat=chat, stream=stream, tools=tools, cancel=cancel)
