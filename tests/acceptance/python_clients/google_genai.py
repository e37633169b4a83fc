"""Google's SDK."""

from __future__ import annotations

from google import genai
from google.genai import types
from orders import HELLO, add, obey


def chat(model: str) -> str | None:
    client = genai.Client()
    return client.models.generate_content(model=model, contents=HELLO).text


def stream(model: str) -> str:
    client = genai.Client()
    events = client.models.generate_content_stream(model=model, contents=HELLO)
    return "".join(each.text or "" for each in events)


def tools(model: str) -> str | None:
    client = genai.Client()
    config = types.GenerateContentConfig(tools=[add])  # which the SDK calls itself
    return client.models.generate_content(model=model, contents=HELLO, config=config).text


def cancel(model: str) -> str | None:
    client = genai.Client()
    events = client.models.generate_content_stream(model=model, contents=HELLO)
    first = next(events).text
    events.close()
    return first


obey(chat=chat, stream=stream, tools=tools, cancel=cancel)
