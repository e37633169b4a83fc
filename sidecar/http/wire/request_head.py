"""The heads of requests, and how one that a client sends again is recognised by its bytes.

Clients send the same head with request after request, but for the length of the body. Once the
parser has read the same head twice, further ones are compared as bytes. Only what the parser itself
has accepted is recognised, byte for byte: two readers cannot understand it differently.
"""

from __future__ import annotations

from multidict import CIMultiDict, CIMultiDictProxy

from sidecar.http.headers import Fields, decoded
from sidecar.http.wire.framing import FramingError
from sidecar.records import program_of

MAX_LENGTH_DIGITS = 15
"""Digits of a body's length that are read here; the parser judges a longer one."""
HeadField = tuple[bytes, bytes]


class RequestHead:
    """The header fields of a request but for its `Content-Length`, and what is derived from them.

    Clients send the same fields with request after request. Their connection keeps the latest
    head, and requests with equal fields share it.

    Attributes:
        fields: The fields, as on the wire.
        headers: The fields by name.
        version: The version of HTTP.
        is_http10: Whether the client cannot read chunks, nor interim answers.
        size: The bytes that the fields take.
        program: The first product of the `User-Agent`; "" without one.
        caller: What the proxy derived from the fields; None before.
    """

    __slots__ = ("caller", "fields", "headers", "is_http10", "program", "size", "version")

    def __init__(self, version: str, fields: Fields) -> None:
        self.version = version
        self.is_http10 = version == "1.0"
        self.fields = fields
        self.headers = CIMultiDictProxy(CIMultiDict(decoded(fields)))
        self.size = sum([len(name) + len(value) + 4 for name, value in fields])
        self.program = program_of(self.headers.get("User-Agent", ""))
        self.caller: object = None


class RepeatedHead:
    """A head that a client sends again with bodies of any length.

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


def take_length(fields: list[HeadField]) -> tuple[int, HeadField] | None:
    """Remove the `Content-Length`, of which the parser admits one; return its place and it."""
    for at, field in enumerate(fields):
        if len(field[0]) == 14 and field[0].lower() == b"content-length":
            del fields[at]
            return at, field
    return None


def check_fields(fields: list[HeadField], version: str) -> None:
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
