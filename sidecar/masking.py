"""Mask a credential in the bytes of a vendor's response, without changing their length.

Pure: bytes in, bytes out. A credential is found as it is, and as JSON, a URL or HTML may encode
it, each character on its own: `/` is also `\\/`, `\\u002f`, `%2F` and `&#47;`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

MIN_CREDENTIAL_CHARS = 8
"""Shorter credentials are placeholders ("ollama", "x"): masking them would change responses that
have the word."""
_OPENING_CHARS = 12
"""The beginning of a credential that is searched for, and that holds back a stream."""
_MIN_CUT_CHARS = 4
"""The shortest beginning of a credential that is masked at the end of truncated data."""
_MAX_FORM_BYTES = 10
"""The longest encoding of one character: `&#x0000XX;`."""
_MASK = b"*"
_ESCAPES = b"\\%&"
"""The first bytes of every encoding of a character that is not the character itself."""
_NAMES = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}
_MAX_KEPT_CHARS = 128
_PENDING = re.compile(rb"[\\%&][\\%0-9A-Za-z#]*\Z")


class CredentialMask:
    """Mask one credential of printable ASCII.

    A credential shorter than `MIN_CREDENTIAL_CHARS` is never found. The mask does not show the
    credential, and cannot be pickled.
    """

    __slots__ = ("_clear", "_first", "_has_space", "_opening", "_prefix", "_signs", "_text")

    def __init__(self, credential: str) -> None:
        self._text = credential if len(credential) >= MIN_CREDENTIAL_CHARS else ""
        self._clear = ""  # the latest short text without it: most calls name the same model
        opening = self._text[:_OPENING_CHARS]
        self._prefix = opening.encode()
        self._has_space = " " in opening
        self._first = frozenset(self._prefix[:1] + _ESCAPES + (b"+" if opening[:1] == " " else b""))
        self._opening = re.compile(b"".join(f"(?:{_pattern(c)})".encode() for c in opening))
        self._signs = ((self._prefix, b""), *_signs(opening)) if opening else ()

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Raise `TypeError`."""
        raise TypeError("a mask of a secret cannot be pickled")

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to find."""
        return not self._text

    def may_hold(self, data: bytes) -> bool:
        """Return whether `data` may hold the credential, or its beginning.

        Ignores a beginning that the end of `data` cuts. Fast: for most data it is the only
        check.
        """
        # `in` would raise an error inside, and catch it.
        find = data.find
        if (
            find(self._prefix) < 0 and find(b"\\") < 0 and find(b"%") < 0 and find(b"&") < 0
            and not self._has_space
        ):  # fmt: skip
            return False
        return any(find(sign) >= 0 and find(marker) >= 0 for sign, marker in self._signs)

    def has_opening(self, data: bytes) -> bool:
        """Return whether `data` holds the first characters of the credential."""
        return self.may_hold(data) and self._opening.search(data) is not None

    def mask(self, data: bytes) -> bytes:
        """Return `data` with every occurrence masked, in the same length."""
        if not self.may_hold(data):
            return data
        found = list(self._find(data))
        if not found:
            return data
        masked = bytearray(data)
        for start, end in found:
            masked[start:end] = _MASK * (end - start)
        return bytes(masked)

    def mask_plain(self, data: bytes) -> bytes:
        """Return `data` with every unencoded occurrence masked."""
        size = len(self._text)
        return data.replace(self._text.encode(), _MASK * size) if size else data

    def mask_text(self, text: str) -> str:
        """Return `text` with every occurrence masked."""
        if text == self._clear:
            return text
        data = text.encode("utf-8", "surrogatepass")
        masked = self.mask(data)
        if masked is not data:
            return masked.decode("utf-8", "surrogatepass")
        if len(text) <= _MAX_KEPT_CHARS:
            self._clear = text
        return text

    def mask_cut(self, data: bytes) -> bytes:
        """Return truncated `data` masked, with the beginning of a credential at its end too."""
        data = self.mask(data)
        for start in self._starts(data, len(data) - self.max_bytes):
            if self._follow(data, start, self._text)[1] >= _MIN_CUT_CHARS:
                return data[:start] + _MASK * (len(data) - start)
        return data

    def hold_from(self, data: bytes) -> tuple[int, bool]:
        """Return the offset from which `data` must be held back, and whether it is certain.

        The offset is `len(data)` where nothing must be held. It is certain when a whole
        opening of the credential is there; one that the end of `data` cuts may prove to be
        none.
        """
        size = len(data)
        if self.may_hold(data) and (found := self._opening.search(data)):
            return found.start(), True
        if data.endswith(b"\n"):
            return size, False  # no credential holds one
        opening = self._text[:_OPENING_CHARS]
        for at in self._starts(data, size - _OPENING_CHARS * _MAX_FORM_BYTES):
            if self._follow(data, at, opening)[1] >= 0:
                return at, False
        return size, False

    @property
    def max_bytes(self) -> int:
        """The most bytes that the credential takes in any encoding."""
        return len(self._text) * _MAX_FORM_BYTES

    def _find(self, data: bytes) -> Iterator[tuple[int, int]]:
        at = 0
        while found := self._opening.search(data, at):
            ends, _ = self._follow(data, found.start(), self._text)
            if ends:
                at = max(ends)
                yield found.start(), at
            else:
                at = found.start() + 1

    def _starts(self, data: bytes, start: int) -> Iterator[int]:
        if not self._text:
            return iter(())
        return (at for at in range(max(0, start), len(data)) if data[at] in self._first)

    def _follow(self, data: bytes, start: int, text: str) -> tuple[set[int], int]:
        """Read `text` in `data` from `start` on.

        Returns the offsets at which it may end, empty if it is not there, and how many
        characters were read when `data` ended, -1 if it did not end. There may be several
        ends: a backslash is a character, or begins an escape.
        """
        places, pending = {start}, -1
        for chars, char in enumerate(text):
            if any(_is_pending(data, place) for place in places):
                pending = chars
            places = {end for place in places for end in _ends(data, place, char)}
            if not places:
                break
        return places, pending


def _is_pending(data: bytes, place: int) -> bool:
    """Return whether the end of `data` may cut a character that begins at `place`."""
    left = len(data) - place
    return left == 0 or (left < _MAX_FORM_BYTES and _PENDING.match(data, place) is not None)


def _ends(data: bytes, at: int, char: str) -> list[int]:
    """Return the offsets at which one character ends, in any encoding that begins at `at`."""
    if at >= len(data):
        return []
    ends = [at + 1] if data[at] == ord(char) else []
    if data[at] in _ESCAPES or (char == " " and data[at] == ord("+")):
        ends += [found.end() for form in _escaped(char) if (found := form.match(data, at))]
    return ends


@lru_cache(maxsize=128)  # one entry for each printable character
def _escaped(char: str) -> tuple[re.Pattern[bytes], ...]:
    """Return the encodings of a character as patterns, one for each number of backslashes.

    JSON within JSON doubles backslashes.
    """
    return tuple(re.compile(form.encode()) for form in _forms(char))


def _pattern(char: str) -> str:
    """Return one pattern of all encodings; each begins with a literal, so that a search is fast."""
    return "|".join((re.escape(char), *_forms(char)))


def _forms(char: str) -> Iterator[str]:
    code = f"{ord(char):02x}"
    digits = "".join(f"[{d}{d.upper()}]" if d.isalpha() else d for d in code)
    for backslashes in ("\\\\" * n for n in range(1, 5)):
        yield f"{backslashes}u00{digits}"
        if char in '/"':
            yield f"{backslashes}{char}"
        elif char == "\\":
            yield backslashes
    yield f"%(?:25){{0,2}}{digits}"
    yield f"&#0{{0,4}}{ord(char)};"
    yield f"&#[xX]0{{0,4}}{digits};"
    if char in _NAMES:
        yield f"&{_NAMES[char]};"
    if char == " ":
        yield r"\+"


def _signs(opening: str) -> Iterator[tuple[bytes, bytes]]:
    """Yield pairs of byte strings, of which one pair must occur where the opening is encoded. The
    first one of a pair is a single byte, which is found much faster."""
    yield b"\\", b"" if any(char in '/"\\' for char in opening) else b"u00"
    yield b"%", b""
    yield b"&", b"&#"
    yield from ((b"&", f"&{_NAMES[char]};".encode()) for char in opening if char in _NAMES)
    if " " in opening:
        yield b"+", b""
