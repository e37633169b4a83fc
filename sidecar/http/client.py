"""Sends one prepared request to a provider, and reads its answer.

One shared session: no redirects, no cookies, no environment proxies, no netrc, no inflating, and
addresses only from the configuration. No retries here, no vendor's name, and no waiting line.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict
from yarl import URL

from sidecar.config.ca_files import trusting
from sidecar.config.model import Provider, Timeouts
from sidecar.errors import Fault, UpstreamError
from sidecar.http import exchange
from sidecar.http.aiohttp_internals import MAX_HEAD_BYTES, Connector, Tls, unrepeatable
from sidecar.http.errors import failed_head, named
from sidecar.http.exchange import Head, onward, send_request, was_sent
from sidecar.http.headers import Fields, decoded, encoded, head_of, lines_of
from sidecar.masking import CredentialMask

Body = bytes | AsyncIterable[bytes] | None

KEEP_ALIVE_SECONDS = 20.0
"""Seconds an idle connection is kept: less than any vendor keeps it, so that few are found dead."""
READ_CHUNK_BYTES = 1 << 18
"""Larger bodies are written in pieces of this size, so that the loop is not held up."""


class Reply:
    """A provider's answer whose head has arrived; its body is read piece by piece.

    `headers` are its fields in the order and spelling of the wire; `fields` finds them by name;
    `peeked` is what was looked at and not read yet. `mask` is that of the credential that was sent.
    """

    def __init__(self, head: Head, timeouts: Timeouts) -> None:
        self._held = head.held
        self._body = head.body
        self._idle = timeouts.idle
        self._loop = asyncio.get_running_loop()
        self._waiting_since: float | None = None
        self._watch: asyncio.TimerHandle | None = None
        self.peeked = b""
        self.mask: CredentialMask | None = None
        self.status = head.status
        self.reason = head.reason
        self.fields = head.fields
        self.headers: Fields = head.raw

    @property
    def length(self) -> int | None:
        """The declared length of the body in bytes, if any."""
        length = self.fields.get("Content-Length")
        return None if length is None else int(length)

    async def read(self) -> bytes:
        """The next bytes as they arrive; b"" at a proper end. Raises `UpstreamError`."""
        if self.peeked:
            peeked, self.peeked = self.peeked, b""
            return peeked
        if not self._body.is_eof():
            self._waiting_since = self._loop.time()
            if self._watch is None:
                self._watch = self._loop.call_later(self._idle, self._check_idle)
        try:
            return await onward(self._body)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise named(error, sent=True) from error
        finally:
            self._waiting_since = None

    async def hold(self, enough: Callable[[bytes], bool], most: int, seconds: float) -> bool:
        """Read until `enough` is true of the next piece, about `most` bytes came or so many seconds
        passed; `read` gives all of it again. Return whether it ended. Raises `UpstreamError`."""
        held, left = [self.peeked], most - len(self.peeked)
        timer = asyncio.timeout(seconds)
        try:
            async with timer:
                while left > 0 and (piece := await self._body.readany()):
                    held.append(piece)
                    left -= len(piece)
                    if enough(piece):
                        return False
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            if not timer.expired():
                raise named(error, sent=True) from error
            return False
        finally:
            self.peeked = b"".join(held)
        return left > 0

    async def read_all(self, maximum: int) -> tuple[bytes, bool]:
        """The body up to about `maximum` bytes, and whether that is all of it."""
        content = self._body
        if content.is_eof() and content.exception() is None:
            return self.peeked + content.read_nowait(), True  # all of it came with the head
        pieces: list[bytes] = []
        size = 0
        while size <= maximum:
            piece = await self.read()
            if not piece:
                return pieces[0] if len(pieces) == 1 else b"".join(pieces), True
            pieces.append(piece)
            size += len(piece)
        return b"".join(pieces), False

    def close(self) -> None:
        """Let go: the connection is kept if the body was read to its end, else cut at once."""
        if self._watch is not None:
            self._watch.cancel()
        if self._body.at_eof():
            self._held.release()
        else:
            self._held.close()

    def _check_idle(self) -> None:
        # Time in which nobody reads, because the client does not, is not the vendor's silence.
        since = self._waiting_since
        silent = 0.0 if since is None else self._loop.time() - since
        if silent < self._idle:
            self._watch = self._loop.call_later(self._idle - silent, self._check_idle)
            return
        self._body.set_exception(TimeoutError(f"silent for {self._idle:g} s (timeouts.idle)"))


class _Request(aiohttp.ClientRequest):
    """One that the library writes, but for its header fields: of those it leaves out every byte
    that is no UTF-8 (as it still does where nothing follows them, which only a proxy gets)."""

    async def write_bytes(self, writer: Any, *rest: Any) -> None:
        """Write the body, and the head before it."""
        first, _, _ = writer._headers_buf.partition(b"\r\n")  # noqa: SLF001
        lines = lines_of(encoded(self.headers.items()))
        writer._headers_buf = head_of(first.decode(), lines)  # noqa: SLF001
        await super().write_bytes(writer, *rest)


class Upstream:
    """The one session that all attempts share."""

    def __init__(self, session: aiohttp.ClientSession, connector: Connector) -> None:
        self._session = session
        self._connector = connector
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def send(
        self, provider: Provider, method: str, url: str,
        headers: Fields, body: Body, *, at_least_once: bool = False,
    ) -> Reply:  # fmt: skip
        """One attempt, until the head of its answer; the caller closes it. Raises `UpstreamError`.

        A kept connection that closes at once (with `at_least_once`: at any time) before any byte
        came back is replaced once by a new one.
        """
        unrepeatable.set(False)
        try:
            return await self._head(provider, method, url, headers, body)
        except UpstreamError as error:
            closed = error.fault is Fault.CLOSED and (body is None or isinstance(body, bytes))
            if not closed or not exchange.may_resend(at_least_once=at_least_once):
                raise
        unrepeatable.set(True)
        return await self._head(provider, method, url, headers, body)

    async def _head(
        self, provider: Provider, method: str, address: str,
        headers: Fields, body: Body,
    ) -> Reply:  # fmt: skip
        timeouts = provider.timeouts
        url = _url(address)
        proxy = _proxy(provider, url)
        try:
            tls = self._tls(provider)
            at_hand = body or b""
            if proxy is None and isinstance(at_hand, bytes) and len(at_hand) <= READ_CHUNK_BYTES:
                head = await send_request(
                    self._connector, tls, method, url, headers, at_hand,
                    _limits(timeouts), timeouts.first_byte,
                )  # fmt: skip
            else:
                head = await self._by_library(method, url, headers, body, tls, proxy, timeouts)
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
            raise failed_head(error, timeouts, sent=was_sent()) from error
        why = exchange.wrong(head)
        if why:
            head.held.close()
            raise UpstreamError(Fault.PROTOCOL, why, sent=True)
        return Reply(head, timeouts)

    async def _by_library(
        self, method: str, url: URL, headers: Fields, body: Body,
        tls: Tls, proxy: str | None, timeouts: Timeouts,
    ) -> Head:  # fmt: skip
        """By a proxy, or with a body that arrives bit by bit: what the library is there for."""
        async with asyncio.timeout(timeouts.first_byte):
            found = await self._session.request(
                method,
                url,
                headers=_framed(same_spelling(decoded(headers)), body),
                data=_payload(body),
                allow_redirects=False,
                timeout=_limits(timeouts),
                proxy=proxy,
                ssl=tls,
            )
        return Head(
            found.status, found.reason or "", found.headers, found.raw_headers, found.content, found
        )

    def _tls(self, provider: Provider) -> Tls:
        if provider.ca_file is None:
            return True
        context = self._contexts.get(provider.ca_file)
        if context is None:
            context = self._contexts[provider.ca_file] = trusting(provider.ca_file)
        return context


@asynccontextmanager
async def open_upstream() -> AsyncIterator[Upstream]:
    """The session, with every limit of the library set on purpose."""
    connector = Connector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS, ttl_dns_cache=60)
    async with aiohttp.ClientSession(
        connector=connector,
        request_class=_Request,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        max_line_size=MAX_HEAD_BYTES,
        max_field_size=MAX_HEAD_BYTES,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
    ) as session:
        yield Upstream(session, connector)


def same_spelling(pairs: Sequence[tuple[str, str]]) -> CIMultiDict[str]:
    """The pairs, each repeated name in its first spelling: aiohttp's client drops a repeated
    header whose case differs."""
    same = CIMultiDict(pairs)
    if len(set(map(str.lower, same))) == len(same):
        return same
    spelling: dict[str, str] = {}
    return CIMultiDict([(spelling.setdefault(name.lower(), name), value) for name, value in pairs])


def _framed(headers: CIMultiDict[str], body: Body) -> CIMultiDict[str]:
    """With the length that a body written in pieces does not show: some vendors refuse chunks."""
    if isinstance(body, bytes) and len(body) > READ_CHUNK_BYTES:
        headers["Content-Length"] = str(len(body))
    return headers


def _payload(body: Body) -> bytes | AsyncIterable[bytes] | None:
    if isinstance(body, bytes) and len(body) > READ_CHUNK_BYTES:
        return _pieces(body)
    return body


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), READ_CHUNK_BYTES):
        yield body[start : start + READ_CHUNK_BYTES]


def _proxy(provider: Provider, url: URL) -> str | None:
    if provider.proxy != "env":
        return provider.proxy
    if url.host is None or proxy_bypass(url.host):
        return None
    return getproxies().get(url.scheme)


@lru_cache(maxsize=1024)
def _url(address: str) -> URL:
    return URL(address, encoded=True)


@lru_cache(maxsize=64)
def _limits(timeouts: Timeouts) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(
        total=None, connect=timeouts.first_byte, sock_connect=timeouts.connect
    )


MAX_INLINE_RESPONSE_BYTES = 1 << 20
"""Answers up to this size are collected and written at once."""


def is_event_stream(reply: Reply) -> bool:
    """Whether an answer is server-sent events that can be read."""
    content_type = reply.fields.get("Content-Type", "").partition(";")[0].strip().lower()
    return content_type == "text/event-stream" and "Content-Encoding" not in reply.fields
