"""The bytes of requests and responses pass unchanged in both directions."""

from __future__ import annotations

import asyncio
import gzip
import json
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, assume, given
from hypothesis import strategies as st
from property_tests import examples
from raw_http_client import Got, connected, exchange
from recorded_answers import (
    CHAT_USAGE,
    MESSAGE_DELTA,
    MESSAGE_START,
    MESSAGE_STOP,
    MESSAGE_TEXT,
    RESPONSE,
    delta,
    generated,
    sse,
)
from recorded_answers import chunk as chat_chunk
from running_sidecar import CANARY, Sidecar, request
from scripted_vendor import STREAM_HEAD, ScriptedVendor, answer, chunk, paced, raw, stream

from sidecar.plugin_api.json.outline import BOM

RANDOM = examples(25, suppress_health_check=[HealthCheck.function_scoped_fixture])
OURS = {"x-sidecar-call", "x-sidecar-provider", "x-sidecar-model", "x-sidecar-wait-ms"}
FRAMING = {"host", "content-length", "transfer-encoding", "accept-encoding", "connection"}
JSON = ("Content-Type", "application/json")


def local_key(proxy: Sidecar, name: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {proxy.keys[name]}")


def passed_on(vendor: ScriptedVendor) -> list[tuple[str, str]]:
    """The headers that reached the vendor, but for framing and its own credential."""
    return [
        (name, value)
        for name, value in vendor.last.headers
        if name.lower() not in FRAMING and CANARY not in value
    ]


def given_back(got: Got) -> list[tuple[str, str]]:
    """The headers that reached the client, but for framing and Sidecar's own."""
    return [pair for pair in got.headers if pair[0].lower() not in FRAMING | OURS]


def cuts(data: bytes, points: list[int]) -> list[bytes]:
    ends = sorted({0, len(data), *(point % (len(data) + 1) for point in points)})
    return [data[start:end] for start, end in pairwise(ends)]


MODEL = b'{"model":"gpt-5-mini","x":1}'
TARGETS = [
    ("gpt", "POST", "/v1/chat/completions", MODEL),
    ("gpt", "POST", "/v1/completions?a=%2F&a=b+c&&=", MODEL),
    ("gpt", "POST", "/v1/responses", MODEL),
    ("gpt", "POST", "/v1/embeddings", MODEL),
    ("gpt", "POST", "/v1/something/nobody/knows%20yet;v=1?q", b'{"new":["thing"]}'),
    ("gpt", "POST", "/v1/something/else", b"\x00\xff not JSON at all"),
    ("gpt", "GET", "/v1/files?limit=2&after=x%20y", b""),
    ("gpt", "DELETE", "/v1/files/file-1", b""),
    ("gpt", "PATCH", "/v1/files/file-1", b"patch"),
    ("claude", "POST", "/v1/messages?beta=true", MODEL),
    ("claude", "POST", "/v1/messages/count_tokens?beta=true", MODEL),
    ("gemini", "POST", "/v1beta/models/gemini-3:generateContent", b'{"contents":[]}'),
    ("gemini", "POST", "/v1/models/gemini-3:streamGenerateContent?alt=sse&x=%3A", b"{}"),
    ("gemini", "POST", "/v1alpha/models/gemini-3%3AcountTokens", b"{}"),
    ("gemini", "POST", "/v1/cachedContents", b'{"model":"models/gemini-3"}'),
]


@pytest.mark.parametrize(("key", "method", "target", "body"), TARGETS, ids=lambda v: str(v)[:40])
async def test_method_path_query_and_body_pass_unchanged(
    proxy: Sidecar, vendor: ScriptedVendor, key: str, method: str, target: str, body: bytes
) -> None:
    vendor.play(answer(b"{}"))
    got = await exchange(proxy.port, request(method, target, [local_key(proxy, key), JSON], body))
    assert got.status == 200, got.body
    assert vendor.last.line == f"{method} {target} HTTP/1.1"
    assert vendor.last.body == body


@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("gpt", "/v1/chat/completions"),
        ("claude", "/v1/messages"),
        ("gemini", "/v1/models/g:generateContent"),
    ],
)
async def test_request_headers_keep_order_spelling_and_number(
    proxy: Sidecar, vendor: ScriptedVendor, key: str, target: str
) -> None:
    vendor.play(answer(b"{}"))
    sent = [
        ("User-Agent", "claude-cli/2.1 (external)"),
        ("anthropic-version", "2026-10-21"),
        ("anthropic-beta", "a-1,b-2"),
        ("X-Stainless-Timeout", "NOT_GIVEN"),
        ("anthropic-beta", "c-3"),
        ("x-codex-turn-state", "=="),
        ("X-UPPER", "v"),
        ("content-type", "application/json; charset=utf-8"),
        ("x-empty", ""),
        ("x-client-request-id", "r,1;q"),
        ("idempotency-key", "k"),
    ]
    if key == "gemini":
        # There this header says which dialect the path is in.
        sent = [pair for pair in sent if pair[0] != "anthropic-version"]
    await exchange(proxy.port, request("POST", target, [*sent, local_key(proxy, key)], MODEL))
    assert passed_on(vendor) == sent
    assert vendor.last.get("accept-encoding") == ["identity"]
    assert vendor.last.get("content-length") == [str(len(MODEL))]
    assert vendor.last.get("host") == [f"127.0.0.1:{vendor.port}"]


