"""The secret of a local key: create, recognise and hash it. Only the hash is stored.

`sk-sidecar-`, 43 base62 characters of 256 random bits, and 6 of a CRC-32 over all before them, so
that a key can be recognised in any file without a list of keys.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib
from collections.abc import Collection, Iterator
from urllib.parse import unquote_to_bytes

PREFIX = "sk-sidecar-"
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM_CHARS = 43
_CHECKSUM_CHARS = 6
KEY_CHARS = len(PREFIX) + _RANDOM_CHARS + _CHECKSUM_CHARS
"""The length of a key."""
_SHAPE = re.compile(rb"sk-sidecar-[0-9A-Za-z]{%d}" % (_RANDOM_CHARS + _CHECKSUM_CHARS))


def mint() -> str:
    """Return the secret of a new key, with 256 bits from the system's randomness."""
    body = PREFIX + _base62(secrets.randbits(256), _RANDOM_CHARS)
    return body + _checksum(body.encode())


def digest(text: str) -> bytes:
    """Return the SHA-256 of a secret, by which a key is found.

    A plain hash is enough: 256 random bits cannot be guessed.
    """
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def looks_like_key(text: str) -> bool:
    """Return whether `text` is one well-formed key and nothing else."""
    return any(found == text for found in find_keys(text.encode("utf-8", "replace")))


def find_keys(text: bytes) -> Iterator[str]:
    """Yield every well-formed key in `text`, in order, also one that is glued to other characters.

    The checksum excludes chance matches.
    """
    for match in _SHAPE.finditer(text):
        found = match.group()
        if found[-_CHECKSUM_CHARS:].decode() == _checksum(found[:-_CHECKSUM_CHARS]):
            yield found.decode()


def _checksum(body: bytes) -> str:
    return _base62(zlib.crc32(body), _CHECKSUM_CHARS)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, rest = divmod(number, 62)
        digits.append(_ALPHABET[rest])
    return "".join(reversed(digits))


PREFIX_BYTES = PREFIX.encode()
_MAX_DECODINGS = 2
"""How often a value is percent-decoded to find a key: a URL may contain a URL."""
SHORT_KEY_CHARS = 8
"""A shorter secret, which a user chose, counts only as a word of its own: it may be part of
others."""


def holds_key(value: bytes, texts: Collection[bytes]) -> bool:
    """Return whether `value` holds one of `texts` or a well-formed key, also percent-encoded."""
    for _ in range(_MAX_DECODINGS + 1):
        for text in texts:
            if text in value and _stands_in(text, value):
                return True
        if PREFIX_BYTES in value and any(find_keys(value)):
            return True
        if b"%" not in value and b"+" not in value:
            return False
        value = unquote_to_bytes(value.replace(b"+", b" "))
    return False


def _stands_in(text: bytes, value: bytes) -> bool:
    """Return whether `text` stands in `value` by itself, not as part of a word."""
    return (
        len(text) >= SHORT_KEY_CHARS
        or re.search(rb"(?<![\w-])" + re.escape(text) + rb"(?![\w-])", value) is not None
    )
