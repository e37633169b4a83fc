"""The head of an answer, and the usual answer, which is read without a parser.

The usual answer has its head in one piece, and its fields as nearly every server writes them; its
length frames the body. Whatever differs in the least is left to the parser.
"""

from __future__ import annotations

import re
from functools import lru_cache

from msgspec import Struct

from sidecar.http.wire.framing import MAX_HEAD_BYTES

_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([2-5][0-9]{2}) ([!-~][ -~]*)")
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_END = b"\r\n\r\n"
_FOREIGN = bytes({*range(0x20), 0x7F} - {0x09, 0x0A, 0x0D})
"""Bytes that no head may hold."""
_UNUSUAL_BLANKS = (b" \r\n", b"\t\r\n", b":  ", b": \t")
_WITHOUT_BODY = frozenset({204, 304})
_MAX_LENGTH_DIGITS = 15
_MAX_NAMES = 2048
_KEEPS = b"keep-alive"
_READ = frozenset({b"content-type", b"content-length", b"content-encoding", b"connection"})
"""Fields that are read. A usual answer has each once at most."""
_FOR_THE_PARSER = frozenset({b"transfer-encoding", b"upgrade", b"proxy-connection"})
"""Fields that a usual answer does not have."""


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


class _Names(dict[bytes, bytes | None]):
    """The names of fields by their spelling: in lower case if the field is read, b"" for any other,
    and None where only the parser may read on."""

    def __missing__(self, name: bytes) -> bytes | None:
        lower = name.lower()
        found: bytes | None = lower if lower in _READ else b""
        if lower in _FOR_THE_PARSER or not _TOKEN.fullmatch(name):
            found = None
        if len(self) >= _MAX_NAMES:
            self.clear()
        self[name] = found
        return found


_NAMES = _Names()


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
    raw = data[: end + 4]
    lines = raw[:end].split(b"\r\n")
    status, reason = _status_of(lines[0])
    if not status or not _is_plain(raw, len(lines)):
        return None
    fields: list[tuple[bytes, bytes]] = []
    read: dict[bytes, bytes] = {}
    for line in lines[1:]:
        name, _, value = line.partition(b": ")
        kind = _NAMES[name]
        if kind is None or not value or kind in read:
            return None
        if kind:
            read[kind] = value
        fields.append((name, value))
    length = read.get(b"content-length", b"")
    if not length.isdigit() or len(length) > _MAX_LENGTH_DIGITS:
        return None
    if read.get(b"connection", _KEEPS).lower() != _KEEPS:
        return None
    kind_of_body = read.get(b"content-type")
    return ResponseHead(
        status, reason, fields, raw,
        "" if kind_of_body is None else lower_text(kind_of_body),
        lower_text(read[b"content-encoding"]) if b"content-encoding" in read else "",
        int(length),
    )  # fmt: skip


def _is_plain(raw: bytes, lines: int) -> bool:
    """Return whether a head has no bytes but text, and blanks only where servers put them."""
    for blanks in _UNUSUAL_BLANKS:
        if blanks in raw:
            return False
    ends = lines + 1
    return raw.count(b"\n") == ends == raw.count(b"\r") and len(
        raw.translate(None, _FOREIGN)
    ) == len(raw)


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
