"""The contract of a vendor: who serves an API, where, and how it speaks of credentials and limits.

Sans-I/O, like a dialect: values in, values out. A vendor never touches a socket, a clock, a queue
or a metric, and its methods may be called from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, ClassVar

from msgspec import Struct

from sidecar.masking import CredentialMask
from sidecar.plugin_api.dialect import Endpoint
from sidecar.plugin_api.error_class import (
    NO_CODES,
    Classification,
    ErrorClass,
    UpstreamResponse,
    classify_by_code,
    classify_by_status,
)
from sidecar.records import Usage


class Secret:
    """A credential's text. It shows itself to `reveal()` alone: not to str, repr or pickle."""

    __slots__ = ("_mask", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._mask: CredentialMask | None = None

    @property
    def mask(self) -> CredentialMask:
        """Masks this text in what comes back from whom it was sent to."""
        if self._mask is None:
            self._mask = CredentialMask(self._text)
        return self._mask

    def reveal(self) -> str:
        """The text itself, to be put on the wire and nowhere else."""
        return self._text

    def __repr__(self) -> str:
        """A fixed text, whatever the secret is."""
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        """Equal texts are equal secrets."""
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        """Consistent with equality."""
        return hash(self._text)

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Refuse to be written anywhere."""
        raise TypeError("a secret cannot be pickled")


@dataclass(frozen=True, slots=True)
class Serving:
    """How a vendor serves one dialect.

    Its base URL is the provider's, less `strip` at its end, plus `add`. `endpoints` names those it
    has; None means all of them. The credential goes, behind `scheme`, into `header`.
    """

    endpoints: frozenset[str] | None = None
    strip: str = ""
    add: str = ""
    header: str = "Authorization"
    scheme: str = "Bearer "

    def base(self, base_url: str) -> str:
        """The base URL for this dialect, without a trailing slash."""
        return base_url.rstrip("/").removesuffix(self.strip) + self.add

    def has(self, endpoint: Endpoint) -> bool:
        """Whether the vendor offers this endpoint in this dialect."""
        return self.endpoints is None or endpoint.name in self.endpoints


@dataclass(frozen=True, slots=True)
class Field:
    """One YAML field of a vendor's providers; `type` may be a tuple of the allowed words."""

    name: str
    type: type[str] | type[int] | type[bool] | tuple[str, ...]
    help: str
    required: bool = False
    default: str | int | bool | None = None


class UpstreamRequest(Struct, frozen=True):
    """Everything a vendor may know to address one attempt.

    `path` and `query` are raw; `base_url` is the one for `dialect`, without a trailing slash.
    """

    dialect: str
    serving: Serving
    endpoint: Endpoint
    method: str
    path: str
    query: str
    model: str | None
    base_url: str
    secret: Secret | None
    options: Mapping[str, Any]


class Prepared(Struct, frozen=True):
    """Where an attempt goes: the whole URL, percent-encoded, and the headers to set."""

    url: str
    headers: tuple[tuple[str, str], ...] = ()


class QuotaKind(StrEnum):
    """What a vendor's window counts."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    INPUT_TOKENS = "input_tokens"
    OUTPUT_TOKENS = "output_tokens"


@dataclass(frozen=True, slots=True)
class Quota:
    """What a vendor's headers say is left of one window.

    `limit` is positive, `remaining` not negative and at most `limit`. `reset` is seconds from now
    until the window is full again, finite and not negative; `window` is its length in seconds when
    the vendor's format implies one. None is what the vendor does not say. A window refills evenly
    until `reset` (a token bucket), unless `at_once`: then nothing comes back before it.
    """

    kind: QuotaKind
    limit: int | None
    remaining: int | None
    reset: float | None
    window: float | None = None
    at_once: bool = False


NO_DIALECTS: Mapping[str, Serving] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class LocalServer:
    """A vendor that lives in this process: `start` serves on loopback and yields its base URL."""

    start: Callable[[], AbstractAsyncContextManager[str]] = field(repr=False)


class Vendor:
    """Who serves an API, and how it speaks about credentials and limits.

    `serves` names the vendors whose groups it can serve besides its own. `credential` is the usual
    environment variable (None: needs none); `base_url` is what the vendor's own SDK takes (None:
    the YAML must give it). `dialects` maps a dialect's name to how it is served here, the vendor's
    own one first. `also` lists further usual credential variables, tried in order.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    base_url: ClassVar[str | None] = None
    credential: ClassVar[str | None] = None
    also: ClassVar[tuple[str, ...]] = ()
    serves: ClassVar[tuple[str, ...]] = ()
    dialects: ClassVar[Mapping[str, Serving]] = NO_DIALECTS
    fields: ClassVar[tuple[Field, ...]] = ()
    other_base_paths: ClassVar[tuple[str, ...]] = ()
    """Paths that a base URL of this vendor may have besides that of `base_url`."""
    local_server: ClassVar[LocalServer | None] = None
    codes: ClassVar[Mapping[str, ErrorClass]] = NO_CODES
    """This vendor's error codes and types that say more than the HTTP status does."""
    bytes_per_token: ClassVar[float] = 4.0
    """Bytes of a JSON request body to a token of input, as a rule of thumb."""
    price_list: ClassVar[str | None] = None
    """What the bundled list of prices calls this vendor; None: it is known there by its address, or
    not at all."""
    reports_cost: ClassVar[bool] = False
    """Whether what its answers say a call costs is what it charges, in US dollars."""
    streams_usage: ClassVar[bool] = False
    """Whether its streams report usage without being asked, so that nobody needs to ask."""

    def prepare(self, ask: UpstreamRequest) -> Prepared:
        """Address one attempt. The only place where a secret is revealed."""
        query = f"?{ask.query}" if ask.query else ""
        return Prepared(f"{ask.base_url}{ask.path}{query}", placed(ask))

    def unfit(self, secret: Secret) -> str:
        """Why a text cannot be a credential here, in words that do not quote it; "" where it may
        be one. Never raises."""
        return ""

    def estimate(self, body_bytes: int, max_output: int | None) -> tuple[int, int | None]:
        """Input and output tokens to reserve; the output is None when the request has no bound."""
        return int(body_bytes / self.bytes_per_token), max_output

    def classify(self, answer: UpstreamResponse) -> Classification:
        """What to do with an answer. Total over every status, header and body; never raises."""
        return classify_by_status(answer, self.codes)

    def classify_event(self, error: str) -> ErrorClass:
        """What to do with a 200 answer that begins with an error, by the vendor's own word for it.
        CLIENT_ERROR passes it on as it is. OK says that the word is not known: other providers are
        tried, and where none serves, the answer is passed on as it is. Never raises."""
        return classify_by_code(error, self.codes)

    def family(self, model: str) -> str:
        """The name under which this vendor counts a model's rate limits: models of one family
        share them. The family of a family is itself; never raises."""
        return model

    def counted(self, usage: Usage) -> tuple[int, int]:
        """The input and output tokens of a usage that count against this vendor's rate limits:
        never more than were reported, and 0 for what is unknown."""
        return usage.input_tokens or 0, usage.output_tokens or 0

    def normalize(self, usage: Usage, endpoint: Endpoint) -> Usage:
        """What a dialect's meter read, where this vendor counts differently from its inventor."""
        return usage

    def read_quota(self, headers: Mapping[str, str], now: float) -> tuple[Quota, ...]:
        """What the vendor says is left, at most once for each kind and window; `now` is epoch
        seconds, for absolute resets. A header that makes no sense says nothing; never raises."""
        return ()


def placed(ask: UpstreamRequest) -> tuple[tuple[str, str], ...]:
    """The header that carries the credential; none when there is no credential."""
    if ask.secret is None:
        return ()
    return ((ask.serving.header, ask.serving.scheme + ask.secret.reveal()),)
