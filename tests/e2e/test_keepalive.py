"""Waiting calls keep their clients: by pings in streams, otherwise by an answer in time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from conftest import KEYS, YAML
from google import genai
from google.genai import errors as genai_errors
from raw_http_client import Line, connected
from running_sidecar import Sidecar, request
from running_sidecar import sidecar as start_sidecar
from scripted_vendor import Script, ScriptedVendor, Wire, answer, stream
from scripted_vendor import chunk as http_chunk
from vendor_apis import APIS, CHAT, GEMINI, MESSAGES, RESPONSES, Api, settled, until

from sidecar.records import Outcome, UsageState

PING = {
    "chat": b": waiting\n\n",
    "responses": b": waiting\n\n",
    "messages": b'event: ping\ndata: {"type": "ping"}\n\n',
    "gemini": b"\r\n\r\n",
}
EVERY_API = pytest.mark.parametrize("api", APIS, ids=lambda api: api.name)
SHORT = 0.05
HELLO: Any = [{"role": "user", "content": "Hello"}]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seconds are shortened, what happens after them is not."""
    monkeypatch.setattr("sidecar.proxy.stream.keepalive.FIRST_PING_SECONDS", SHORT)
    monkeypatch.setattr("sidecar.proxy.stream.keepalive.PING_INTERVAL_SECONDS", SHORT)
    monkeypatch.setattr("sidecar.proxy.stream.keepalive.CHECK_INTERVAL_SECONDS", SHORT)


class Occupied:
    """A sidecar whose only place is taken by a call, until it is freed."""

    def __init__(self, proxy: Sidecar, vendor: ScriptedVendor) -> None:
        self.proxy = proxy
        self.vendor = vendor
        self.leave = asyncio.Event()

    @property
    def waiting(self) -> int:
        return len(self.proxy.running.services.scheduler.waiting)

    async def first(self, wire: Wire) -> None:
        await self.leave.wait()
        await answer(b"{}")(wire)

    def free(self, *then: Script) -> None:
        """Let the next call in; the vendor does this to it."""
        self.vendor.play(*then)
        self.leave.set()


@asynccontextmanager
async def occupied(
    folder: Path, vendor: ScriptedVendor, *, max_wait: str = "30s"
) -> AsyncIterator[Occupied]:
    limits = f"limits: {{concurrency: 1}}\ndefaults: {{max_wait: {max_wait}}}"
    async with start_sidecar(folder, limits + YAML.format(url=vendor.url), KEYS) as proxy:
        room = Occupied(proxy, vendor)
        vendor.play(room.first)
        holder = asyncio.create_task(proxy.ask("/v1/chat/completions", b'{"model":"gpt-5"}'))
        await until(lambda: bool(vendor.requests))
        try:
            yield room
        finally:
            room.leave.set()
            await holder


@asynccontextmanager
async def kept(room: Occupied, api: Api, pings: int = 2) -> AsyncIterator[Line]:
    """A streamed call that waits, and has had so many pings."""
    async with connected(room.proxy.port) as line:
        await line.send(api.request(room.proxy, stream=True))
        await line.until(b"\r\n\r\n")
        mark = http_chunk(PING[api.name])
        async with asyncio.timeout(10):
            while bytes(line.seen).count(mark) < pings:
                line.seen += await line.reader.read(65536)
        yield line


def without_pings(api: Api, body: bytes) -> bytes:
    ping = PING[api.name]
    while body.startswith(ping):
        body = body.removeprefix(ping)
    return body


@EVERY_API
async def test_waiting_stream_gets_head_and_pings_before_the_vendors_bytes(
    tmp_path: Path, vendor: ScriptedVendor, api: Api
) -> None:
    async with occupied(tmp_path, vendor) as room:
        async with kept(room, api) as line:
            assert len(vendor.requests) == 1
            room.free(stream(api.begun, api.ended))
            got = await line.to_the_end()
        assert (got.status, got.whole) == (200, True)
        assert without_pings(api, got.body) == api.begun + api.ended
        assert got.get("content-type") == ["text/event-stream; charset=utf-8"]
        record = await room.proxy.record(2)
        assert got.get("x-sidecar-call") == [record.call_id]
        assert got.get("x-sidecar-provider") == ["none"]
        assert int(got.get("x-sidecar-wait-ms")[0]) >= SHORT * 1000
        assert (record.outcome, record.status) == (Outcome.OK, 200)
        assert record.usage_state is UsageState.REPORTED
        assert record.wait >= SHORT
        assert len(vendor.requests) == 2


