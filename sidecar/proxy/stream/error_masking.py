"""Masks the credential of an attempt in its errors; `Reply.mask_head` does so in each head.

A successful response is relayed byte for byte, as a model may write any text. In a stream only the
events that report an error are masked.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import partial

import msgspec
from msgspec import structs

from sidecar.http.client import Reply
from sidecar.http.content_coding import PLAIN_CODINGS, Unpacking
from sidecar.masking import CredentialMask
from sidecar.plugin_api.dialect import Dialect, Meter
from sidecar.plugin_api.error_class import Classification
from sidecar.plugin_api.guard import plugin_guard
from sidecar.plugin_api.json.outline import BOM, outline
from sidecar.plugin_api.sse import END, LINE
from sidecar.plugin_api.usage_meter import as_mapping, as_object
from sidecar.routing.call import Call

MASKED_BODY_BYTES = 64 * 1024
"""Bytes of an error's body in which every spelling of the credential is masked. After them only its
plain spelling is."""
MAX_HELD_BYTES = 64 * 1024
"""Bytes of an event that are held back, and that are kept to find out whether it is an error."""
_ERROR_FIRST = re.compile(rb'\s*\{\s*"error"\s*:\s*(?:"[^"]|\{\s*")')
_EVENTS = "text/event-stream"
_FIELDS = (b":", b"data", b"event", b"id", b"retry")
_USUAL_ENDS = (b"\n\n", b"\r\n\r\n")
_LINE_END_BYTES = 3
"""Bytes of a blank line that may have arrived before its last byte, at most."""


def mask_body(body: bytes, mask: CredentialMask | None) -> bytes:
    """Return the body of an error with the credential masked."""
    if mask is None:
        return body
    body = mask.mask_plain(body)
    return mask.mask(body[:MASKED_BODY_BYTES]) + body[MASKED_BODY_BYTES:]


async def mask_error(body: bytes, reply: Reply) -> bytes:
    """Return the body of an error response with the credential masked. A compressed body that
    contains the credential is returned decoded, and `reply` loses its Content-Encoding."""
    coding = reply.coding
    if reply.mask is None or coding in PLAIN_CODINGS or len(body) > MASKED_BODY_BYTES:
        return mask_body(body, reply.mask)
    # Decoding may yield a large body, which would block the event loop.
    plain = await asyncio.to_thread(Unpacking(coding).feed, body)
    masked = mask_body(plain, reply.mask)
    if masked == plain:
        return mask_body(body, reply.mask)
    head = reply.head
    kept = [each for each in head.fields if each[0].lower() != b"content-encoding"]
    reply.replace_head(head.reason, kept)
    return masked


async def mask_redirect(reply: Reply) -> None:
    """Mask the credential in the body of a redirect, which is not read as an error's body is.

    Raises `UpstreamError` if the body breaks off.
    """
    if reply.mask is not None:
        body, _ = await reply.read_all(MASKED_BODY_BYTES)
        reply.peeked = mask_body(body, reply.mask)


def masked_reason(classification: Classification, reply: Reply) -> Classification:
    """Return the classification with the credential masked in its reason."""
    mask = reply.mask
    reason = classification.reason if mask is None else mask.mask_text(classification.reason)
    return (
        classification
        if reason is classification.reason
        else structs.replace(classification, reason=reason)
    )


class ErrorEventMask:
    """Masks the credential in the error events of one stream of server-sent events.

    Bytes are held back only from where the credential may begin to the end of the event.

    Args:
        meter: Makes a meter of the dialect, which finds out whether an event is an error.
        labelled: Whether the Content-Type is that of events. If not, the first bytes decide: a body
            that is no stream of events is relayed unchanged.
        plugin: The plugin that is named in the log if its meter fails.

    Attributes:
        is_between_events: Whether nothing has arrived of an event that has not ended. An event that
            then comes whole, and is known to be no error, need not be fed.
    """

    # Most streams set none of these: the rest costs nothing in the class.
    _is_foreign = False
    _passed = 0
    """The number of the event's bytes that were returned."""
    _searched = 0
    """The number of its bytes that were searched for its end."""
    _holding = False
    _is_large_error = False
    _is_given_up = False

    def __init__(
        self, mask: CredentialMask, meter: Callable[[], Meter], *, labelled: bool = True,
        plugin: Dialect | str = "dialect plugin",
    ) -> None:  # fmt: skip
        self._mask = mask
        self._meter = meter
        self._plugin = plugin
        self._is_labelled = self.is_between_events = labelled
        self._event = bytearray()
        """The event that has not ended, without the middle of a large one."""

    @classmethod
    def of(cls, call: Call, reply: Reply) -> ErrorEventMask | None:
        """Return the mask for a response that may be a stream; None if it has nothing to mask."""
        if reply.mask is None or reply.coding:
            return None
        meter = partial(call.dialect.meter, call.endpoint, _EVENTS)
        labelled = reply.content_type.startswith(_EVENTS)
        return cls(reply.mask, meter, labelled=labelled, plugin=call.dialect)

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; return those to relay, of these and of the held ones."""
        is_whole = self.is_between_events and data.endswith(_USUAL_ENDS)
        if is_whole and not self._mask.has_opening(data):
            return data
        if self._is_foreign or not (self._is_labelled or self._is_known(data)):
            return data
        event = self._event
        event += data
        passed: list[bytes] = []
        begun = 0
        # A blank line may be split between two reads.
        for end in END.finditer(event, max(0, self._searched - _LINE_END_BYTES)):
            passed.append(self._ended(bytes(event[begun : end.end()]), cut=False))
            begun = end.end()
        del event[:begun]
        passed.append(self._advance())
        self._trim()
        self.is_between_events = self._is_labelled and not event
        return b"".join(passed)

    def _is_known(self, data: bytes) -> bool:
        """Return whether the first bytes may be events. Blank lines decide nothing."""
        start = bytes(self._event + data).removeprefix(BOM).lstrip()
        self._is_labelled = bool(start)
        self._is_foreign = not any(each[: len(start)] == start[: len(each)] for each in _FIELDS)
        return not self._is_foreign

    def rest(self) -> bytes:
        """Return the held bytes at the end of the stream, masked if they are of an error."""
        if not self._event:
            return b""
        event = bytes(self._event)
        self._event.clear()
        self.is_between_events = self._is_labelled
        return self._ended(event, cut=True)

    def _ended(self, event: bytes, *, cut: bool) -> bytes:
        """Return the rest of an event, masked if it is an error, and begin a new event."""
        left = event[self._passed :]
        is_error, given_up = self._is_large_error, self._is_given_up
        self._passed = self._searched = 0
        self._holding = self._is_large_error = self._is_given_up = False
        mask = self._mask.mask_cut if cut else self._mask.mask
        masked = left if given_up else mask(left)
        if masked == left:
            return left
        # An event that broke off may have become an error.
        is_error = is_error or (cut and not _is_complete(event)) or self._is_error(event)
        return masked if is_error else left

    def _advance(self) -> bytes:
        """Return the bytes to relay of an event that has not ended."""
        event, start = self._event, self._passed
        size = len(event)
        if self._holding and size - start > MAX_HELD_BYTES:
            self._holding = False
            self._is_large_error = self._is_error(bytes(event))
            self._is_given_up = not self._is_large_error
        if self._is_large_error:
            event[start:] = self._mask.mask(bytes(event[start:]))
            self._passed = max(start, size - self._mask.max_bytes)
        elif self._is_given_up:
            self._passed = size
        elif not self._holding:
            held, self._holding = self._mask.hold_from(bytes(event[start:]))
            self._passed = start + held
        self._searched = size
        return bytes(event[start : self._passed])

    def _trim(self) -> None:
        """Drop the middle of a large event."""
        spare = self._passed - _LINE_END_BYTES - MAX_HELD_BYTES
        if spare > MAX_HELD_BYTES:
            del self._event[MAX_HELD_BYTES : MAX_HELD_BYTES + spare]
            self._passed -= spare
            self._searched -= spare

    def _is_error(self, event: bytes) -> bool:
        name, data = _read(event)
        if name == b"error":
            return True
        if _ERROR_FIRST.match(data):
            return True  # also if the rest of it has not arrived
        fields = as_object(data) or outline(data).fields()
        if fields.get("error") or fields.get("type") == "error":
            return True
        if as_mapping(fields.get("response")).get("error"):
            return True
        with plugin_guard(self._plugin, "meter", "the event is taken for no error"):
            meter = self._meter()
            meter.feed(event)
            meter.usage()
            return meter.error is not None
        return False


def _read(event: bytes) -> tuple[bytes, bytes]:
    """Return the name of an event, and its data."""
    name, data = b"", []
    for line in LINE.split(event):
        field, _, value = line.partition(b":")
        if field == b"event":
            name = value.strip()
        elif field == b"data":
            data.append(value.removeprefix(b" "))
    return name, b"\n".join(data)


def _is_complete(event: bytes) -> bool:
    """Return whether an event lacks its blank line at most, or has neither name nor data."""
    name, data = _read(event)
    if not name and not data:
        return True
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return False
    return True
