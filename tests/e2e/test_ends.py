"""The end of a response: complete, truncated or unknown, and the usage recorded for each."""

from __future__ import annotations

import gzip
import json
import socket
import zlib
from pathlib import Path

import openai
import pytest
from recorded_answers import CHAT_USAGE, chunk, delta, generated, sse
from running_sidecar import Sidecar
from scripted_vendor import Script, ScriptedVendor, Wire, answer, raw, stream
from tls_vendors import CERTIFICATES, serving, with_certificate
from vendor_apis import APIS, CHAT, GEMINI, MESSAGES, RESPONSES, Api, figures, outcomes

from sidecar.plugin_api.usage_meter import MAX_EVENT_BYTES
from sidecar.records import Outcome, Usage, UsageState

EVERY_API = pytest.mark.parametrize("api", APIS, ids=lambda api: api.name)
SSE = "text/event-stream"


def until_closed(body: bytes, content_type: str = SSE, *, head: str = "") -> Script:
    """An answer that nothing but the end of its connection ends."""
    lines = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n{head}Connection: close\r\n\r\n"
    return raw(lines.encode() + body, close=True)


def used(found: Usage | None) -> tuple[int | None, int | None]:
    return (None, None) if found is None else (found.input_tokens, found.output_tokens)


# ── the end of a stream ────────────────────────────────────────────────────────────────────────


@EVERY_API
async def test_chunked_stream_without_its_last_event_passes_unchanged(
    proxy: Sidecar, vendor: ScriptedVendor, api: Api
) -> None:
    for begun in (api.begun, api.begun + api.ended[:20]):
        vendor.play(stream(begun))
        found = await api.call(proxy, stream=True)
        assert found.body == begun
        assert found.ended
    assert await outcomes(proxy.running) == {"ok": 2}
    state = (await proxy.record()).usage_state
    assert state is (UsageState.UNKNOWN if api in (CHAT, RESPONSES) else UsageState.PARTIAL)


@EVERY_API
async def test_close_delimited_stream_without_its_last_event_is_truncated(
    proxy: Sidecar, vendor: ScriptedVendor, api: Api
) -> None:
    vendor.play(until_closed(api.begun))
    found = await api.call(proxy, stream=True)
    assert found.body.startswith(api.begun + api.event)
    assert found.ended == api.has_failed_end
    vendor.play(until_closed(api.begun + api.ended[:20]))
    found = await api.call(proxy, stream=True)
    assert found.body == api.begun + api.ended[:20]
    assert not found.ended
    assert await outcomes(proxy.running) == {"cut": 2}


@EVERY_API
async def test_close_delimited_stream_with_its_last_event_is_complete(
    proxy: Sidecar, vendor: ScriptedVendor, api: Api
) -> None:
    vendor.play(until_closed(api.begun + api.ended))
    found = await api.call(proxy, stream=True)
    assert found.body == api.begun + api.ended
    assert found.ended
    assert (await proxy.record()).usage_state is UsageState.REPORTED


