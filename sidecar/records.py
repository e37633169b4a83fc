"""Values that every layer may hold: usage, totals, call and attempt records, key times."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache

from msgspec import Struct, structs

from sidecar.api_keys import find_keys
from sidecar.errors import ErrorKind


class Usage(Struct, frozen=True):
    """Tokens as a vendor reported them, normalised so that vendors can be added up.

    `input_tokens` includes cache reads and writes, `output_tokens` includes reasoning; the
    other token counts are parts of those two.

    `context_tokens` is the input that prices by size depend on, where the vendor made several
    requests for one call and reports one of them. `units` holds (name, count) of what else has
    a price: `images`, `audio_seconds`, `web_searches`, and tokens at other prices
    (`input_audio_tokens`, `cache_image_read_tokens`). `service_tier` is the vendor's own word,
    for the same reason. `reported_cost` is the cost in nano-dollars according to the vendor.
    `parts` are the vendor's requests of one call, where there were several: each is included in
    the other counts, and is priced by itself.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    reasoning_tokens: int | None = None
    units: tuple[tuple[str, int], ...] = ()
    service_tier: str | None = None
    context_tokens: int | None = None
    reported_cost: int | None = None
    parts: tuple[Part, ...] = ()


class Part(Struct, frozen=True):
    """The usage of one of several requests that a vendor made for a call.

    `kind` is the vendor's word for it (`message`, `advisor_message`, `compaction`). `model` is
    None where it is the call's own. `usage` has no parts, and nothing that the vendor reports
    for the whole call only (`reasoning_tokens`). `largest` is the input of the largest request
    where a part sums several: prices by size depend on it.
    """

    kind: str
    model: str | None
    usage: Usage
    largest: int | None = None


class UsageState(StrEnum):
    """The completeness of a call's usage."""

    REPORTED = "reported"
    """The vendor's final counts."""
    PARTIAL = "partial"
    """The response was truncated or cancelled: the counts reported until then, a lower bound."""
    UNKNOWN = "unknown"
    """Tokens were used, or may have been, and their number was not reported; any counts are those
    of the call's other attempts."""
    NONE = "none"
    """Nothing was used: rejected, failed, or an endpoint without usage."""


class Outcome(StrEnum):
    """The end of a call, as the client saw it."""

    OK = "ok"
    CLIENT_ERROR = "client_error"
    """The vendor rejected the request as invalid."""
    UPSTREAM_ERROR = "upstream_error"
    """No provider could serve it."""
    REFUSED = "refused"
    """Sidecar rejected it."""
    CUT = "cut"
    """The provider ended its response before it was complete."""
    CANCELLED = "cancelled"
    """The client closed the connection before the end."""
    REVOKED = "revoked"
    """The key was revoked while the response was relayed."""


class AttemptRecord(Struct, frozen=True, omit_defaults=True):
    """One attempt of a call at one provider. Durations in seconds.

    `verdict` is the error class, `failed` where no response came, `cancelled` where Sidecar
    ended it. `spent` is the usage of a failed attempt, included in the call's; None where there
    is none, and for the attempt whose response was relayed.
    """

    provider: str
    credential: str
    model: str | None
    verdict: str
    status: int | None
    reason: str
    duration: float
    spent: AttemptUsage | None = None


class Wait(Struct, frozen=True):
    """A stretch of waiting: what blocked the call, with the line of the file, and the seconds."""

    behind: str
    seconds: float


SUBSCRIPTION = "subscription"
"""Begins the `price` of a call that its caller's own subscription pays."""


class Cost(Struct, frozen=True):
    """The cost of a call in nano-dollars: whole numbers, so that sums are exact.

    `listed` is list price times usage; `charged` is that times the group's multiplier. `price`
    is the source of the price: the list, its version and its name for the model (`genai-prices
    0.2.3 openai/gpt-5.5`), a line of the file (`routes.yaml:14`), `reported` (by the vendor) or
    `free`; several are joined by ` + `. After `subscription` nothing is charged. `whole` is False
    where the cost of some attempt or part is unknown. `parts` are the costs of the usage's parts in
    their order, None for an unknown price; () where they are not priced one by one.
    """

    listed: int
    charged: int
    price: str
    whole: bool = True
    parts: tuple[Cost | None, ...] = ()

    def of_part(self, number: int) -> Cost | None:
        """Return the cost of the usage's part of this number; None if it is unknown."""
        return self.parts[number] if number < len(self.parts) else None


class AttemptUsage(Struct, frozen=True, omit_defaults=True):
    """The usage of an attempt: how much is known, the known part, and its cost."""

    state: UsageState
    usage: Usage | None = None
    cost: Cost | None = None


class Caller(Struct, frozen=True):
    """The local process that made a call, as the system reports it; "" and 0 if unknown."""

    program: str = ""
    pid: int = 0
    directory: str = ""
    repo: str = ""
    branch: str = ""


