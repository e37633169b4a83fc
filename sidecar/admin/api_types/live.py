"""The calls of this moment in the admin API, and the forecast for a hypothetical one."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType

from sidecar.admin.api_types.limits import (
    LimiterState,
    LimitState,
    NetworkState,
    PauseState,
    SharedServerState,
    SubscriptionState,
    UpstreamCooldown,
    UpstreamQuota,
)
from sidecar.records import Caller


class LiveCallState(Struct, frozen=True, kw_only=True):
    """A call in flight. `state` is "arriving", "waiting", "asked" or "answering"; `age`, `waited`
    and `first_byte` (after it began) are seconds; `bytes` are those of the answer so far."""

    call: str
    state: str
    key: str | None
    child: str | None = None
    group: str | None
    urgency: str | None
    program: str | None
    caller: Caller | None
    endpoint: str | None
    model: str | None
    streaming: bool
    provider: str | None
    credential: str | None
    model_served: str | None
    attempts: int
    age: float
    waited: float
    first_byte: float | None
    bytes: int
    input_tokens: int | None
    output_tokens: int | None


class QueuePlace(Struct, frozen=True, kw_only=True):
    """A call's place in the queue of one limiter: `before` counts the calls ahead of it (null: too
    many to rank), `opens` are the seconds until the limiter may admit it (null: waiting alone
    cannot help)."""

    gate: str
    scope: str
    kind: str
    provider: str
    before: int | None
    waiting: int
    opens: float | None


class QueuedCall(Struct, frozen=True, kw_only=True):
    """A call that waits; `remaining_wait` is null while a pause stops its timeout."""

    call: str
    key: str
    group: str | None
    urgency: str
    model: str | None
    waited: float
    remaining_wait: float | None
    behind: list[QueuePlace]


class UnpricedUse(Struct, frozen=True, kw_only=True):
    """A model that a key uses under a budget although no price is known for it."""

    key: str
    model: str
    provider: str


class RetriesLeft(Struct, frozen=True, kw_only=True):
    """The retry budget: what is left of the most it can hold."""

    left: int
    most: int


class LiveState(Struct, frozen=True, kw_only=True):
    """Every call in flight, every queue, and how full each limiter is. `waiting` counts by
    urgency."""

    at: float
    pid: int
    started: float
    in_flight: int
    waiting: dict[str, int]
    granted: int
    calls: list[LiveCallState]
    lines: list[QueuedCall]
    limits: list[LimitState]
    quotas: list[UpstreamQuota]
    cooldowns: list[UpstreamCooldown]
    subscriptions: list[SubscriptionState]
    holds: list[PauseState]
    network: NetworkState
    shared: SharedServerState | None = None
    unpriced: list[UnpricedUse]
    retries: RetriesLeft


class Obstacle(Struct, frozen=True, kw_only=True):
    """The limiter that does not admit a hypothetical call now; fields as in `QueuePlace`."""

    gate: str
    scope: str
    kind: str
    before: int | None
    opens: float | None


class Reservation(Struct, frozen=True, kw_only=True):
    """Reservation of a hypothetical call. `learned` is whether the output is an estimate from
    earlier answers."""

    input_tokens: int | None
    output_tokens: int
    usd: float | None
    learned: bool


class ForecastOutcome(Struct, frozen=True, kw_only=True):
    """Forecast for a hypothetical call: `outcome` is "goes", "waits", "refused" or "unknown";
    `seconds` is how long it waits; `text` is the same in a sentence."""

    outcome: str
    provider: str | None
    credential: str | None
    status: int | None
    seconds: float | None
    text: str


class SkippedRoute(Struct, frozen=True, kw_only=True):
    """A route that is no candidate, and why."""

    provider: str
    why: str


class TransformState(Struct, frozen=True, kw_only=True):
    """A transform that changes the calls of a candidate: `to` is the dialect and the endpoint in
    which the provider is called (null: those of the client); `losses` is what may get lost."""

    name: str
    to: str | None
    losses: list[str]


class CandidateState(Struct, frozen=True, kw_only=True):
    """A candidate in its order. `goes` is whether it would be admitted now (null: unknown);
    `behind` is what stops it; `price` is where its price comes from (null: no price is known).
    The last five fields are absent where only the routes were asked."""

    provider: str
    credential: str | None
    model: str | None
    base_url: str
    line: str
    share: float
    transforms: list[TransformState]
    goes: bool | UnsetType | None = UNSET
    behind: Obstacle | UnsetType | None = UNSET
    reserves: Reservation | UnsetType = UNSET
    price: str | UnsetType | None = UNSET
    gates: list[LimiterState] | UnsetType = UNSET


class Explanation(Struct, frozen=True, kw_only=True):
    """Where a call of a key for a model would go. `live` is whether a running process was asked;
    `home` is the provider that its conversation is pinned to; `waiting` counts all queued calls;
    `subscriptions` are those that the key used; `notes` is what transforms reported of its earlier
    calls."""

    key: str
    group: str
    model: str
    allowed: bool
    enabled: bool
    urgency: str
    max_wait: float
    live: bool
    home: str | None
    waiting: int | None
    candidates: list[CandidateState]
    skipped: list[SkippedRoute]
    subscriptions: list[SubscriptionState]
    now: ForecastOutcome | None
    notes: list[str]
