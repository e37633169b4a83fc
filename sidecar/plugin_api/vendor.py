"""The contract of a vendor: where it serves an API, and its credentials, errors and rate limits.

A vendor is sans-I/O: values in, values out. It uses no socket, clock, queue or metric, and its
methods may be called from any thread.
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
    """The text of a credential. Only `reveal()` returns it; str, repr and pickle do not."""

    __slots__ = ("_mask", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._mask: CredentialMask | None = None

    @property
    def mask(self) -> CredentialMask:
        """The mask that replaces this text in responses of the vendor that received it."""
        if self._mask is None:
            self._mask = CredentialMask(self._text)
        return self._mask

    def reveal(self) -> str:
        """Return the text. Put it into a request header and nowhere else."""
        return self._text

    def __repr__(self) -> str:
        """Return a fixed text, whatever the secret is."""
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        """Return whether both hold the same text."""
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        """Return the hash of the text."""
        return hash(self._text)

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Raise TypeError: a secret is never serialized."""
        raise TypeError("a secret cannot be pickled")


@dataclass(frozen=True, slots=True)
class Serving:
    """The address, the endpoints and the credential header of one dialect at a vendor.

    Attributes:
        endpoints: The names of the endpoints that the vendor has; None for all of the dialect.
        strip: Removed from the end of the provider's base URL for this dialect.
        add: Appended to the base URL after that.
        header: The request header for the credential.
        scheme: The text before the credential in that header.

    Example: `Serving(strip="/v1", add="/anthropic", header="x-api-key", scheme="")` sends
    `/v1/messages` of `https://api.example/v1` to `https://api.example/anthropic/v1/messages`.
    """

    endpoints: frozenset[str] | None = None
    strip: str = ""
    add: str = ""
    header: str = "Authorization"
    scheme: str = "Bearer "

    def base(self, base_url: str) -> str:
        """Return the base URL for this dialect, without a trailing slash."""
        return base_url.rstrip("/").removesuffix(self.strip) + self.add

    def has(self, endpoint: Endpoint) -> bool:
        """Return whether the vendor has this endpoint in this dialect."""
        return self.endpoints is None or endpoint.name in self.endpoints


@dataclass(frozen=True, slots=True)
class Field:
    """One field that providers of a vendor have in the YAML file.

    `type` is the type of the value, or a tuple of the allowed words. `help` is shown by
    `sidecar plugins NAME` and in the JSON Schema. The value is in `UpstreamRequest.options`.
    """

    name: str
    type: type[str] | type[int] | type[bool] | tuple[str, ...]
    help: str
    required: bool = False
    default: str | int | bool | None = None


class UpstreamRequest(Struct, frozen=True):
    """One attempt, as `Vendor.prepare` gets it.

    Attributes:
        dialect: The name of the dialect that the client speaks.
        serving: The vendor's `Serving` of that dialect.
        endpoint: The operation.
        method: The HTTP method, in upper case.
        path: The percent-encoded path after the base URL, with its leading "/".
        query: The raw query without "?"; "" if there is none.
        model: The model for this provider, after a rename; None if the call names none.
        base_url: The base URL for the dialect, without a trailing slash.
        secret: The credential; None for a provider without one.
        options: The values of the vendor's own YAML fields, by name.
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
    """The address of one attempt: the percent-encoded URL, and the headers to set in it.

    The URL must be on the host of `UpstreamRequest.base_url` and keep the client's query.
    """

    url: str
    headers: tuple[tuple[str, str], ...] = ()


class QuotaKind(StrEnum):
    """The unit of a vendor's rate limit."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    INPUT_TOKENS = "input_tokens"
    OUTPUT_TOKENS = "output_tokens"


@dataclass(frozen=True, slots=True)
class Quota:
    """The state of one rate limit, as the vendor's response headers report it.

    None is a value that the vendor does not report.

    Attributes:
        kind: What the limit counts.
        limit: The size of the window, above 0. Leave out a limit that is reported as 0 or -1.
        remaining: From 0 to `limit`.
        reset: Seconds from now until the window is full again: finite, not negative.
        window: Its length in seconds, if the format or the figures imply one.
        at_once: The window is fixed: nothing is returned before `reset`. Otherwise it refills
            evenly until then (a token bucket).
    """

    kind: QuotaKind
    limit: int | None
    remaining: int | None
    reset: float | None
    window: float | None = None
    at_once: bool = False


@dataclass(frozen=True, slots=True)
class SubscriptionWindow:
    """One window of a subscription, as the vendor's response headers report it.

    Attributes:
        name: Its length, such as "5h" or "7d".
        used: The used share of it: from 0, and above 1 where more is bought.
        reset: Seconds from now until it begins anew; None if unknown.
    """

    name: str
    used: float
    reset: float | None = None


NO_DIALECTS: Mapping[str, Serving] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class LocalServer:
    """A vendor inside the Sidecar process. `start` serves on loopback and yields its base URL."""

    start: Callable[[], AbstractAsyncContextManager[str]] = field(repr=False)


