"""The scripted vendor, on which the other tests rely, records requests and plays answers."""

from __future__ import annotations

import asyncio

import pytest
from raw_http_client import connected, exchange
from running_sidecar import request
from scripted_vendor import ScriptedVendor, answer, cut, hang, paced, raw, stream

POST = request("POST", "/v1/x?a=%2F", [("X-b", "1"), ("x-B", "2"), ("Host", "h")], b"\x00{}")


async def test_scripted_vendor_records_a_request_as_it_was_on_the_wire(
    vendor: ScriptedVendor,
) -> None:
    vendor.play(answer(b"{}", x_more="yes"))
    got = await exchange(vendor.port, POST.replace(b"Connection: close", b"Connection: x"), b"")
    assert vendor.last.line == "POST /v1/x?a=%2F HTTP/1.1"
    assert vendor.last.headers[:3] == [("X-b", "1"), ("x-B", "2"), ("Host", "h")]
    assert vendor.last.head + vendor.last.body == POST.replace(b"close", b"x")
    assert (got.status, got.get("x-more"), got.body, got.whole) == (200, ["yes"], b"{}", True)


@pytest.fixture(autouse=True)
def _vendor_closes(vendor: ScriptedVendor) -> None:
    """These clients wait for the end of the connection."""
    played = vendor.play

    def play(*scripts: object) -> None:
        async def last(wire: object) -> None:
            await scripts[0](wire)  # type: ignore[operator]
            wire.writer.close()  # type: ignore[attr-defined]

        played(last)

    vendor.play = play  # type: ignore[method-assign]


async def test_scripted_vendor_joins_a_chunked_request(vendor: ScriptedVendor) -> None:
    vendor.play(answer(b""))
    head = request("POST", "/", [("Transfer-Encoding", "chunked")])
    await exchange(vendor.port, head + b"3\r\nabc\r\n1\r\n!\r\n0\r\n\r\n")
    assert vendor.last.body == b"abc!"


async def test_scripted_vendor_stream_without_its_end_is_incomplete(vendor: ScriptedVendor) -> None:
    vendor.play(stream(b"data: 1\n\n", b"data: 2\n\n"))
    assert (await exchange(vendor.port, POST)).whole
    vendor.play(stream(b"data: 1\n\n", end=b""))
    got = await exchange(vendor.port, POST)
    assert (got.body, got.whole) == (b"data: 1\n\n", False)


async def test_scripted_vendor_paced_answer_waits_for_the_test(vendor: ScriptedVendor) -> None:
    more = asyncio.Event()
    vendor.play(paced(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na", more, b"b"))
    async with connected(vendor.port) as line:
        await line.send(POST)
        assert (await line.until(b"\r\n\r\na")).endswith(b"a")
        more.set()
        assert (await line.to_the_end()).body == b"ab"


@pytest.mark.parametrize(("how", "reset"), [("fin", False), ("rst", True)])
async def test_scripted_vendor_can_truncate_an_answer(
    vendor: ScriptedVendor, how: str, reset: bool
) -> None:
    vendor.play(cut(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", how))
    got = await exchange(vendor.port, POST)
    assert (got.body, got.whole, got.reset) == (b"abc", False, reset)


async def test_scripted_vendor_can_answer_before_the_body(vendor: ScriptedVendor) -> None:
    vendor.early = raw(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n", close=True)
    got = await exchange(vendor.port, request("POST", "/", [("Content-Length", "10")]))
    assert (got.status, vendor.last.body) == (413, b"")


async def test_scripted_vendor_notices_that_its_client_left(vendor: ScriptedVendor) -> None:
    vendor.play(hang)
    async with connected(vendor.port) as line:
        await line.send(POST)
        await vendor.arrived.wait()
        assert not vendor.gone.is_set()
    async with asyncio.timeout(5):
        await vendor.gone.wait()
