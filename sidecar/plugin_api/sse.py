"""Server-sent events: where they end, the first one with content, and the meter of a stream.

Source: WHATWG HTML, server-sent events, sections 9.2.5 and 9.2.6.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import msgspec

from sidecar.plugin_api.guard import plugin_guard
from sidecar.plugin_api.json_outline import BOM, Outline, outline
from sidecar.plugin_api.usage_meter import MAX_EVENT_BYTES, BaseMeter, as_mapping
from sidecar.records import Usage

# Two line ends in a row; \r\n is one.
END = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")
LINE = re.compile(rb"\r\n|\n|\r")
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
            if has_content(event):
                return event
            begun = end.end()
        del self._rest[:begun]
        return b""

    def rest(self) -> bytes:
        """Return the event that a stream ended in, without its blank line; b"" if it says
        nothing."""
        rest = bytes(self._rest)
        return rest if has_content(rest) else b""


def has_content(event: bytes) -> bool:
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


MAX_NAME_BYTES = 256
"""Bytes of a line of a large event that is not data."""


class SseMeter(BaseMeter):
    """Cuts server-sent events out of a stream; subclasses read those that matter.

    `wanted` are byte strings of which an event must hold at least one to be handed to `on_event`.
    Where every event repeats the figures, `repeated` is what such an event holds: of those that
    follow one another, only the latest is handed over, late. The last event of a stream may be
    handed over twice, the first time without its end. Of an event over `MAX_EVENT_BYTES` its
    outline is handed over, as JSON.
    """

    wanted: tuple[bytes, ...] = ()
    repeated: bytes = b""

    def __init__(self) -> None:
        self._tail = bytearray()
        self._latest = b""
        self._given_up = False
        self._begun = False
        self._large: _LargeEvent | None = None
        self._dispatched = True
        super().__init__()
        self.expects_end = True

    @property
    def at_boundary(self) -> bool:
        """No event is half way through."""
        idle = not self._given_up and self._large is None
        return idle and not self._tail.strip(b"\r\n")

    @at_boundary.setter
    def at_boundary(self, _: bool) -> None:
        """It follows from what was read."""

    @property
    def finished(self) -> bool:
        """The end was seen, even if the stream broke off before that event's blank line."""
        if not self._finished:
            self._read_rest()
        return self._finished

    @finished.setter
    def finished(self, value: bool) -> None:
        self._finished = value

    def feed(self, data: bytes) -> None:
        """Take the next bytes; a whole event that comes in one piece is never copied."""
        if self._given_up:
            return
        if not self._begun:
            data = self._beginning(data)
        if self._large is not None:
            data = self._feed_large(self._large, data)
        if not self._tail and data.endswith((b"\n\n", b"\r\n\r\n")):
            self._events(data)
            return
        self._collect(data)

    def usage(self) -> Usage | None:
        """What was reported so far, also by a last event that lacks its blank line."""
        self._read_rest()
        return self._usage

    def on_event(self, event: bytes, data: bytes) -> None:
        """One event: its name (b"" when it has none) and its data."""

    def read_object(self, data: bytes) -> Mapping[str, object]:
        """The JSON object that an event holds, or its outline where it is not quite JSON; {} for
        anything else. What cannot be read is noted: it may have been what the stream ended with."""
        try:
            return as_mapping(msgspec.json.decode(data))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
            found = outline(data.removeprefix(BOM))
            self._note(found)
            return found.fields()

    def is_complete(self, data: bytes) -> bool:
        """Whether all of this event came: one that the stream breaks off in ends nothing."""
        return self._dispatched or bool(outline(data.removeprefix(BOM)).complete)

    def _note(self, found: Outline) -> None:
        if found.has_invalid_numbers or (
            self._dispatched and not (found.complete and found.fields())
        ):
            self.unread = True
            # Nobody can tell any more how it ends.
            self.expects_end = False

    def _beginning(self, data: bytes) -> bytes:
        """The first bytes, without the mark that may stand before them."""
        data = bytes(self._tail) + data
        self._tail.clear()
        if len(data) < len(BOM) and BOM.startswith(data):
            self._tail += data
            return b""
        self._begun = True
        return data.removeprefix(BOM)

    def _feed_large(self, large: _LargeEvent, data: bytes) -> bytes:
        """Read on in an event of which no copy is kept; what comes behind it."""
        rest = large.feed(data)
        if rest is None:
            return b""
        self._large = None
        self._note(large.outline)
        self._hand_over(large.name, json.dumps(large.outline.fields()).encode())
        return rest

    def _collect(self, data: bytes) -> None:
        # A line end may straddle the cut: look again from three bytes before it.
        start = max(0, len(self._tail) - 3)
        self._tail += data
        end = 0
        for match in END.finditer(self._tail, start):
            end = match.end()
        if end:
            whole = bytes(self._tail[:end])
            del self._tail[:end]
            self._events(whole)
        if len(self._tail) > MAX_EVENT_BYTES:
            self._read_latest()
            self._large = _LargeEvent()
            self._large.feed(bytes(self._tail))
            self._tail.clear()

    def _read_rest(self) -> None:
        self._read_latest()
        if self._tail.strip(b"\r\n"):
            self._dispatched = False
            self._read_events(bytes(self._tail))
            self._dispatched = True

    def _read_latest(self) -> None:
        latest, self._latest = self._latest, b""
        if latest:
            self._read_events(latest)

    def _events(self, whole: bytes) -> None:
        for want in self.wanted:
            if want in whole:
                self._read_latest()
                self._read_events(whole)
                return
        if self.repeated and self.repeated in whole:
            self._latest = whole

    def _read_events(self, whole: bytes) -> None:
        wanted = (*self.wanted, self.repeated) if self.repeated else self.wanted
        for event in END.split(whole):
            if any(want in event for want in wanted):
                self._event(event)

    def _event(self, event: bytes) -> None:
        name = b""
        data = []
        for line in LINE.split(event):
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"data":
                data.append(value)
            elif field == b"event":
                name = value
        if not data:
            return  # without data it is no event (WHATWG HTML, section 9.2.6)
        self._hand_over(name, b"\n".join(data))

    def _hand_over(self, name: bytes, data: bytes) -> None:
        meter = f"meter {type(self).__qualname__}"
        with plugin_guard(meter, "on_event", "usage not counted further"):
            self.on_event(name, data)
            return
        self._give_up()

    def _give_up(self) -> None:
        self._given_up = self.unread = True
        self.expects_end = False
        self._tail.clear()


