"""Puts secrets back into the text of an answer: JSON, or a stream of events.

Only text that the client shows is restored. The arguments of a tool keep their placeholders: a
prompt that was injected could make a tool carry a secret out. So do thinking blocks, which are
signed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from sidecar import EventSplitter
from sidecar_transforms.redact.placeholders import Placeholders

_INSIDE = frozenset({
    "choices", "message", "delta", "content", "output", "item", "part", "response", "candidates",
    "parts", "content_block",
})  # fmt: skip
"""Fields that may lead to a text."""
_WHOLE = frozenset({"response", "item", "part", "content_block", "message"})
"""Fields below which an event has a whole text, not the next piece of one."""
_TEXTS = frozenset({None, "text", "output_text", "text_delta", "response.output_text.done"})
_OTHER = re.compile("tool|call|reason|thinking")
"""Types of blocks and events that hold no text to restore."""
_PLACES = ("index", "output_index", "content_index")
_SUSPECT = re.compile(rb'\[["A-Z]|\\u005[bB]')
"""Found in every event with a placeholder, or with the beginning of one."""
_LINE = re.compile(rb"\r\n|\n|\r")

MAX_HELD = 64
"""Texts of one stream whose ends wait at a time; that of a further one passes as it is."""
Json = dict[str, Any]
TextPlace = tuple[object, ...]


class TextSlot(msgspec.Struct):
    """A text in an answer: `owner[field]`. `place` tells apart the texts of a stream; `is_piece` is
    whether more of the text may follow in the next event."""

    owner: Json
    field: str
    place: TextPlace
    is_piece: bool


def slots_of(
    value: object, place: TextPlace = (), *, piece: bool, last: str = ""
) -> Iterator[TextSlot]:
    """Yield the texts of a JSON value. `last` is the field that the value is in."""
    if isinstance(value, list):
        for each in value:
            yield from slots_of(each, place, piece=piece, last=last)
    if not isinstance(value, dict):
        return
    kind = value.get("type")
    if isinstance(kind, str) and _OTHER.search(kind):
        return
    place = (*place, *(value[name] for name in _PLACES if name in value))
    piece = piece and not (value.get("finish_reason") or value.get("finishReason"))
    for name, inner in value.items():
        if isinstance(inner, str):
            if _is_text(value, name, kind, last):
                is_piece = piece and kind != "response.output_text.done"
                yield TextSlot(value, name, place, is_piece)
        elif name in _INSIDE:
            yield from slots_of(inner, place, piece=piece and name not in _WHOLE, last=name)


def _is_text(owner: Json, name: str, kind: object, last: str) -> bool:
    if name == "text":
        return kind in _TEXTS and owner.get("thought") is not True
    if name == "content":
        return last in {"message", "delta"}
    return name == "delta" and kind == "response.output_text.delta"


class _Pieces:
    """Restores texts that arrive in pieces: what may begin a placeholder waits for the rest."""

    def __init__(self, placeholders: Placeholders) -> None:
        self._placeholders = placeholders
        self.held: dict[TextPlace, tuple[str, TextSlot, Json]] = {}

    def restore(self, event: Json) -> bool:
        """Restore the texts of an event; return whether it has a piece of one."""
        has_piece = False
        for slot in slots_of(event, piece=True):
            has_piece = has_piece or slot.is_piece
            before = self.held.pop(slot.place, ("",))[0] if _goes_on(slot) else ""
            text = self._placeholders.restored(before + slot.owner[slot.field])
            may_wait = slot.is_piece and len(self.held) < MAX_HELD
            cut = self._placeholders.cut(text) if may_wait else len(text)
            slot.owner[slot.field] = text[:cut]
            if cut < len(text):
                self.held[slot.place] = (text[cut:], slot, event)
        return has_piece


def _goes_on(slot: TextSlot) -> bool:
    """Return whether the text continues that of earlier events: a whole text does not."""
    kind = slot.owner.get("type")
    return slot.is_piece or kind is None


class JsonAnswer:
    """Restores the texts of a JSON answer, which is read to its end."""

    def __init__(self, placeholders: Placeholders, status: int, content_type: str) -> None:
        self._placeholders = placeholders
        self._body: list[bytes] = []
        self.status, self.content_type = status, content_type

    def feed(self, data: bytes) -> bytes:
        """Keep the next bytes."""
        self._body.append(data)
        return b""

    def end(self, *, complete: bool) -> bytes:
        """Return the answer; as it is if it is truncated or no JSON."""
        body = b"".join(self._body)
        if not complete or not _SUSPECT.search(body):
            return body
        try:
            document = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return body
        if isinstance(document, list):  # a stream of Gemini's, as one array
            pieces = _Pieces(self._placeholders)
            for each in filter(lambda one: isinstance(one, dict), document):
                pieces.restore(each)
            for rest, slot, _ in pieces.held.values():
                slot.owner[slot.field] += rest
        else:
            for slot in slots_of(document, piece=False):
                slot.owner[slot.field] = self._placeholders.restored(slot.owner[slot.field])
        return msgspec.json.encode(document)


class EventAnswer:
    """Restores the texts of a stream of events."""

    def __init__(self, placeholders: Placeholders, status: int, content_type: str) -> None:
        self._pieces = _Pieces(placeholders)
        self._events = EventSplitter()
        self._lines: list[bytes] = []
        self.status, self.content_type = status, content_type

    def feed(self, data: bytes) -> bytes:
        """Return the events that are complete."""
        return b"".join([self._event(each) for each in self._events.feed(data)])

    def end(self, *, complete: bool) -> bytes:
        """Return the held text, and the rest of the stream if it ended properly."""
        rest = self._events.rest()
        rest = self._event(rest) if complete and rest else b""
        return rest + self._flushed(list(self._pieces.held))

    def _event(self, event: bytes) -> bytes:
        held = self._pieces.held
        if not held and not _SUSPECT.search(event):
            return event
        lines = _LINE.split(event.rstrip(b"\r\n"))
        data = b"\n".join(line[5:] for line in lines if line.startswith(b"data:"))
        try:
            found = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            # A comment says nothing of the text; another event may be the end.
            return event if not data.strip() else self._flushed(list(held)) + event
        if not isinstance(found, dict):
            return event
        before = list(held)
        has_piece = self._pieces.restore(found)
        ended = [] if has_piece else [each for each in before if _ends(found, each)]
        names = [line for line in lines if not line.startswith(b"data:")]
        flushed = self._flushed([each for each in ended if each in held])
        self._lines = names
        return flushed + _written(names, found)

    def _flushed(self, places: list[TextPlace]) -> bytes:
        """Return events with the texts that were held: no placeholder came of them."""
        written = []
        for place in places:
            rest, slot, event = self._pieces.held.pop(place)
            slot.owner[slot.field] = rest
            written.append(_written(self._lines, event))
        return b"".join(written)


def _ends(event: Json, place: TextPlace) -> bool:
    """Return whether a text at `place` has ended before an event without a piece of text."""
    if event.get("type") == "ping":
        return False
    choices = event.get("choices")
    if not isinstance(choices, list):
        return True
    indices = {each.get("index") for each in choices if isinstance(each, dict)}
    return place[:1] == () or place[0] in indices


def _written(names: list[bytes], event: Json) -> bytes:
    return b"\n".join([*names, b"data: " + msgspec.json.encode(event)]) + b"\n\n"
