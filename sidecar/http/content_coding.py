"""Decodes a capped copy of a compressed request body, so that its model can be read.

The original bytes are forwarded and the copy is dropped, unless the body must be edited. Large
bodies are decoded in a thread. Of a compressed response, too, only a copy is decoded.
"""

from __future__ import annotations

import asyncio
import sys
import zlib
from collections.abc import Callable
from typing import Any

from sidecar.errors import ErrorKind, ProxyError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

THREAD_FROM_BYTES = 64 * 1024
"""Compressed bytes above which a body is decoded in a thread, as it would block the event loop."""
PLAIN_CODINGS = frozenset({"", "identity"})
"""Values of Content-Encoding, in lower case, that change nothing."""
MAX_UNPACKED_BYTES = 64 << 20
"""Decoded bytes of a response after which decoding stops."""


async def decoded(body: bytes, encoding: str, maximum: int) -> bytes:
    """Return the body without its content coding.

    Raises `ProxyError`: 415 for a coding that cannot be read, 413 above `maximum` decoded bytes,
    400 when the bytes are not in that coding.
    """
    if encoding in PLAIN_CODINGS:
        return body
    decode = _DECODERS.get(encoding)
    if decode is None:
        raise ProxyError(
            ErrorKind.UNSUPPORTED_MEDIA,
            f"request bodies in Content-Encoding {encoding[:40]!r} cannot be read here; "
            "send gzip, zstd, br or none",
        )
    if len(body) < THREAD_FROM_BYTES:
        return decode(body, maximum)
    return await asyncio.to_thread(decode, body, maximum)


class Unpacking:
    """Decodes a copy of an answer, piece by piece.

    Attributes:
        known: Whether the coding is supported.
        lost: Whether decoding stopped, at malformed bytes or at `MAX_UNPACKED_BYTES`.
    """

    def __init__(self, coding: str) -> None:
        self._new = _UNPACKERS.get(coding)
        self._machine = None if self._new is None else self._new()
        self._left = MAX_UNPACKED_BYTES
        self.known = self._machine is not None
        self.lost = not self.known

    def feed(self, data: bytes) -> bytes:
        """Return the bytes that can be decoded so far."""
        found = []
        while data and not self.lost and self._machine is not None and self._new is not None:
            try:
                piece, data = self._machine(data, self._left + 1)
            except Exception:  # noqa: BLE001 - each library has errors of its own
                self.lost = True
                break
            self._left -= len(piece)
            self.lost = self._left < 0
            found.append(piece)
            if data:  # another one follows, behind the end of the first
                self._machine = self._new()
        return b"".join(found)


_Unpack = Callable[[bytes, int], tuple[bytes, bytes]]
"""Decodes the next bytes, up to so many; what came behind the end is left over."""


def _gunzip() -> _Unpack:
    return _until_eof(zlib.decompressobj(wbits=zlib.MAX_WBITS | 32))


def _unzstd_piecewise() -> _Unpack:
    return _until_eof(zstd.ZstdDecompressor())


def _until_eof(machine: Any) -> _Unpack:
    def unpack(data: bytes, most: int) -> tuple[bytes, bytes]:
        piece: bytes = machine.decompress(data, most)
        return piece, machine.unused_data if machine.eof else b""

    return unpack


def _unbrotli_piecewise() -> _Unpack | None:
    try:
        import brotli
    except ImportError:
        return None
    machine = brotli.Decompressor()
    return lambda data, most: (machine.process(data, output_buffer_limit=most), b"")


_UNPACKERS: dict[str, Callable[[], _Unpack | None]] = {
    "gzip": _gunzip,
    "x-gzip": _gunzip,
    "deflate": _gunzip,
    "zstd": _unzstd_piecewise,
    "br": _unbrotli_piecewise,
}


def _inflate(body: bytes, maximum: int) -> bytes:
    machine = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # gzip or zlib, by its header
    try:
        plain = machine.decompress(body, maximum + 1)
    except zlib.error:
        raise _broken("gzip") from None
    return _checked(plain, maximum, complete=machine.eof, coding="gzip")


def _unzstd(body: bytes, maximum: int) -> bytes:
    machine = zstd.ZstdDecompressor()
    try:
        plain: bytes = machine.decompress(body, max_length=maximum + 1)
    except zstd.ZstdError:
        raise _broken("zstd") from None
    return _checked(plain, maximum, complete=machine.eof, coding="zstd")


def _unbrotli(body: bytes, maximum: int) -> bytes:
    try:
        import brotli
    except ImportError:
        raise ProxyError(
            ErrorKind.UNSUPPORTED_MEDIA,
            "reading br request bodies needs an extra: pip install 'sidecar-llm[br]'",
        ) from None
    machine = brotli.Decompressor()
    try:
        plain: bytes = machine.process(body, output_buffer_limit=maximum + 1)
        while len(plain) <= maximum and not machine.is_finished():
            more = machine.process(b"", output_buffer_limit=maximum + 1 - len(plain))
            if not more:
                break
            plain += more
    except brotli.error:
        raise _broken("br") from None
    return _checked(plain, maximum, complete=machine.is_finished(), coding="br")


def _checked(plain: bytes, maximum: int, *, complete: bool, coding: str) -> bytes:
    if len(plain) > maximum:
        raise ProxyError(
            ErrorKind.TOO_LARGE,
            f"the request body is larger than {maximum} bytes once decoded; raise server.max_body "
            "if that is meant",
        )
    if not complete:
        raise _broken(coding)
    return plain


def _broken(coding: str) -> ProxyError:
    return ProxyError(ErrorKind.BAD_REQUEST, f"the request body is not complete, valid {coding}")


_DECODERS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": _inflate,
    "x-gzip": _inflate,
    "deflate": _inflate,
    "zstd": _unzstd,
    "br": _unbrotli,
}
