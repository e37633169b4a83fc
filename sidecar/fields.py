"""Header fields as the bytes that they are: what arrived is what leaves.

Text is made of one only where it is read. Names are tokens, so ASCII; values are taken for UTF-8,
and any other byte is kept as Python keeps the bytes of a file's name (PEP 383).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Fields = Sequence[tuple[bytes, bytes]]
"""Names and values, in the order and spelling of the wire."""


def encoded(pairs: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Fields of text."""
    return [(name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in pairs]


def text_of(value: bytes) -> str:
    """A value as text, of which `encoded` makes the same bytes again."""
    return value.decode("utf-8", "surrogateescape")


def decoded(fields: Fields) -> list[tuple[str, str]]:
    """The fields as text, in the sender's spelling: the library's own mapping of them has the usual
    one of known names."""
    return [(name.decode("latin-1"), text_of(value)) for name, value in fields]


def lines_of(fields: Fields) -> bytes:
    """The fields as lines of a head. Raises `ValueError` rather than give more or other lines than
    there are fields."""
    lines = b"".join([b"%b: %b\r\n" % field for field in fields])
    many = len(fields)
    if lines.count(b"\n") != many or lines.count(b"\r") != many or b"\0" in lines:
        raise ValueError("a header holds what would end it")
    return lines


def has(name: bytes, lines: bytes) -> bool:
    """Whether one of the lines is of the field of that name (lower case)."""
    return b"\n%b:" % name in b"\n" + lines.lower()


def head_of(first: str, lines: bytes) -> bytes:
    """A whole head: its first line, its lines, and the empty one."""
    return b"%b\r\n%b\r\n" % (first.encode("utf-8", "surrogateescape"), lines)
