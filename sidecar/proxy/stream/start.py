"""Holds the start of a streamed response until its first event is classified.

Some vendors answer with status 200 and then an error, or with an empty stream. While the client has
received no byte, another provider may serve the call.
"""

from __future__ import annotations

import re

from msgspec import Struct

from sidecar.errors import Fault, UpstreamError
from sidecar.http.client import Reply
from sidecar.http.content_coding import PLAIN_CODINGS
from sidecar.plugin_api.error_class import Classification, ErrorClass, code_word
from sidecar.plugin_api.guard import plugin_guard
from sidecar.plugin_api.json.outline import BOM
from sidecar.proxy.stream.first_event import FirstEvent, usual_first_event
from sidecar.routing.call import Call
from sidecar.routing.candidates import Candidate

HELD_BYTES = 64 * 1024
"""Bytes of a response that are held at most."""
HELD_SECONDS = 2.0
"""Seconds for which a response is held at most."""
_SAMPLE_BYTES = 512
"""Bytes by which the kind of a response is recognised: events, JSON or a page."""
TAKEN = Classification(ErrorClass.OK)
_EVENTS, _JSON = "text/event-stream", "application/json"
_HELD_TYPES = frozenset({"", _EVENTS, _JSON, "text/plain", "text/html"})
"""Content types of responses whose start is held; others, such as audio, are relayed at once."""
_FIELDS = (b":", b"data", b"event", b"id", b"retry")
_FIRST_NAME = re.compile(rb'\[\s*\{\s*"([^"]*)"')
_EMPTY_ARRAY = re.compile(rb"\[\s*\]")
EMPTY = "its stream ended before its first event"
WEB_PAGE = "its answer is a web page"


class Beginning(Struct, frozen=True):
    """The classification of a response by its first event.

    `known` is false for an error whose code neither the vendor's plugin nor Sidecar recognises.
    """

    judgement: Classification
    known: bool


async def read_beginning(call: Call, candidate: Candidate, reply: Reply) -> Beginning | None:
    """Hold a streamed response until its first event, and classify it by that event. Return None if
    the response is to be relayed.

    It is held for at most `HELD_BYTES` and `HELD_SECONDS`; `reply.read` returns the held bytes
    again. Raises `UpstreamError` if the stream breaks off, is empty or is a web page.
    """
    if not call.facts.streaming:
        return None
    event = usual_first_event(reply.peek())
    if event and event.find(b"error") < 0:
        return None  # as most streams: the rest decides the same
    if not _is_held(reply):
        return None
    reader = _Reader(reply.media_type)
    ended = await reply.hold(reader.feed, HELD_BYTES, HELD_SECONDS)
    if reader.is_page:
        raise UpstreamError(Fault.PROTOCOL, WEB_PAGE, sent=True)
    if ended and reader.is_empty(reply.peeked):
        raise UpstreamError(Fault.PROTOCOL, EMPTY, sent=True)
    answer = reader.answer(reply.peeked, ended=ended)
    return _judged(call, candidate, *answer) if b"error" in answer[1] else None


def _is_held(reply: Reply) -> bool:
    return (
        200 <= reply.status < 300
        and reply.coding in PLAIN_CODINGS
        and reply.status != 204  # which has no body
        and reply.media_type in _HELD_TYPES
    )


class _Reader:
    """Finds the first event of a response; recognises its kind by its bytes, not by its label."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._start = b""
        self._events = FirstEvent()
        self._event = b""
        self.is_page = False

    def feed(self, data: bytes) -> bool:
        """Take the next bytes; return whether enough have arrived to classify the response."""
        if len(self._start) < _SAMPLE_BYTES:
            self._start = (self._start + data).removeprefix(BOM).lstrip()
        start = self._start
        if start.startswith(b"{"):
            return False  # an object is classified when it is complete
        if start.startswith(b"["):
            name = _FIRST_NAME.match(start)
            return name is not None and name[1] != b"error"
        self.is_page = start.startswith(b"<") and self._label != _EVENTS
        self._event = self._events.feed(data)
        return bool(self._event) or self.is_page or self._is_foreign(start)

    def is_empty(self, body: bytes) -> bool:
        """Return whether a response that has ended has no event and no JSON value."""
        body = body.removeprefix(BOM).strip()
        if body.startswith((b"{", b"[")):
            return bool(_EMPTY_ARRAY.fullmatch(body))
        return not self._event and not self._events.rest() and not self._is_foreign(body)

    def answer(self, body: bytes, *, ended: bool) -> tuple[str, bytes]:
        """Return the content type and the bytes of a possible error; b"" if it cannot be one."""
        if self._start.startswith((b"{", b"[")):
            return _JSON, body.removeprefix(BOM) if ended else b""
        return _EVENTS, self._event or (self._events.rest() if ended else b"")

    def _is_foreign(self, start: bytes) -> bool:
        """Return whether the bytes cannot be events, and the label is not that of events."""
        if self._label == _EVENTS or not start:
            return False
        return not any(start.startswith(each) or each.startswith(start) for each in _FIELDS)


def _judged(call: Call, candidate: Candidate, kind: str, data: bytes) -> Beginning | None:
    vendor = candidate.provider.vendor
    error: str | None = None
    with plugin_guard(call.dialect, "meter", "the response is passed on"):
        meter = call.dialect.meter(call.endpoint, kind)
        meter.feed(data)
        meter.usage()  # a meter for JSON parses its input here
        error = meter.error
    if error is None:
        return None
    verdict = ErrorClass.CLIENT_ERROR
    with plugin_guard(vendor, "classify_event", "the response is passed on"):
        verdict = vendor.classify_event(error)
    if verdict is ErrorClass.CLIENT_ERROR:
        return None  # the client's error: the stream is relayed
    known = verdict is not ErrorClass.OK
    reason = f"in its stream: {code_word(error)}"
    return Beginning(Classification(verdict if known else ErrorClass.OVERLOADED, reason), known)
