"""Backpressure: a slow client pauses its vendor, a slow vendor its client, without loss."""

from __future__ import annotations

import asyncio

from running_sidecar import Sidecar, parse, request
from scripted_vendor import STREAM_HEAD, ScriptedVendor, Wire, answer, chunk
from vendor_apis import CHAT

MEBIBYTE = 1 << 20
PIECE = MEBIBYTE // 16
WHOLE = 96 * MEBIBYTE
"""Far more than the kernel's buffers on both sides of Sidecar take."""
MOST = 40 * MEBIBYTE


async def comes_to_rest(count: list[int]) -> int:
    """The amount at which a count stays for a while."""
    before = -1
    async with asyncio.timeout(20):
        while count[0] != before or not before:
            before = count[0]
            await asyncio.sleep(0.1)
    return before


async def test_slow_client_pauses_its_vendor_and_gets_every_byte(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    sent = [0]

    async def script(wire: Wire) -> None:
        await wire.send(STREAM_HEAD)
        piece = b": " + b"x" * (PIECE - 4) + b"\n\n"
        while sent[0] < WHOLE:
            await wire.send(chunk(piece))
            sent[0] += PIECE
        await wire.send(chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")

    vendor.play(script, answer(b"{}"))
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port, limit=MEBIBYTE)
    writer.write(CHAT.request(proxy, stream=True))
    await reader.readuntil(b"\r\n\r\n")
    writer.transport.pause_reading()
    assert 0 < await comes_to_rest(sent) < MOST
    assert (await proxy.ask("/v1/chat/completions", b'{"model":"m"}')).status == 200
    writer.transport.resume_reading()
    size = 0
    tail = b""
    async with asyncio.timeout(20):
        while piece := await reader.read(MEBIBYTE):
            size += len(piece)
            tail = (tail + piece)[-20:]
    writer.close()
    assert size > WHOLE
    assert tail.endswith(b"0\r\n\r\n")
    assert (await proxy.record(2)).outcome == "ok"


async def test_slow_vendor_pauses_its_client_and_gets_every_byte(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    limiter, sent, received = asyncio.Event(), [0], [0]

    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"POST /v1/files" in head
        await limiter.wait()
        while received[0] < WHOLE:
            received[0] += len(await reader.read(MEBIBYTE))
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"id":"file-1"}')
        await writer.drain()
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(early, "127.0.0.1", 0, limit=MEBIBYTE)
    port = server.sockets[0].getsockname()[1]
    assert await proxy.rewrite(lambda text: text.replace(vendor.url, f"http://127.0.0.1:{port}"))
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    head = request(
        "POST", "/v1/files", [*proxy.bearer("gpt").items(), ("Content-Length", str(WHOLE))]
    )
    writer.write(head)

    async def upload() -> None:
        while sent[0] < WHOLE:
            writer.write(bytes(MEBIBYTE))
            await writer.drain()
            sent[0] += MEBIBYTE

    uploading = asyncio.create_task(upload())
    assert 0 < await comes_to_rest(sent) < MOST
    limiter.set()
    await uploading
    async with asyncio.timeout(20):
        found = parse(await reader.read(-1))
    writer.close()
    server.close()
    assert (found.status, found.body) == (200, b'{"id":"file-1"}')
    assert received[0] == WHOLE
