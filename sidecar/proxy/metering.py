"""The usage meter of one response, and the usage of a call when its response has ended."""

from __future__ import annotations

import re
from urllib.parse import unquote

from sidecar.config.model import Provider
from sidecar.http.client import Reply
from sidecar.http.content_coding import PLAIN_CODINGS, Unpacking
from sidecar.plugin_api.dialect import Dialect, Meter
from sidecar.plugin_api.error_class import code_word
from sidecar.plugin_api.guard import log_plugin_error, plugin_guard
from sidecar.plugin_api.usage_meter import NoMeter
from sidecar.plugin_api.vendor import Vendor
from sidecar.proxy.in_flight import LiveCall
from sidecar.records import Outcome, Usage, UsageState
from sidecar.routing.call import Call

EVENTS, JSON = "text/event-stream", "application/json"
# Bound here, as Python 3.11 takes 0.2 µs to find a member of an enum.
_OK, _CANCELLED, _REPORTED = Outcome.OK, Outcome.CANCELLED, UsageState.REPORTED
_FIRST = re.compile(
    rb"(?P<json>(?:\xef\xbb\xbf)?\s*[{\[])"
    rb"|(?P<events>(?:\xef\xbb\xbf)?[\r\n]*(?:(?:data|event|id|retry)?:|data[\r\n]))"
)
_USUAL_KINDS = {
    JSON: "json",
    f"{JSON}; charset=utf-8": "json",
    EVENTS: "events",
    f"{EVENTS}; charset=utf-8": "events",
}
"""What the first bytes are at the usual content types, so that nothing else is to be decided."""
_MAX_BLANK_BYTES = 64
"""Bytes of blank lines after which a response is metered by its Content-Type."""


class ResponseMeter:
    """The dialect's meter for the response to a call, which is decoded for it.

    The meter is chosen by the content type, or by the first bytes if they contradict it.
    """

    def __init__(self, call: Call, reply: Reply) -> None:
        self._call = call
        self._mask = reply.mask
        self._label = label = reply.content_type
        self._unpacking: Unpacking | None = None
        self._head: bytes | None = b""
        if reply.coding not in PLAIN_CODINGS:
            self._unpacking = Unpacking(reply.coding)
            if not self._unpacking.known:
                self._meter: Meter = NoMeter()
                return
        self._meter = call.dialect.meter(call.endpoint, label)

    def feed(self, data: bytes) -> bool | None:
        """Take the next bytes, still in their content coding. Return what the dialect's meter does
        of plain ones."""
        if self._unpacking is not None:
            data = self._unpacking.feed(data)
        elif self._head is None:
            # Nothing is left to be done here: all further bytes go to that meter directly.
            self.feed = self._meter.feed  # type: ignore[method-assign]
            return self._meter.feed(data)
        if self._head is None:
            self._meter.feed(data)
        elif data:
            self._head = head = self._head + data if self._head else data
            found = _FIRST.match(head)
            if found is not None and found.lastgroup == _USUAL_KINDS.get(self._label):
                self._head = None
                self._meter.feed(head)
            elif (
                found is not None
                or len(head.lstrip()) > len("event:")
                or len(head) > _MAX_BLANK_BYTES
            ):
                self._choose(head, found)
        return False

    def chosen(self) -> Meter:
        """Return the dialect's meter, fed with all bytes so far; its texts are not masked."""
        if self._head:
            self._choose(self._head, _FIRST.match(self._head))
        return self._meter

    def usage(self) -> Usage | None:
        """Return the usage reported so far."""
        return self.chosen().usage()

    def created(self) -> tuple[str, ...]:
        """Return the ids of the objects that the response created."""
        return self.chosen().created()

    @property
    def finished(self) -> bool:
        """True once the terminal event has arrived."""
        return self.chosen().finished

    @property
    def expects_end(self) -> bool:
        """True if a response of this kind always has a terminal event."""
        return self.chosen().expects_end

    @property
    def pending(self) -> bool:
        """True if the response reports that its work is still in progress."""
        return self.chosen().pending

    @property
    def unfinished(self) -> bool:
        """True if the response is incomplete; False for plain text, which may look like JSON."""
        chosen = self.chosen()
        return (
            chosen.unfinished
            and not self._lost
            and (chosen.expects_end or not self._label.startswith("text/plain"))
        )

    @property
    def unread(self) -> bool:
        """True if a part of the response could not be read."""
        return self.chosen().unread or self._lost

    def complete(self, *, whole: bool) -> bool:
        """Return whether the response ended as it should, and all of it was read.

        `whole` is whether all its bytes arrived: a response with a terminal event is complete
        without them.
        """
        # As `unfinished` and `unread`, which are asked only if the meter alone does not decide.
        chosen = self.chosen() if self._head else self._meter
        if not chosen.finished and (not whole or (chosen.unfinished and self.unfinished)):
            return False
        return not chosen.unread and (self._unpacking is None or not self._unpacking.lost)

    @property
    def at_boundary(self) -> bool:
        """True if an event may be written after these bytes; never in a compressed response."""
        return self._unpacking is None and not self._head and self._meter.at_boundary

    @property
    def model(self) -> str | None:
        """The model that the response names."""
        return self.masked(self.chosen().model)

    @property
    def error(self) -> str | None:
        """The vendor's error code or message inside the response."""
        return self.masked(self.chosen().error)

    def masked(self, word: str | None) -> str | None:
        """Return a word of the response with the credential masked."""
        return word if not word or self._mask is None else self._mask.mask_text(word)

    @property
    def _lost(self) -> bool:
        return self._unpacking is not None and self._unpacking.lost

    def _choose(self, head: bytes, found: re.Match[bytes] | None) -> None:
        """Feed the first bytes to the meter for their kind, as `_FIRST` found it."""
        self._head = None
        kind = None if found is None else found.lastgroup
        if kind is not None and (shown := self._shown(kind)) != self._label:
            dialect = self._call.dialect
            with plugin_guard(dialect, "meter", f"usage in {shown} is not counted"):
                self._meter = dialect.meter(self._call.endpoint, shown)
        self._meter.feed(head)

    def _shown(self, kind: str) -> str:
        """Return the content type of a response whose first bytes are of this kind."""
        label = self._label
        vague = not label or label.startswith("text/")
        events, is_json = label.startswith(EVENTS), "json" in label
        if kind == "events" and not events and self._call.facts.streaming:
            return EVENTS
        if kind == "json" and not is_json and vague:
            return JSON
        return label


