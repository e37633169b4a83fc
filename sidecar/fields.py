"""Header fields between bytes and text, byte for byte: what arrived is what leaves.

Names are tokens, so ASCII. Values are text in UTF-8 where they are that, and any other byte is kept
as Python keeps the bytes of a file's name (PEP 383).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Pairs = Sequence[tuple[str, str]]


def pairs_of(raw: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[str, str], ...]:
    """Header fields as they were on the wire: the library's own mapping of them has the usual
    spelling of known names instead of the sender's."""
    return tuple(
        [(name.decode("latin-1"), value.decode("utf-8", "surrogateescape")) for name, value in raw]
    )


def lines_of(pairs: Pairs) -> str:
    """The fields as lines of a head. Raises `ValueError` rather than give more or other lines than
    there are fields; see `head_of` for the bytes."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in pairs])
    many = len(pairs)
    if lines.count("\n") != many or lines.count("\r") != many or "\0" in lines:
        raise ValueError("a header holds what would end it")
    return lines


def has(name: str, lines: str) -> bool:
    """Whether one of the lines is of the field of that name (lower case)."""
    return f"\n{name}:" in f"\n{lines}".lower()


def head_of(first: str, lines: str) -> bytes:
    """A whole head: its first line, its lines, and the empty one."""
    return f"{first}\r\n{lines}\r\n".encode("utf-8", "surrogateescape")