async def test_repeated_header_of_another_spelling_keeps_every_value(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b"{}"))
    sent = [local_key(proxy, "claude"), ("anthropic-beta", "a"), ("Anthropic-Beta", "b")]
    await exchange(proxy.port, request("POST", "/v1/messages", sent, MODEL))
    assert vendor.last.get("anthropic-beta") == ["a", "b"]


async def test_request_gets_no_header_that_the_client_left_out(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b"{}"))
    await exchange(proxy.port, request("POST", "/v1/messages", [local_key(proxy, "claude")], MODEL))
    assert passed_on(vendor) == []


async def test_headers_of_40_kib_pass_in_both_directions(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    long = "x" * 40_000
    vendor.play(answer(b"{}", x_long=long))
    sent = [local_key(proxy, "gpt"), ("anthropic-beta", long)]
    got = await exchange(proxy.port, request("POST", "/v1/chat/completions", sent, MODEL))
    assert vendor.last.get("anthropic-beta") == [long]
    assert got.get("x-long") == [long]


async def test_hop_by_hop_headers_and_those_named_by_connection_are_dropped(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b"{}", Keep_Alive="timeout=5", X_Hop="1", Connection="keep-alive, X-Hop"))
    sent = [
        local_key(proxy, "gpt"), ("Connection", "close, X-Mine"), ("X-Mine", "1"),
        ("TE", "trailers"), ("Proxy-Authorization", "Basic x"), ("Keep-Alive", "300"),
        ("X-Kept", "1"),
    ]  # fmt: skip
    got = await exchange(proxy.port, request("POST", "/v1/chat/completions", sent, MODEL))
    assert passed_on(vendor) == [("X-Kept", "1")]
    assert given_back(got)[0] == ("Content-Type", "application/json")
    assert {name for name, _ in given_back(got)} == {"Content-Type", "Date"}


PAIRS = st.lists(
    st.tuples(
        st.sampled_from(
            ['"messages"', '"mod\\u0065ls"', '"x"', '"max_tokens"', '"stream_options"', '"é数"']
        ),
        st.sampled_from(
            [
                '[{"role":"user","content":"数 🦊 \\ud83e\\udd8a \\u0000 \\/"}]',
                '{"model":"inner","model":"twice"}',
                "123456789012345678901234567890",
                "1.0E+2",
                "-0.0",
                '"line\\r\\nbreak"',
                "null",
                '"\\"model\\":\\"text\\""',
                "[[[]]]",
            ]
        ),
        st.sampled_from(["", " ", "\n\t", "\r\n  "]),
    ),
    max_size=8,
)