async def test_legacy_chat_stream_without_an_end_raises_no_error_in_its_sdk(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(stream(CHAT.begun, sse(chunk(choices=[], usage=CHAT_USAGE))))
    async with openai.AsyncOpenAI(
        base_url=f"{proxy.url}/v1", api_key=proxy.keys["gpt"], max_retries=0
    ) as client:
        events = await client.chat.completions.create(**CHAT.asked, stream=True)  # type: ignore[call-overload]
        assert [event.model async for event in events] == ["gpt-5-mini-2026"] * 2
    record = await proxy.record()
    assert (record.outcome, record.usage_state) == (Outcome.OK, UsageState.PARTIAL)
    assert used(record.usage) == (1200, 340)
    assert await figures(proxy.running, "sidecar_usage_partial_total")


async def test_stream_whose_second_choice_has_not_ended_is_partial(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    second = {**delta("Hi"), "index": 1}
    begun = sse(
        chunk(choices=[delta("Hi")]), chunk(choices=[second]), chunk(choices=[delta("", "stop")]),
        chunk(choices=[], usage=CHAT_USAGE),
    )  # fmt: skip
    vendor.play(until_closed(begun))
    assert not (await CHAT.call(proxy, stream=True)).ended
    vendor.play(until_closed(begun + sse(chunk(choices=[{**second, "finish_reason": "stop"}]))))
    assert (await CHAT.call(proxy, stream=True)).ended
    await proxy.record(2)
    states = [(record.outcome, record.usage_state) for record in proxy.records]
    assert states == [
        (Outcome.CUT, UsageState.PARTIAL),
        (Outcome.OK, UsageState.REPORTED),
    ]


async def test_bytes_before_a_broken_connection_reach_the_client(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    body = sse(chunk(choices=[delta("x" * MAX_EVENT_BYTES)]), chunk(choices=[], usage=CHAT_USAGE))
    vendor.play(stream(body, end=b""))
    found = await CHAT.call(proxy, stream=True)
    assert found.body.startswith(body + CHAT.event)
    record = await proxy.record()
    assert (record.outcome, record.usage_state) == (Outcome.CUT, UsageState.PARTIAL)
    assert used(record.usage) == (1200, 340)


# ── the end of a JSON answer ───────────────────────────────────────────────────────────────────

JSON = {
    "chat": json.dumps({"id": "c1", "model": "m", "usage": CHAT_USAGE, "choices": [1]}),
    "responses": json.dumps({"id": "r1", "model": "m", "usage": CHAT_USAGE, "output": ["x"]}),
    "messages": json.dumps({"id": "m1", "usage": {"input_tokens": 9, "output_tokens": 89},
                            "content": [{"text": "x"}]}),
    "gemini": json.dumps({**generated(100, 30, 12, "STOP"), "last": [1]}),
}  # fmt: skip


@EVERY_API
async def test_json_response_closed_in_the_middle_ends_with_an_error(
    proxy: Sidecar, vendor: ScriptedVendor, api: Api
) -> None:
    body = JSON[api.name].encode()
    vendor.play(until_closed(body[:-2], "application/json"))
    found = await api.call(proxy)
    assert found.body == body[:-2]
    assert not found.ended
    vendor.play(until_closed(body, "application/json"))
    found = await api.call(proxy)
    assert found.body == body
    assert found.ended
    assert await outcomes(proxy.running) == {"cut": 1, "ok": 1}
    cut, whole = await proxy.record(), await proxy.record(2)
    assert (cut.usage_state, whole.usage_state) == (UsageState.PARTIAL, UsageState.REPORTED)
    assert cut.usage == whole.usage is not None


async def test_json_response_over_tls_without_close_notify_ends_with_an_error(
    tmp_path: Path,
) -> None:
    body = JSON["chat"].encode()

    async def vanish(wire: Wire) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
        await wire.send(head + body[:-9])
        wire.writer.get_extra_info("socket")._sock.shutdown(socket.SHUT_WR)
        await wire.until_gone()

    ca = f"ca_file: {CERTIFICATES / 'here.pem'}"
    async with with_certificate("here") as vendor, serving(tmp_path, vendor.url, ca) as proxy:
        vendor.play(vanish)
        found = await CHAT.call(proxy)
        assert found.body == body[:-9]
        assert not found.ended
        assert (await proxy.record()).outcome is Outcome.CUT


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b""),
        ("application/json", b"OK"),
        ("application/json", b'{"a":"\xff"}'),
        ("application/json", b'{"a":1}\n{"a":2}\n'),
        ("text/plain", b"{ is no JSON"),
        ("text/plain", b"data: is no stream"),
        ("application/json", b": nor is this"),
        ("audio/mpeg", b'{"a'),
    ],
)
async def test_response_of_unknown_completeness_passes_unchanged(
    proxy: Sidecar, vendor: ScriptedVendor, content_type: str, body: bytes
) -> None:
    vendor.play(until_closed(body, content_type))
    found = await CHAT.call(proxy)
    assert found.body == body
    assert found.ended
    assert await outcomes(proxy.running) == {"ok": 1}


