"""Clients and providers that send early, late or hostile bytes, on raw sockets."""

from __future__ import annotations

import asyncio
import gzip

import pytest
from raw_http_client import connected, exchange
from running_sidecar import Sidecar, request
from scripted_vendor import ScriptedVendor, Wire, answer, chunk

from sidecar.errors import UpstreamError
from sidecar.http import request_guard
from sidecar.http.wire.deadlines import DeadlineSweep
from sidecar.http.wire.upstream_protocol import UpstreamConnection

CHAT = "/v1/chat/completions"


def asking(proxy: Sidecar) -> bytes:
    """Return a call whose connection stays open."""
    sent = request("POST", CHAT, proxy.bearer("gpt"), b'{"model":"gpt-5-mini"}')
    return sent.replace(b"Connection: close\r\n", b"")


@pytest.mark.parametrize("waiting", [0, 1, 2, 20])
async def test_client_that_leaves_is_noticed_with_requests_waiting(
    proxy: Sidecar, vendor: ScriptedVendor, waiting: int
) -> None:
    async def hang(wire: Wire) -> None:
        await wire.until_gone()

    vendor.play(hang)
    async with connected(proxy.port) as line:
        await line.send(asking(proxy) * (1 + waiting))
        await vendor.arrived.wait()
    async with asyncio.timeout(3):
        await vendor.gone.wait()
    assert (await proxy.record()).outcome.value == "cancelled"


async def test_close_delimited_response_whose_upload_breaks_is_cut(
    impatient: Sidecar, vendor: ScriptedVendor
) -> None:
    full = asyncio.Event()

    async def early(wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n\r\n")
        try:
            for _ in range(200):
                wire.writer.write(b"=" * (1 << 18))
                drained = asyncio.ensure_future(wire.writer.drain())
                if not (await asyncio.wait({drained}, timeout=0.3))[0]:
                    full.set()
                await drained
        except ConnectionError:
            pass

    vendor.early = early
    how = ("Transfer-Encoding", "chunked")
    head = request("POST", "/v1/files", [*impatient.bearer("gpt").items(), how])
    async with connected(impatient.port) as line, asyncio.timeout(15):
        await line.send(head + chunk(b"x"))
        await full.wait()
        await line.send(b"ZZZ\r\n")
        await asyncio.sleep(0.3)
        got = await line.to_the_end()
    assert not got.whole
    assert (await impatient.record()).outcome.value == "cut"


async def test_failed_body_stays_failed_after_its_connection_is_lost() -> None:
    loop, broken = asyncio.get_running_loop(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await reader.read(-1)
        writer.close()

    async def body():  # type: ignore[no-untyped-def]
        yield b"x"
        await broken.wait()
        raise ValueError("broke off")

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    place = server.sockets[0].getsockname()
    _, made = await loop.create_connection(
        lambda: UpstreamConnection(loop, DeadlineSweep(loop)), *place
    )
    made.send("POST", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", body())
    await made.read_head(loop.time() + 2, "late")
    assert await made.read(2) == b"half"
    broken.set()
    await asyncio.sleep(0.1)
    with pytest.raises(UpstreamError):
        await made.read(2)
    server.close()


async def test_response_before_the_end_of_the_body_says_that_it_closes(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    async def early(wire: Wire) -> None:
        await answer(b"{}", "413 Too Large")(wire)
        await wire.until_gone()

    vendor.early = early
    how = ("Transfer-Encoding", "chunked")
    sent = request("POST", "/v1/files", [*proxy.bearer("gpt").items(), how])
    async with connected(proxy.port) as line:
        await line.send(sent.replace(b"Connection: close\r\n", b"") + chunk(b"x" * 1000))
        got = await line.to_the_end()
    assert (got.status, got.get("connection")) == (413, ["close"])


async def test_transfer_coding_besides_chunks_is_refused(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    packed = chunk(gzip.compress(b"{}")) + b"0\r\n\r\n"
    coding = ("Transfer-Encoding", "gzip, chunked")
    vendor.play(answer(b"{}"))
    head = request("POST", "/v1/files", [*proxy.bearer("gpt").items(), coding], packed)
    assert (await exchange(proxy.port, head)).status == 400


async def test_kept_http_1_0_connection_survives_an_offer_to_upgrade(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b"{}"))
    offer = b"HTTP/1.0\r\nConnection: keep-alive, Upgrade\r\nUpgrade: h2c\r\n"
    sent = asking(proxy).replace(b"HTTP/1.1\r\n", offer)
    async with connected(proxy.port) as line:
        for _ in range(2):
            line.seen.clear()
            await line.send(sent)
            assert (await line.answer()).status == 200


async def test_long_target_is_bounded_and_not_remembered(proxy: Sidecar) -> None:
    kept = request_guard._check_kept
    kept.cache_clear()
    for size, status in ((60_000, 401), (100_000, 400)):
        line = b"GET /" + b"a" * size + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        async with connected(proxy.port) as one:
            await one.send(line)
            assert (await one.answer()).status == status
    assert kept.cache_info().currsize == 0


@pytest.mark.parametrize("target", ["/v1/files", CHAT])
async def test_response_before_a_reset_is_read(
    impatient: Sidecar, vendor: ScriptedVendor, target: str
) -> None:
    """Closing with the upload unread resets the connection; the response was sent before.

    The reset can still overtake a response that was not read, so one of five tries must succeed.
    """

    async def early(wire: Wire) -> None:
        await answer(b'{"error":{}}', "413 Too Large")(wire)

    vendor.early = early
    body = b'{"model":"gpt-5-mini","x":"%s"}' % (b"x" * 8_000_000)
    found = []
    for _ in range(5):
        got = await exchange(
            impatient.port, request("POST", target, list(impatient.bearer("gpt").items()), body)
        )
        found.append(got.status)
    assert 413 in found


async def test_equal_fields_on_a_connection_open_no_other_target(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b"{}"))
    targets = (
        ("POST", CHAT, 200),
        ("POST", "/v1/chat/../files", 400),
        ("POST", CHAT, 200),
        ("TRACE", CHAT, 405),
        ("POST", "/v1/organization/users", 403),
        ("POST", CHAT, 200),
        ("POST", f"{CHAT}?key={proxy.keys['gpt']}", 200),
        ("POST", f"{CHAT}?key=sk-sidecar-unknown", 200),
        ("POST", "/v1/nowhere", 200),
        ("POST", CHAT, 200),
    )
    async with connected(proxy.port) as line:
        for method, target, status in targets:
            sent = request(method, target, proxy.bearer("gpt"), b'{"model":"gpt-5-mini"}')
            await line.send(sent.replace(b"Connection: close\r\n", b""))
            got = await line.answer()
            line.seen.clear()
            assert (target, got.status) == (target, status)
    assert not any(proxy.keys["gpt"] in each.path for each in vendor.requests)
