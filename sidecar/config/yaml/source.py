"""Decode the file's bytes, or report what is wrong with them, before YAML is parsed.

Finds other encodings, byte order marks, conflict markers and control characters, which a parser
would report elsewhere.
"""

from __future__ import annotations

import re

from sidecar.errors import ConfigError, Problem, SourceLocation

MAX_FILE_BYTES = 4 << 20
"""The largest configuration file: 10,000 keys with every field need half of it."""

_CONFLICT = re.compile(r"^(?:(?:<{7}|\|{7}|>{7})(?= |\r?$)|={7}(?=\r?$))", re.MULTILINE)
_TAB_INDENT = re.compile(r"^ *\t[ \t]*(?=[^\s#])", re.MULTILINE)
_CONTROL = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]"
)
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def decode(data: bytes, file: str) -> str:
    """Return the file's text. Raises `ConfigError` with every problem of the bytes."""
    text = _decoded(data, file)
    problems = [*_conflicts(text, file), *_controls(text, file)]
    if problems:
        raise ConfigError(tuple(sorted(problems, key=lambda p: (p.place.line, p.place.column))))
    return text


def place_at(text: str, index: int, file: str) -> SourceLocation:
    """Return the location of the character `index` of `text`."""
    start = text.rfind("\n", 0, index) + 1
    return SourceLocation(file, text.count("\n", 0, index) + 1, index - start + 1)


def tabs(text: str, file: str) -> list[Problem]:
    """Return a problem for every tab in an indentation.

    Such a tab is valid inside a text of several lines, so this is used only after the parser
    failed.
    """
    what = "a tab is used for indentation, which YAML does not allow"
    return [
        Problem(place_at(text, match.start() + match.group().index("\t"), file), what, "use spaces")
        for match in _TAB_INDENT.finditer(text)
    ]


def _decoded(data: bytes, file: str) -> str:
    start = SourceLocation(file, 1, 1)
    if len(data) > MAX_FILE_BYTES:
        size = f"the file has {len(data):,} bytes; at most {MAX_FILE_BYTES:,} are read"
        raise ConfigError((Problem(start, size, "is it the right file?"),))
    if data.startswith(_UTF16) or b"\x00" in data[:4]:
        raise ConfigError((Problem(start, "the file is not UTF-8 text", "save it as UTF-8"),))
    if data.startswith(b"\xef\xbb\xbf"):
        what = "the file begins with a byte order mark"
        raise ConfigError((Problem(start, what, "save it as UTF-8 without one"),))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        place = place_at(before, len(before), file)
        raise ConfigError(
            (Problem(place, "this byte is not UTF-8 text", "save the file as UTF-8"),)
        ) from None


def _conflicts(text: str, file: str) -> list[Problem]:
    found = list(_CONFLICT.finditer(text))
    if all(match.group() == "=======" for match in found):
        return []
    what = "this line is a marker of a merge conflict"
    fix = "keep one of the two versions and remove the markers"
    return [Problem(place_at(text, match.start(), file), what, fix) for match in found]


def _controls(text: str, file: str) -> list[Problem]:
    match = _CONTROL.search(text)
    if match is None:
        return []
    what = f"there is a control character (U+{ord(match.group()):04X}) in the file"
    return [Problem(place_at(text, match.start(), file), what, "remove it")]