# ── events that are not quite JSON ─────────────────────────────────────────────────────────────

ODD = {
    "half a character": rb'"\ud83d"',
    "no number": b"NaN",
    "no text": b'"\xff\xfe"',
    "control character": b'"a\x01b"',
    "deep": b"[" * 1500 + b"]" * 1500,
}
LAST = {
    "chat": b'{"model":"m","odd":%b,"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":'
            b'"stop"}],"usage":{"prompt_tokens":1200,"completion_tokens":500}}',
    "responses": b'{"type":"response.completed","response":{"id":"resp_1","model":"m","text":%b,'
                 b'"usage":{"input_tokens":1200,"output_tokens":500}}}',
    "messages": b'{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":%b},'
                b'"usage":{"input_tokens":1200,"output_tokens":500}}',
    "gemini": b'{"candidates":[{"content":{"parts":[{"text":%b}]},"finishReason":"STOP"}],'
              b'"usageMetadata":{"promptTokenCount":1200,"candidatesTokenCount":500}}',
}  # fmt: skip
NAMES = {"responses": b"event: response.completed\n", "messages": b"event: message_delta\n"}
BEHIND = {"messages": sse({"type": "message_stop"}, names=True)}


@EVERY_API
@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("close", [False, True], ids=["chunks", "close"])
async def test_last_event_of_malformed_json_completes_the_stream(
    proxy: Sidecar, vendor: ScriptedVendor, api: Api, odd: str, close: bool
) -> None:
    last = NAMES.get(api.name, b"") + b"data: " + LAST[api.name] % ODD[odd] + b"\n\n"
    body = api.begun + last + BEHIND.get(api.name, b"")
    vendor.play(until_closed(body) if close else stream(body))
    found = await api.call(proxy, stream=True)
    assert found.body == body
    assert found.ended
    record = await proxy.record()
    assert (record.outcome, record.usage_state) == (Outcome.OK, UsageState.REPORTED)
    assert record.usage is not None
    assert record.usage.output_tokens == 500


@EVERY_API
@pytest.mark.parametrize("at", ["stream", "event"])
async def test_byte_order_mark_before_a_stream_is_skipped(
    proxy: Sidecar, vendor: ScriptedVendor, api: Api, at: str
) -> None:
    whole = api.begun + api.ended
    mark = b"\xef\xbb\xbf"
    body = mark + whole if at == "stream" else whole.replace(b"data: {", b"data: " + mark + b"{")
    vendor.play(until_closed(body))
    found = await api.call(proxy, stream=True)
    assert found.body == body
    assert found.ended
    assert (await proxy.record()).usage_state is UsageState.REPORTED


@pytest.mark.parametrize("api", [RESPONSES, MESSAGES], ids=lambda api: api.name)
async def test_unreadable_last_event_is_recognized_by_its_name(
    proxy: Sidecar, vendor: ScriptedVendor, api: Api
) -> None:
    name = b"response.completed" if api is RESPONSES else b"message_stop"
    body = api.begun + b"event: " + name + b"\ndata: {{ \xff nobody can read this\n\n"
    vendor.play(until_closed(body))
    found = await api.call(proxy, stream=True)
    assert found.body == body
    assert found.ended
    assert (await proxy.record()).outcome is Outcome.OK


