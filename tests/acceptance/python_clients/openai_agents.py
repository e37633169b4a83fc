"""OpenAI's Agents SDK."""

from __future__ import annotations

from agents import Agent, Runner, function_tool
from orders import HELLO, add, finished, obey


def chat(model: str) -> str:
    return finished(Runner.run(Agent("A", model=model), HELLO)).final_output


async def _pieces(model: str, most: int | None = None) -> str:
    run = Runner.run_streamed(Agent("A", model=model), HELLO)
    found = ""
    async for each in run.stream_events():
        if each.type == "raw_response_event" and each.data.type == "response.output_text.delta":
            found += each.data.delta
            if most is not None:
                run.cancel()
    return found


def stream(model: str) -> str:
    return finished(_pieces(model))


def tools(model: str) -> str:
    agent = Agent("A", model=model, tools=[function_tool(add)])
    return finished(Runner.run(agent, HELLO)).final_output


def cancel(model: str) -> str:
    return finished(_pieces(model, 1))


obey(chat=chat, stream=stream, tools=tools, cancel=cancel)
