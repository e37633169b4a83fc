"""Asks for usage in a stream whose client did not, and takes out of the answer what that adds.

With `stream_options.include_usage` every chunk says `"usage":null`, and one more comes before
`[DONE]`, which has no choices and the figures (OpenAPI description of OpenAI, August 2026). Clients
that did not ask look at `choices[0]` of every chunk.
"""

from __future__ import annotations

import re

from msgspec import Raw, Struct

from sidecar import ABSENT, ProxyError, cut_null, peek, splice_field

_DATA = re.compile(rb"(?:^|[\r\n])data:([^\r\n]*)")


class _Body(Struct):
    stream_options: Raw = ABSENT


class _Options(Struct):
    include_usage: Raw = ABSENT


class _Chunk(Struct):
    choices: Raw = ABSENT
    usage: Raw = ABSENT


def inject_usage_option(body: bytes) -> bytes | None:
    """The body with `include_usage` set; None where it is set, or is something that the vendor is
    going to complain about."""
    try:
        options = bytes(peek(body, _Body).stream_options)
        if options in {b"", b"null"}:
            options = b"{}"
        if bytes(peek(options, _Options).include_usage) not in {b"", b"null", b"false"}:
            return None
        options = splice_field(options, "include_usage", b"true")
        return splice_field(body, "stream_options", options)
    except (ProxyError, RecursionError):
        return None


def strip_injected_usage(event: bytes) -> bytes:
    """The event without its `"usage":null`; b"" for the chunk that has the figures and no choices.
    A content filter's first chunk has no choices either, and stays. So do figures beside choices:
    vendors that put them there do so unasked."""
    if b'"usage"' not in event:
        return event
    lines = list(_DATA.finditer(event))
    if len(lines) != 1:
        return event  # no vendor writes JSON over several lines
    start, end = lines[0].span(1)
    data = event[start:end]
    try:
        chunk = peek(data, _Chunk)
    except ProxyError:
        return event
    if bytes(chunk.usage) == b"null":
        return event[:start] + cut_null(data, "usage") + event[end:]
    figures = bytes(chunk.usage).startswith(b"{")
    alone = bytes(chunk.choices).translate(None, b" \t\r\n") == b"[]"
    return b"" if figures and alone else event
