"""Reads usage off a copy of an answer's bytes: the same result however they are cut.

Bytes that cannot hold what is looked for are never decoded. Nothing here raises on what an
upstream sends, and giving up reading never holds the bytes themselves up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from sidecar.usage import Usage

MOST_PER_EVENT = 8 << 20
"""Bytes of one event, or of one JSON answer per MiB times 8, beyond which reading is given up."""
MOST_JSON = 64 << 20
MOST_TOKENS = 1_000_000_000

# Two line ends in a row; \r\n is one (WHATWG HTML, server-sent events, section 9.2.5).
_END = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")
_LINE = re.compile(rb"\r\n|\n|\r")


def as_count(value: object) -> int | None:
    """A figure as a count, at most a thousand million; None for what is none."""
    if type(value) is int:
        return value if 0 <= value <= MOST_TOKENS else min(max(value, 0), MOST_TOKENS)
    if not isinstance(value, float) or value != value:  # noqa: PLR0124 - NaN
        return None
    return int(min(max(value, 0), MOST_TOKENS))


def as_mapping(value: object) -> Mapping[str, object]:
    """The value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


class Glance(msgspec.Struct):
    """The fields of an answer that meters look at; the rest of it is never built."""

    model: Any = None
    id: Any = None
    usage: Any = None
    service_tier: Any = None


def glance(data: bytes) -> Glance:
    """What matters of a JSON object; nothing of anything else."""
    try:
        return _GLANCE.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return Glance()


_GLANCE = msgspec.json.Decoder(Glance)


def as_object(data: bytes) -> Mapping[str, object]:
    """A JSON object, or an empty one for anything else."""
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return {}
    return as_mapping(value)


class BaseMeter:
    """What every meter keeps; a subclass fills it as it reads."""

    def __init__(self) -> None:
        self.finished = False
        self.expects_end = False
        self.at_boundary = False
        self.model: str | None = None
        self.error: str | None = None
        self._created: tuple[str, ...] = ()
        self._usage: Usage | None = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""

    def usage(self) -> Usage | None:
        """What was reported so far."""
        return self._usage

    def created(self) -> tuple[str, ...]:
        """The ids of what the answer says was created."""
        return self._created


class NoMeter(BaseMeter):
    """For answers that report nothing."""


class JsonMeter(BaseMeter):
    """Collects one JSON answer and reads it once; subclasses give `read_answer`, or `read_bytes`
    where the answer is no object."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._size = 0
        self._read = False

    def feed(self, data: bytes) -> None:
        """Keep a copy, up to a cap."""
        self._size += len(data)
        if self._size <= MOST_JSON:
            self._pieces.append(data)

    def usage(self) -> Usage | None:
        """What the whole answer says; None when it broke off or was too large."""
        self._once()
        return self._usage

    def created(self) -> tuple[str, ...]:
        """The ids in the whole answer."""
        self._once()
        return self._created

    def read_answer(self, answer: Glance) -> None:
        """Take usage, `model` and ids from what matters of the answer."""

    def _once(self) -> None:
        if self._read:
            return
        self._read = True
        if self._size <= MOST_JSON:
            self.read_bytes(b"".join(self._pieces))
        self._pieces.clear()

    def read_bytes(self, data: bytes) -> None:
        """Read the whole answer."""
        self.read_answer(glance(data))


class SseMeter(BaseMeter):
    """Cuts server-sent events out of a stream; subclasses read those that matter.

    `wanted` are byte strings of which an event must hold at least one to be handed to `on_event`.
    """

    wanted: tuple[bytes, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.expects_end = True
        self._tail = bytearray()
        self._given_up = False

    @property
    def at_boundary(self) -> bool:
        """No event is half way through."""
        return not self._given_up and not self._tail.strip(b"\r\n")

    @at_boundary.setter
    def at_boundary(self, _: bool) -> None:
        """It follows from what was read."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes; a whole event that comes in one piece is never copied."""
        if self._given_up:
            return
        if not self._tail and data.endswith(b"\n\n"):
            self._events(data)
            return
        self._collect(data)

    def usage(self) -> Usage | None:
        """Also read a last event that lacks its blank line."""
        if self._tail.strip(b"\r\n"):
            rest, self._tail = bytes(self._tail), bytearray()
            self._events(rest)
        return self._usage

    def on_event(self, event: bytes, data: bytes) -> None:
        """One event: its name (b"" when it has none) and its data."""

    def _collect(self, data: bytes) -> None:
        # A line end may straddle the cut: look again from three bytes before it.
        start = max(0, len(self._tail) - 3)
        self._tail += data
        end = 0
        for match in _END.finditer(self._tail, start):
            end = match.end()
        if end == len(self._tail) and self._tail.endswith(b"\r"):
            # Its \n may follow; it would look like an empty event, which is none.
            end = len(self._tail)
        if end:
            whole = bytes(self._tail[:end])
            del self._tail[:end]
            self._events(whole)
        if len(self._tail) > MOST_PER_EVENT:
            self._given_up = True
            # Nobody can tell any more how it ends.
            self.expects_end = False
            self._tail.clear()

    def _events(self, whole: bytes) -> None:
        if not any(want in whole for want in self.wanted):
            return
        for event in _END.split(whole):
            if any(want in event for want in self.wanted):
                self._event(event)

    def _event(self, event: bytes) -> None:
        name = b""
        data = []
        for line in _LINE.split(event):
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"data":
                data.append(value)
            elif field == b"event":
                name = value
        self.on_event(name, b"\n".join(data))
