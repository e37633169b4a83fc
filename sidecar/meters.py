"""Reads usage off a copy of an answer's bytes: the same result however they are cut.

Bytes that cannot hold what is looked for are never decoded. Nothing here raises on what an
upstream sends, and giving up reading never holds the bytes themselves up.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from fractions import Fraction
from math import isfinite
from typing import Any

import msgspec

from sidecar.sse import END, LINE
from sidecar.usage import Usage

MOST_PER_EVENT = 8 << 20
"""Bytes of one event beyond which a stream is no longer read (but still passed on)."""
MOST_JSON = 64 << 20
"""Bytes of one JSON answer beyond which it is not read."""
MOST_TOKENS = 1_000_000_000
MOST_COST = 10**15
"""A million dollars, in nano-dollars."""

log = logging.getLogger("sidecar.meters")


def as_count(value: object) -> int | None:
    """A figure as a count, at most a thousand million; None for what is none."""
    if type(value) is int:
        return value if 0 <= value <= MOST_TOKENS else min(max(value, 0), MOST_TOKENS)
    if not isinstance(value, float) or value != value:  # noqa: PLR0124 - NaN
        return None
    return int(min(max(value, 0), MOST_TOKENS))


def as_cost(value: object, per_dollar: int = 1) -> int | None:
    """An amount of money in nano-dollars, at most a million dollars; None for what is none.
    `per_dollar` is how many of the amount make a US dollar."""
    if isinstance(value, float):
        exact = Fraction(str(value)) if isfinite(value) else None
    else:
        exact = Fraction(value) if type(value) is int else None
    if exact is None:
        return None
    return min(max(round(exact * 10**9 / per_dollar), 0), MOST_COST)


def as_mapping(value: object) -> Mapping[str, object]:
    """The value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


class Glance(msgspec.Struct):
    """The fields of an answer that meters look at; the rest of it is never built."""

    model: Any = None
    id: Any = None
    usage: Any = None
    service_tier: Any = None
    tool_usage: Any = None
    error: Any = None
    status: Any = None


def glance(data: bytes) -> Glance:
    """What matters of a JSON object; nothing of anything else."""
    try:
        return _GLANCE.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return Glance()


_GLANCE = msgspec.json.Decoder(Glance)


def error_word(error: object) -> str | None:
    """The shortest word of an `error` member for what went wrong: its code, its type, its status;
    None when there is no error."""
    if not error:
        return None
    fields = as_mapping(error)
    word = fields.get("code") or fields.get("type") or fields.get("status")
    return str(word or "error")[:80]


def as_object(data: bytes) -> Mapping[str, object]:
    """A JSON object, or an empty one for anything else."""
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return {}
    return as_mapping(value)


def _report(meter: object, error: Exception) -> None:
    log.warning("%s failed on an answer: %s", type(meter).__qualname__, type(error).__name__)


class BaseMeter:
    """What every meter keeps; a subclass fills it as it reads."""

    def __init__(self) -> None:
        self.finished = False
        self.expects_end = False
        self.pending = False
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
    """Collects one JSON answer and reads it when asked; subclasses give `read_answer`, or
    `read_bytes` where the answer is no object."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._size = 0
        self._size_read = 0

    def feed(self, data: bytes) -> None:
        """Keep a copy, up to a cap."""
        self._size += len(data)
        if self._size <= MOST_JSON:
            self._pieces.append(data)
        else:
            self._pieces.clear()

    def usage(self) -> Usage | None:
        """What the whole answer says; None when it broke off or was too large."""
        self._read()
        return self._usage

    def created(self) -> tuple[str, ...]:
        """The ids in the whole answer."""
        self._read()
        return self._created

    def read_answer(self, answer: Glance) -> None:
        """Take usage, `model` and ids from what matters of the answer."""

    def _read(self) -> None:
        if self._size_read == self._size:
            return
        self._size_read = self._size
        if self._size <= MOST_JSON:
            data = b"".join(self._pieces)
            self._pieces = [data]
            try:
                self.read_bytes(data)
            except Exception as error:  # noqa: BLE001 - accounting must never break traffic
                _report(self, error)

    def read_bytes(self, data: bytes) -> None:
        """Read what has come of the answer."""
        self.read_answer(glance(data))


class SseMeter(BaseMeter):
    """Cuts server-sent events out of a stream; subclasses read those that matter.

    `wanted` are byte strings of which an event must hold at least one to be handed to `on_event`.
    Where every event repeats the figures, `repeated` is what such an event holds: of those that
    follow one another, only the latest is handed over, late. The last event of a stream may be
    handed over twice, the first time without its end.
    """

    wanted: tuple[bytes, ...] = ()
    repeated: bytes = b""

    def __init__(self) -> None:
        self._tail = bytearray()
        self._latest = b""
        self._given_up = False
        super().__init__()
        self.expects_end = True

    @property
    def at_boundary(self) -> bool:
        """No event is half way through."""
        return not self._given_up and not self._tail.strip(b"\r\n")

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
        if len(self._tail) > MOST_PER_EVENT:
            self._give_up()

    def _read_rest(self) -> None:
        self._read_latest()
        if self._tail.strip(b"\r\n"):
            self._read_events(bytes(self._tail))

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
        try:
            self.on_event(name, b"\n".join(data))
        except Exception as error:  # noqa: BLE001 - accounting must never break traffic
            _report(self, error)
            self._give_up()

    def _give_up(self) -> None:
        self._given_up = True
        # Nobody can tell any more how it ends.
        self.expects_end = False
        self._tail.clear()
