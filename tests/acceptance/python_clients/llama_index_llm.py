"""LlamaIndex; the argument is the class of the model."""

from __future__ import annotations

import gc
import importlib
import sys
from typing import Any

from llama_index.core.agent.workflow import FunctionAgent
from orders import HELLO, add, finished, obey

package, _, name = sys.argv[1].partition(":")
llm = getattr(importlib.import_module(package), name)


def chat(model: str) -> str:
    return llm(model=model).complete(HELLO).text


def stream(model: str) -> str:
    return "".join(each.delta or "" for each in llm(model=model).stream_complete(HELLO))


def tools(model: str) -> Any:
    async def work() -> Any:
        return await FunctionAgent(tools=[add], llm=llm(model=model)).run(HELLO)

    return finished(work())


def cancel(model: str) -> Any:
    pieces = llm(model=model).stream_complete(HELLO)
    first = next(each.delta for each in pieces if each.delta)
    del pieces
    gc.collect()  # it closes its connection no sooner
    return first


obey(chat=chat, stream=stream, tools=tools, cancel=cancel)