@EVERY_API
async def test_wait_beyond_max_wait_ends_the_stream_with_an_error_event(
    tmp_path: Path, vendor: ScriptedVendor, api: Api
) -> None:
    async with occupied(tmp_path, vendor, max_wait="400ms") as room:
        async with kept(room, api) as line:
            got = await line.to_the_end()
        assert (got.status, got.whole) == (200, True)
        said = without_pings(api, got.body)
        assert said.startswith(api.event)
        assert b"max_wait" in said
        record = await room.proxy.record()
        assert (record.outcome, record.status) == (Outcome.REFUSED, 429)
        assert len(vendor.requests) == 1


@EVERY_API
@pytest.mark.parametrize(
    ("status", "body"),
    [
        ("400 Bad Request", b'{"error":{"message":"the vendor\'s own words"}}'),
        ("500 Oops", b"<html>"),
    ],
    ids=["400", "500"],
)
async def test_error_answer_after_the_head_becomes_an_error_event(
    tmp_path: Path, vendor: ScriptedVendor, api: Api, status: str, body: bytes
) -> None:
    async with occupied(tmp_path, vendor, max_wait="2s") as room:
        async with kept(room, api) as line:
            room.free(answer(body, status))
            got = await line.to_the_end()
        said = without_pings(api, got.body)
        assert (got.status, got.whole) == (200, True)
        assert said.startswith(api.event)
        words = "the vendor's own words" if body.startswith(b"{") else "status 500"
        assert words in json.loads(said.removeprefix(api.event))["error"]["message"]
        record = await room.proxy.record(2)
        wanted = Outcome.CLIENT_ERROR if status[0] == "4" else Outcome.UPSTREAM_ERROR
        assert record.outcome is wanted
        assert "vendor's own words" not in record.reason


