"""The contract of a dialect: the shape of the bytes, for one family of APIs.

Sans-I/O: values in, values out. A dialect never touches a socket, a clock or a metric, and its
methods may be called from any thread. It reads copies; the bytes themselves pass untouched, but
for what `asking` and `unasked` do where a group wants that.
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

    BODY = "body"
    """The top-level `model` of a JSON body."""
    FORM = "form"
    """The `model` field of a multipart form."""
    PATH = "path"
    QUERY = "query"
    """The `model` parameter."""
    EACH = "each"
    """In every item of a batch body; `Dialect.read` lists them all."""
    NOWHERE = "nowhere"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One operation of a dialect.

    `name` is short and bounded, since it is a metric label ("chat", "messages", "models", "other").
    `named` is false for a dialect's catch-all. `optional_model`: the model may be absent.
    `starts_work`: what is posted to it may be paid work, so without a model it needs a route for
    all models, and an answer without usage is *unknown*.
    `counts`: the vendor bills tokens for it, so an answer without usage is *unknown*.
    `free`: the vendor bills nothing for it, so it counts in no limit but that on calls at one time.
    `creates` and `owned`: the kind of object whose id the answer gives, or that `Located.object_id`
    names; a provider's ids mean nothing to another one. `refused`: administers an account, and is
    never passed on. `lists_models`: is answered from what the key may use.
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
        """Return whether a vendor may bill a call of that method: then it is not known what an
        answer used that tells no usage."""
        return self.counts or (self.starts_work and method == "POST")


@dataclass(frozen=True, slots=True)
class Located:
    """A request path, understood.

    `path` is what follows a provider's base URL, byte for byte as the client wrote it behind the
    prefix. `model_span` are the offsets in `path` of a model that stands there (percent-encoded);
    `model` is that model, decoded. Where the model stands in the body or a form all the same, the
    `model` of the path takes the place of that one.
    """

    endpoint: Endpoint
    path: str
    model: str | None = None
    model_span: tuple[int, int] | None = None
    object_id: str | None = None


class Facts(Struct, frozen=True):
    """What must be known of a request body in order to route it; everything else stays unread.

    `models` is the asked model, or every one of a batch; empty when none is named. `session` is
    what the body says about the conversation it belongs to, for keeping it at one provider.
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
    """Return whether the `status` of a response, batch or interaction says that it is not done."""
    return isinstance(status, str) and status.lower() in _PENDING


class Meter(Protocol):
    """Reads the usage off a copy of an answer's bytes; the same however they are cut.

    It never raises on what an upstream sends, and never holds the bytes up.
    """

    @property
    def finished(self) -> bool:
        """The dialect's own end of an answer was seen: closing after it is no loss."""

    @property
    def expects_end(self) -> bool:
        """Whether an answer of this kind always has such an end, so that one without it was cut."""

    @property
    def pending(self) -> bool:
        """The answer says that its work is not done: no figure in it is final."""

    @property
    def unfinished(self) -> bool:
        """What came so far cannot be all of the answer: its own end is missing."""

    @property
    def unread(self) -> bool:
        """Something could not be read that may have told figures, or the end: the figures that
        there are may be less than all."""

    @property
    def at_boundary(self) -> bool:
        """An event of our own may be written here without falling into one of the vendor's."""

    @property
    def model(self) -> str | None:
        """The model that answered, in the vendor's words."""

    @property
    def error(self) -> str | None:
        """The vendor's own word for an error inside a successful stream, if there was one."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""

    def usage(self) -> Usage | None:
        """What was reported so far; None when nothing was."""

    def created(self) -> tuple[str, ...]:
        """The ids of what the answer says was created (see `Endpoint.creates`)."""


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One row of a models list; `raw` is the vendor's own bytes for it, where there are any."""

    id: str
    raw: bytes | None = None


