"""LangChain's chat models; the argument is the class of the model."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from langchain.agents import create_agent
from orders import HELLO, add, obey

package, _, name = sys.argv[1].partition(":")
chat_model = getattr(importlib.import_module(package), name)


def chat(model: str) -> str:
    return chat_model(model=model).invoke(HELLO).text


def stream(model: str) -> str:
    return "".join(each.text for each in chat_model(model=model).stream(HELLO))


def tools(model: str) -> str:
    asked: Any = {"messages": [{"role": "user", "content": HELLO}]}
    found = create_agent(chat_model(model=model), tools=[add]).invoke(asked)
    return found["messages"][-1].text


def cancel(model: str) -> str:
    pieces = chat_model(model=model).stream(HELLO)
    first = next(each.text for each in pieces if each.text)
    pieces.close()
    return first


obey(chat=chat, stream=stream, tools=tools, cancel=cancel)
