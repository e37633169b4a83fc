"""A vendor that costs next to nothing: it counts a request's bytes and writes what it made before.

    python bench/upstream.py PORT [TLS_PORT CERTIFICATE]

The query says what to answer: nothing special gives 1 KiB of JSON, `?chunks=150&pace=20` that many
events of a stream, so many milliseconds apart, with the time of writing in each. `&status=500` and
`&usage=0` answer badly, to show that somebody looks.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import sys
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import cast
from urllib.parse import parse_qs, urlsplit

from machine import run_fast

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_NO_BODY = b"\r\n0\r\n\r\n"
_USAGE = {
    "prompt_tokens": 2006, "completion_tokens": 300, "total_tokens": 2306,
    "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 128, "audio_tokens": 0},
}  # fmt: skip
# As many headers as a hosted vendor sends, most of them of no interest to anybody.
_HEADERS = """\
Date: Tue, 24 Nov 2026 10:00:00 GMT
openai-organization: org-bench
openai-processing-ms: 412
openai-version: 2020-10-01
x-ratelimit-limit-requests: 10000
x-ratelimit-limit-tokens: 2000000
x-ratelimit-remaining-requests: 9999
x-ratelimit-remaining-tokens: 1999700
x-ratelimit-reset-requests: 6ms
x-ratelimit-reset-tokens: 9ms
x-request-id: req_0123456789abcdef0123456789abcdef
Server: bench
""".replace("\n", "\r\n")


@dataclass(frozen=True, slots=True)
class Script:
    """What a request's query asks for."""

    status: int
    chunks: int
    pace: float
    usage: bool


@lru_cache(maxsize=64)
def script(request_line: bytes) -> Script:
    query = parse_qs(urlsplit(request_line.split(b" ")[1]).query.decode())
    asked = {name: int(values[0]) for name, values in query.items()}
    return Script(
        status=asked.get("status", 200),
        chunks=asked.get("chunks", 0),
        pace=asked.get("pace", 20) / 1000,
        usage=bool(asked.get("usage", 1)),
    )


def head(status: int, framing: str) -> bytes:
    return f"HTTP/1.1 {status} Bench\r\n{_HEADERS}{framing}\r\n\r\n".encode()


@lru_cache(maxsize=8)
def answer(status: int) -> bytes:
    message: dict[str, object] = {
        "role": "assistant",
        "content": "x" * 560,
        "refusal": None,
        "annotations": [],
    }
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    value = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m-2026"}
    body = json.dumps({**value, "choices": [choice], "usage": _USAGE}).encode()
    return head(status, f"Content-Type: application/json\r\nContent-Length: {len(body)}") + body


def event(delta: dict[str, str], finish: str | None, usage: object) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    value = {
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m-2026",
        "service_tier": "default", "system_fingerprint": "fp_0123456789",
        "choices": [] if usage else [choice], "usage": usage,
    }  # fmt: skip
    return data(json.dumps(value, separators=(",", ":")).encode())


def data(text: bytes) -> bytes:
    framed = b"data: " + text + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(framed), framed)


_STAMP = "@" + "0" * 16
_BEFORE, _, _AFTER = event({"content": f" word{_STAMP}"}, None, None).partition(_STAMP.encode())
HEAD = head(200, "Content-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked")
STOP = event({}, "stop", None)
USED = event({}, None, _USAGE)
DONE = data(b"[DONE]") + b"0\r\n\r\n"


class Vendor(asyncio.Protocol):
    """One connection; requests come one after another, never two at once."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.received = b""
        self.missing = 0
        self.asked: Script | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are transports in all but their base class.
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, _: Exception | None) -> None:
        self.transport = None

    def data_received(self, data: bytes) -> None:
        if self.asked is not None:
            self.missing -= len(data)
            # A body of unknown length ends as chunked bodies do.
            if self.missing == 0 or (self.missing < 0 and data.endswith(_NO_BODY)):
                self.reply(self.asked)
            return
        self.received += data
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(self.received, 0, end + 2)
        body = len(self.received) - end - 4
        self.missing = int(length[1]) - body if length else -1
        self.asked = script(self.received[: self.received.index(b"\r\n")])
        whole = self.missing == 0 or (length is None and self.received.endswith(_NO_BODY))
        self.received = b""
        if whole:
            self.reply(self.asked)

    def reply(self, asked: Script) -> None:
        self.asked = None
        if self.transport is None:
            return
        if not asked.chunks or asked.status != 200:
            self.transport.write(answer(asked.status))
            return
        self.transport.write(HEAD)
        self.go_on(asked, self.loop.time(), 0)

    def go_on(self, asked: Script, began: float, sent: int) -> None:
        if self.transport is None:
            return
        if sent == asked.chunks:
            self.transport.write(STOP + (USED if asked.usage else b"") + DONE)
            return
        self.transport.write(b"%s@%016d%s" % (_BEFORE, time.monotonic_ns(), _AFTER))
        # By the clock, not by the last chunk: a pace that does not drift, and streams that stay
        # apart from each other.
        when = began + (sent + 1) * asked.pace
        self.loop.call_at(when, self.go_on, asked, began, sent + 1)


async def main(port: int, tls_port: int = 0, certificate: str = "") -> None:
    loop = asyncio.get_running_loop()
    if tls_port:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        await loop.create_server(Vendor, "127.0.0.1", tls_port, ssl=context, backlog=1024)
    server = await loop.create_server(Vendor, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    run_fast(main(int(sys.argv[1]), *map(int, sys.argv[2:3]), *sys.argv[3:]))
