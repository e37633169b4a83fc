"""The contract of a transform: it may change the bytes of a call, on a route that names it.

A transform is sans-I/O: values in, values out. It uses no socket, clock or metric. Its methods run
in the event loop, so each must return within milliseconds; `request` runs in a thread for a body of
256 KiB or more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple, Protocol

from msgspec import Struct

from sidecar.plugin_api.sse import EventSplitter
from sidecar.plugin_api.vendor import Vendor

ANY_ENDPOINT = "any"
"""The name of an endpoint that stands for the main one of a dialect, in forecasts."""
HeaderFields = tuple[tuple[bytes, bytes], ...]


class TransformTarget(NamedTuple):
    """The dialect and the endpoint, by name, in which a provider is called.

    With `local` no provider is called: `Transform.answer` answers the call.
    """

    dialect: str
    endpoint: str
    local: bool = False


class TransformRefused(Exception):
    """The call cannot be transformed for this route; the client gets `reason` with status 400.

    `reason` must not quote the request. Another route may still serve the call. Of a response, it
    means that the provider's answer is invalid: the client gets `reason` with status 502, or as an
    error event.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TransformCall(Struct, frozen=True):
    """A call as a transform gets it.

    Attributes:
        dialect: The name of the dialect.
        endpoint: The name of the endpoint.
        target: What `Transform.target` returned for it.
        method: The HTTP method, in upper case.
        path: The percent-encoded path after the base URL.
        query: The raw query without "?".
        headers: The header fields of the client, without credentials.
        body: The decoded body; b"" if there is none.
        readable: False for a body that is passed on unread, such as an uploaded file.
        model: The model for this provider, after a rename; None if the call names none.
        streaming: The client requests a stream.
    """

    dialect: str
    endpoint: str
    target: TransformTarget
    method: str
    path: str
    query: str
    headers: HeaderFields
    body: bytes
    readable: bool
    model: str | None
    streaming: bool


class TransformedRequest(Struct, frozen=True):
    """The request that is sent in place of a call. None stands for what the call itself has.

    Attributes:
        body: The body; its content type must stand in `headers` if it is another one.
        path: The path after the base URL of the provider's dialect (`TransformTarget.dialect`).
        query: The raw query.
        headers: All header fields to send. Those of the provider are added.
        notes: What the provider will not get, or gets differently: one short sentence each, from a
            small set and without text of the call. Each is logged once for each key.
        context: A value for `response` and `error`, which get this request.
    """

    body: bytes
    path: str | None = None
    query: str | None = None
    headers: HeaderFields | None = None
    notes: tuple[str, ...] = ()
    context: object = None


class ResponseTransform(Protocol):
    """Change the body of one response, as it arrives.

    The result must not depend on how the bytes are cut. Of a stream of events only whole events are
    returned, so that an error event can follow at any time. A malformed response passes unchanged
    or raises `TransformRefused`: the client then gets an error.
    """

    @property
    def content_type(self) -> str:
        """The content type of what the client gets."""

    @property
    def status(self) -> int:
        """The status for the client: read after `end`, and only if the response is no stream."""

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; return what can be sent so far."""

    def end(self, *, complete: bool) -> bytes:
        """Return the rest. Of a truncated response nothing that makes it look complete."""


class UnchangedResponse:
    """Passes a response on as it is; a stream in whole events."""

    def __init__(self, status: int, content_type: str) -> None:
        self._events = EventSplitter() if content_type.startswith("text/event-stream") else None
        self.status, self.content_type = status, content_type

    def feed(self, data: bytes) -> bytes:
        """Return the bytes; of a stream, those of the events that are complete."""
        return data if self._events is None else b"".join(self._events.feed(data))

    def end(self, *, complete: bool) -> bytes:
        """Return the rest of a stream that is complete."""
        return self._events.rest() if complete and self._events is not None else b""


class Transform:
    """Changes the requests and responses of calls on the routes that name it."""

    name: ClassVar[str]
    """The name in the YAML file, such as "redact"."""
    title: ClassVar[str]
    """What it does, in a few words for people."""
    options: ClassVar[Mapping[str, str]] = {}
    """Its options in the YAML file, each with a help for people. Each is a list of words."""

    def configured(self, options: Mapping[str, tuple[str, ...]]) -> Transform:
        """Return the transform with the options of one route: only those in `Transform.options`.

        Raises:
            ValueError: The options are invalid; its text says what to write.
        """
        return self

    def connects(self, vendor: Vendor, upstream: Vendor) -> bool:
        """Return whether providers of `upstream` can serve groups of `vendor` by this transform."""
        return False

    def target(self, dialect: str, endpoint: str, vendor: Vendor) -> TransformTarget | None:
        """Return how a provider of `vendor` is called for this endpoint; None to change nothing.

        The endpoint `ANY_ENDPOINT` stands for the main one of the dialect. A `local` target must
        have the dialect and the endpoint of the call, and other transforms do not see the call.
        """
        return TransformTarget(dialect, endpoint)

    def losses(self, dialect: str, endpoint: str, target: TransformTarget) -> tuple[str, ...]:
        """Return what any call may lose on the way to `target`, one short sentence each."""
        return ()

    def answer(self, call: TransformCall) -> bytes:
        """Return the JSON body of the answer to a call whose target is `local`. It costs nothing.

        Raises:
            TransformRefused: The call cannot be answered.
        """
        raise TransformRefused("it answers no calls")

    def request(self, call: TransformCall) -> TransformedRequest | None:
        """Return what to send; None if the call and its response stay as they are.

        Raises:
            TransformRefused: The call cannot be transformed.
        """
        return None

    def response(
        self, request: TransformedRequest, status: int, content_type: str
    ) -> ResponseTransform:
        """Return a new object for one response.

        Args:
            request: What `request` returned.
            status: The status, below 400.
            content_type: The content type of the provider's response, in lower case.
        """
        return UnchangedResponse(status, content_type)

    def error(self, request: TransformedRequest, status: int, body: bytes) -> tuple[int, bytes]:
        """Return the status and the JSON body of an error response of 400 or above."""
        return status, body
