"""Values that every layer may hold: usage, totals, call and attempt records, key times."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache

from msgspec import Struct, structs

from sidecar.api_keys import find_keys
from sidecar.errors import ErrorKind


class Usage(Struct, frozen=True):
    """Tokens as a vendor reported them, normalised so that vendors can be added up.

    `input_tokens` includes cache reads and writes, `output_tokens` includes reasoning; the other
    figures are parts of those two. Prices by size go by `context_tokens`, where a vendor tells the
    input of one of the several requests that it made of a call; `input_tokens` is that of all.
    `units` holds (name, count) of whatever else changes the price:
    what is not tokens (`images`, `audio_seconds`, `web_searches`), and tokens of other prices than
    text (`input_audio_tokens`, `cache_image_read_tokens`). `service_tier` is the vendor's own word,
    for the same reason. `reported_cost` is what the vendor itself says that the call costs, in
    nano-dollars. `parts` are the requests that a vendor made of one call, where there were several:
    each is in the other figures too, and priced by itself.
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
    """What one of several requests used that a vendor made of a call.

    `kind` is the vendor's word for it (`message`, `advisor_message`, `compaction`). `model` is None
    where it is the call's own. `usage` has no parts, and no figures that the vendor gives for the
    whole alone (`reasoning_tokens`). `largest` is the input of the largest request where a part is
    the sum of several: prices by size go by it.
    """

    kind: str
    model: str | None
    usage: Usage
    largest: int | None = None


class UsageState(StrEnum):
    """How much of a call's usage is known."""

    REPORTED = "reported"
    """The vendor's final figures."""
    PARTIAL = "partial"
    """The answer was cut or left: the figures seen until then."""
    UNKNOWN = "unknown"
    """Tokens were used, or may have been, of which nobody said how many; figures that there are
    for all that are those of the call's other attempts."""
    NONE = "none"
    """Nothing was used: refused, failed, or an endpoint that uses none."""


class Outcome(StrEnum):
    """How a call ended, from the client's side."""

    OK = "ok"
    CLIENT_ERROR = "client_error"
    """The vendor refused the request as wrong."""
    UPSTREAM_ERROR = "upstream_error"
    """No provider could serve it."""
    REFUSED = "refused"
    """We refused it ourselves."""
    CUT = "cut"
    """The provider broke off in the middle of its answer."""
    CANCELLED = "cancelled"
    """The client left before the end."""
    REVOKED = "revoked"
    """The key was revoked while the answer was running."""


class AttemptRecord(Struct, frozen=True, omit_defaults=True):
    """One try of a call at one provider. Durations in seconds.

    `verdict` is the vendor's, `failed` for what never got that far, or `cancelled` for what was cut
    short from here. `spent` is what it used although it came to nothing, and is part of what the
    call used; None where that is nothing, and of the attempt whose answer was passed on: the rest
    is that one's.
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
    """One stretch of waiting: what held the call up (a limit, a cooldown, a hold) in words that
    name the line of the file, and for how many seconds."""

    behind: str
    seconds: float


class Cost(Struct, frozen=True):
    """What a call cost, in nano-dollars (10^-9 USD, whole, so that sums are exact).

    `listed` is list price times usage; `charged` is that times the group's multiplier. `price` says
    where the price comes from: the list, its version and its name for the model (`genai-prices
    0.2.3 openai/gpt-5.5`), the line of the file (`routes.yaml:14`), `reported` (by the vendor) or
    `free`; several are joined by ` + `. Not `whole` is the cost of a call of which some attempt,
    or some part, cost nobody knows how much. `parts` are the costs of the usage's parts, in their
    order, None for an unknown price; () where they are not priced one by one.
    """

    listed: int
    charged: int
    price: str
    whole: bool = True
    parts: tuple[Cost | None, ...] = ()

    def of_part(self, number: int) -> Cost | None:
        """Return the cost of the usage's part of this number, None if it is not known."""
        return self.parts[number] if number < len(self.parts) else None


class AttemptUsage(Struct, frozen=True, omit_defaults=True):
    """What was used: how much of that is known, the known part, and what that cost."""

    state: UsageState
    usage: Usage | None = None
    cost: Cost | None = None


class Caller(Struct, frozen=True):
    """The local process that called, as the operating system knows it; "" and 0 for unknown."""

    program: str = ""
    pid: int = 0
    directory: str = ""
    repo: str = ""
    branch: str = ""


class CallRecord(Struct, frozen=True):
    """A finished call, told once to the ledger, the metrics and every observing plugin.

    Names and figures only: never a prompt, an answer or a secret. `started` is wall-clock seconds
    since the epoch; durations are seconds on the monotonic clock. `key` is "" when the caller
    could not be identified. `refusal` is why we answered it ourselves, when we did. `usage` and
    `cost` are those of all of its attempts; `cost` is None when the price or the usage is unknown.
    `caller` is None when nobody looked, or not in time.
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

    @property
    def unpriced(self) -> bool:
        """Whether its usage is known and its price is not, or not all of it: sums of money lack
        that, as they lack what is unknown of usage."""
        if self.cost is not None and self.cost.whole:
            return False
        return self.usage_state is UsageState.REPORTED or self.usage_state is UsageState.PARTIAL


_LEAST_KNOWN = (UsageState.UNKNOWN, UsageState.PARTIAL, UsageState.REPORTED, UsageState.NONE)
_ADDED = (
    "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens",
    "cache_write_1h_tokens", "reasoning_tokens", "reported_cost",
)  # fmt: skip


def with_spent(record: CallRecord, spent: AttemptUsage) -> CallRecord:
    """The call with what was spent besides what its answer used."""
    whole = together(AttemptUsage(record.usage_state, record.usage, record.cost), spent)
    return structs.replace(record, usage=whole.usage, usage_state=whole.state, cost=whole.cost)


def together(one: AttemptUsage, other: AttemptUsage) -> AttemptUsage:
    """Both; of which as much is known as of the one of which less is."""
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
    """The costs of the usage's parts, one for each."""
    parts = () if spent.usage is None else spent.usage.parts
    return tuple(spent.cost and spent.cost.of_part(number) for number in range(len(parts)))


@dataclass(frozen=True, slots=True)
class PeriodCount:
    """How much of a limit was used since its period began, in seconds since the epoch. `name` is
    the limit's, in whatever words its owner knows it by."""

    name: tuple[str, ...]
    begun: float
    used: int


PeriodCounts = dict[tuple[str, ...], PeriodCount]
MAX_PROGRAM_CHARS = 64


@lru_cache(maxsize=256)
def program_of(user_agent: str) -> str:
    """The first product of a User-Agent (`claude-cli/2.1.3`): printable, at most 64 characters."""
    first = user_agent[: MAX_PROGRAM_CHARS * 2].split(maxsplit=1)[:1]
    if any(find_keys(user_agent.encode("utf-8", "replace"))):
        return ""  # who pasted a key there meant nobody to keep it
    return "".join(c for c in "".join(first) if c.isprintable())[:MAX_PROGRAM_CHARS]


@dataclass(frozen=True, slots=True)
class KeyTimes:
    """When a key was last presented, last served by an upstream and last refused by us: wall-clock
    seconds that never move back, None for never. `program` is the client that was served last; of a
    key that never was, the one that presented it last."""

    last_seen: float | None = None
    last_used: float | None = None
    last_refused: float | None = None
    program: str = ""


def later(one: float | None, other: float | None) -> float | None:
    """The later of two times, either of which may be never."""
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
