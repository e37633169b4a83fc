"""Decodes a capped copy of a compressed request body, so that its model can be read.

The original bytes go on; this copy is thrown away (unless the model in it must be renamed). Large
bodies are decoded in a thread. Nothing here ever inflates an answer.
"""

from __future__ import annotations

import asyncio
import sys
import zlib
from collections.abc import Callable

from sidecar.errors import Kind, Refused

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

IN_THREAD_FROM = 64 * 1024
"""Compressed bytes from which on decoding would hold the event loop up noticeably."""


async def decoded(body: bytes, encoding: str, maximum: int) -> bytes:
    """The body without its content coding; itself when it has none.

    Raises `Refused`: 415 for a coding that cannot be read, 413 above `maximum` decoded bytes, 400
    when the bytes are not in that coding.
    """
    if encoding in {"", "identity"}:
        return body
    decode = _DECODERS.get(encoding)
    if decode is None:
        raise Refused(
            Kind.UNSUPPORTED_MEDIA,
            f"request bodies in Content-Encoding {encoding[:40]!r} cannot be read here; "
            "send gzip, zstd, br or none",
        )
    if len(body) < IN_THREAD_FROM:
        return decode(body, maximum)
    return await asyncio.to_thread(decode, body, maximum)


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
        raise Refused(
            Kind.UNSUPPORTED_MEDIA,
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
        raise Refused(
            Kind.TOO_LARGE,
            f"the request body is larger than {maximum} bytes once decoded; raise server.max_body "
            "if that is meant",
        )
    if not complete:
        raise _broken(coding)
    return plain


def _broken(coding: str) -> Refused:
    return Refused(Kind.BAD_REQUEST, f"the request body is not complete, valid {coding}")


_DECODERS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": _inflate,
    "x-gzip": _inflate,
    "deflate": _inflate,
    "zstd": _unzstd,
    "br": _unbrotli,
}
