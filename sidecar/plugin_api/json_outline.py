"""Reads JSON that was cut, that is too large to keep, or that is not quite JSON, as it comes.

An *outline* holds what stands where, and leaves out what is deep or long. It tells strings from
structure whatever they hold, so that nothing in a text is ever taken for a field; and it never
takes a part of a value for the value: not half a number, and not half of the figures.
"""

from __future__ import annotations

import json
import re

BOM = b"\xef\xbb\xbf"
"""The byte order mark that may precede a JSON text or a stream of events."""
MAX_LEVELS = 8
"""Levels of nesting below which nothing is kept."""
MAX_TEXT_BYTES = 4096
"""Bytes of a text from which on it is left out."""
MAX_WORD_BYTES = 64
"""Bytes of a number, true, false or null."""
MAX_PARTS = 200_000
"""Names and values after which reading stops: it must not hold the event loop up."""
ALL_OR_NOTHING = frozenset({"usage", "usageMetadata", "tool_usage", "error"})
"""Names of objects of which a part would say something else than all of it."""

_PART = re.compile(rb'["{}\[\],]|[^\s"{}\[\],:]+')
_BRACKET = re.compile(rb'["{}\[\]]')
_QUOTE = re.compile(rb'(?<!\\)(?:\\\\)*"')


class Outline:
    """One JSON document, fed piece by piece; bytes after its end are passed over.

    `spoilt`: some figure is no number (`NaN`), and was left out.
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
        """Whether all of it came; None for what nobody can tell."""
        if self._left <= 0:
            return None
        return self._begun and not self.unfinished

    @property
    def unfinished(self) -> bool:
        """Whether it began, and what came so far cannot be all."""
        inside = bool(self._open) or self._text is not None
        return self._left > 0 and inside

    def value(self) -> object:
        """What is known of the document so far; a text, a number or a word that is the whole
        document is left out."""
        return self._root

    def fields(self) -> dict[str, object]:
        """The fields of the document, if it is an object."""
        return self._root if isinstance(self._root, dict) else {}

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        data = self._rest + data
        self._rest = b""
        at = 0
        while at < len(data) and self._left > 0:
            at = self._step(data, at) if self._text is None else self._read_text(data, at)

    def _step(self, data: bytes, at: int) -> int:
        """Read one part from `at` on; where the next one begins."""
        # Of a list, and of what is too deep, only what has brackets or quotes matters.
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
            # Half a number is another number.
            self._rest = part[: MAX_WORD_BYTES + 1]
            self._left += 1
            return len(data)
        else:
            self._begun = True
            self._take_word(part)
        return found.end()

    def _take_word(self, part: bytes) -> None:
        """A number, true, false or null; anything else is none of them."""
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
        """A value where it stands; within an object, its name came before it."""
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
    """Where the quote stands that ends a text which goes on at `at`; None when it is not there."""
    quote = data.find(b'"', at)
    if quote > at and data[quote - 1 : quote] == b"\\":
        found = _QUOTE.search(data, at)
        return None if found is None else found.end() - 1
    return None if quote < 0 else quote


def _refuse(word: str) -> None:
    raise ValueError(word)


def _unquoted(text: bytes) -> str | None:
    """A text from between its quotes; halves of characters and bytes that are none are replaced."""
    try:
        found = json.loads(f'"{text.decode("utf-8", "replace")}"', strict=False)
    except ValueError:
        return None
    return str(found).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def outline(data: bytes) -> Outline:
    """The outline of these bytes."""
    made = Outline()
    made.feed(data)
    return made
