"""Reading a copy of a compressed request body, and refusing what would blow up."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import brotli
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import ErrorKind, ProxyError
from sidecar.http.content_coding import decoded

CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstd.compress,
    "br": lambda data: brotli.compress(data, quality=1),
}
LIMIT = 1 << 20


@pytest.mark.parametrize("coding", CODINGS)
async def test_compressed_body_is_decoded(coding: str) -> None:
    body = b'{"model":"m"}' * 1000
    assert await decoded(CODINGS[coding](body), coding, LIMIT) == body


async def test_a_plain_body_is_itself() -> None:
    body = b"{}"
    assert await decoded(body, "", LIMIT) is body
    assert await decoded(body, "identity", LIMIT) is body


async def kind_of(body: bytes, coding: str) -> ErrorKind:
    with pytest.raises(ProxyError) as caught:
        await decoded(body, coding, LIMIT)
    return caught.value.reply.kind


@pytest.mark.parametrize("coding", CODINGS)
async def test_a_bomb_is_refused_without_being_inflated(coding: str) -> None:
    assert await kind_of(CODINGS[coding](bytes(64 << 20)), coding) is ErrorKind.TOO_LARGE


@pytest.mark.parametrize("coding", CODINGS)
async def test_half_a_body_is_a_bad_request(coding: str) -> None:
    whole = CODINGS[coding](b"abcdefgh" * 99)
    assert await kind_of(whole[: len(whole) // 2], coding) is ErrorKind.BAD_REQUEST


async def test_unknown_coding_is_refused_as_unsupported() -> None:
    assert await kind_of(b"x", "snappy") is ErrorKind.UNSUPPORTED_MEDIA


@given(st.sampled_from(sorted(CODINGS)), st.binary(max_size=200))
async def test_garbage_never_raises_anything_else(coding: str, body: bytes) -> None:
    try:
        await decoded(body, coding, LIMIT)
    except ProxyError as refused:
        assert refused.reply.kind is ErrorKind.BAD_REQUEST  # noqa: PT017 - some garbage is valid
