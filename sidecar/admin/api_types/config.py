"""The process, its configuration file and edits of the file in the admin API."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import UNSET, Struct, UnsetType

from sidecar.admin.api_types.limits import (
    NetworkState,
    PauseState,
    SharedNode,
    SharedServerState,
    SubscriptionState,
)
from sidecar.admin.api_types.live import Explanation, LiveState
from sidecar.config.history import Version
from sidecar.records import KeyTimes


class FileState(Struct, frozen=True, kw_only=True):
    """The file in force. `error` and `error_at` are of a newer edit that was refused; `stays` says
    what it would have changed."""

    file: str
    digest: str
    accepted_at: float
    error: str | None
    error_at: float | None
    stays: list[str]


class ProviderSummary(Struct, frozen=True, kw_only=True):
    """Availability of a provider. `credentials` maps each reference to why it cannot be used;
    empty texts mean that nothing is wrong."""

    name: str
    vendor: str
    available: bool
    reason: str
    credentials: dict[str, str]


class LedgerState(Struct, frozen=True, kw_only=True):
    """State of the ledger: `healthy` while it can be written; `failures` counts failed writes."""

    healthy: bool
    failures: int


class ProcessStatus(Struct, frozen=True, kw_only=True):
    """State of the process and its listeners. `waiting` counts queued calls."""

    version: str
    pid: int
    started: float
    listen: list[str]
    admin: str
    console: str
    config: FileState
    providers: list[ProviderSummary]
    keys: int
    prices: str
    in_flight: int
    waiting: int
    holds: list[PauseState]
    network: NetworkState
    shared: SharedServerState | None
    nodes: list[SharedNode]
    subscriptions: list[SubscriptionState]
    plugin_problems: list[str]
    ledger: LedgerState


class ReloadReport(Struct, frozen=True, kw_only=True):
    """Result of a reload."""

    accepted: bool
    digest: str
    problems: list[str]
    difference: list[str]


class EndedCalls(Struct, frozen=True, kw_only=True):
    """Number of calls of a key that were ended."""

    cut: int


class CallEnded(Struct, frozen=True, kw_only=True):
    """A call, or a session, was ended."""

    ended: bool


class FlushReport(Struct, frozen=True, kw_only=True):
    """Result of a flush: `written` is false when the ledger could not be written."""

    written: bool


class ConsoleLink(Struct, frozen=True, kw_only=True):
    """A link that signs one browser in, once, within `seconds`."""

    url: str
    seconds: float


class SessionsEnded(Struct, frozen=True, kw_only=True):
    """Number of sessions that were ended."""

    ended: int


class SessionToken(Struct, frozen=True, kw_only=True):
    """The token of a new session."""

    token: str


class DiffLine(Struct, frozen=True, kw_only=True):
    """A line of a diff. `mark` is " ", "-", "+", or "@" where lines are left out; `line` counts
    from 1 in the new text, or in the old one for "-"."""

    mark: str
    line: int
    text: str


class FileProblem(Struct, frozen=True, kw_only=True):
    """A problem of the file at its place, which is 0 and 0 when it has none."""

    line: int
    column: int
    text: str


class EditProblem(FileProblem, frozen=True, kw_only=True):
    """A problem that an edit would cause: what is wrong and what to do, also as one `text`."""

    what: str
    next: str


class FileEvent(Struct, frozen=True, kw_only=True):
    """A changed file that was accepted, with its effective differences, or refused, with its
    problems."""

    at: float
    accepted: bool
    lines: list[str]


class FilePage(Struct, frozen=True, kw_only=True):
    """The file as it is now (secrets masked), and how it came to be so: `digest` is of the file,
    `in_force` of the version that is served."""

    file: str
    digest: str
    in_force: str
    text: str
    accepted_at: float
    refused_at: float | None
    problems: list[FileProblem]
    warnings: list[FileProblem]
    stays: list[str]
    history: list[FileEvent]
    versions: list[Version]


class VersionPage(Struct, frozen=True, kw_only=True):
    """An older version (secrets masked), and how it differs from the file of now."""

    number: int
    text: str
    diff: list[DiffLine]


class EditPreview(Struct, frozen=True, kw_only=True):
    """Effects of an edit. `matches` are the models of each route of the key that was asked
    about; `question` is where its call would go."""

    digest: str
    diff: list[DiffLine]
    problems: list[EditProblem] = []
    difference: list[str] = []
    question: Explanation | None = None
    matches: list[list[str]] = []


class EditResult(Struct, frozen=True, kw_only=True):
    """An edit that is in force. `secret` is a new key's, shown once; `undo` is the number of the
    version to go back to (null: none)."""

    digest: str
    difference: list[str]
    secret: str | None
    undo: int | None


class ErrorBody(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a request was declined: a code for programs, a sentence, and what helps to recover.

    `digest` and `changed` are of a file that was edited meanwhile."""

    code: str
    message: str
    problems: list[FileProblem] = []
    digest: str | UnsetType = UNSET
    changed: list[str] | UnsetType | None = UNSET


class ErrorResponse(Struct, frozen=True, kw_only=True):
    """An error."""

    error: ErrorBody


class ConfigEvent(Struct, frozen=True, kw_only=True, tag_field="event", tag="config"):
    """The file or the pauses changed: `since` is the time of the last event of the file, `refused`
    counts its problems, `paused` names what is paused."""

    since: float
    refused: int
    paused: list[str]


class KeysEvent(Struct, frozen=True, kw_only=True, tag_field="event", tag="keys"):
    """Keys were used."""

    keys: dict[str, KeyTimes]


class LiveEvent(LiveState, frozen=True, kw_only=True, tag_field="event", tag="live"):
    """The calls of this moment."""


class BeatEvent(Struct, frozen=True, tag_field="event", tag="beat"):
    """Nothing happened; the connection is alive."""


class OverEvent(Struct, frozen=True, tag_field="event", tag="over"):
    """The session has ended."""


StreamEvent: TypeAlias = ConfigEvent | KeysEvent | LiveEvent | BeatEvent | OverEvent