async def test_json_response_after_the_head_is_logged_and_counts_as_unknown(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    async with occupied(tmp_path, vendor) as room:
        async with kept(room, CHAT) as line:
            room.free(answer(b'{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":5}}'))
            got = await line.to_the_end()
        assert b"with something else" in got.body
        record = await room.proxy.record(2)
        assert (record.outcome, record.usage_state) == (Outcome.UPSTREAM_ERROR, UsageState.UNKNOWN)


@EVERY_API
async def test_stream_that_breaks_after_the_head_is_cut_as_any_other(
    tmp_path: Path, vendor: ScriptedVendor, api: Api
) -> None:
    async with occupied(tmp_path, vendor) as room:
        async with kept(room, api) as line:
            room.free(stream(api.begun, end=b""))
            got = await line.to_the_end()
        assert got.whole is api.has_failed_end
        said = without_pings(api, got.body)
        assert said.startswith(api.begun + api.event)
        assert (await room.proxy.record(2)).outcome is Outcome.CUT


@EVERY_API
async def test_client_that_leaves_during_keepalive_causes_no_upstream_call(
    tmp_path: Path, vendor: ScriptedVendor, api: Api
) -> None:
    async with occupied(tmp_path, vendor) as room:
        async with kept(room, api):
            assert room.waiting == 1
        room.free(answer(b"{}"))
        await settled(room.proxy.running)
        assert len(vendor.requests) == 1
        await room.proxy.record(2)
        assert {each.outcome for each in room.proxy.records} == {Outcome.OK, Outcome.CANCELLED}


@pytest.mark.parametrize("together", [True, False], ids=["in that moment", "before"])
async def test_waiters_whose_clients_left_cause_no_upstream_call(
    tmp_path: Path, vendor: ScriptedVendor, *, together: bool
) -> None:
    """Also where they leave in the very moment in which room comes."""
    async with occupied(tmp_path, vendor) as room:
        lines = []
        for _ in range(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", room.proxy.port)
            writer.write(CHAT.request(room.proxy))
            lines.append((reader, writer))
        await until(lambda: room.waiting == 10)
        for _, writer in lines:
            writer.transport.abort()
        if not together:
            await until(lambda: room.waiting == 0)
        room.free(answer(b"{}"))
        await settled(room.proxy.running)
        assert len(vendor.requests) == 1


async def test_call_that_has_not_waited_gets_no_head_of_ours(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    """The time until the vendor's head, and the head itself, are the vendor's."""

    async def slow(wire: Wire) -> None:
        await asyncio.sleep(4 * SHORT)
        await answer(b'{"error":{"message":"no"}}', "418 Teapot", x_mine="1")(wire)

    vendor.play(slow)
    found = await CHAT.call(proxy, stream=True)
    assert (found.status, found.headers["x-mine"]) == (418, "1")


async def test_stream_that_first_waits_after_a_failed_attempt_gets_head_and_pings(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    async def late(wire: Wire) -> None:
        await asyncio.sleep(2 * SHORT)  # the time to the first ping is over before the wait
        await answer(b"{}", "429 Too Many Requests", retry_after="1")(wire)

    vendor.play(late, stream(CHAT.begun, CHAT.ended))
    async with connected(proxy.port) as line:
        await line.send(CHAT.request(proxy, stream=True))
        got = await line.to_the_end()
    assert (got.status, got.whole) == (200, True)
    assert got.body.startswith(PING["chat"])
    assert without_pings(CHAT, got.body) == CHAT.begun + CHAT.ended


@pytest.mark.parametrize(
    ("api", "header"),
    [
        (CHAT, "x-stainless-read-timeout"),
        (RESPONSES, "X-Stainless-Timeout"),
        (MESSAGES, "x-stainless-timeout"),
        (GEMINI, "X-Server-Timeout"),
    ],
    ids=lambda each: each.name if isinstance(each, Api) else str(each),
)
async def test_call_without_keepalive_is_answered_before_its_client_times_out(
    tmp_path: Path, vendor: ScriptedVendor, api: Api, header: str
) -> None:
    async with occupied(tmp_path, vendor) as room:
        asked = api.request(room.proxy)
        asked = asked.replace(b"\r\n", f"\r\n{header}: 0.8\r\n".encode(), 1)
        async with connected(room.proxy.port) as line:
            await line.send(asked)
            got = await line.answer()
        assert got.status == 429
        assert "that its client's timeout leaves for waiting" in got.message
        assert got.get("retry-after") == ["2"]
        assert len(vendor.requests) == 1


async def test_client_with_a_deadline_is_answered_in_half_of_it_also_in_a_stream(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    """Whatever is sent to it, it would give up."""
    async with occupied(tmp_path, vendor) as room:
        options: Any = {"base_url": room.proxy.url, "timeout": 2000}
        client = genai.Client(api_key=room.proxy.keys["gemini"], http_options=options)
        async with client.aio as inner:
            parts = await inner.models.generate_content_stream(model="g", contents="x")
            with pytest.raises(genai_errors.ClientError, match="leaves for waiting"):
                await anext(aiter(parts))
        assert len(vendor.requests) == 1


async def test_gemini_cli_timeout_is_recognized_by_its_user_agent() -> None:
    from sidecar.plugin_api.manager import discover

    dialect = discover().dialects["gemini"]
    assert dialect.read_timeout({"User-Agent": "GeminiCLI/0.61.0/gemini-3 (linux; x64)"}) == 60
    assert dialect.read_timeout({"User-Agent": "google-genai-sdk/3.6.1"}) is None
    assert dialect.total_timeout({"x-server-timeout": "30"}) == 30


async def test_array_stream_of_gemini_has_no_pings(tmp_path: Path, vendor: ScriptedVendor) -> None:
    """Without `alt=sse` the answer is one JSON array."""
    async with occupied(tmp_path, vendor, max_wait="300ms") as room:
        headers = GEMINI.headers(room.proxy.keys["gemini"])
        target = GEMINI.stream_path.partition("?")[0]
        async with connected(room.proxy.port) as line:
            await line.send(request("POST", target, headers, json.dumps(GEMINI.asked).encode()))
            assert (await line.answer()).status == 429


# What the vendors' own SDKs bear, with a timeout that is shorter than the wait.

TIMEOUT_SECONDS = 0.6
PATIENCE = 30.0
"""Seconds to connect and to write: the first call of a process takes its time."""
Use = Callable[[Sidecar], Awaitable[list[object]]]


async def chat(proxy: Sidecar) -> list[object]:
    async with openai.AsyncOpenAI(
        base_url=f"{proxy.url}/v1",
        api_key=proxy.keys["gpt"],
        max_retries=0,
        timeout=openai.Timeout(PATIENCE, read=TIMEOUT_SECONDS),
    ) as client:
        parts = await client.chat.completions.create(model="m", messages=HELLO, stream=True)
        return [choice.delta.content async for part in parts for choice in part.choices]


async def responses(proxy: Sidecar) -> list[object]:
    async with openai.AsyncOpenAI(
        base_url=f"{proxy.url}/v1",
        api_key=proxy.keys["gpt"],
        max_retries=0,
        timeout=openai.Timeout(PATIENCE, read=TIMEOUT_SECONDS),
    ) as client:
        events = await client.responses.create(model="m", input="x", stream=True)
        return [event.type async for event in events]


async def messages(proxy: Sidecar) -> list[object]:
    async with anthropic.AsyncAnthropic(
        base_url=proxy.url,
        api_key=proxy.keys["claude"],
        max_retries=0,
        timeout=anthropic.Timeout(PATIENCE, read=TIMEOUT_SECONDS),
    ) as client:
        events = await client.messages.create(model="m", max_tokens=9, messages=HELLO, stream=True)
        return [event.type async for event in events]


async def generate(proxy: Sidecar) -> list[object]:
    """Without a timeout: its own is one of the whole answer, and nothing would keep it."""
    client = genai.Client(api_key=proxy.keys["gemini"], http_options={"base_url": proxy.url})
    async with client.aio as inner:
        parts = await inner.models.generate_content_stream(model="g", contents="x")
        return [part.text async for part in parts]


async def generate_blocking(proxy: Sidecar) -> list[object]:
    def work() -> list[object]:
        with genai.Client(
            api_key=proxy.keys["gemini"], http_options={"base_url": proxy.url}
        ) as client:
            return [
                part.text for part in client.models.generate_content_stream(model="g", contents="x")
            ]

    return await asyncio.to_thread(work)


SDKS = pytest.mark.parametrize(
    ("use", "api"),
    [(chat, CHAT), (responses, RESPONSES), (messages, MESSAGES), (generate, GEMINI),
     (generate_blocking, GEMINI)],
    ids=lambda each: getattr(each, "__name__", ""),
)  # fmt: skip


@SDKS
async def test_sdk_gets_its_stream_after_a_wait_longer_than_its_timeout(
    tmp_path: Path, vendor: ScriptedVendor, use: Use, api: Api
) -> None:
    async with occupied(tmp_path, vendor) as room:
        asked = asyncio.create_task(use(room.proxy))
        await until(lambda: room.waiting == 1)
        await asyncio.sleep(2.5 * TIMEOUT_SECONDS)
        assert not asked.done()
        room.free(stream(api.begun, api.ended))
        assert await asked
        assert len(vendor.requests) == 2


@SDKS
async def test_sdk_raises_with_our_message_after_a_wait_beyond_max_wait(
    tmp_path: Path, vendor: ScriptedVendor, use: Use, api: Api
) -> None:
    raised = (openai.APIError, anthropic.APIStatusError, genai_errors.APIError)
    async with occupied(tmp_path, vendor, max_wait="500ms") as room:
        with pytest.raises(raised, match="max_wait"):
            await use(room.proxy)
        assert len(vendor.requests) == 1


OVERLOADED = answer(b'{"error":{"message":"overloaded, says the vendor"}}', "529 Overloaded")


@pytest.mark.parametrize("program", ["codex_cli_rs/0.171.0 (Debian)", "codex_exec/0.171.0", "else"])
async def test_codex_gets_an_endless_overload_and_other_clients_wait(
    proxy: Sidecar, vendor: ScriptedVendor, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    """It shows nothing until it is told, and then asks again by itself."""
    monkeypatch.setattr("sidecar_vendors.openai.dialect._CODEX_ERROR_SECONDS", 0.4)
    vendor.play(OVERLOADED)
    asked = RESPONSES.request(proxy, stream=True)
    asked = asked.replace(b"\r\n", f"\r\nUser-Agent: {program}\r\n".encode(), 1)
    async with connected(proxy.port) as line:
        await line.send(asked)
        await line.until(PING["responses"])
        if program == "else":
            await asyncio.sleep(0.6)
            vendor.play(stream(RESPONSES.begun, RESPONSES.ended))
        got = await line.to_the_end()
    said = without_pings(RESPONSES, got.body)
    if program == "else":
        assert said == RESPONSES.begun + RESPONSES.ended
    else:
        assert said.startswith(RESPONSES.event)
        failed = json.loads(said.removeprefix(RESPONSES.event))["response"]["error"]
        assert failed == {
            "code": "overloaded",
            "message": "oa answers 529: overloaded, says the vendor",
        }
        record = await proxy.record()
        assert (record.outcome, record.status) == (Outcome.UPSTREAM_ERROR, 503)
