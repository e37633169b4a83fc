"""Read a request body into memory that was reserved for it, and decode a copy of a compressed one.

It does not parse the content of a body.
"""

from __future__ import annotations

import asyncio
from io import BytesIO

from sidecar.errors import ErrorKind, ProxyError
from sidecar.http.body_memory import STEP_BYTES, HeldBody
from sidecar.http.content_coding import decoded
from sidecar.http.wire.framing import FramingError, IncomingBody

BODY_TIMEOUT_SECONDS = 30.0
"""Seconds without progress after which a body that does not arrive is given up."""
_GRAIN_SECONDS = 1.0
"""Seconds between two looks at the progress of a body."""
LIKELY_RATIO = 20
"""How much longer than its compressed bytes a body is expected to be at most."""


def too_large(maximum: int) -> ProxyError:
    """Return the error for a body above the limit."""
    return ProxyError(
        ErrorKind.TOO_LARGE,
        f"the request body is larger than {maximum} bytes; raise server.max_body if that is meant",
    )


def malformed() -> ProxyError:
    """Return the error for a body with malformed chunks."""
    return ProxyError(ErrorKind.BAD_REQUEST, "the request body is not valid HTTP/1.1")


async def decoded_copy(body: bytes, encoding: str, maximum: int, held: HeldBody) -> bytes:
    """Return the body without its content coding, with memory reserved for the copy."""
    likely = min(maximum, max(LIKELY_RATIO * len(body), STEP_BYTES))
    await held.reserve(len(body) + likely)
    try:
        return await decoded(body, encoding, likely)
    except ProxyError as refused:
        if refused.reply.kind is not ErrorKind.TOO_LARGE or likely == maximum:
            raise
    await held.reserve(len(body) + maximum)
    return await decoded(body, encoding, maximum)


async def read_body(content: IncomingBody, maximum: int, held: HeldBody) -> bytes:
    """Return the whole body, for which `held` reserves memory as it grows.

    Raises `ProxyError`: 413 above `maximum`, 408 if it stops arriving, 400 for malformed chunks,
    503 if there is no memory in time."""
    if content.is_complete:
        # Most bodies have arrived with their head: nothing to wait for, and no clock to set.
        body = content.take()
        if len(body) > maximum:
            raise too_large(maximum)
        await held.reserve(len(body))
        return body
    length = content.length
    try:
        if length is not None and length <= min(maximum, held.reserved):
            return await _gathered(content, length)
        return await _read_in_pieces(content, maximum, held)
    except TimeoutError:
        raise ProxyError(
            ErrorKind.BODY_TIMEOUT,
            f"the request body stopped arriving for {BODY_TIMEOUT_SECONDS:.0f} s",
        ) from None
    except FramingError:
        raise malformed() from None


async def _gathered(content: IncomingBody, length: int) -> bytes:
    """Return a body of known length, for which there is memory. Raises `TimeoutError` if it stops
    arriving."""
    clock = asyncio.get_running_loop().time
    # A buffer that grew would be copied time and again. This one gives its own bytes away at the
    # end, and the system gives it a page of memory when its bytes arrive.
    pieces = BytesIO(bytes(length))
    began, size = clock(), 0
    while True:
        try:
            async with asyncio.timeout(min(_GRAIN_SECONDS, BODY_TIMEOUT_SECONDS)):
                await content.gather(pieces)
                return pieces.getvalue()
        except TimeoutError:
            if pieces.tell() > size:
                began, size = clock(), pieces.tell()
            elif clock() - began >= BODY_TIMEOUT_SECONDS:
                raise


async def _read_in_pieces(content: IncomingBody, maximum: int, held: HeldBody) -> bytes:
    """Return a body of unknown length. Raises `TimeoutError` if it stops arriving."""
    clock = asyncio.get_running_loop().time
    # It gives its own bytes away at the end: a list would have to be copied.
    pieces = BytesIO()
    size = 0
    began = clock()
    async with asyncio.timeout(BODY_TIMEOUT_SECONDS) as max_wait:
        while piece := await content.read():
            size += len(piece)
            if size > maximum:
                raise too_large(maximum)
            if size > held.reserved:
                max_wait.reschedule(None)  # the client has sent, and waits for us
                await held.reserve(size + STEP_BYTES)
                began = clock()
                max_wait.reschedule(began + BODY_TIMEOUT_SECONDS)
            pieces.write(piece)
            if clock() - began > _GRAIN_SECONDS:  # enough, and cheap for fast bodies
                began = clock()
                max_wait.reschedule(began + BODY_TIMEOUT_SECONDS)
    return pieces.getvalue()
