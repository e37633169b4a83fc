"""The contract of a dialect: the wire format of one family of APIs.

A dialect is sans-I/O: values in, values out. It uses no socket, clock or metric, and its methods
may be called from any thread. It reads copies of the bytes. The bytes themselves pass unchanged,
except through `inject_usage_option` and `strip_injected_usage` in a group with `usage: ask`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from math import isfinite
from typing import ClassVar, Protocol

from msgspec import Struct

from sidecar.errors import LocalReply
from sidecar.records import Usage


class ModelAt(Enum):
    """Where a request names its model."""

    __hash__ = object.__hash__  # of the member itself: that of `Enum` is a call of its own

    BODY = "body"
    """The top-level `model` of a JSON body."""
    FORM = "form"
    """The `model` field of a multipart form."""
    PATH = "path"
    """A segment of the path, whose offsets are `Located.model_span`."""
    QUERY = "query"
    """The `model` parameter of the query."""
    EACH = "each"
    """In every item of a batch; `Dialect.read` returns all of them."""
    NOWHERE = "nowhere"
    """The request names no model."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One operation of a dialect.

    Attributes:
        name: A metric label, so from a small fixed set: "chat", "messages", "models", "other".
        model_at: Where the request names its model. `BODY` and `FORM` are told apart by the
            content type of the request.
        named: False for the dialect's catch-all endpoint.
        optional_model: The model may be absent.
        starts_work: A POST may start paid work. Without a model it needs a route for all models,
            and the usage of a response that reports none is *unknown*, not zero.
        counts: The vendor bills tokens. The usage of a response that reports none is *unknown*, and
            so is that of an attempt that was sent and got no response.
        free: The vendor bills nothing. Only concurrency limits apply, and a spent budget admits it.
        creates: The kind of object that the response creates ("file", "batch"); its id stays with
            the provider, the credential and the group.
        owned: The kind of object that `Located.object_id` names.
        refused: The endpoint administers an account and is never forwarded.
        lists_models: Sidecar answers with the models that the key may use.
    """

    name: str
    model_at: ModelAt = ModelAt.NOWHERE
    named: bool = True
    optional_model: bool = False
    starts_work: bool = False
    counts: bool = False
    free: bool = False
    creates: str | None = None
    owned: str | None = None
    refused: bool = False
    lists_models: bool = False

    def bills(self, method: str) -> bool:
        """Return whether the vendor may bill a call with this HTTP method."""
        return self.counts or (self.starts_work and method == "POST")


@dataclass(frozen=True, slots=True)
class Located:
    """A parsed request path.

    Attributes:
        endpoint: The operation.
        path: What is appended to the provider's base URL: the client's bytes after the prefix.
        model: The model in the path, percent-decoded. It replaces a model in the body or the form.
        model_span: Start and end of the percent-encoded model in `path`.
        object_id: The id of an existing object in the path (see `Endpoint.owned`).
    """

    endpoint: Endpoint
    path: str
    model: str | None = None
    model_span: tuple[int, int] | None = None
    object_id: str | None = None


class Facts(Struct, frozen=True):
    """The fields of a request body that routing needs.

    Attributes:
        models: The requested model, or each model of a batch; empty if the body names none.
        streaming: The client requests a stream.
        max_output: The bound on output tokens that the client set.
        session: The id of the conversation, for sticky routing.
        previous_id: The id of the earlier response that this call continues.
    """

    models: tuple[str, ...] = ()
    streaming: bool = False
    max_output: int | None = None
    session: str | None = None
    previous_id: str | None = None


_PENDING = frozenset({
    "queued", "in_progress", "validating", "finalizing", "cancelling", "canceling", "pending",
    "running", "processing", "created", "starting",
})  # fmt: skip


def is_pending(status: object) -> bool:
    """Return whether a response, batch or interaction with this `status` is unfinished."""
    return isinstance(status, str) and status.lower() in _PENDING


class Meter(Protocol):
    """Read usage from a copy of one response.

    The result does not depend on how the bytes are cut into pieces. A meter never raises, whatever
    the upstream sends. Use `SseMeter`, `JsonMeter` or `NoMeter` as the base class.
    """

    @property
    def finished(self) -> bool:
        """True if the terminal event of the dialect was read."""

    @property
    def expects_end(self) -> bool:
        """True if every complete response of this kind has a terminal event."""

    @property
    def pending(self) -> bool:
        """True if the response reports unfinished work, so that its usage is not final."""

    @property
    def unfinished(self) -> bool:
        """True if the bytes so far cannot be the complete response."""

    @property
    def unread(self) -> bool:
        """True if a part that may hold usage or the end was unreadable. Usage is then a lower
        bound."""

    @property
    def at_boundary(self) -> bool:
        """True if the bytes so far end between two events, so that one can be inserted."""

    @property
    def model(self) -> str | None:
        """The model that served the call, as the vendor names it."""

    @property
    def error(self) -> str | None:
        """The vendor's code or type of an error in a 200 response; None if there is none."""

    def feed(self, data: bytes) -> bool | None:
        """Read the next bytes of the response.

        Return True only if they are one event, which reports no error: its text is not masked.
        """

    def usage(self) -> Usage | None:
        """Return the usage reported so far; None if none was."""

    def created(self) -> tuple[str, ...]:
        """Return the ids of the objects that the response creates (see `Endpoint.creates`)."""


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One row of a models list. `raw` is the vendor's JSON of the row; None for a literal name."""

    id: str
    raw: bytes | None = None


