"""The head of an answer, and the usual answer, which is read without a parser.

The usual answer has its head in one piece, and its fields as nearly every server writes them. Its
length frames the body, or the parser reads its chunks. Whatever differs in the least is left to the
parser.

A provider's answers mostly have the same fields, with other values. What such heads have in common
is their form: a head of a form that came before is read by one regular expression.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import groupby
from operator import itemgetter

from msgspec import Struct

from sidecar.http.headers import name_for_client
from sidecar.http.wire.framing import MAX_HEAD_BYTES

_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([2-5][0-9]{2}) ([!-~][ -~]*)")
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_END = b"\r\n\r\n"
_END_OF_HEAD = MAX_HEAD_BYTES + len(_END)
"""Where a head ends at the latest."""
_NO_HEAD = re.compile(rb"(?!)")
_FIELD = re.compile(rb"\r\n([^:]++): ((?![ \t])[^\r]++(?<![ \t]))(?=\r\n)")
"""A field as nearly every server writes it, from the end of the line before it. If there is one for
each line, nothing is between them."""
_FOREIGN = bytes({*range(0x20), 0x7F} - {0x09, 0x0A, 0x0D})
"""Bytes that no head may hold."""
_VALUE = rb"(?![ \t])[^\0-\x08\n-\x1f\x7f]++(?<![ \t])"
"""A value as in `_FIELD`, without the bytes of `_FOREIGN`."""
_WITHOUT_BODY = frozenset({204, 304})
_MAX_LENGTH_DIGITS = 15
_MAX_LAYOUTS = 256
_MAX_PATTERN_BYTES = 4096
"""Bytes of a form's regular expression: making a longer one would hold up the loop."""
_KEEPS = frozenset({b"", b"keep-alive"})
_CHUNKED = b"chunked"
_CODINGS = frozenset({b"", _CHUNKED})
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
        raw: The bytes of the head; b"" if it did not come in one piece.
        content_type: The first Content-Type in lower case; "" for none.
        coding: The first Content-Encoding in lower case; "" for none.
        length: The first Content-Length; None without one.
        transfer_coding: The last Transfer-Encoding in lower case; b"" for none.
        form: The form of a usual head; None for any other.
        lines: The lines whose names let them pass to the client; b"" if the form did not read them.
    """

    status: int
    reason: str
    raw: bytes = b""
    content_type: str = ""
    coding: str = ""
    length: int | None = None
    transfer_coding: bytes = b""
    form: HeadForm | None = None
    lines: bytes = b""
    _fields: list[tuple[bytes, bytes]] | None = None

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        """The header fields, in the order and spelling of the wire. They are taken apart when they
        are first read, as few calls need them."""
        if self._fields is None:
            self._fields = _FIELD.findall(self.raw)
        return self._fields

    @property
    def ends_by_close(self) -> bool:
        """Return whether only the end of the connection ends a body (RFC 9112 section 6.3)."""
        chunked = self.transfer_coding.rpartition(b",")[2].strip() == b"chunked"
        return not (chunked or self.length is not None or self.status in _WITHOUT_BODY)


class HeadForm(Struct, eq=False):
    """The common parts of usual heads. These differ only in the body's length, and in values that
    are not read.

    Attributes:
        names: The names, in lower case, that let a field pass to the client.
        pattern: Reads a head of this form; none at all before the form came twice.
    """

    status: int
    reason: str
    names: frozenset[str]
    content_type: str
    coding: str
    transfer_coding: bytes
    pattern: re.Pattern[bytes] = _NO_HEAD
    _groups: tuple[int, ...] = ()
    _came: bool = False

    def find(self, data: bytes) -> ResponseHead | None:
        """Return the head at the beginning of `data`, if it is a usual one of this form."""
        found = self.pattern.match(data, 0, _END_OF_HEAD)
        if found is None:
            return None
        raw, digits, *runs = found.group(*self._groups)
        return ResponseHead(
            self.status, self.reason, raw, self.content_type, self.coding,
            None if self.transfer_coding else int(digits), self.transfer_coding, self,
            b"".join(runs),
        )  # fmt: skip

    def note(self, fields: list[tuple[bytes, bytes]]) -> None:
        """Note that a head of this form came; make `pattern` when the second one does: many forms
        never come again, and making it takes as long as hundreds of its matches."""
        if self._came and self.pattern is _NO_HEAD:
            first = re.escape(f"HTTP/1.1 {self.status} {self.reason}".encode())
            lines = b"".join(
                [
                    (b"(%b)" if passes else b"%b") % b"".join([_line_of(*field) for field in run])
                    for passes, run in groupby(fields, _passes)
                ]
            )
            if len(lines) <= _MAX_PATTERN_BYTES:
                pattern = self.pattern = re.compile(b"%b\r\n%b\r\n" % (first, lines))
                length = pattern.groupindex.get("length", 0)
                runs = [at for at in range(1, pattern.groups + 1) if at != length]
                self._groups = (0, length, *runs)
        self._came = True


def _passes(field: tuple[bytes, bytes]) -> bool:
    """Return whether the name of a field lets it pass to the client."""
    return name_for_client(field[0]) is not None


def _line_of(name: bytes, value: bytes) -> bytes:
    """Return the expression for a field's line in the heads of a form; `value` is one of its
    values."""
    values = _VALUE
    match name.lower():
        case b"content-length":
            values = b"(?P<length>[0-9]{1,%d})" % _MAX_LENGTH_DIGITS
        case read if read in _READ:
            values = re.escape(value)
    return b"%b: %b\r\n" % (re.escape(name), values)


@lru_cache(maxsize=256)
def _form_of(
    status_line: bytes, names: tuple[bytes, ...], content_type: bytes, coding: bytes,
    connection: bytes,  # noqa: ARG001 - one that is spelt otherwise is of another form
) -> HeadForm | None:  # fmt: skip
    """Return the form of heads with these names and values; None for an unusual status line."""
    first, layout = _STATUS_LINE.fullmatch(status_line), _LAYOUTS[names]
    if first is None or int(first[1]) in _WITHOUT_BODY or layout is None:
        return None
    passing = frozenset(name for name in map(name_for_client, names) if name is not None)
    return HeadForm(
        int(first[1]), first[2].decode("ascii"), passing, lower_text(content_type),
        lower_text(coding), b"" if layout.transfer_coding is None else _CHUNKED,
    )  # fmt: skip


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

    A provider has few: nothing is asked of a name again.
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
    head = ResponseHead(status, reason, _fields=fields)
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
    raw = data[: end + 4]
    fields = _FIELD.findall(raw, first, end + 2)
    if raw.count(b"\n", first, end) != len(fields) or len(raw.translate(None, _FOREIGN)) != end + 4:
        return None
    names = tuple(map(_NAME, fields))
    layout = _LAYOUTS[names]
    if layout is None:
        return None
    connection = _value_at(layout.connection, fields)
    if (
        connection.lower() not in _KEEPS
        or _value_at(layout.transfer_coding, fields) not in _CODINGS
    ):
        return None
    digits = _value_at(layout.length, fields)
    if layout.length is not None and not (digits.isdigit() and len(digits) <= _MAX_LENGTH_DIGITS):
        return None
    kind, coding = _value_at(layout.content_type, fields), _value_at(layout.coding, fields)
    form = _form_of(raw[:first], names, kind, coding, connection)
    if form is None:
        return None
    form.note(fields)
    return ResponseHead(
        form.status, form.reason, raw, form.content_type, form.coding,
        int(digits) if digits else None, form.transfer_coding, form, _fields=fields,
    )  # fmt: skip


def head_of_any_form(data: bytes) -> ResponseHead | None:
    """Return what `usual_head` returns, by the form of that head if it came before: answers of two
    kinds, such as JSON and streams, take turns on a connection."""
    head = usual_head(data)
    form = None if head is None else head.form
    return head if form is None else form.find(data) or head


def _value_at(at: int | None, fields: list[tuple[bytes, bytes]]) -> bytes:
    """Return the value of the field at a place; b"" for no place, as no usual value is empty."""
    return b"" if at is None else fields[at][1]


@lru_cache(maxsize=256)
def lower_text(value: bytes) -> str:
    """Return a field's value as text in lower case."""
    return value.decode("utf-8", "surrogateescape").strip().lower()


@lru_cache(maxsize=256)
def media_type_of(content_type: str) -> str:
    """Return a content type without its parameters."""
    return content_type.partition(";")[0].rstrip()
