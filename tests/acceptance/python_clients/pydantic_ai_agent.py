"""Pydantic AI; its models begin with their provider."""

from __future__ import annotations

import asyncio
import gc

from orders import HELLO, add, finished, obey
from pydantic_ai import Agent


def chat(model: str) -> str:
    return finished(Agent(model).run(HELLO)).output


def stream(model: str) -> str:
    async def work() -> str:
        async with Agent(model).run_stream(HELLO) as result:
            return "".join([each async for each in result.stream_text(delta=True)])

    return finished(work())


def tools(model: str) -> str:
    return finished(Agent(model, tools=[add]).run(HELLO)).output


def cancel(model: str) -> str:
    async def work() -> str:
        async with Agent(model).run_stream(HELLO) as result:
            return await anext(aiter(result.stream_text(delta=True, debounce_by=None)))

    first = finished(work())
    gc.collect()
    finished(asyncio.sleep(0.1))  # with Google it closes its connection no sooner
    return first


obey(chat=chat, stream=stream, tools=tools, cancel=cancel)