async def test_unreadable_usage_keeps_earlier_usage_as_partial(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    for last in (b'{"usage":{"output_tokens":NaN}}', b'{"usage":{"output_tokens":', b"?"):
        proxy.records.clear()
        body = MESSAGES.begun + b"event: message_delta\ndata: " + last + b"\n\n"
        vendor.play(stream(body + BEHIND["messages"]))
        found = await MESSAGES.call(proxy, stream=True)
        assert found.ended
        record = await proxy.record()
        assert (record.outcome, record.usage_state) == (Outcome.OK, UsageState.PARTIAL)
        assert used(record.usage) == (5312, 1)


async def test_event_over_the_size_limit_does_not_hide_later_usage(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    picture = b'event: image\ndata: {"type":"partial_image","b64":"%b"}\n\n' % (
        b"A" * (MAX_EVENT_BYTES + 9)
    )
    vendor.play(stream(RESPONSES.begun, picture, RESPONSES.ended))
    found = await RESPONSES.call(proxy, stream=True)
    assert found.body == RESPONSES.begun + picture + RESPONSES.ended
    record = await proxy.record()
    assert (record.outcome, record.usage_state) == (Outcome.OK, UsageState.REPORTED)
    vendor.play(until_closed(RESPONSES.begun + picture + RESPONSES.begun))
    found = await RESPONSES.call(proxy, stream=True)
    assert found.body.endswith(b"\n\n")
    assert b"event: response.failed\n" in found.body
    assert (await proxy.record(2)).outcome is Outcome.CUT


# ── labels and codings ─────────────────────────────────────────────────────────────────────────


@EVERY_API
@pytest.mark.parametrize(
    "label",
    ["Text/Event-Stream", "TEXT/EVENT-STREAM;charset=UTF-8", "application/json", "text/plain"],
)
async def test_stream_with_another_content_type_is_metered(
    proxy: Sidecar, vendor: ScriptedVendor, api: Api, label: str
) -> None:
    vendor.play(until_closed(api.begun + api.ended, label))
    found = await api.call(proxy, stream=True)
    assert found.body == api.begun + api.ended
    assert (await proxy.record()).usage_state is UsageState.REPORTED
    vendor.play(until_closed(api.begun, label))
    found = await api.call(proxy, stream=True)
    assert found.body.startswith(api.begun + api.event)
    assert found.ended == api.has_failed_end
    assert (await proxy.record(2)).outcome is Outcome.CUT


async def test_response_without_content_type_is_metered_by_its_first_bytes(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    body = CHAT.begun + CHAT.ended
    vendor.play(raw(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)))
    await CHAT.call(proxy, stream=True)
    whole = JSON["chat"].encode()
    vendor.play(raw(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(whole), whole)))
    await CHAT.call(proxy)
    vendor.play(answer(whole, content_type=SSE))
    await CHAT.call(proxy, stream=True)
    await proxy.record(3)
    assert [used(record.usage) for record in proxy.records] == [(1200, 340)] * 3
    assert {record.usage_state for record in proxy.records} == {UsageState.REPORTED}


@EVERY_API
@pytest.mark.parametrize("streaming", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_compressed_response_is_metered_from_a_copy(
    proxy: Sidecar, vendor: ScriptedVendor, api: Api, streaming: bool, coding: str
) -> None:
    plain = api.begun + api.ended if streaming else JSON[api.name].encode()
    body = gzip.compress(plain) if coding == "gzip" else zlib.compress(plain)
    label = SSE if streaming else "application/json"
    vendor.play(answer(body, content_type=label, Content_Encoding=coding))
    found = await api.call(proxy, stream=streaming)
    assert found.body == body
    record = await proxy.record()
    assert (record.outcome, record.usage_state) == (Outcome.OK, UsageState.REPORTED)
    assert record.usage is not None
    assert (record.usage.output_tokens or 0) > 30


async def test_truncated_compressed_stream_gets_no_error_event(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    body = gzip.compress(GEMINI.begun + GEMINI.ended)[:-20]
    vendor.play(until_closed(body, head="Content-Encoding: gzip\r\n"))
    found = await GEMINI.call(proxy, stream=True)
    assert found.body == body
    assert not found.ended


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "snappy"])
async def test_response_in_another_coding_than_declared_has_unknown_usage(
    proxy: Sidecar, vendor: ScriptedVendor, coding: str
) -> None:
    body = CHAT.begun + CHAT.ended
    vendor.play(until_closed(body, head=f"Content-Encoding: {coding}\r\n"))
    found = await CHAT.call(proxy, stream=True)
    assert found.body == body
    assert found.ended
    record = await proxy.record()
    assert (record.outcome, record.usage_state) == (Outcome.OK, UsageState.UNKNOWN)
