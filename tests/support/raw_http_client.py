"""A client on a raw socket, which records received bytes and how the connection ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

TIMEOUT_SECONDS = 30.0
"""Seconds after which a test that waits for bytes has failed."""


@dataclass
class Got:
    """One answer. `whole`: its framing was completed; `reset`: the connection ended with RST;
    `rest`: what came behind it."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes
    whole: bool
    reset: bool = False
    rest: bytes = b""
    head: bytes = b""

    def get(self, name: str) -> list[str]:
        return [value for each, value in self.headers if each.lower() == name.lower()]

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """Return the message of an error in any dialect."""
        return str(self.json()["error"]["message"])


@dataclass
class Line:
    """An open connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    seen: bytearray = field(default_factory=bytearray)

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            if len(pieces) > 1:
                await asyncio.sleep(0)

    async def until(self, mark: bytes) -> bytes:
        """Read on until `mark` has come; everything so far."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while mark not in self.seen:
                piece = await self.reader.read(65536)
                if not piece:
                    raise AssertionError(f"closed before {mark!r}: {bytes(self.seen)!r}")
                self.seen += piece
        return bytes(self.seen)

    async def answer(self) -> Got:
        """Read until one answer is whole, by its own framing; the connection may stay open."""
        await self.until(b"\r\n\r\n")
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while not (got := parse(bytes(self.seen))).whole:
                piece = await self.reader.read(65536)
                if not piece:
                    return got
                self.seen += piece
        return got

    async def to_the_end(self) -> Got:
        """Read until the other side closes."""
        reset = False
        async with asyncio.timeout(TIMEOUT_SECONDS):
            try:
                while piece := await self.reader.read(65536):
                    self.seen += piece
            except ConnectionResetError:
                reset = True
        got = parse(bytes(self.seen))
        got.reset = reset
        return got

    def hang_up(self) -> None:
        self.writer.close()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Line]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Line(reader, writer)
    finally:
        writer.close()


async def exchange(port: int, *pieces: bytes) -> Got:
    """Send a request (which asks to close), in these pieces, and read the answer."""
    async with connected(port) as line:
        await line.send(*pieces)
        return await line.to_the_end()


def parse(data: bytes) -> Got:
    """The final answer in `data`; interim ones (1xx) are passed over."""
    head, blank, rest = data.partition(b"\r\n\r\n")
    assert blank, f"no answer: {data[:200]!r}"
    first, *rows = head.decode("latin-1").split("\r\n")
    _, code, reason = (first + "  ").split(" ", 2)
    status = int(code)
    if 100 <= status < 200:
        return parse(rest)
    headers = [
        (name, value.strip(" \t")) for name, _, value in (row.partition(":") for row in rows)
    ]
    got = Got(status, reason.strip(" \t"), headers, rest, whole=True, head=head)
    _take_body(got)
    return got


def _take_body(got: Got) -> None:
    if got.get("transfer-encoding") == ["chunked"]:
        got.body, got.whole, got.rest = _dechunked(got.body)
    elif length := got.get("content-length"):
        size = int(length[0])
        got.whole = len(got.body) >= size
        got.body, got.rest = got.body[:size], got.body[size:]


def _dechunked(data: bytes) -> tuple[bytes, bool, bytes]:
    body = b""
    while data:
        line, end, data = data.partition(b"\r\n")
        size = int(line, 16)
        if not end or len(data) < size:
            return body + data, False, b""
        if size == 0:
            return body, data[:2] == b"\r\n", data[2:]
        body += data[:size]
        data = data[size + 2 :]
    return body, False, b""
