"""Random bytes from either side cause no 500 and no traceback, and the next call is served."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import suppress

import pytest
from running_sidecar import Sidecar
from scripted_vendor import STREAM_HEAD, ScriptedVendor, answer, chunk, raw
from vendor_apis import APIS, Api, settled

ROUNDS = 150
JUNK = (
    b"\0", b"\r", b"\n", b"\r\n\r\n", b"\xff\xfe", b":", b" ", b"\t", b"%00", b"%2f", b"/../",
    b"//", b"#", b"?key=", b"-1", b"1e9", b"{", b"[", b'"', b"\\u0000", b"null", b"model",
    b'{"model":', b"\xf0\x9f\xa6\x8a", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Expect: 100-continue\r\n", b"Upgrade: websocket\r\n", b"Connection: upgrade\r\n",
    b"Host: b\r\n", b"multipart/form-data; boundary=",
)  # fmt: skip


def spoilt(whole: bytes, draw: random.Random) -> bytes:
    """The bytes with one to three places cut, doubled, flipped or filled with junk."""
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(whole) + 1)
        end = min(len(whole), at + draw.choice([0, 1, 1, 5, 40]))
        middle = draw.choice([
            b"", whole[at:end] * 2, draw.choice(JUNK), bytes([draw.randrange(256)]),
            whole[at:end].swapcase(),
        ])  # fmt: skip
        whole = whole[:at] + middle + whole[end:]
    return whole


async def exchange(port: int, *messages: bytes) -> list[bytes]:
    """Return what arrives for each message, all sent at once, until nothing has arrived for any of
    them for a second: random bytes may begin a longer message, which is not answered."""
    loop = asyncio.get_running_loop()
    latest = loop.time()

    async def one(data: bytes) -> bytes:
        nonlocal latest
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        found, piece = b"", b"-"
        writer.write(data)
        with suppress(ConnectionError):
            while piece:
                try:
                    async with asyncio.timeout(1):
                        piece = await reader.read(1 << 16)
                except TimeoutError:
                    if loop.time() - latest > 1:
                        break
                else:
                    found += piece
                    latest = loop.time()
        writer.close()
        return found

    return await asyncio.gather(*map(one, messages))


def told(caplog: pytest.LogCaptureFixture) -> Iterator[str]:
    """Whatever the log has of bugs."""
    for each in caplog.records:
        if each.exc_info is not None or "failed inside" in each.getMessage():
            yield f"{each.getMessage()} {each.exc_info}"


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.name)
async def test_random_bytes_from_clients_cause_no_internal_error(
    proxy: Sidecar, vendor: ScriptedVendor, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    vendor.play(answer(b"{}"))
    draw = random.Random(api.name)
    good: bytes = api.request(proxy, stream=draw.random() < 0.5)
    noise = [spoilt(good, draw) for _ in range(ROUNDS)]
    answers = await exchange(proxy.port, *noise)
    for data, found in zip(noise, answers, strict=True):
        assert found[:5] in {b"", b"HTTP/"}, (data, found)
        assert found[9:10] in {b"", b"1", b"2", b"4"}, (data, found)
        assert not found.startswith(b"HTTP/0.9 2"), (data, found)
    assert sum(found[9:10] == b"4" for found in answers) > ROUNDS // 5
    assert vendor.requests
    await settled(proxy.running)
    assert list(told(caplog)) == []
    assert (await api.call(proxy)).status == 200


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.name)
async def test_random_bytes_from_vendors_cause_no_internal_error(
    impatient: Sidecar, vendor: ScriptedVendor, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    """A broken answer is a 502, a cut one, or passes; whole it is only when it was whole."""
    draw = random.Random(f"{api.name} vendor")
    events: bytes = api.begun + api.ended
    body = b'{"id":"c1","model":"m","usage":{"prompt_tokens":3,"completion_tokens":2}}'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    wholes = [head % len(body) + body, STREAM_HEAD + chunk(events) + b"0\r\n\r\n"]
    for number in range(ROUNDS):
        data = spoilt(draw.choice(wholes), draw)
        vendor.play(raw(data, close=True))
        found = await exchange_whole(impatient, api)
        for account in impatient.running.services.scheduler.upstreams:
            account.cooldown.record_success()  # each answer is met as if it were the first
        assert found.startswith(b"HTTP/1.1 "), (number, data)
        assert b"HTTP/1.1 500" not in found[:12], (number, data, found)
    await settled(impatient.running)
    assert list(told(caplog)) == []
    vendor.play(answer(b"{}"))
    assert (await api.call(impatient)).status == 200


async def exchange_whole(proxy: Sidecar, api: Api) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(api.request(proxy, stream=True))
    async with asyncio.timeout(20):
        found = await reader.read(-1)
    writer.close()
    return found


@pytest.mark.parametrize("spoilt_line", [b"X-A: a\rb", b"X-A: a\0b", b"X-A: \x7f"])
async def test_forbidden_header_in_a_response_makes_it_a_502(
    proxy: Sidecar, vendor: ScriptedVendor, spoilt_line: bytes
) -> None:
    vendor.play(raw(b"HTTP/1.1 200 OK\r\n" + spoilt_line + b"\r\nContent-Length: 2\r\n\r\n{}"))
    found = await proxy.ask("/v1/chat/completions", b'{"model":"m"}')
    assert (found.status, found.headers["x-sidecar-error"]) == (502, "upstream_invalid")
    assert "its answer was not valid HTTP" in found.message


async def test_request_line_without_a_version_is_refused(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    good = APIS[0].request(proxy)
    [found] = await exchange(proxy.port, good.replace(b" HTTP/1.1", b"", 1))
    assert b" 400 " in found.partition(b"\r\n")[0]
    assert vendor.requests == []