class Vendor:
    """A service with an API: its address, its credentials, its errors and its rate limits.

    Subclass it, set `name`, `title` and `dialects`, and override the methods whose default is
    wrong for the vendor. Return an instance from the hook `sidecar_vendors`.
    """

    name: ClassVar[str]
    """The name in the YAML file, such as "mistral"."""
    title: ClassVar[str]
    """The name for people, such as "Mistral"."""
    base_url: ClassVar[str | None] = None
    """The base URL that the vendor's own SDK takes; None if the YAML file must give one."""
    credential: ClassVar[str | None] = None
    """The usual environment variable of the credential; None if the vendor needs none."""
    other_credentials: ClassVar[tuple[str, ...]] = ()
    """Further usual variables, tried in order after `credential`."""
    serves: ClassVar[tuple[str, ...]] = ()
    """The vendors whose groups this one can serve besides its own."""
    dialects: ClassVar[Mapping[str, Serving]] = NO_DIALECTS
    """How the vendor serves each dialect, by the name of the dialect; its own dialect first."""
    fields: ClassVar[tuple[Field, ...]] = ()
    """The vendor's own YAML fields of a provider."""
    other_base_paths: ClassVar[tuple[str, ...]] = ()
    """Paths that a base URL may have besides that of `base_url`, without a warning."""
    local_server: ClassVar[LocalServer | None] = None
    """A server inside the Sidecar process, in place of a `base_url`."""
    codes: ClassVar[Mapping[str, ErrorClass]] = NO_CODES
    """The class of each error code or type that is more exact than the HTTP status."""
    bytes_per_token: ClassVar[float] = 4.0
    """The usual number of bytes of a JSON request body for one input token."""
    price_list: ClassVar[str | None] = None
    """The provider id in the bundled price list (genai-prices); None to find it by address."""
    reports_cost: ClassVar[bool] = False
    """True if the cost that responses report, in US dollars, is what the vendor charges."""
    streams_usage: ClassVar[bool] = False
    """True if streams report usage without an option in the request."""

    def prepare(self, ask: UpstreamRequest) -> Prepared:
        """Return the URL and the headers of an attempt, and of further ones that ask the same.

        The default joins base URL, path and query, and puts the credential where `Serving` has it.
        This is the only method that may reveal a secret, and only into a header.
        """
        query = f"?{ask.query}" if ask.query else ""
        return Prepared(f"{ask.base_url}{ask.path}{query}", credential_headers(ask))

    def credential_problem(self, secret: Secret) -> str:
        """Return why a text is no credential of this vendor; "" if it may be one.

        The result completes the sentence "env:NAME …" and must not quote the text. Never raises.
        """
        return ""

    def estimate(self, body_bytes: int, max_output: int | None) -> tuple[int, int | None]:
        """Return the input and output tokens to reserve for a call before it is sent.

        Args:
            body_bytes: The size of the request body.
            max_output: The bound on output tokens in the request; None if it has none.
        Returns:
            Input tokens, and output tokens from 0 to `max_output`; None for the output if
            `max_output` is None. The usage of the response replaces both.
        """
        return int(body_bytes / self.bytes_per_token), max_output

    def classify(self, answer: UpstreamResponse) -> Classification:
        """Return the class of a response: pass it on, retry elsewhere, wait.

        The default uses `codes`, then the status, and takes the wait from the headers or the error
        message. Never raises, whatever status, headers and body are.
        """
        return classify_by_status(answer, self.codes)

    def classify_event(self, error: str) -> ErrorClass:
        """Return the class of an error that is the first event of a 200 response.

        Args:
            error: The code, the type or the HTTP status of the error, as the meter found it.
        Returns:
            `CLIENT_ERROR` to pass the response on unchanged. `OK` for an unknown error: other
            providers are tried, and if none serves the call, the response is passed on unchanged.
            Never raises.
        """
        return classify_by_code(error, self.codes)

    def family(self, model: str) -> str:
        """Return the name under which the vendor counts the rate limits of a model.

        Models with the same name share their limits, such as the dated snapshots of one model.
        `family(family(model))` must equal `family(model)`. Never raises.
        """
        return model

    def rate_limited_tokens(self, usage: Usage) -> tuple[int, int]:
        """Return the input and output tokens that count against the vendor's rate limits.

        At most what was reported, and 0 for an unknown figure.
        """
        return usage.input_tokens or 0, usage.output_tokens or 0

    def normalize(self, usage: Usage, endpoint: Endpoint) -> Usage:
        """Return the usage in the dialect's meaning, if this vendor counts differently.

        Args:
            usage: What the dialect's meter read.
            endpoint: The operation.
        """
        return usage

    def read_quota(self, headers: Mapping[str, str], now: float) -> tuple[Quota, ...]:
        """Return what is left of the vendor's rate limits, one `Quota` for each kind and window.

        Leave out a header that is missing or invalid. Never raises.

        Args:
            headers: The response headers; names in any case.
            now: Epoch seconds, for absolute resets of a response without a `Date`.
        """
        return ()

    def read_subscription(
        self, headers: Mapping[str, str], now: float
    ) -> tuple[SubscriptionWindow, ...]:
        """Return the windows of the caller's subscription, for `credential: caller`.

        The arguments are those of `read_quota`. Never raises.
        """
        return ()


def credential_headers(ask: UpstreamRequest) -> tuple[tuple[str, str], ...]:
    """Return the header with the credential, as `Serving` has it; () if there is none."""
    if ask.secret is None:
        return ()
    return ((ask.serving.header, ask.serving.scheme + ask.secret.reveal()),)