@st.composite
def json_bodies(draw: st.DrawFn) -> bytes:
    """A JSON object in some hand's spelling, with a model somewhere in it."""
    pairs = draw(PAIRS)
    pairs.insert(draw(st.integers(0, len(pairs))), ('"model"', '"gpt-5-mini"', draw(st.just(" "))))
    fields = (f"{space}{name}{space}:{space}{value}" for name, value, space in pairs)
    return ("{" + ",".join(fields) + "}" + draw(st.sampled_from(["", "\n", "  "]))).encode()


@RANDOM
@given(
    body=json_bodies(), points=st.lists(st.integers(0, 10_000), max_size=6), chunked=st.booleans()
)
async def test_request_body_of_any_split_reaches_the_vendor_unchanged(
    proxy: Sidecar, vendor: ScriptedVendor, body: bytes, points: list[int], chunked: bool
) -> None:
    vendor.play(answer(b"{}"))
    pieces = cuts(body, points)
    sent = [local_key(proxy, "gpt"), JSON]
    sent.append(("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(body))))
    head = request("POST", "/v1/chat/completions", sent)
    if chunked:
        pieces = [*(chunk(piece) for piece in pieces), b"0\r\n\r\n"]
    got = await exchange(proxy.port, head, *pieces)
    assert got.status == 200, got.body
    assert vendor.last.body == body


ANSWERS = [
    ("200 OK", "application/json", b'{"id":"c1",\n "usage":{}}'),
    ("201 Created", "application/json; charset=utf-8", '{"é":"数🦊"}'.encode()),
    ("202 Accepted", "text/plain", b""),
    ("206 Partial Content", "application/octet-stream", bytes(range(256))),
    ("200 Fine By Me", "audio/mpeg", b"\xff\xfb" * 3000),
    ("200 OK", "application/jsonl", b'{"a":1}\n{"b":2}\n'),
    ("400 Bad Request", "application/json", b'{"error":{"message":"thinking","x":[1,2]}}'),
    ("413 Payload Too Large", "text/html", b"<h1>413</h1>"),
    ("422 Unprocessable Entity", "application/json", b"[]"),
    ("429 Too Many Requests", "application/json", b'{"error":{"message":"slow"}}'),
    ("404 No Such Thing", "text/html", b"<h1>oops</h1>"),
    ("529 Overloaded", "application/json", b'{"type":"error","error":{"type":"overloaded_error"}}'),
]


@pytest.mark.parametrize(("status", "content_type", "body"), ANSWERS, ids=lambda v: str(v)[:20])
async def test_response_status_reason_type_and_body_pass_unchanged(
    impatient: Sidecar, vendor: ScriptedVendor, status: str, content_type: str, body: bytes
) -> None:
    vendor.play(answer(body, status, content_type))
    sent = [local_key(impatient, "claude"), JSON]
    got = await exchange(impatient.port, request("POST", "/v1/messages", sent, MODEL))
    assert f"{got.status} {got.reason}" == status
    assert got.get("content-type") == [content_type]
    assert (got.body, got.whole, got.rest) == (body, True, b"")


async def test_response_headers_keep_order_and_spelling(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    kept = [
        ("Date", "Tue, 24 Nov 2026 10:00:00 GMT"),
        ("content-type", "application/json"),
        ("Request-Id", "req_1"),
        ("anthropic-ratelimit-unified-status", "allowed"),
        ("retry-after", "2"),
        ("x-codex-turn-state", "s=="),
        ("X-Twice", "a"),
        ("Server", "cloudflare"),
        ("x-twice", "b"),
        ("X-UTF-8", "caf\xc3\xa9"),
        ("openai-processing-ms", "12"),
        ("Vary", "Accept"),
    ]
    dropped = [
        ("Set-Cookie", "__cf_bm=1; path=/"),
        ("Alt-Svc", 'h3=":443"'),
        ("Strict-Transport-Security", "max-age=1"),
        ("access-control-allow-origin", "*"),
        ("x-sidecar-provider", "forged"),
        ("x-api-key", "echoed"),
    ]
    lines = "".join(f"{name}: {value}\r\n" for name, value in [*kept[:5], *dropped, *kept[5:]])
    vendor.play(raw(f"HTTP/1.1 200 OK\r\n{lines}Content-Length: 2\r\n\r\n{{}}".encode("latin-1")))
    sent = [local_key(proxy, "claude"), JSON]
    got = await exchange(proxy.port, request("POST", "/v1/messages", sent, MODEL))
    assert given_back(got) == kept
    assert got.get("x-sidecar-provider") == ["an"]


async def test_header_values_in_an_old_encoding_pass_unchanged(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(raw(b"HTTP/1.1 200 OK\r\nX-Old: caf\xe9\r\nContent-Length: 2\r\n\r\n{}"))
    sent = [local_key(proxy, "claude"), JSON]
    got = await exchange(proxy.port, request("POST", "/v1/messages", sent, MODEL))
    assert got.get("x-old") == ["caf\xe9"]


async def test_response_without_headers_gets_a_date_alone(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    vendor.play(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"))
    got = await exchange(
        proxy.port, request("POST", "/v1/messages", [local_key(proxy, "claude")], MODEL)
    )
    assert [name for name, _ in given_back(got)] == ["Date"]
    assert {name for name, _ in got.headers} >= OURS


@pytest.mark.parametrize(
    ("method", "head", "length"),
    [
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", []),
        ("GET", b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n', []),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n", ["77"]),
    ],
)
async def test_response_without_a_body_passes_unchanged(
    proxy: Sidecar, vendor: ScriptedVendor, method: str, head: bytes, length: list[str]
) -> None:
    vendor.play(raw(head))
    got = await exchange(proxy.port, request(method, "/v1/files", [local_key(proxy, "gpt")]))
    assert str(got.status).encode() in head
    assert (got.body, got.rest) == (b"", b"")
    assert [size for size in got.get("content-length") if size != "0"] == length


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "gzip, deflate", "made-up"])
@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
async def test_compressed_response_is_not_decoded(
    proxy: Sidecar, vendor: ScriptedVendor, coding: str, content_type: str
) -> None:
    # All but one of these headers lie, which is the vendor's business.
    body = gzip.compress(b"data: [DONE]\n\n" * 50)
    vendor.play(answer(body, content_type=content_type, Content_Encoding=coding))
    sent = [local_key(proxy, "gpt"), ("Accept-Encoding", "gzip, br, zstd"), JSON]
    got = await exchange(proxy.port, request("POST", "/v1/chat/completions", sent, MODEL))
    assert (got.body, got.whole) == (body, True)
    assert got.get("content-encoding") == [coding]


@RANDOM
@given(
    body=st.binary(max_size=3000),
    points=st.lists(st.integers(0, 10_000), max_size=6),
    framing=st.sampled_from(["length", "chunked", "close"]),
)
async def test_response_of_any_split_and_framing_reaches_the_client_unchanged(
    proxy: Sidecar, vendor: ScriptedVendor, body: bytes, points: list[int], framing: str
) -> None:
    # What begins like JSON, is none and has no end but its connection's was cut.
    assume(framing != "close" or body.removeprefix(BOM).lstrip()[:1] not in [b"{", b"[", b'"'])
    pieces = [piece for piece in cuts(body, points) if piece]
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    if framing == "length":
        vendor.play(paced(head + b"Content-Length: %d\r\n\r\n" % len(body), *pieces))
    elif framing == "chunked":
        head += b"Transfer-Encoding: chunked\r\n\r\n"
        vendor.play(paced(head, *(chunk(piece) for piece in pieces), b"0\r\n\r\n"))
    else:
        played = paced(head + b"Connection: close\r\n\r\n", *pieces)

        async def and_close(wire) -> None:  # type: ignore[no-untyped-def]
            await played(wire)
            wire.writer.close()

        vendor.play(and_close)
    sent = [local_key(proxy, "gpt"), JSON]
    got = await exchange(proxy.port, request("POST", "/v1/chat/completions", sent, MODEL))
    assert (got.body, got.whole) == (body, True)


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_response_of_3_mib_passes_unchanged(
    proxy: Sidecar, vendor: ScriptedVendor, framing: str
) -> None:
    body = json.dumps({"data": ["数🦊" * 50_000] * 3}).encode()
    vendor.play(answer(body) if framing == "length" else stream(body))
    sent = [local_key(proxy, "gpt"), JSON]
    got = await exchange(proxy.port, request("POST", "/v1/embeddings", sent, MODEL))
    if framing == "length":
        assert got.get("content-length") == [str(len(body))]
        assert got.whole
    assert got.body == body


STREAMS = {
    "chat": (
        "gpt", "/v1/chat/completions",
        sse(chat_chunk(choices=[delta("数 é 🦊 \r\n")]), chat_chunk(choices=[], usage=CHAT_USAGE),
            "[DONE]"),
    ),
    "chat with CRLF": (
        "gpt", "/v1/chat/completions",
        b": ping\r\n\r\nid: 7\r\nretry: 1\r\nnew-field\r\n"
        + sse(chat_chunk(choices=[]), "[DONE]", end="\r\n\r\n"),
    ),
    "responses": (
        "gpt", "/v1/responses",
        sse({"type": "response.created", "response": RESPONSE}, {"type": "keepalive"},
            {"type": "response.completed", "response": RESPONSE}, names=True),
    ),
    "messages": (
        "claude", "/v1/messages",
        sse(MESSAGE_START, {"type": "ping"}, MESSAGE_TEXT, {"type": "nobody_knows"}, MESSAGE_DELTA,
            MESSAGE_STOP, names=True),
    ),
    "gemini": (
        "gemini", "/v1beta/models/gemini-3:streamGenerateContent?alt=sse",
        sse(generated(1, 2, None), generated(1, 2, 3, "STOP"), end="\r\n\r\n"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STREAMS)
@RANDOM
@given(points=st.lists(st.integers(0, 10_000), max_size=12))
async def test_stream_of_any_split_reaches_the_client_unchanged(
    proxy: Sidecar, vendor: ScriptedVendor, name: str, points: list[int]
) -> None:
    key, target, events = STREAMS[name]
    vendor.play(stream(*[piece for piece in cuts(events, points) if piece]))
    got = await exchange(proxy.port, request("POST", target, [local_key(proxy, key)], MODEL))
    assert (got.body, got.whole) == (events, True)
    assert got.get("content-type") == ["text/event-stream"]


@pytest.mark.parametrize("name", STREAMS)
async def test_stream_of_single_bytes_reaches_the_client_unchanged(
    proxy: Sidecar, vendor: ScriptedVendor, name: str
) -> None:
    key, target, events = STREAMS[name]
    vendor.play(stream(*[events[i : i + 1] for i in range(len(events))]))
    got = await exchange(proxy.port, request("POST", target, [local_key(proxy, key)], MODEL))
    assert (got.body, got.whole) == (events, True)


async def test_stream_line_of_2_mib_passes_unchanged(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    events = sse(chat_chunk(choices=[delta("x" * (2 << 20))]), "[DONE]")
    vendor.play(stream(events))
    sent = [local_key(proxy, "gpt")]
    got = await exchange(proxy.port, request("POST", "/v1/chat/completions", sent, MODEL))
    assert (got.body, got.whole) == (events, True)


async def test_stream_head_and_each_event_are_sent_before_the_next_one_exists(
    proxy: Sidecar, vendor: ScriptedVendor
) -> None:
    saw_head, saw_first = asyncio.Event(), asyncio.Event()
    first, last = b"data: {}\n\n", b"data: [DONE]\n\n"
    vendor.play(paced(STREAM_HEAD, saw_head, chunk(first), saw_first, chunk(last), b"0\r\n\r\n"))
    async with connected(proxy.port) as line:
        sent = [local_key(proxy, "gpt"), JSON]
        await line.send(request("POST", "/v1/chat/completions", sent, MODEL))
        await line.until(b"\r\n\r\n")
        saw_head.set()
        await line.until(first)
        saw_first.set()
        got = await line.to_the_end()
    assert (got.body, got.whole) == (first + last, True)
