"""Removes from a stream the usage that Sidecar requested and the client did not.

The dialect edits each event (`Dialect.strip_injected_usage`). An event that it cannot parse is
relayed unchanged.
"""

from __future__ import annotations

from collections.abc import Callable

from sidecar.plugin_api.dialect import Dialect
from sidecar.plugin_api.guard import plugin_guard
from sidecar.plugin_api.sse import END
from sidecar.plugin_api.usage_meter import MAX_EVENT_BYTES


class StreamFilter:
    """Edits the events of one stream. `unasked` returns an event without the injected usage.

    An event is held until it is complete. One larger than `MAX_EVENT_BYTES` is relayed unchanged.
    """

    def __init__(
        self, unasked: Callable[[bytes], bytes], plugin: Dialect | str = "dialect plugin"
    ) -> None:
        self._unasked = unasked
        self._plugin = plugin
        self._held = bytearray()
        self._given_up = False
        self._before: bytes | None = None
        """The last bytes relayed of a large event; None outside one."""

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; return those to relay, of these and of the held ones."""
        if self._given_up:
            return data
        if self._before is not None:
            size = self._size_in_large(self._before, data)
            return data if size is None else data[:size] + self.feed(data[size:])
        # A blank line may be split between two reads: search from three bytes before the new ones.
        start = max(0, len(self._held) - 3)
        self._held += data
        passed = []
        begun = 0
        for match in END.finditer(self._held, start):
            end = match.end()
            if end == len(self._held) and self._held.endswith(b"\n\r"):
                break  # the second half of this line end is still to arrive
            passed.append(self._edited(bytes(self._held[begun:end])))
            begun = end
        del self._held[:begun]
        if len(self._held) > MAX_EVENT_BYTES:
            self._before = bytes(self._held[-3:])
            passed.append(self._take())
        return b"".join(passed)

    def _size_in_large(self, before: bytes, data: bytes) -> int | None:
        """Return how many of the next bytes belong to a large event; None if it continues after
        them."""
        whole = before + data
        end = END.search(whole)
        if end is None or (end.end() == len(whole) and whole.endswith(b"\r")):
            self._before = whole[-3:]  # a blank line may be split here
            return None
        self._before = None
        return end.end() - len(before)

    def rest(self) -> bytes:
        """Return the held bytes at the end of the stream, edited: it may be an event that lacks its
        blank line."""
        return self._edited(self._take())

    def _take(self) -> bytes:
        held = bytes(self._held)
        self._held.clear()
        return held

    def _edited(self, event: bytes) -> bytes:
        if self._given_up:
            return event
        with plugin_guard(self._plugin, "strip_injected_usage", "the rest of the stream passes"):
            return self._unasked(event)
        self._given_up = True
        return event
