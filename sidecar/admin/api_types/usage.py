"""Usage and calls in the admin API. Money is US dollars."""

from __future__ import annotations

from msgspec import Struct

from sidecar.admin.api_types.limits import LimitState


class UsageSums(Struct, frozen=True, kw_only=True):
    """Sums of calls. `costs_all` and `counts_all` are whether the cost and the tokens are
    complete; `cached` is the part of the input that came from a cache."""

    calls: int
    unknown_calls: int
    partial_calls: int
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    cost_usd: float | None
    unpriced_calls: int
    tokens: int | None
    costs_all: bool
    counts_all: bool
    cached: float | None


class UsageLine(UsageSums, frozen=True, kw_only=True):
    """The sums of one value of a dimension."""

    name: str


class UsageNode(Struct, frozen=True, kw_only=True):
    """A process among those that share; `written` is when its usage last came, null for this
    one."""

    name: str
    written: float | None
    is_this: bool


class NodesUsage(Struct, frozen=True, kw_only=True):
    """The usage of other processes: the days of each by its name, as `sidecar.ledger.reports.nodes`
    reads them. `nodes` has this process, too; `failure` is why others are missing; `left_out`
    counts those that are too many."""

    is_shared: bool
    nodes: list[UsageNode]
    failure: str
    left_out: int
    days: dict[str, dict[str, str]]


class UsageOverview(Struct, frozen=True, kw_only=True):
    """Usage of the last days, by one dimension. `days` are ISO dates, the oldest first, as in
    `daily`; `left_out` counts lines that only the CSV file has; single calls are recorded since
    `kept_since`."""

    days: list[str]
    daily: list[UsageSums]
    total: UsageSums
    lines: list[UsageLine]
    left_out: int
    kept_since: float | None
    by: str
    budgets: list[LimitState]
    nodes: list[UsageNode]
    only_this: str


class UsageSheet(Struct, frozen=True, kw_only=True):
    """A CSV file and its name."""

    name: str
    csv: str


class RecentUse(Struct, frozen=True, kw_only=True):
    """A key's last days: `tokens` a day, the oldest first; `new` are programs that were not seen
    before."""

    today: UsageSums
    tokens: list[int | None]
    new: list[str]


class UsageSpike(Struct, frozen=True, kw_only=True):
    """A key's use of today against its usual use of a day; `measure` is "cost" (US dollars) or
    "tokens"."""

    measure: str
    amount: float
    usual: float


class RecentUsage(Struct, frozen=True, kw_only=True):
    """The last days of each key that was used, and the keys whose use of today is far above their
    usual."""

    days: list[str]
    keys: dict[str, RecentUse]
    spikes: dict[str, UsageSpike]


class RecordedCall(Struct, frozen=True, kw_only=True):
    """A finished call; `started` is ISO 8601, `usage` is "reported", "partial", "unknown" or
    "none"."""

    call_id: str
    started: str
    key: str
    group: str
    provider: str
    model: str | None
    status: int
    outcome: str
    duration: float
    usage: str
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None


class RecordedCalls(Struct, frozen=True, kw_only=True):
    """The calls that began last, the newest first."""

    calls: list[RecordedCall]


class CallTrace(Struct, frozen=True, kw_only=True):
    """The course of one call as pairs of a label and a text."""

    began: float
    lines: list[tuple[str, str]]
