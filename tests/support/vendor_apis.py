"""One call of each API as bytes: the request, its stream, and its errors."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from recorded_answers import (
    CHAT_USAGE,
    MESSAGE_DELTA,
    MESSAGE_START,
    MESSAGE_STOP,
    MESSAGE_TEXT,
    RESPONSE,
    chunk,
    delta,
    generated,
    sse,
)
from running_sidecar import Raw, Sidecar, parse, request, talk

from sidecar.app import Running


@dataclass(frozen=True)
class Api:
    """`begun` are whole events of a stream, `ended` those that end it; after an error event of ours
    the body ends properly where `has_failed_end`."""

    name: str
    key: str
    path: str
    header: str
    scheme: str
    asked: dict[str, object]
    begun: bytes
    ended: bytes
    code: Callable[[dict[str, dict[str, object]]], object]
    stream_path: str = ""
    event: bytes = b"data: "
    has_failed_end: bool = False

    def headers(self, text: str) -> dict[str, str]:
        return {self.header: self.scheme + text, "Content-Type": "application/json"}

    def request(self, proxy: Sidecar, *, stream: bool = False, key: str = "") -> bytes:
        asked = {**self.asked, "stream": True} if stream and not self.stream_path else self.asked
        path = self.stream_path or self.path if stream else self.path
        headers = self.headers(proxy.keys[key or self.key])
        return request("POST", path, headers, json.dumps(asked).encode())

    async def call(self, proxy: Sidecar, *, stream: bool = False, key: str = "") -> Raw:
        """The answer, once its call is settled."""
        whole = await talk(proxy.port, self.request(proxy, stream=stream, key=key))
        await settled(proxy.running)
        return parse(whole)


def _message(error: dict[str, dict[str, object]]) -> object:
    return error["error"]["code"]


def _typed(error: dict[str, dict[str, object]]) -> object:
    assert error["type"] == "error"  # type: ignore[comparison-overlap]
    return error["error"]["type"]


def _google(error: dict[str, dict[str, object]]) -> object:
    return error["error"]["status"]


SAID = [{"role": "user", "content": "Hello"}]
CHAT = Api(
    "chat", "gpt", "/v1/chat/completions", "Authorization", "Bearer ",
    {"model": "gpt-5-mini", "messages": SAID}, sse(chunk(choices=[delta("Hi")])),
    sse(chunk(choices=[delta("", "stop")]), chunk(choices=[], usage=CHAT_USAGE), "[DONE]"),
    _message,
)  # fmt: skip
RESPONSES = Api(
    "responses", "gpt", "/v1/responses", "Authorization", "Bearer ",
    {"model": "gpt-5", "input": "Hello"},
    sse({"type": "response.created", "response": {**RESPONSE, "usage": None}}, names=True),
    sse({"type": "response.completed", "response": RESPONSE}, names=True),
    _message, event=b"event: response.failed\ndata: ", has_failed_end=True,
)  # fmt: skip
MESSAGES = Api(
    "messages", "claude", "/v1/messages", "x-api-key", "",
    {"model": "claude-x", "max_tokens": 9, "messages": SAID},
    sse(MESSAGE_START, MESSAGE_TEXT, names=True), sse(MESSAGE_DELTA, MESSAGE_STOP, names=True),
    _typed, event=b"event: error\ndata: ",
)  # fmt: skip
GEMINI = Api(
    "gemini", "gemini", "/v1beta/models/gemini-3:generateContent", "x-goog-api-key", "",
    {"contents": [{"parts": [{"text": "Hello"}]}]}, sse(generated(100, 1, None), end="\r\n\r\n"),
    sse(generated(100, 30, 12, "STOP"), end="\r\n\r\n"),
    _google, "/v1beta/models/gemini-3:streamGenerateContent?alt=sse",
)  # fmt: skip
APIS = (CHAT, RESPONSES, MESSAGES, GEMINI)


@asynccontextmanager
async def dial(
    port: int, data: bytes
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection on which `data` was sent, for a client with manners of its own; 10 s long."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        async with asyncio.timeout(10):
            yield reader, writer
    finally:
        writer.close()


async def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    """Wait until something is so; fail when it never is."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - whatever it is, it has no event
            await asyncio.sleep(0.005)


async def settled(running: Running) -> None:
    """Wait until no call runs and the records of all are kept."""
    await until(lambda: not len(running.services.live))
    await running.services.finished.settle()
    await until(lambda: not running.services.callers.held)


async def figures(running: Running, name: str) -> dict[str, float]:
    """The series of one metric that are not 0, by their labels as the text has them."""
    text = (await running.services.metrics.render()).decode()
    found = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE)
    return {labels: float(value) for labels, value in found if float(value)}


async def outcomes(running: Running) -> dict[str, float]:
    """Return the number of calls by outcome."""
    found: dict[str, float] = {}
    for labels, value in (await figures(running, "sidecar_calls_total")).items():
        outcome = labels.rpartition('outcome="')[2].rstrip('"')
        found[outcome] = found.get(outcome, 0) + value
    return found


async def attempts(running: Running) -> dict[str, str]:
    """The verdict of the only attempt at each provider."""
    found = {}
    for labels, value in (await figures(running, "sidecar_attempts_total")).items():
        named = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        assert value == 1
        assert named["provider"] not in found
        found[named["provider"]] = named["verdict"]
    return found
