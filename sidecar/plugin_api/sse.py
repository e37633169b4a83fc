"""Where server-sent events end (WHATWG HTML, server-sent events, section 9.2.5), and which is the
first that says something."""

from __future__ import annotations

import re

# Two line ends in a row; \r\n is one.
END = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")
BOM = b"\xef\xbb\xbf"
"""One of these at the beginning of a stream is none of its bytes."""
LINE = re.compile(rb"\r\n|\n|\r")

BOM = b"\xef\xbb\xbf"
_PINGS = frozenset({b"ping", b"keepalive", b"keep-alive", b"heartbeat"})
_PING = re.compile(rb'\{\s*"type"\s*:\s*"(?:ping|keepalive|keep-alive|heartbeat)"')


class FirstEvent:
    """Finds the first event that says something, in whatever pieces its stream comes.

    Comments, blank lines, pings and events without data, or with empty data, say nothing.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._begun = False

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes. Return the event with the blank line that ends it, b"" while it is
        not complete."""
        # A line end may straddle the cut: look again from three bytes before it.
        start = max(0, len(self._rest) - 3)
        self._rest += data
        if not self._begun and len(self._rest) >= len(BOM):
            self._begun, start = True, 0
            if self._rest.startswith(BOM):
                del self._rest[: len(BOM)]
        begun = 0
        for end in END.finditer(self._rest, start):
            event = bytes(self._rest[begun : end.end()])
            if says_something(event):
                return event
            begun = end.end()
        del self._rest[:begun]
        return b""

    def rest(self) -> bytes:
        """Return the event that a stream ended in, without its blank line; b"" if it says
        nothing."""
        rest = bytes(self._rest)
        return rest if says_something(rest) else b""


def says_something(event: bytes) -> bool:
    """Return whether an event holds data, and is no ping."""
    data = []
    for line in LINE.split(event):
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.strip())
        elif field == b"event" and value.strip().lower() in _PINGS:
            return False
    text = b"".join(data)
    return bool(text) and not _PING.match(text)