class Dialect(ABC):
    """The wire format of one family of APIs: its paths, bodies, streams and errors."""

    name: ClassVar[str]
    """The name of the family, such as "openai". Vendors refer to it in `Vendor.dialects`."""
    client_headers: ClassVar[frozenset[str]] = frozenset()
    """Request headers, in lower case, that only clients of this dialect send. They decide between
    dialects that claim the same path."""

    @abstractmethod
    def locate(self, method: str, path: str) -> Located | None:
        """Return the endpoint and the upstream path of a request; None if it is of another dialect.

        Accept what clients make of a base URL: a missing, doubled or foreign version prefix.

        Args:
            method: The HTTP method, in upper case.
            path: The percent-encoded path with its leading "/", without the query.
        """

    @abstractmethod
    def read(self, endpoint: Endpoint, body: bytes) -> Facts:
        """Return the fields of a JSON body that routing needs.

        Args:
            endpoint: What `locate` returned.
            body: The body after content decoding; b"" if there is none.
        Raises:
            ProxyError: The body cannot be routed (`ErrorKind.BAD_REQUEST`).
        """

    @abstractmethod
    def meter(self, endpoint: Endpoint, content_type: str) -> Meter:
        """Return a new meter for one response with a status below 400.

        Args:
            endpoint: What `locate` returned.
            content_type: The `Content-Type` of the response, in lower case; "" if there is none.
        """

    @abstractmethod
    def error(self, reply: LocalReply, call_id: str) -> tuple[int, bytes]:
        """Return the status (400 to 599) and the JSON body of a local reply.

        `reply.message` must stand in the body, and the dialect's clients must be able to parse it.
        """

    @abstractmethod
    def error_event(self, endpoint: Endpoint, reply: LocalReply, call_id: str) -> bytes:
        """Return the event after which the dialect's clients raise an error; b"" if there is none.

        It ends a stream that broke off, and must end with a blank line.
        """

    def has_failed_end(self, endpoint: Endpoint) -> bool:
        """Return whether every client takes `error_event` for the end of a stream that failed.

        The body of a truncated response then ends properly. Otherwise the connection closes before
        the last chunk, so that no client takes the response for complete.
        """
        return False

    def ping(self, endpoint: Endpoint, query: str) -> bytes | None:
        """Return an event that every client ignores before the first event of a stream.

        Sent repeatedly while a call is queued. None if the dialect has no such event.

        Args:
            endpoint: What `locate` returned.
            query: The raw query of the request, without "?".
        """
        return None

    def read_timeout(self, headers: Mapping[str, str]) -> float | None:
        """Return after how many seconds without a byte this client gives up; None if unknown.

        Read from the request headers. Never raises.
        """
        return _shortest(headers, self.read_timeout_headers)

    def total_timeout(self, headers: Mapping[str, str]) -> float | None:
        """Return after how many seconds this client gives up in any case; None if unknown.

        Read from the request headers. Never raises.
        """
        return _shortest(headers, self.total_timeout_headers)

    def error_timeout(self, headers: Mapping[str, str]) -> float | None:
        """Return after how many seconds a waiting call of this client ends with an error.

        For clients that show an error and retry by themselves, but show nothing while they wait.
        None to let the call wait for its whole `max_wait`. Never raises.
        """
        return None

    def inject_usage_option(self, endpoint: Endpoint, body: bytes) -> bytes | None:
        """Return the body of a streaming call with the option that makes the stream report usage.

        No other byte may change (`splice_field`). None if the option is set already, or if the
        stream reports usage without it. Never raises.
        """
        return None

    def strip_injected_usage(self, endpoint: Endpoint, event: bytes) -> bytes:
        """Return an event as it would be without the injected option (`cut_null`).

        Args:
            endpoint: What `locate` returned.
            event: One whole event of the stream, with the blank line that ends it.
        Returns:
            The event with its blank line; b"" if the event exists only because of the option; the
            event as it is if it cannot be parsed. Never raises.
        """
        return event

    @abstractmethod
    def models(self, entries: list[ModelEntry]) -> bytes:
        """Return the JSON of a models list as this dialect's clients parse it."""

    @abstractmethod
    def list_models(self, body: bytes) -> list[ModelEntry]:
        """Return the rows of a vendor's models list; [] if `body` is not one."""

    request_id_header: ClassVar[str] = "x-request-id"
    """The response header from which this dialect's clients read the id of a call."""

    session_headers: ClassVar[tuple[str, ...]] = (
        "session-id",
        "x-session-id",
        "x-session-affinity",
    )
    """Request headers with the id of the conversation, in lower case, the preferred one first."""

    read_timeout_headers: ClassVar[tuple[str, ...]] = ()
    """Request headers, in lower case, with the client's read timeout in seconds."""
    total_timeout_headers: ClassVar[tuple[str, ...]] = ()
    """Request headers, in lower case, with the client's timeout for the whole response in
    seconds."""

    url_headers: ClassVar[frozenset[str]] = frozenset({"location", "content-location"})
    """Response headers, in lower case, whose URL is rewritten from the vendor's to Sidecar's."""

    probes: ClassVar[frozenset[str]] = frozenset()
    """Paths that clients request without a key as a connectivity check; Sidecar answers them."""

    models_request: ClassVar[Located]
    """The GET request for a provider's models list."""
    models_query: ClassVar[str] = ""
    """The query of that request, without "?"."""
    models_headers: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Further headers of that request."""


def _shortest(headers: Mapping[str, str], names: tuple[str, ...]) -> float | None:
    found = (_seconds(headers.get(name, "")) for name in names)
    return min((each for each in found if each is not None), default=None)


def _seconds(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if isfinite(found) and found > 0 else None


def locate(
    dialects: Sequence[Dialect], method: str, path: str, headers: Mapping[str, str]
) -> tuple[Dialect, Located] | None:
    """Return the dialect and the endpoint of a request; None if no dialect claims its path.

    Of several dialects that claim it, prefer one with a named endpoint, then one whose client
    headers are present, then the first.
    """
    found = []
    for order, dialect in enumerate(dialects):
        located = _claim(dialect, method, path)
        if located is not None:
            found.append((order, dialect, located))
    if len(found) > 1:
        found.sort(
            key=lambda each: (
                not each[2].endpoint.named,
                _header_rank(each[1], headers),
                each[0],
            )
        )
    return (found[0][1], found[0][2]) if found else None


@lru_cache(maxsize=2048)
def _claim(dialect: Dialect, method: str, path: str) -> Located | None:
    # Agents request the same few paths again and again.
    return dialect.locate(method, path)


def _header_rank(dialect: Dialect, headers: Mapping[str, str]) -> int:
    """Return 0 if a client header is present, 1 if the dialect has none, else 2."""
    if not dialect.client_headers:
        return 1
    return 0 if any(mark in headers for mark in dialect.client_headers) else 2
