"""A vendor that costs next to nothing: it reads a request's frame and writes bytes made before.

    python bench/upstream.py PORT

A body that asks for a stream gets CHUNKS events, PACE seconds apart; any other gets 1 KiB of JSON.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys

CHUNKS = 100
PACE = 0.02

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_USAGE = {"prompt_tokens": 200, "completion_tokens": 60, "total_tokens": 260}


def _answer() -> bytes:
    message = {"role": "assistant", "content": "x" * 780}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    value = {"id": "c", "object": "chat.completion", "model": "m", "choices": [choice]}
    body = json.dumps({**value, "usage": _USAGE}).encode()
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _chunk(value: object) -> bytes:
    data = b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


def _event(text: str, finish: str | None = None) -> dict[str, object]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}


ANSWER = _answer()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
TOKEN = _chunk(_event("token "))
LAST = (
    _chunk(_event("", "stop"))
    + _chunk({"choices": [], "usage": _USAGE, "model": "m"})
    + _chunk(b"[DONE]")
    + b"0\r\n\r\n"
)


class Vendor(asyncio.Protocol):
    def __init__(self) -> None:
        self.buffer = bytearray()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while True:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            match = _LENGTH.search(self.buffer, 0, end + 2)
            size = end + 4 + (int(match[1]) if match else 0)
            if len(self.buffer) < size:
                return
            streaming = b'"stream":true' in self.buffer[max(0, size - 64) : size]
            del self.buffer[:size]
            self._answer(streaming=streaming)

    def _answer(self, *, streaming: bool) -> None:
        if self.transport is None:
            return
        if not streaming:
            self.transport.write(ANSWER)
            return
        self.transport.write(HEAD)
        self._next(CHUNKS)

    def _next(self, left: int) -> None:
        if self.transport is None:
            return
        self.transport.write(TOKEN if left else LAST)
        if left:
            asyncio.get_running_loop().call_later(PACE, self._next, left - 1)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Vendor, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
