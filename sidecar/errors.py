"""The exceptions of Sidecar, as values that say where, what and what next.

    SidecarError
    ├── ConfigError      the YAML is wrong; carries every Problem at once
    ├── EditRefused      a change of the file cannot be made as asked
    ├── ProxyError       Sidecar answers a call itself; carries a LocalReply
    └── UpstreamError    a provider cannot be reached, or the connection breaks

Nothing here has the format of a wire: a dialect gives a LocalReply its vendor's own shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum

from msgspec import Struct


class SidecarError(Exception):
    """The base class of every error that Sidecar raises on purpose."""


class SourceLocation(Struct, frozen=True):  # a Struct: there is one for every word of a file
    """A place in a file; lines and columns count from 1."""

    file: str
    line: int
    column: int = 1

    def __str__(self) -> str:
        """Return `file:line:column`, which editors and terminals make clickable."""
        return f"{self.file}:{self.line}:{self.column}"

    @property
    def short(self) -> str:
        """`routes.yaml:14`, for messages that reach an agent."""
        return f"{self.file.rpartition('/')[2]}:{self.line}"


class Problem(Struct, frozen=True):
    """One mistake in a configuration: where, `what`, and what to do `next`."""

    place: SourceLocation
    what: str
    next: str = ""
    warning: bool = False

    def __str__(self) -> str:
        """Return `file:line:column: what; what next`."""
        label = "warning: " if self.warning else ""
        return f"{self.place}: {label}{self.what}" + (f"; {self.next}" if self.next else "")


class ConfigError(SidecarError):
    """A configuration was rejected whole; `problems` are in the order of the file."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class EditRefused(SidecarError):
    """A change of the configuration file was not made; the file is as it was."""


class ErrorKind(Enum):
    """The kind of a local reply: (status, whether a retry of the client may help)."""

    BAD_REQUEST = (400, False)
    INVALID_KEY = (401, False)
    FORBIDDEN = (403, False)
    KEY_DISABLED = (403, False)
    MODEL_NOT_ALLOWED = (403, False)
    NOT_FOUND = (404, False)
    METHOD_NOT_ALLOWED = (405, False)
    BODY_TIMEOUT = (408, True)
    TOO_LARGE = (413, False)
    UNSUPPORTED_MEDIA = (415, False)
    UPGRADE_REQUIRED = (426, False)
    RATE_LIMITED = (429, True)
    BUDGET_SPENT = (402, False)
    INTERNAL = (500, False)
    UPSTREAM_UNREACHABLE = (502, True)
    UPSTREAM_INVALID = (502, True)
    CREDENTIAL_REJECTED = (502, False)
    UNAVAILABLE = (503, False)
    DRAINING = (503, True)
    OVERLOADED = (503, True)
    UPSTREAM_TIMEOUT = (504, True)

    status: int
    """The HTTP status, unless the dialect's vendor uses another for this reason."""
    retryable: bool
    """True if the same call may succeed later, unchanged."""

    def __new__(cls, status: int, retryable: bool) -> ErrorKind:  # noqa: FBT001 - an enum's value
        """Number the members: members with equal values would be aliases."""
        member = object.__new__(cls)
        member._value_ = len(cls.__members__)
        member.status = status
        member.retryable = retryable
        return member


@dataclass(frozen=True, slots=True)
class LocalReply:  # a dataclass: plugins get it, and may copy it as one
    """A reply of Sidecar itself.

    `retry_after` is seconds; `message` names the setting to change; `headers` repeat it for
    programs. `final` is True where a retry of the client would not help although its kind
    permits one; `opens_in` is then the seconds after which it would, if known.
    `upstream_status` is the provider's own status where only the shape of its response was
    changed.
    """

    kind: ErrorKind
    message: str
    retry_after: float | None = None
    headers: tuple[tuple[str, str], ...] = ()
    final: bool = False
    upstream_status: int | None = None
    opens_in: float | None = None

    @property
    def retryable(self) -> bool:
        """True if the same call may succeed later, unchanged."""
        return self.kind.retryable and not self.final


class ProxyError(SidecarError):
    """End a call with a local reply."""

    def __init__(
        self, kind: ErrorKind, message: str, *, retry_after: float | None = None,
        headers: tuple[tuple[str, str], ...] = (), final: bool = False,
        opens_in: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.reply = LocalReply(kind, message, retry_after, headers, final, opens_in=opens_in)


class Fault(StrEnum):
    """The failure of an attempt below HTTP."""

    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"
    CLOSED = "closed"
    PROTOCOL = "protocol"


class UpstreamError(SidecarError):
    """A provider cannot be reached, or the connection broke.

    `sent` is True once the request was written, so that a repeat may be served (and billed)
    twice. `offline` is True when this machine itself seems to have no network.
    """

    def __init__(self, fault: Fault, message: str, *, sent: bool, offline: bool = False) -> None:
        super().__init__(message)
        self.fault = fault
        self.sent = sent
        self.offline = offline
