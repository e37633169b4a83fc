"""A vendor that costs next to nothing: it counts a request's bytes and writes what it made before.

    python bench/upstream.py PORT [TLS_PORT CERTIFICATE]

The path says in which dialect to answer (`/v1/messages`, Gemini's, or else OpenAI's), and the query
what: nothing special gives 1 KiB of JSON, `?chunks=150&pace=20` that many events of a stream, so
many milliseconds apart, with the time of writing in each. `&status=500` and `&usage=0` answer
badly, to show that somebody looks. Where no query arrives, `user` in the body may say the same.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import cast
from urllib.parse import parse_qs, urlsplit

from answers import STAMP, Answers, answers_to
from machine import run_fast

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_USER = re.compile(rb'"user": *"([^"]*)"')
_SHORT = 8192
GOLDEN_RATIO = 0.6180339887
"""Turns by it spread any number of streams evenly."""
_LAST_CHUNK = b"\r\n0\r\n\r\n"
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
    """What a request asks for."""

    answers: Answers
    status: int
    chunks: int
    pace: float
    usage: bool


@lru_cache(maxsize=64)
def script(target: bytes, user: bytes) -> Script:
    url = urlsplit(target.decode())
    query = parse_qs(url.query or user.decode())
    asked = {name: int(values[0]) for name, values in query.items() if name != "alt"}
    return Script(
        answers=answers_to(url.path.encode()),
        status=asked.get("status", 200),
        chunks=asked.get("chunks", 0),
        pace=asked.get("pace", 20) / 1000,
        usage=bool(asked.get("usage", 1)),
    )


def head(status: int, framing: str) -> bytes:
    return f"HTTP/1.1 {status} Bench\r\n{_HEADERS}{framing}\r\n\r\n".encode()


@lru_cache(maxsize=8)
def answer(asked: Script) -> bytes:
    body = asked.answers.body
    framing = f"Content-Type: application/json\r\nContent-Length: {len(body)}"
    return head(asked.status, framing) + body


def own_phases() -> Iterator[float]:
    """Yield how much later than others a stream's pieces come, in parts of its pace.

    Streams of real vendors do not keep step. Here, those that a gateway asked for in one moment
    would, and their pieces would come in bursts, which cost a gateway less: each gateway would
    measure a load of its own making.
    """
    turn = 0.0
    while True:
        turn = (turn + GOLDEN_RATIO) % 1
        yield turn


HEAD = head(200, "Content-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked")
PHASES = own_phases()


class Vendor(asyncio.Protocol):
    """One connection; requests come one after another, never two at once."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.received = b""
        self.missing, self.chunked = 0, False
        self.target = self.user = self.tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are transports in all but their base class.
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, _: Exception | None) -> None:
        self.transport = None

    def data_received(self, data: bytes) -> None:
        if self.target:
            if not self.chunked:
                self.missing -= len(data)
            self.body_received(data)
            return
        self.received += data
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(self.received, 0, end + 2)
        self.chunked = length is None
        self.missing = int(length[1]) - (len(self.received) - end - 4) if length else 0
        self.target, self.user = self.received.split(b" ", 2)[1], b""
        received, self.received = self.received, b""
        self.body_received(received)

    def body_received(self, data: bytes) -> None:
        # Only the short bodies of streams say something, and only where the path does not.
        if b"?" not in self.target and b"chunks=" in data[:_SHORT]:
            found = _USER.search(data)
            self.user = found[1] if found else b""
        # The last chunk may come in parts.
        self.tail = (self.tail + data[-len(_LAST_CHUNK) :])[-len(_LAST_CHUNK) :]
        if self.tail == _LAST_CHUNK if self.chunked else self.missing == 0:
            asked, self.target = script(self.target, self.user), b""
            self.reply(asked)

    def reply(self, asked: Script) -> None:
        if self.transport is None:
            return
        if not asked.chunks or asked.status != 200:
            self.transport.write(answer(asked))
            return
        self.transport.write(HEAD + asked.answers.start)
        self.go_on(asked, self.loop.time() + next(PHASES) * asked.pace, 0)

    def go_on(self, asked: Script, began: float, sent: int) -> None:
        if self.transport is None:
            return
        if sent == asked.chunks:
            last = asked.answers
            self.transport.write(last.stop + (last.used if asked.usage else b"") + last.done)
            return
        stamp = b"@%016d" % time.monotonic_ns()
        self.transport.write(asked.answers.piece.replace(STAMP, stamp))
        # By the clock, not by the last chunk: a pace that does not drift, and streams that stay
        # apart from each other.
        when = began + (sent + 1) * asked.pace
        self.loop.call_at(when, self.go_on, asked, began, sent + 1)


async def main(port: int, tls_port: int, certificate: str) -> None:
    loop = asyncio.get_running_loop()
    if tls_port:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        await loop.create_server(Vendor, "127.0.0.1", tls_port, ssl=context, backlog=1024)
    server = await loop.create_server(Vendor, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    port, tls_port, certificate = [*sys.argv[1:], "0", ""][:3]
    run_fast(main(int(port), int(tls_port), certificate))
