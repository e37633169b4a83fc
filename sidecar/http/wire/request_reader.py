"""Makes requests of the bytes that arrive on a connection.

The parser is httptools' (llhttp). This module adds what the parser does not decide: the size of a
head, and the body of a request that offers an upgrade. A head that the client sends again is not
parsed again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from sidecar.http.headers import Fields
from sidecar.http.wire.agent_messages import AgentRequest, RequestHead
from sidecar.http.wire.framing import (
    HELD_BODY_BYTES,
    MAX_HEAD_BYTES,
    FramingError,
    IncomingBody,
    ParserEvents,
    WireProtocol,
)

MAX_LENGTH_DIGITS = 15
"""Digits of a body's length that are read here; the parser judges a longer one."""
QUEUED_REQUEST_BYTES = 1 << 10
"""Bytes that a pipelined request counts for besides its body. Reading continues behind the running
request until `HELD_BODY_BYTES` are queued: only a connection that is read shows that its client
left."""
HeadField = tuple[bytes, bytes]


class RepeatedHead:
    """A head that a client sends again with bodies of any length.

    Clients send the same head with request after request, but for the length of the body. Once the
    parser has read the same head twice, further ones are compared as bytes. Only what the parser
    itself has accepted is recognised, byte for byte: two readers cannot understand it differently.

    Attributes:
        before: The bytes up to the digits of the length.
        after: The bytes behind them, with the empty line.
    """

    __slots__ = ("_end_of_length", "_size_after", "_start", "after", "before", "method", "target")

    def __init__(self, method: str, target: str, fields: Fields, at: int, name: bytes) -> None:
        """Make the bytes that most clients write; the length is field number `at`."""
        self.method, self.target = method, target
        lines = [b"%b: %b\r\n" % field for field in fields]
        first = f"{method} {target} HTTP/1.1\r\n".encode("latin-1")
        self.before = b"%b%b%b: " % (first, b"".join(lines[:at]), name)
        self.after = b"\r\n%b\r\n" % b"".join(lines[at:])
        self._start, self._size_after = len(self.before), len(self.after)
        self._end_of_length = self._start + MAX_LENGTH_DIGITS + 1

    def find(self, data: bytes) -> tuple[int, int] | None:
        """Return the length of the body and where it begins; None if another head is there."""
        if not data.startswith(self.before):
            return None
        start = self._start
        end = data.find(b"\r", start, self._end_of_length)
        digits = data[start:end]
        # Without an end (-1), too little is there for what follows the digits.
        if not digits.isdigit() or not data.startswith(self.after, end):
            return None
        return int(digits), end + self._size_after