class Dialect(ABC):
    """The wire format of one family of APIs: its paths, bodies, streams and errors.

    `name` is the family's ("openai"); `marks` are request headers, in lower case, that only
    clients of this dialect send, to tell apart paths that several dialects claim.
    """

    name: ClassVar[str]
    marks: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def locate(self, method: str, path: str) -> Located | None:
        """Which endpoint `path` (raw, no query) is; None when it is not this dialect's.

        Tolerates what clients make of a base URL: a missing, doubled or foreign version prefix.
        """

    @abstractmethod
    def read(self, endpoint: Endpoint, body: bytes) -> Facts:
        """Peek into a decoded JSON body. Raises `ProxyError` when it cannot be routed."""

    @abstractmethod
    def meter(self, endpoint: Endpoint, content_type: str) -> Meter:
        """A meter for one successful answer of that content type."""

    @abstractmethod
    def error(self, refusal: LocalReply, call_id: str) -> tuple[int, bytes]:
        """Our own error as this dialect's clients expect it: status and JSON body."""

    @abstractmethod
    def error_event(self, endpoint: Endpoint, refusal: LocalReply, call_id: str) -> bytes:
        """The event that ends a broken stream so that it looks broken; b"" to close without one."""

    def ping(self, endpoint: Endpoint, query: str) -> bytes | None:
        """What may stand before the first event of a streamed answer, any number of times, and
        means nothing to any client; None where there is no such thing."""
        return None

    def patience(self, headers: Mapping[str, str]) -> float | None:
        """Seconds of silence after which this client is known to give up, by what it says itself;
        None when it says nothing. Never raises."""
        return _least(headers, self.timeout_headers)

    def deadline(self, headers: Mapping[str, str]) -> float | None:
        """Seconds after which this client is known to give up whatever it is sent, by what it says
        itself; None when it says nothing. Never raises."""
        return _least(headers, self.deadline_headers)

    def curiosity(self, headers: Mapping[str, str]) -> float | None:
        """Seconds after which this client should hear that its provider is in trouble: it shows
        nothing while it waits, and asks again by itself once it was told. None for one that is
        better kept. Never raises."""
        return None

    def inject_usage_option(self, endpoint: Endpoint, body: bytes) -> bytes | None:
        """The decoded body of a streaming call with nothing changed but that it asks for usage in
        the stream; None where it asks already, or usage comes without. Never raises."""
        return None

    def strip_injected_usage(self, endpoint: Endpoint, event: bytes) -> bytes:
        """One event of the stream that answers such a body, with the blank line that ends it, as
        it would have come without asking; b"" for one that would not have come. Never raises."""
        return event

    @abstractmethod
    def models(self, entries: list[ModelEntry]) -> bytes:
        """A models list in the shape that this dialect's clients parse."""

    @abstractmethod
    def list_models(self, body: bytes) -> list[ModelEntry]:
        """The rows of a vendor's own models list; [] when it is not one."""

    request_id_header: ClassVar[str] = "x-request-id"
    """The response header in which this dialect's clients look for the id of a call."""

    session_headers: ClassVar[tuple[str, ...]] = (
        "session-id",
        "x-session-id",
        "x-session-affinity",
    )
    """The request headers, in lower case and by preference, in which this dialect's clients name
    the conversation that a call belongs to."""

    timeout_headers: ClassVar[tuple[str, ...]] = ()
    """The request headers, in lower case, in which this dialect's clients say after how many
    seconds of silence they give up."""
    deadline_headers: ClassVar[tuple[str, ...]] = ()
    """The same for the whole of an answer."""

    url_headers: ClassVar[frozenset[str]] = frozenset({"location", "content-location"})
    """Response headers, in lower case, whose URL at the vendor must become one of ours."""

    probes: ClassVar[frozenset[str]] = frozenset()
    """Paths that clients look at, without a key, just to see whether somebody is there."""

    models_request: ClassVar[Located]
    """How a provider's own models list is asked for (GET)."""
    models_query: ClassVar[str] = ""
    models_headers: ClassVar[tuple[tuple[str, str], ...]] = ()


def _least(headers: Mapping[str, str], names: tuple[str, ...]) -> float | None:
    said = (_seconds(headers.get(name, "")) for name in names)
    return min((each for each in said if each is not None), default=None)


def _seconds(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if isfinite(found) and found > 0 else None


def locate(
    dialects: Sequence[Dialect], method: str, path: str, headers: Mapping[str, str]
) -> tuple[Dialect, Located] | None:
    """Which dialect a path is in. Several may claim it: then a named endpoint goes before a
    catch-all, a dialect whose clients' headers are there before others, and then the order."""
    found = []
    for order, dialect in enumerate(dialects):
        located = _claim(dialect, method, path)
        if located is not None:
            found.append((order, dialect, located))
    if len(found) > 1:
        found.sort(
            key=lambda each: (
                not each[2].endpoint.named,
                _likely(each[1], headers),
                each[0],
            )
        )
    return (found[0][1], found[0][2]) if found else None


@lru_cache(maxsize=2048)
def _claim(dialect: Dialect, method: str, path: str) -> Located | None:
    """What a dialect makes of a path: agents ask for the same few ones over and over."""
    return dialect.locate(method, path)


def _likely(dialect: Dialect, headers: Mapping[str, str]) -> int:
    """0 when a client's mark is there, 1 for a dialect whose clients have none, else 2."""
    if not dialect.marks:
        return 1
    return 0 if any(mark in headers for mark in dialect.marks) else 2
