"""Limiters in the admin API: limits, vendors' quotas, cooldowns, pauses and the network."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

Number: TypeAlias = int | float
"""A count, or an amount of money: a count stays an integer in JSON."""


class LimitState(Struct, frozen=True, kw_only=True, tag_field="what", tag="limit"):
    """A limit or a budget of the file. Amounts are in `unit`.

    `reserved` is what running calls may take by their estimates: a part of `used` of a limit, but
    not of a budget. `kept` is what headroom withholds from this urgency. `reset` is the time until
    all of it is free. `line` is its place in the file; `waiting` counts queued calls.
    """

    scope: str
    kind: str
    models: str | None
    unit: str
    limit: Number
    used: Number | None
    reserved: Number | None
    left: Number | None
    kept: Number | None
    reset: float | None
    line: str
    waiting: int


class ProviderLimitState(LimitState, frozen=True, kw_only=True, tag_field="what", tag="limit"):
    """A limit of one credential of a provider."""

    credential: str


class QuotaState(Struct, frozen=True, kw_only=True, tag_field="what", tag="quota"):
    """A quota as the vendor's last headers reported it, less what was admitted since; amounts are
    null when the report is too old."""

    scope: str
    kind: str
    unit: str
    limit: Number
    used: Number | None
    left: Number | None
    reset: float | None
    waiting: int


class UpstreamQuota(QuotaState, frozen=True, kw_only=True, tag_field="what", tag="quota"):
    """A quota with the upstream that it belongs to; an empty name is null."""

    provider: str
    credential: str | None
    family: str | None


class CooldownState(Struct, frozen=True, kw_only=True, tag_field="what", tag="cooldown"):
    """A cooldown of an upstream; `seconds` is 0 when the next call probes it. `verdict` is the
    class of the error that started it."""

    scope: str
    seconds: float
    until: float
    reason: str
    verdict: str
    waiting: int


class UpstreamCooldown(CooldownState, frozen=True, kw_only=True, tag_field="what", tag="cooldown"):
    """A cooldown with the upstream that it belongs to; an empty name is null."""

    provider: str
    credential: str | None
    family: str | None


class PauseState(Struct, frozen=True, kw_only=True, tag_field="what", tag="hold"):
    """A pause: of what, since when, from where (null: unknown), whether in all processes that share
    state, and the command that resumes it."""

    scope: str
    kind: str
    name: str
    since: float
    by: str | None
    shared: bool
    resume: str
    waiting: int


class NetworkState(Struct, frozen=True, kw_only=True, tag_field="what", tag="network"):
    """The network; `seconds` until the next probe while it is down."""

    up: bool
    seconds: float | None
    waiting: int


class SharedNode(Struct, frozen=True, kw_only=True):
    """A process among those that share limits, with the digest of its file."""

    host: str
    version: str
    digest: str
    is_this: bool


class SharedServerState(Struct, frozen=True, kw_only=True):
    """The server of shared state: whether it is `up`, else the `failure` and its `seconds`; the
    number of `processes` at the last sign of life, and the seconds a lease took (`latency`)."""

    up: bool
    failure: str
    seconds: float
    processes: int
    latency: float


class SubscriptionState(Struct, frozen=True, kw_only=True):
    """A window of the subscription of a caller's login, as the vendor last reported it: `window` is
    its length, `used` a share, `reset` the seconds until it begins anew (null: unknown), `key` the
    local key that used the login last."""

    provider: str
    key: str
    window: str
    used: float
    reset: float | None


LimiterState: TypeAlias = LimitState | QuotaState | CooldownState | PauseState | NetworkState


class PauseMark(Struct, frozen=True, kw_only=True):
    """A pause as a key, a group or a provider shows it."""

    kind: str
    name: str
    scope: str
    since: float
    by: str | None
    shared: bool


class PausedScope(Struct, frozen=True, kw_only=True):
    """Scope of a pause, and the command that resumes it."""

    kind: str
    name: str
    scope: str
    resume: str


class PauseResult(PausedScope, frozen=True, kw_only=True):
    """A pause or a resume that was made. `news` is false when it was so before; `running` and
    `waiting` count the calls it concerns; `kept` is whether it survives a restart, `shared` whether
    it is one in all processes that share state."""

    news: bool
    running: int
    waiting: int
    kept: bool
    shared: bool


class ResumeResult(PauseResult, frozen=True, kw_only=True):
    """A resume; `still` are the pauses that keep a part of it waiting."""

    still: list[PausedScope]


class PauseChoices(Struct, frozen=True, kw_only=True):
    """The names of everything that can be paused, by kind; and the pauses of now."""

    names: dict[str, list[str]]
    holds: list[PauseState]