class RequestReader(WireProtocol, ParserEvents):
    """Queues the requests of one connection as their heads arrive; None stands for bytes that are
    no HTTP.

    `caller_lookup` is kept here by `sidecar.callers`. `task` answers the request in hand.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.caller_lookup: Any = None
        self.task: asyncio.Task[None] | None = None
        self._parser: HttpRequestParser | None = HttpRequestParser(self)
        self._target = b""
        self._fields: list[HeadField] = []
        self._head = RequestHead("", [])
        self._repeated: RepeatedHead | None = None
        self._opening = b""
        self._body_left = 0
        self._unframed_bytes = 0
        self._in_head = False
        self._replayed_head = False
        self._arriving: AgentRequest | None = None
        self._queue: deque[AgentRequest | None] = deque()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Bound the time that the head may take."""
        if not self._replayed_head:
            self._target, self._fields = b"", []
            self._in_head = True

    def on_url(self, url: bytes) -> None:
        """Add to the target."""
        if not self._replayed_head:
            self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a field of the head. Trailers come after the list was taken: no request has them."""
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Queue the request."""
        if self._replayed_head:
            self._replayed_head = False
            return
        parser = self._parser
        assert parser is not None  # noqa: S101 - it calls
        fields, self._fields = self._fields, []
        self._in_head = False
        found, version = _take_length(fields), parser.get_http_version()
        known = fields == self._head.fields and version == self._head.version
        if not known:
            self._head, self._repeated = RequestHead(version, fields), None
            _check_fields(fields, version)
        if len(self._target) + self._head.size > MAX_HEAD_BYTES:
            raise FramingError("the head is too large")
        method, target = parser.get_method().decode(), self._target.decode("latin-1")
        length = None if found is None else int(found[1][1])
        stays = parser.should_keep_alive()
        body = IncomingBody(self._adjust_reading, length)
        self._unframed_bytes = 0
        request = AgentRequest(self, method, target, self._head, self._head.headers, body, stays)
        self._queue.append(request)
        self._arriving = request
        if known and found is not None and stays and not parser.should_upgrade():
            self._note_repeated(method, target, *found)

    def on_body(self, body: bytes) -> None:
        """Add to the body."""
        self._unframed_bytes = 0
        if self._arriving is not None:
            self._arriving.content.feed(body)

    def on_message_complete(self) -> None:
        """End the request."""
        parser, request = self._parser, self._arriving
        self._unframed_bytes = 0
        if request is None or parser is None or parser.should_upgrade():
            return  # what follows an offer to upgrade is read by _pass_over_upgrade
        self._end(request)

    # What arrives.

    def _end(self, request: AgentRequest) -> None:
        """End a request whose body has arrived."""
        request.content.finish()
        self._arriving = None
        if not request.keep_alive:
            self._parser = None

    def _note_repeated(self, method: str, target: str, at: int, length: HeadField) -> None:
        """Recognise this head from now on, if it came in one piece and as most clients write it."""
        repeated = RepeatedHead(method, target, self._head.fields, at, length[0])
        if repeated.find(self._opening) is not None:
            self._repeated = repeated

    def _read_repeated(self, data: bytes) -> bytes:
        """Read a request whose head is known, without the parser; return what is left to parse."""
        arriving, left = self._arriving, self._body_left
        if arriving is None:
            repeated = self._repeated
            if repeated is None or self._in_head or (found := repeated.find(data)) is None:
                return data
            left, start = found
            data, head, room = data[start:], self._head, self._adjust_reading
            if len(data) == left:  # as of most: it arrived with its head
                body = IncomingBody(room, left, [data] if left else [], left, True)
            else:
                body = IncomingBody(room, left)
            method, target = repeated.method, repeated.target
            arriving = AgentRequest(self, method, target, head, head.headers, body, True)
            self._queue.append(arriving)
            self._unframed_bytes = 0
            if body.is_complete:
                return b""
            self._arriving = arriving
        elif not left:
            return data  # the parser reads it
        piece, rest = (data, b"") if len(data) <= left else (data[:left], data[left:])
        if piece:
            arriving.content.feed(piece)
        self._body_left = left - len(piece)
        if not self._body_left:
            self._end(arriving)
        return rest

    def _parse(self, data: bytes) -> None:
        is_opening = self._arriving is None and not self._in_head
        self._opening = data if is_opening else b""
        self._unframed_bytes += len(data)
        try:
            self._feed(data)
        except HttpParserError:
            self._break()
        else:
            if self._unframed_bytes > MAX_HEAD_BYTES:
                self._break()
        finally:
            self._opening = b""

    def _feed(self, data: bytes) -> None:
        while self._parser is not None and data:
            try:
                self._parser.feed_data(data)
            except HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                self._pass_over_upgrade()
            else:
                return

    def _pass_over_upgrade(self) -> None:
        """Read the body of a request that offers to upgrade: passing over the offer is an answer
        too (RFC 9110 section 7.8), but the parser has stopped behind the head.

        A second parser is given a head that frames the same body, without the offer.
        """
        request = self._arriving
        assert request is not None  # noqa: S101 - it was queued with its head
        if request.method == "CONNECT":  # what follows is not HTTP
            self._break()
            return
        framing = [
            b"%b: %b\r\n" % field
            for field in request.head.fields
            if field[0].lower() == b"transfer-encoding"
        ]
        if (length := request.content.length) is not None:
            framing.append(b"Content-Length: %d\r\n" % length)
        if request.keep_alive and request.is_http10:
            framing.append(b"Connection: keep-alive\r\n")
        self._parser = HttpRequestParser(self)
        self._replayed_head = True
        self._parser.feed_data(
            b"POST / HTTP/%b\r\n%b\r\n" % (request.head.version.encode(), b"".join(framing))
        )

    def _break(self) -> None:
        """Read nothing any more: it is not HTTP."""
        if self._parser is None:
            return  # it came after a request that closes its connection
        self._parser = None
        request, self._arriving = self._arriving, None
        if request is not None:
            request.keep_alive = False
            request.content.fail(FramingError("the request body is not valid HTTP/1.1"))
        else:
            self._queue.append(None)

    def _adjust_reading(self) -> None:
        """Stop reading while many requests wait, or much of a body is unread."""
        arriving = self._arriving
        unread = 0 if arriving is None else arriving.content.size
        waiting = len(self._queue) * QUEUED_REQUEST_BYTES
        waiting += sum([each.content.size for each in self._queue if each is not None])
        if waiting > HELD_BODY_BYTES or unread > HELD_BODY_BYTES:
            self.pause_body()
        else:
            self.resume_body()


def _take_length(fields: list[HeadField]) -> tuple[int, HeadField] | None:
    """Remove the `Content-Length`, of which the parser admits one; return its place and it."""
    for at, field in enumerate(fields):
        if len(field[0]) == 14 and field[0].lower() == b"content-length":
            del fields[at]
            return at, field
    return None


def _check_fields(fields: list[HeadField], version: str) -> None:
    """Raise `FramingError` for a head that two readers could understand differently: one with two
    hosts, or with a transfer coding that does not end the body (RFC 9112 sections 3.2 and 6.1)."""
    hosts = 0
    for name, value in fields:
        if len(name) == 4 and name.lower() == b"host":
            hosts += 1
        elif (
            len(name) == 17
            and name.lower() == b"transfer-encoding"
            and (value.lower().strip() != b"chunked" or version != "1.1")
        ):
            raise FramingError("an unknown transfer coding")
    if hosts > 1:
        raise FramingError("two hosts")
