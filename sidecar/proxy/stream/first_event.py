"""Finds the first event with content in a stream of server-sent events."""

from __future__ import annotations

import re

from sidecar.plugin_api.json.outline import BOM
from sidecar.plugin_api.sse import END, LINE

_PINGS = frozenset({b"ping", b"keepalive", b"keep-alive", b"heartbeat"})
_PING = re.compile(rb'\{\s*"type"\s*:\s*"(?:ping|keepalive|keep-alive|heartbeat)"')
_USUAL_FIRST = re.compile(
    rb"(?:event: (?!(?:ping|keepalive|heartbeat)\r?\n)[a-z_.]+\r?\n)?"
    rb"data: (?!" + _PING.pattern + rb")\{[^\r\n]*(?:\n\n|\r\n\r\n)"
)


def usual_first_event(data: bytes) -> bytes:
    """Return the event that a stream begins with, if these first bytes hold all of it and it has
    the form of most vendors' events; else b"", and `FirstEvent` is to find it."""
    found = _USUAL_FIRST.match(data)
    return b"" if found is None else found[0]


class FirstEvent:
    """Find the first event with content in a stream, however it is cut.

    Comments, blank lines, pings, and events with no data or empty data have no content.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._begun = False

    def feed(self, data: bytes) -> bytes:
        """Read the next bytes. Return the event with its blank line; b"" while it is incomplete."""
        # The cut may be within a line end, so search from three bytes before it.
        start = max(0, len(self._rest) - 3)
        self._rest += data
        if not self._begun and len(self._rest) >= len(BOM):
            self._begun, start = True, 0
            if self._rest.startswith(BOM):
                del self._rest[: len(BOM)]
        begun = 0
        for end in END.finditer(self._rest, start):
            event = bytes(self._rest[begun : end.end()])
            if has_content(event):
                return event
            begun = end.end()
        del self._rest[:begun]
        return b""

    def rest(self) -> bytes:
        """Return the last event of a stream that lacks its blank line; b"" without content."""
        rest = bytes(self._rest)
        return rest if has_content(rest) else b""


def has_content(event: bytes) -> bool:
    """Return whether an event has data and is no ping."""
    data = []
    for line in LINE.split(event):
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.strip())
        elif field == b"event" and value.strip().lower() in _PINGS:
            return False
    text = b"".join(data)
    return bool(text) and not _PING.match(text)
