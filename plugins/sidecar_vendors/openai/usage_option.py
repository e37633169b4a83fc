"""Inject the usage option into a request, and strip its effects from the stream.

With `stream_options.include_usage`, every chunk has `"usage":null`, and a further chunk before
`[DONE]` has the usage and no choices. Clients that did not set the option read `choices[0]` of
every chunk. Source: OpenAI's OpenAPI description (August 2026).
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
    """Return the body with `include_usage`; None if it is set already or has an invalid value."""
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
    """Return the event without its `"usage":null`; b"" for the chunk with usage and no choices.

    A content filter's first chunk, without choices and usage, stays. So does usage beside choices,
    which vendors send without the option.
    """
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