class _LargeEvent:
    """One event of which no copy is kept, but its name and the outline of its data."""

    def __init__(self) -> None:
        self.name = b""
        self.outline = Outline()
        self._field: bytes | None = None
        self._line = b""
        self._kept = b""

    def feed(self, data: bytes) -> bytes | None:
        """Take the next bytes; what comes behind the event once it has ended, and None before."""
        # A line end may straddle the cut: the last three bytes wait for what follows them.
        data = self._kept + data
        end = END.search(data)
        if end is not None:
            self._take(data[: end.start()])
            self._end_line()
            return data[end.end() :]
        kept = 3 if data[-3:].strip(b"\r\n") != data[-3:] else 0
        self._kept = data[len(data) - kept :]
        self._take(data[: len(data) - kept])
        return None

    def _take(self, data: bytes) -> None:
        first, *more = LINE.split(data)
        self._add(first)
        for line in more:
            self._end_line()
            self._add(line)

    def _add(self, piece: bytes) -> None:
        """More of a line."""
        if self._field is None:
            field, colon, rest = (self._line + piece).partition(b":")
            if not colon:
                self._line = field[:MAX_NAME_BYTES]
                return
            self._field, self._line, piece = field, b"", rest
        if self._field == b"data":
            self.outline.feed(piece)
        else:
            self._line += piece[: MAX_NAME_BYTES - len(self._line)]

    def _end_line(self) -> None:
        if self._field == b"event":
            self.name = self._line.removeprefix(b" ")
        self._field, self._line = None, b""