class CallRecord(Struct, frozen=True):
    """A finished call, handed once to the ledger, the metrics and every observing plugin.

    Names and numbers only: never a prompt, a response or a secret. `started` is seconds since
    the epoch; durations are seconds of the monotonic clock. `key` is "" when the caller was not
    identified. `refusal` is the kind of a local reply. `usage` and `cost` are those of all
    attempts; `cost` is None when the price or the usage is unknown. `caller` is None when no
    lookup finished in time. `transform` names the transforms that changed the call, in order.
    """

    call_id: str
    started: float
    key: str
    group: str
    vendor: str
    dialect: str
    endpoint: str
    method: str
    model_asked: str | None
    streaming: bool
    provider: str
    credential: str
    model_served: str | None
    status: int
    outcome: Outcome
    reason: str
    attempts: tuple[AttemptRecord, ...]
    wait: float
    first_byte: float | None
    duration: float
    usage: Usage | None
    usage_state: UsageState
    session: str | None
    program: str
    refusal: ErrorKind | None = None
    urgency: str = ""
    waits: tuple[Wait, ...] = ()
    cost: Cost | None = None
    caller: Caller | None = None
    transform: str = ""

    @property
    def unpriced(self) -> bool:
        """True if the usage is known and the price is not, or not completely.

        Sums of money lack such a call.
        """
        if self.cost is not None and self.cost.whole:
            return False
        return self.usage_state is UsageState.REPORTED or self.usage_state is UsageState.PARTIAL


_LEAST_KNOWN = (UsageState.UNKNOWN, UsageState.PARTIAL, UsageState.REPORTED, UsageState.NONE)
_ADDED = (
    "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens",
    "cache_write_1h_tokens", "reasoning_tokens", "reported_cost",
)  # fmt: skip


def with_spent(record: CallRecord, spent: AttemptUsage) -> CallRecord:
    """Return the record with the usage of failed attempts added to that of its answer."""
    whole = together(AttemptUsage(record.usage_state, record.usage, record.cost), spent)
    return structs.replace(record, usage=whole.usage, usage_state=whole.state, cost=whole.cost)


def together(one: AttemptUsage, other: AttemptUsage) -> AttemptUsage:
    """Return the sum of two usages; its state is the less known one of the two."""
    state = min(one.state, other.state, key=_LEAST_KNOWN.index)
    return AttemptUsage(state, _usage(one.usage, other.usage), _cost(one, other))


def _usage(one: Usage | None, other: Usage | None) -> Usage | None:
    if one is None or other is None:
        return one or other
    units = dict(one.units)
    for name, count in other.units:
        units[name] = units.get(name, 0) + count
    return Usage(
        **{name: _sum(getattr(one, name), getattr(other, name)) for name in _ADDED},
        units=tuple(units.items()),
        service_tier=one.service_tier or other.service_tier,
        parts=one.parts + other.parts,
    )


def _sum(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other


def _cost(one: AttemptUsage, other: AttemptUsage) -> Cost | None:
    costs = [each.cost for each in (one, other) if each.cost is not None]
    used = [each for each in (one, other) if each.state is not UsageState.NONE]
    if not costs:
        return None
    prices = dict.fromkeys(price for cost in costs for price in cost.price.split(" + "))
    return Cost(
        sum(cost.listed for cost in costs),
        sum(cost.charged for cost in costs),
        " + ".join(prices),
        whole=all(cost.whole for cost in costs) and all(each.cost is not None for each in used),
        parts=_part_costs(one) + _part_costs(other),
    )


def _part_costs(spent: AttemptUsage) -> tuple[Cost | None, ...]:
    """Return the cost of each part of the usage."""
    parts = () if spent.usage is None else spent.usage.parts
    return tuple(spent.cost and spent.cost.of_part(number) for number in range(len(parts)))


class PeriodCount(Struct, frozen=True):
    """The used amount of a limit since its period began (`begun`, seconds since the epoch).

    `name` identifies the limit to its owner.
    """

    name: tuple[str, ...]
    begun: float
    used: int


PeriodCounts = dict[tuple[str, ...], PeriodCount]
MAX_PROGRAM_CHARS = 64


@lru_cache(maxsize=256)
def program_of(user_agent: str) -> str:
    """Return the first product of a User-Agent, printable: `claude-cli/2.1.3`."""
    first = user_agent[: MAX_PROGRAM_CHARS * 2].split(maxsplit=1)[:1]
    if any(find_keys(user_agent.encode("utf-8", "replace"))):
        return ""  # a key that was pasted there must not be kept
    return "".join(c for c in "".join(first) if c.isprintable())[:MAX_PROGRAM_CHARS]


class KeyTimes(Struct, frozen=True):
    """The times of a key: last presented, last served by an upstream, last refused by Sidecar.

    Seconds since the epoch that never move back; None for never. `program` is the client that
    was served last, or, for a key that never was, the one that presented it last. `host` is the
    machine of the process that served it last; empty for this process.
    """

    last_seen: float | None = None
    last_used: float | None = None
    last_refused: float | None = None
    program: str = ""
    host: str = ""


def later(one: float | None, other: float | None) -> float | None:
    """Return the later of two times; None is never."""
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)


NEVER_USED = KeyTimes()
NANODOLLARS = 1_000_000_000
"""Nano-dollars in a US dollar."""


def as_dollars(nano: int | None) -> Decimal | None:
    """Return nano-dollars as exact US dollars."""
    return None if nano is None else Decimal(nano).scaleb(-9)


def utc_text(time: datetime | float, timespec: str = "seconds") -> str:
    """Return a time, or seconds since the epoch, as ISO 8601 in UTC: `2026-12-31T18:00:00Z`.

    `timespec` as in `datetime.isoformat`; "auto" keeps a fraction where there is one.
    """
    found = time if isinstance(time, datetime) else datetime.fromtimestamp(time, UTC)
    return found.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")
