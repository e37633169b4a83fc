"""Server-sent events: where they end, and the meter of a stream.

Source: WHATWG HTML, server-sent events, sections 9.2.5 and 9.2.6.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from sidecar.plugin_api.guard import log_plugin_error
from sidecar.plugin_api.json.outline import BOM, Outline, outline
from sidecar.plugin_api.usage_meter import MAX_EVENT_BYTES, BaseMeter, as_mapping
from sidecar.records import Usage

# Two line ends in a row; \r\n is one.
_LINE_END = rb"(?:\r\n|\n|\r(?!\n))"
END = re.compile(_LINE_END + _LINE_END)  # with {2}, a search does not skip what is no line end
LINE = re.compile(rb"\r\n|\n|\r")
_USUAL_EVENT = re.compile(rb"(?:event: ([^\r\n]*)\n)?data: ([^\r\n]*)")
_USUAL_ENDS = (b"\n\n", b"\r\n\r\n")
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)

MAX_HELD_BYTES = 64 << 20
"""A larger event is an error for what needs whole events: it would take the memory of other calls.
"""


class EventSplitter:
    """Cuts a stream into whole events, however its bytes arrive."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Return the events that these bytes complete, each with its blank line.

        Raises:
            ValueError: An event is larger than 64 MiB.
        """
        # A blank line may be split between two pieces: search from three bytes before the new ones.
        start, begun = max(0, len(self._held) - 3), 0
        self._held += data
        found: list[bytes] = []
        for match in END.finditer(self._held, start):
            if match.end() == len(self._held) and self._held.endswith(b"\r"):
                break  # the second half of this line end may still arrive
            found.append(bytes(self._held[begun : match.end()]))
            begun = match.end()
        del self._held[:begun]
        if len(self._held) > MAX_HELD_BYTES:
            raise ValueError("an event is larger than 64 MiB")
        return found

    def rest(self) -> bytes:
        """Return the bytes after the last event, and forget them."""
        held = bytes(self._held)
        self._held.clear()
        return held


MAX_NAME_BYTES = 256
"""Bytes that are kept of a line without data in a large event."""


class SseMeter(BaseMeter):
    """A meter of server-sent events; subclasses override `wanted` and `on_event`.

    Events that cannot matter are never parsed. The last event of a stream may be passed to
    `on_event` twice, the first time truncated. Of an event over `MAX_EVENT_BYTES`, `on_event` gets
    the JSON of its outline.

        class AcmeMeter(SseMeter):
            wanted = (b'"usage"', b"[DONE]")

            def on_event(self, event, data):
                if data == b"[DONE]":
                    self.finished = True
                else:
                    usage = as_mapping(self.read_object(data).get("usage"))
                    self._usage = Usage(as_count(usage.get("in")), as_count(usage.get("out")))
    """

    wanted: tuple[bytes, ...] = ()
    """Byte strings; only events that contain at least one are parsed."""
    repeated: bytes = b""
    """What an event contains if every event repeats the figures; only the latest one is parsed."""
    ordinary: msgspec.json.Decoder[Any] | None = None
    """Decodes only data that cannot matter but for what is `repeated`, and that reports no error to
    any client: faster than a search for `wanted` where most events are of that form."""
    ordinary_start: bytes = b"data: "
    """What such an event begins with, before its data: the rest of it is one line."""
    expects_end = True
    _latest = b""
    _given_up = False
    _begun = False
    _decode_ordinary: Callable[[bytes], object] | None = None
    """Decodes an ordinary event; None within an event, and before the first one."""
    _large: _LargeEvent | None = None
    _dispatched = True
    _finished = False

    def __init__(self) -> None:
        self._tail = bytearray()

    @property
    def at_boundary(self) -> bool:
        """True if the bytes so far end between two events."""
        idle = not self._given_up and self._large is None
        return idle and not self._tail.strip(b"\r\n")

    @at_boundary.setter
    def at_boundary(self, _: bool) -> None:
        """Ignore the value, which follows from the bytes."""

    @property
    def finished(self) -> bool:
        """True if the terminal event was read, also without its blank line."""
        if not self._finished:
            self._read_rest()
        return self._finished

    @finished.setter
    def finished(self, value: bool) -> None:
        self._finished = value

    def feed(self, data: bytes) -> bool | None:
        """Read the next bytes. Return True if they are one event that `ordinary` decodes.

        Events that arrive in one piece are not copied.
        """
        decode = self._decode_ordinary
        if (
            decode is not None
            and (line := data.removeprefix(self.ordinary_start)) is not data
            and data.endswith(_USUAL_ENDS)
        ):
            try:
                decode(line)
            except _UNREADABLE:
                pass
            else:  # one event between two others, of which at most its figures matter
                if self.repeated and data.find(self.repeated) >= 0:
                    self._latest = data
                return True
        if self._given_up:
            return False
        if not self._begun:
            data = self._beginning(data)
        if self._large is not None:
            data = self._feed_large(self._large, data)
        if self._tail or not data.endswith(_USUAL_ENDS):
            self._collect(data)
        else:
            self._events(data)
        is_between = self._begun and not self._tail and self._large is None
        if self.ordinary is not None and not self._given_up:
            self._decode_ordinary = self.ordinary.decode if is_between else None
        return False

    def usage(self) -> Usage | None:
        """Return the usage so far, also of a last event without its blank line."""
        self._read_rest()
        return self._usage

    def on_event(self, event: bytes, data: bytes) -> None:
        """Read one event. Override this.

        Args:
            event: The name of the event; b"" if it has none.
            data: Its data lines, joined by line feeds.
        """

    def read_object(self, data: bytes) -> Mapping[str, object]:
        """Return the JSON object of an event; its outline if it is malformed, {} if it is none.

        A loss marks the meter as `unread`, because it may have been the usage or the end.
        """
        try:
            return as_mapping(msgspec.json.decode(data))
        except _UNREADABLE:
            found = outline(data.removeprefix(BOM))
            self._note(found)
            return found.fields()

    def is_complete(self, data: bytes) -> bool:
        """Return whether an event is complete; a truncated one must not end the response."""
        return self._dispatched or bool(outline(data.removeprefix(BOM)).complete)

    def _note(self, found: Outline) -> None:
        if found.has_invalid_numbers or (
            self._dispatched and not (found.complete and found.fields())
        ):
            self.unread = True
            # The lost part may have been the end.
            self.expects_end = False

    def _beginning(self, data: bytes) -> bytes:
        """Return the first bytes without a byte order mark."""
        data = bytes(self._tail) + data
        self._tail.clear()
        if len(data) < len(BOM) and BOM.startswith(data):
            self._tail += data
            return b""
        self._begun = True
        return data.removeprefix(BOM)

    def _feed_large(self, large: _LargeEvent, data: bytes) -> bytes:
        """Read more of an event of which no copy is kept. Return the bytes after it."""
        rest = large.feed(data)
        if rest is None:
            return b""
        self._large = None
        self._note(large.outline)
        self._hand_over(large.name, json.dumps(large.outline.fields()).encode())
        return rest

    def _collect(self, data: bytes) -> None:
        # The cut may be within a line end, so search from three bytes before it.
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
        if _has_any(self.wanted, whole):
            self._read_latest()
            self._read_events(whole)
        elif self.repeated and whole.find(self.repeated) >= 0:
            self._latest = whole

    def _read_events(self, whole: bytes) -> None:
        wanted = (*self.wanted, self.repeated) if self.repeated else self.wanted
        for event in END.split(whole):
            if event and _has_any(wanted, event):
                self._event(event)

    def _event(self, event: bytes) -> None:
        usual = _USUAL_EVENT.fullmatch(event)
        if usual is not None:
            name, value = usual.groups(b"")
            self._hand_over(name, value)
            return
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
            return  # not an event (WHATWG HTML, section 9.2.6)
        self._hand_over(name, b"\n".join(data))

    def _hand_over(self, name: bytes, data: bytes) -> None:
        try:
            self.on_event(name, data)
        except Exception as error:  # noqa: BLE001 - of a plugin
            meter = f"meter {type(self).__qualname__}"
            log_plugin_error(error, meter, "on_event", "usage not counted further")
            self._give_up()

    def _give_up(self) -> None:
        self._given_up = self.unread = True
        self.expects_end, self._decode_ordinary = False, None
        self._tail.clear()


def _has_any(words: tuple[bytes, ...], data: bytes) -> bool:
    for word in words:  # noqa: SIM110 - faster than `any`
        if data.find(word) >= 0:  # faster than `in`, which raises an error and catches it
            return True
    return False


class _LargeEvent:
    """One event of which only its name and the outline of its data are kept."""

    def __init__(self) -> None:
        self.name = b""
        self.outline = Outline()
        self._field: bytes | None = None
        self._line = b""
        self._kept = b""

    def feed(self, data: bytes) -> bytes | None:
        """Read the next bytes. Return those after the event; None until it ends."""
        # The cut may be within a line end, so the last three bytes are kept for the next piece.
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
        """Read more of a line."""
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
