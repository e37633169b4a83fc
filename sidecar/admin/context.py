"""What the handlers of the admin API work with, and the errors that they raise."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

from sidecar.admin.api_types.config import ErrorBody, ErrorResponse, FileProblem
from sidecar.admin.console.events import Events
from sidecar.admin.console.sessions import Sessions
from sidecar.admin.introspect.dry_run import Forecaster
from sidecar.admin.introspect.pauses import PauseControl
from sidecar.config.manager import read_file
from sidecar.config.model import Snapshot
from sidecar.errors import ConfigError, SidecarError
from sidecar.http.wire.agent_messages import AgentRequest, LocalResponse
from sidecar.proxy.services import Services
from sidecar.scheduling.pauses import CONSOLE
from sidecar.scheduling.scheduler import Scheduler


class Addresses(Struct):
    """The base URLs of the proxy's and the admin side's listeners; empty until they listen."""

    listen: list[str] = []
    admin: str = ""
    console: str = ""


class AdminContext(Struct):
    """The services of the process, and what the admin API has besides. `started` is in seconds
    since the epoch; `state` is the state directory; `editing` is held while the file is edited."""

    services: Services
    outlook: Forecaster
    steering: PauseControl
    sessions: Sessions
    events: Events
    state: Path
    started: float
    addresses: Addresses = field(default_factory=Addresses)
    editing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def scheduler(self) -> Scheduler:
        """The scheduler of the process."""
        return self.services.scheduler

    @property
    def snapshot(self) -> Snapshot:
        """The configuration in force."""
        return self.services.snapshot


class ApiRequest(Struct, frozen=True):
    """A request to the API: the names in its path, its query and body, the digest of the file that
    the caller has seen (`If-Match`), and from where it comes."""

    request: AgentRequest
    names: tuple[str, ...] = ()
    query: Mapping[str, str] = {}
    body: bytes = b""
    seen: str | None = None
    by: str = CONSOLE


class ApiError(SidecarError):
    """The API declines a request: a status, and the body of the error.

    Args:
        problems: The problems of the file, when they are the reason.
        digest: The digest of the file as it is now, when the caller has seen another.
        changed: What changed since then; None when that is unknown.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        problems: Sequence[FileProblem] = (),
        digest: str | UnsetType = UNSET,
        changed: list[str] | UnsetType | None = UNSET,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = ErrorBody(
            code=code, message=message, problems=list(problems), digest=digest, changed=changed
        )

    def response(self) -> LocalResponse:
        """Return the error as a JSON response."""
        return json_response(ErrorResponse(error=self.body), status=self.status)


def json_response(answer: msgspec.Struct, *, status: int = 200) -> LocalResponse:
    """Return an answer as JSON."""
    return LocalResponse(msgspec.json.encode(answer), status=status)


def on_disk(context: AdminContext) -> bytes:
    """Return the file as it is now; empty when it cannot be read."""
    try:
        return read_file(context.services.configuration.file)
    except ConfigError:
        return b""
