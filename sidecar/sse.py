"""Where server-sent events end (WHATWG HTML, server-sent events, section 9.2.5)."""

from __future__ import annotations

import re

# Two line ends in a row; \r\n is one.
END = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")
BOM = b"\xef\xbb\xbf"
"""One of these at the beginning of a stream is none of its bytes."""
LINE = re.compile(rb"\r\n|\n|\r")


def first_event(stream: bytes) -> bytes:
    """The first event with data at the beginning of a stream, with the blank line that ends it;
    b"" when it has not come to its end. Comments and blank lines before it are none."""
    start = 0
    for end in END.finditer(stream):
        event = stream[start : end.end()]
        if any(line.startswith(b"data") for line in LINE.split(event)):
            return event
        start = end.end()
    return b""