def read_meter(
    live: LiveCall, call: Call, provider: Provider | None, meter: ResponseMeter, *, whole: bool
) -> Usage | None:
    """Set the call's usage; return that of an earlier call, if a complete response reports it.

    `whole` is whether all bytes of the response arrived.
    """
    usage: Usage | None = None
    retold = call.method != "POST"
    plugin: Dialect | Vendor = call.dialect
    complete = whole
    try:
        chosen = meter.chosen()
        retold = is_lookup(call, chosen)
        usage = chosen.usage()
        if chosen.pending:
            usage = None  # of work that is still in progress
        elif usage is not None and provider is not None:
            plugin = provider.vendor
            usage = plugin.normalize(usage, call.endpoint)
    except Exception as error:  # noqa: BLE001 - of a plugin
        hook = "meter" if plugin is call.dialect else "normalize"
        log_plugin_error(error, plugin, hook, f"usage of call {live.call_id} is not counted")
        usage = None
    live.usage, live.repeats_usage = (None if retold else usage), retold
    try:
        complete = _read_end(live, meter, whole=whole)
    except Exception as error:  # noqa: BLE001 - of a plugin
        unknown = f"whether the response of call {live.call_id} is complete is unknown"
        log_plugin_error(error, call.dialect, "meter", unknown)
    if live.usage is not None:
        live.usage_state = _REPORTED if complete else UsageState.PARTIAL
    elif call.bills and not retold:
        live.usage_state = UsageState.UNKNOWN
    return usage if retold and complete else None


def _read_end(live: LiveCall, meter: ResponseMeter, *, whole: bool) -> bool:
    """Set model, outcome and reason from the response; return whether it is complete."""
    chosen = meter.chosen()
    # The name that the provider was asked for is known already.
    asked = live.candidate
    if (model := chosen.model) and (asked is None or model != asked.model):
        live.model_named = meter.masked(model)
    error = chosen.error
    if live.outcome is _CANCELLED and chosen.finished:
        # Some clients disconnect as soon as they have read the terminal event.
        live.outcome = _OK
    if error is not None and live.outcome is _OK:
        live.outcome = Outcome.UPSTREAM_ERROR
        live.reason = f"in its answer: {code_word(meter.masked(error))}"
    return meter.complete(whole=whole)


def is_lookup(call: Call, meter: Meter) -> bool:
    """Return whether a call did no billable work, such as a read of an object by its id.

    `meter` has the ids in the response: an id in the request's path was created earlier.
    """
    if call.method != "POST":
        return True
    endpoint = call.endpoint
    if endpoint.owned is None and endpoint.named:
        return False  # its path has no id, whatever id the response has
    if endpoint.owned is not None and endpoint.creates is None and not endpoint.starts_work:
        return True
    path = unquote(call.located.path)
    return any(name and _stands_in(path, name) for name in meter.created())


def _stands_in(path: str, name: str) -> bool:
    return path.endswith(f"/{name}") or f"/{name}/" in path or f"/{name}:" in path
