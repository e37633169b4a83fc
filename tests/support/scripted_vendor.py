"""A vendor that does what a test says, byte for byte: it stands in for the internet only.

A raw socket, so that what arrives is recorded as it was on the wire and what leaves can be cut,
held back or malformed in any way.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Received:
    """One request as it was on the wire."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes
    head: bytes = b""

    @property
    def path(self) -> str:
        return self.line.split(" ")[1]

    def get(self, name: str) -> list[str]:
        return [value for each, value in self.headers if each.lower() == name.lower()]

    def json(self) -> dict[str, object]:
        value: dict[str, object] = json.loads(self.body)
        return value


@dataclass
class Wire:
    """One connection of Sidecar's, in the hands of a script."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    request: Received
    gone: asyncio.Event

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """RST instead of FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def until_gone(self) -> None:
        """Wait until Sidecar hangs up."""
        while await self.reader.read(65536):
            pass
        self.gone.set()


Script = Callable[[Wire], Awaitable[None]]


def answer(
    body: bytes, status: str = "200 OK", content_type: str = "application/json", **headers: str
) -> Script:
    """A whole answer with its length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def raw(data: bytes, *, close: bool = False) -> Script:
    """These very bytes."""

    async def script(wire: Wire) -> None:
        await wire.send(data)
        if close:
            wire.writer.close()

    return script


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def stream(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> Script:
    """Server-sent events, a chunk a piece."""

    async def script(wire: Wire) -> None:
        await wire.send(STREAM_HEAD)
        for piece in pieces:
            await wire.send(chunk(piece))
            await asyncio.sleep(0)
        await wire.send(end)
        if not end:
            wire.writer.close()

    return script


def paced(*steps: bytes | asyncio.Event) -> Script:
    """Send bytes, and wait for events, in this order: a test decides how far an answer has come."""

    async def script(wire: Wire) -> None:
        for step in steps:
            if isinstance(step, bytes):
                await wire.send(step)
                await asyncio.sleep(0)
            else:
                await step.wait()

    return script


def cut(data: bytes, how: str = "fin") -> Script:
    """Send these bytes and break off: `fin`, `rst`, or `junk` where a chunk's size belongs."""

    async def script(wire: Wire) -> None:
        await wire.send(data)
        if how == "junk":
            await wire.send(b"no size at all\r\n")
        if how == "rst":
            # Let the bytes be read first: a reset throws away what lies in the buffers.
            await asyncio.sleep(0.02)
            wire.reset()
        else:
            wire.writer.close()

    return script


async def hang(wire: Wire) -> None:
    """Say nothing until Sidecar gives up."""
    await wire.until_gone()


@dataclass
class ScriptedVendor:
    """Plays its scripts in order, the last one for ever; a path of its own may have its own."""

    port: int = 0
    requests: list[Received] = field(default_factory=list)
    scripts: list[Script] = field(default_factory=list)
    by_path: dict[str, Script] = field(default_factory=dict)
    early: Script | None = None
    """Plays once a head has come, with its body still unread, and then closes."""
    connections: int = 0
    scheme: str = "http"
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def play(self, *scripts: Script) -> None:
        self.scripts[:] = scripts

    @property
    def last(self) -> Received:
        return self.requests[-1]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                request = await read_head(reader)
                if self.early is None:
                    request.body = await read_body(reader, request)
                self.requests.append(request)
                self.arrived.set()
                if self.early is not None:
                    await self.early(Wire(reader, writer, request, self.gone))
                    return
                script = self.by_path.get(request.path.partition("?")[0]) or self._next()
                await script(Wire(reader, writer, request, self.gone))
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            self.gone.set()
        finally:
            writer.close()

    def _next(self) -> Script:
        return self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]


async def read_head(reader: asyncio.StreamReader) -> Received:
    """The next request, without its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    line, *rows = head[:-4].decode("latin-1").split("\r\n")
    headers = [
        (name, value.strip(" \t")) for name, _, value in (row.partition(":") for row in rows)
    ]
    return Received(line, headers, b"", head)


async def read_body(reader: asyncio.StreamReader, request: Received) -> bytes:
    """The body of a request whose head was read."""
    length = request.get("content-length")
    if length:
        return await reader.readexactly(int(length[0]))
    if request.get("transfer-encoding") == ["chunked"]:
        return await read_chunks(reader)
    return b""


async def read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return body


@asynccontextmanager
async def scripted_vendor(
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[ScriptedVendor]:
    vendor = ScriptedVendor(scheme="https" if tls else "http")
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(vendor.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=1 << 26, ssl=tls)
    vendor.port = server.sockets[0].getsockname()[1]
    try:
        yield vendor
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
