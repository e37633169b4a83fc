"""A client that costs little: keep-alive connections, each sending its next request when the last
one is answered.

    python bench/load.py PORT KEY {json,stream} CONNECTIONS BODY_BYTES SECONDS

Prints one JSON object: requests, chunks, bad (answers that were not 200), unmetered (streams
without usage) and the median latency in milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time


def request(key: str, size: int, *, streaming: bool) -> bytes:
    """A body as agents send them: the model first, `stream` last, a long conversation between."""
    turn = {"role": "user", "content": "é" + "lorem ipsum dolor " * 40}
    turns = [turn] * max(1, size // len(json.dumps(turn)))
    body: dict[str, object] = {"model": "gpt-5-mini", "messages": turns, "stream": streaming}
    text = json.dumps(body, separators=(",", ":")).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        f"User-Agent: bench/1\r\nAccept: */*\r\nContent-Length: {len(text)}\r\n\r\n"
    )
    return head.encode() + text


class Counts:
    def __init__(self) -> None:
        self.requests = self.chunks = self.bad = self.unmetered = 0
        self.times: list[float] = []


async def one(port: int, message: bytes, until: float, counts: Counts, *, streaming: bool) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
    while time.monotonic() < until:
        began = time.monotonic()
        writer.write(message)
        head = await reader.readuntil(b"\r\n\r\n")
        body = await (
            read_chunks(reader) if b"chunked" in head.lower() else read_sized(reader, head)
        )
        counts.times.append(time.monotonic() - began)
        counts.requests += 1
        counts.bad += not head.startswith(b"HTTP/1.1 200")
        if streaming:
            counts.chunks += body.count(b"data: ")
            counts.unmetered += b'"usage"' not in body
    writer.close()


async def read_sized(reader: asyncio.StreamReader, head: bytes) -> bytes:
    lower = head.lower()
    start = lower.index(b"content-length:") + 15
    return await reader.readexactly(int(lower[start : lower.index(b"\r", start)]))


async def read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return bytes(body)


async def main(port: int, key: str, kind: str, connections: int, size: int, seconds: float) -> None:
    counts = Counts()
    streaming = kind == "stream"
    message = request(key, size, streaming=streaming)
    until = time.monotonic() + seconds
    async with asyncio.TaskGroup() as tasks:
        for _ in range(connections):
            tasks.create_task(one(port, message, until, counts, streaming=streaming))
    figures = {
        "requests": counts.requests, "chunks": counts.chunks, "bad": counts.bad,
        "unmetered": counts.unmetered, "median_ms": statistics.median(counts.times) * 1000,
    }  # fmt: skip
    print(json.dumps(figures))


if __name__ == "__main__":
    _, port, key, kind, connections, size, seconds = sys.argv
    asyncio.run(main(int(port), key, kind, int(connections), int(size), float(seconds)))
