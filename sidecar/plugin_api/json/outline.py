"""Parse JSON that is truncated, too large to keep, or slightly invalid, piece by piece.

An *outline* is the document without deeply nested and long values. Strings are recognized whatever
they contain, so text is never taken for a field. A part of a value is never taken for the value:
not a truncated number, and not a part of a usage object.
"""

from __future__ import annotations

import json
import re

BOM = b"\xef\xbb\xbf"
"""The byte order mark that may precede a JSON text or a stream of events."""
MAX_LEVELS = 8
"""Levels of nesting; deeper values are left out."""
MAX_TEXT_BYTES = 4096
"""Longer strings are left out."""
MAX_WORD_BYTES = 64
"""Bytes of a number, true, false or null that are kept."""
MAX_PARTS = 200_000
"""Names and values after which parsing stops, so that it does not block the event loop."""
ALL_OR_NOTHING = frozenset({"usage", "usageMetadata", "tool_usage", "error"})
"""Objects that are left out unless they are complete, because a part of one is misleading."""

_PART = re.compile(rb'["{}\[\],]|[^\s"{}\[\],:]+')
_BRACKET = re.compile(rb'["{}\[\]]')
_QUOTE = re.compile(rb'(?<!\\)(?:\\\\)*"')


class Outline:
    """One JSON document, fed piece by piece; bytes after its end are ignored.

    `has_invalid_numbers` is true if a figure of a usage object is no number (`NaN`).
    """

    def __init__(self) -> None:
        self._root: object = None
        self._begun = False
        self.has_invalid_numbers = False
        self._open: list[tuple[dict[str, object] | list[object], str]] = []
        self._name: str | None = None
        self._deeper = 0
        self._text: bytearray | None = None
        self._rest = b""
        self._left = MAX_PARTS

    @property
    def complete(self) -> bool | None:
        """True if the document is complete; None if parsing stopped before its end."""
        if self._left <= 0:
            return None
        return self._begun and not self.unfinished

    @property
    def unfinished(self) -> bool:
        """True if the document began and is not complete."""
        inside = bool(self._open) or self._text is not None
        return self._left > 0 and inside

    def value(self) -> object:
        """Return the object or the list so far; None for a document that is neither."""
        return self._root

    def fields(self) -> dict[str, object]:
        """Return the fields of the document if it is an object, else {}."""
        return self._root if isinstance(self._root, dict) else {}

    def feed(self, data: bytes) -> None:
        """Parse the next bytes."""
        data = self._rest + data
        self._rest = b""
        at = 0
        while at < len(data) and self._left > 0:
            at = self._step(data, at) if self._text is None else self._read_text(data, at)

    def _step(self, data: bytes, at: int) -> int:
        """Parse one token from the offset `at`. Return the offset of the next one."""
        # In lists and deep values, only brackets and quotes matter.
        skips = self._deeper or (self._open and isinstance(self._open[-1][0], list))
        found = (_BRACKET if skips else _PART).search(data, at)
        if found is None:
            return len(data)
        self._left -= 1
        part = found[0]
        if part == b'"':
            self._text = bytearray()
        elif part in b"{[":
            self._enter({} if part == b"{" else [])
        elif part in b"}]":
            self._leave()
        elif part == b",":
            self._name = None
        elif found.end() == len(data):
            # The number may continue in the next piece.
            self._rest = part[: MAX_WORD_BYTES + 1]
            self._left += 1
            return len(data)
        else:
            self._begun = True
            self._take_word(part)
        return found.end()

    def _take_word(self, part: bytes) -> None:
        """Keep a number, true, false or null; ignore anything else."""
        try:
            self._put(json.loads(part[: MAX_WORD_BYTES + 1], parse_constant=_refuse))
        except ValueError:
            self.has_invalid_numbers |= any(name in ALL_OR_NOTHING for _, name in self._open)
            self._name = None

    def _enter(self, container: dict[str, object] | list[object]) -> None:
        if self._deeper or len(self._open) >= MAX_LEVELS:
            self._deeper += 1
            return
        name = self._name or ""
        if not self._open:
            self._root = container if self._root is None else self._root
            self._begun = True
        elif name not in ALL_OR_NOTHING:
            self._put(container)
        self._open.append((container, name))
        self._name = None

    def _leave(self) -> None:
        if self._deeper:
            self._deeper -= 1
        elif self._open:
            container, name = self._open.pop()
            self._name = name
            if name in ALL_OR_NOTHING:
                self._put(container)
            self._name = None

    def _put(self, value: object) -> None:
        """Add a value to the innermost open list or object."""
        if self._deeper or not self._open:
            return
        container, _ = self._open[-1]
        if isinstance(container, list):
            container.append(value)
        elif self._name is not None:
            container[self._name] = value
            self._name = None

    def _read_text(self, data: bytes, at: int) -> int:
        text = self._text
        assert text is not None  # noqa: S101 - it is only called inside one
        end = _end_of_text(data, at)
        closed = end is not None
        if end is None:
            # Of backslashes at the end, the last may make the next byte part of the text.
            run = len(data) - at - len(data[at:].rstrip(b"\\"))
            end = len(data) - run % 2
            self._rest = data[end:]
        if len(text) <= MAX_TEXT_BYTES:
            text += data[at : min(end, at + MAX_TEXT_BYTES + 1)]
        if not closed:
            return len(data)
        self._text = None
        self._take_text(None if len(text) > MAX_TEXT_BYTES else _unquoted(bytes(text)))
        return end + 1

    def _take_text(self, text: str | None) -> None:
        self._begun = True
        if self._deeper or not self._open:
            return
        container, _ = self._open[-1]
        if isinstance(container, dict) and self._name is None:
            self._name = text or ""
        else:
            self._put(text)


def _end_of_text(data: bytes, at: int) -> int | None:
    """Return the offset of the quote that ends the string around `at`; None if it is missing."""
    quote = data.find(b'"', at)
    if quote > at and data[quote - 1 : quote] == b"\\":
        found = _QUOTE.search(data, at)
        return None if found is None else found.end() - 1
    return None if quote < 0 else quote


def _refuse(word: str) -> None:
    raise ValueError(word)


def _unquoted(text: bytes) -> str | None:
    """Return the string between two quotes; lone surrogates and invalid bytes are replaced."""
    try:
        found = json.loads(f'"{text.decode("utf-8", "replace")}"', strict=False)
    except ValueError:
        return None
    return str(found).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def outline(data: bytes) -> Outline:
    """Return the outline of one document."""
    made = Outline()
    made.feed(data)
    return made
