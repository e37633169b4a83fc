"""The head of an answer, and the usual answer, which is read without a parser.

The usual answer has its head in one piece, and its fields as nearly every server writes them. Its
length frames the body, or the parser reads its chunks. Whatever differs in the least is left to the
parser.
"""

from __future__ import annotations

import re
from functools import lru_cache
from operator import itemgetter

from msgspec import Struct

from sidecar.http.wire.framing import MAX_HEAD_BYTES

_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([2-5][0-9]{2}) ([!-~][ -~]*)")
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_END = b"\r\n\r\n"
_FIELD = re.compile(rb"\r\n([^:]++): ((?![ \t])[^\r]++(?<![ \t]))(?=\r\n)")
"""A field as nearly every server writes it, from the end of the line before it. If there is one for
each line, nothing is between them."""
_FOREIGN = bytes({*range(0x20), 0x7F} - {0x09, 0x0A, 0x0D})
"""Bytes that no head may hold."""
_WITHOUT_BODY = frozenset({204, 304})
_MAX_LENGTH_DIGITS = 15
_MAX_LAYOUTS = 256
_KEEPS = b"keep-alive"
_CHUNKED = b"chunked"
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
"""Fields of which a usual answer has one."""
_READ = (b"content-type", b"content-encoding", b"connection", *_FRAMING)
"""Fields that are read. A usual answer has each once at most."""
_FOR_THE_PARSER = frozenset({b"upgrade", b"proxy-connection"})
"""Fields that a usual answer does not have."""
_NAME = itemgetter(0)


class ResponseHead(Struct):
    """The head of an answer.

    Attributes:
        fields: The header fields, in the order and spelling of the wire.
        raw: The bytes of the head; b"" if it did not come in one piece.
        content_type: The first Content-Type in lower case; "" for none.
        coding: The first Content-Encoding in lower case; "" for none.
        length: The first Content-Length; None without one.
        transfer_coding: The last Transfer-Encoding in lower case; b"" for none.
    """

    status: int
    reason: str
    fields: list[tuple[bytes, bytes]]
    raw: bytes = b""
    content_type: str = ""
    coding: str = ""
    length: int | None = None
    transfer_coding: bytes = b""

    @property
    def ends_by_close(self) -> bool:
        """Return whether only the end of the connection ends a body (RFC 9112 section 6.3)."""
        chunked = self.transfer_coding.rpartition(b",")[2].strip() == b"chunked"
        return not (chunked or self.length is not None or self.status in _WITHOUT_BODY)


class _Layout(Struct):
    """The places of the fields that are read, in a usual head with certain names; None for those
    that it does not have."""

    content_type: int | None
    coding: int | None
    length: int | None
    transfer_coding: int | None
    connection: int | None


class _Layouts(dict[tuple[bytes, ...], _Layout | None]):
    """The layouts of heads by the names of their fields; None where only the parser may read on.

    A provider has few: they make the reading of a head a few searches, whatever its fields are.
    """

    def __missing__(self, names: tuple[bytes, ...]) -> _Layout | None:
        found = _layout_of(names)
        if len(self) >= _MAX_LAYOUTS:
            self.clear()
        self[names] = found
        return found


_LAYOUTS = _Layouts()


def _layout_of(names: tuple[bytes, ...]) -> _Layout | None:
    lower = [name.lower() for name in names]
    if not _FOR_THE_PARSER.isdisjoint(lower) or not all(map(_TOKEN.fullmatch, names)):
        return None
    if len(_FRAMING.intersection(lower)) != 1 or any(lower.count(name) > 1 for name in _READ):
        return None
    places = {name: at for at, name in enumerate(lower)}
    return _Layout(
        places.get(b"content-type"), places.get(b"content-encoding"),
        places.get(b"content-length"), places.get(b"transfer-encoding"), places.get(b"connection"),
    )  # fmt: skip


def head_of_fields(status: int, reason: str, fields: list[tuple[bytes, bytes]]) -> ResponseHead:
    """Return the head that the parser has read."""
    head = ResponseHead(status, reason, fields)
    for name, value in fields:
        match name.lower():
            case b"content-type":
                head.content_type = head.content_type or lower_text(value)
            case b"content-encoding":
                head.coding = head.coding or lower_text(value)
            case b"content-length" if head.length is None:
                head.length = int(value)
            case b"transfer-encoding":
                head.transfer_coding = value.lower()
    return head


def usual_head(data: bytes) -> ResponseHead | None:
    """Return the head at the beginning of `data`, if it is that of a usual answer."""
    end = data.find(_END)
    if not 0 < end <= MAX_HEAD_BYTES:
        return None
    first = data.find(b"\r\n")
    status, reason = _status_of(data[:first])
    if not status:
        return None
    raw = data[: end + 4]
    fields = _FIELD.findall(raw, first, end + 2)
    if raw.count(b"\n", first, end) != len(fields) or len(raw.translate(None, _FOREIGN)) != end + 4:
        return None
    layout = _LAYOUTS[tuple(map(_NAME, fields))]
    if layout is None:
        return None
    if layout.connection is not None and fields[layout.connection][1].lower() != _KEEPS:
        return None
    length, coding = None, b""
    if layout.length is not None:
        digits = fields[layout.length][1]
        if not digits.isdigit() or len(digits) > _MAX_LENGTH_DIGITS:
            return None
        length = int(digits)
    elif layout.transfer_coding is not None:
        coding = fields[layout.transfer_coding][1]
        if coding != _CHUNKED:
            return None
    return ResponseHead(
        status, reason, fields, raw,
        "" if layout.content_type is None else lower_text(fields[layout.content_type][1]),
        "" if layout.coding is None else lower_text(fields[layout.coding][1]),
        length, coding,
    )  # fmt: skip


@lru_cache(maxsize=256)
def _status_of(line: bytes) -> tuple[int, str]:
    """Return the status and the reason of a usual status line; 0 for any other."""
    found = _STATUS_LINE.fullmatch(line)
    if found is None or int(found[1]) in _WITHOUT_BODY:
        return 0, ""
    return int(found[1]), found[2].decode("ascii")


@lru_cache(maxsize=256)
def lower_text(value: bytes) -> str:
    """Return a field's value as text in lower case."""
    return value.decode("utf-8", "surrogateescape").strip().lower()


@lru_cache(maxsize=256)
def media_type_of(content_type: str) -> str:
    """Return a content type without its parameters."""
    return content_type.partition(";")[0].rstrip()
