"""What the ledger keeps: its values, and the rows and statements that they become.

Opens no file and runs no statement; the tables stand in `sidecar.migrations`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, tzinfo

import msgspec

from sidecar.counts import Counts
from sidecar.usage import CallRecord, Usage

DAYS_KEPT = 400
"""Days for which the books by day are kept at least: a month of this year beside that of the last.
Calls are kept for `retention.days`; where that is longer, it holds for both."""
OBJECT_DAYS = 90
OBJECT_COUNT = 50_000
"""How long, and how many, created objects are remembered; the oldest go first."""

_ROW = ", ".join("?" * 44)
INSERT_CALL = f"INSERT OR IGNORE INTO calls VALUES ({_ROW})"  # noqa: S608 - "?" alone
"""A call that is already on the books stays as it is: nothing is counted twice."""
INSERT_UNDER_WAY = f"INSERT OR REPLACE INTO under_way VALUES ({_ROW})"  # noqa: S608 - "?" alone
"""Its row goes when that of the ended call comes."""
SELECT_CALLS = "SELECT * FROM calls"
SELECT_UNDER_WAY = "SELECT * FROM under_way"
DELETE_UNDER_WAY = "DELETE FROM under_way"

DELETE_KEY = "DELETE FROM keys WHERE name = ?"
UPSERT_KEY = """
    INSERT INTO keys (name, digest, last_seen, last_used, last_refused, program)
    VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (name) DO UPDATE SET
        digest = coalesce(excluded.digest, digest),
        last_seen = coalesce(max(excluded.last_seen, last_seen), excluded.last_seen, last_seen),
        last_used = coalesce(max(excluded.last_used, last_used), excluded.last_used, last_used),
        last_refused =
            coalesce(max(excluded.last_refused, last_refused), excluded.last_refused, last_refused),
        program = CASE excluded.program WHEN '' THEN program ELSE excluded.program END
"""
UPSERT_OBJECT = """
    INSERT OR REPLACE INTO objects (kind, id, provider, credential, group_name, created)
    VALUES (?, ?, ?, ?, ?, ?)
"""
SELECT_KEYS = "SELECT name, digest, last_seen, last_used, last_refused, program FROM keys"
SELECT_OBJECTS = f"""
    SELECT kind, id, provider, credential, group_name, created FROM
        (SELECT * FROM objects ORDER BY created DESC LIMIT {OBJECT_COUNT})
    ORDER BY created
"""  # noqa: S608 - a constant
DELETE_OLD_CALLS = """
    DELETE FROM calls WHERE call_id IN
        (SELECT call_id FROM calls WHERE started < ? ORDER BY started LIMIT ?)
"""
DELETE_OLD_OBJECTS = """
    DELETE FROM objects WHERE (kind, id) IN
        (SELECT kind, id FROM objects WHERE created < ? ORDER BY created LIMIT ?)
"""
DELETE_SURPLUS_OBJECTS = """
    DELETE FROM objects WHERE (kind, id) IN
        (SELECT kind, id FROM objects ORDER BY created DESC LIMIT ? OFFSET ?)
"""


@dataclass(frozen=True, slots=True)
class KeyTimes:
    """When a key was last presented, last served by an upstream and last refused by us: wall-clock
    seconds that never move back, None for never. `program` is the client that was served last; of a
    key that never was, the one that presented it last."""

    last_seen: float | None = None
    last_used: float | None = None
    last_refused: float | None = None
    program: str = ""


@dataclass(slots=True)
class KeyState:
    """The same while it changes; `digest` is the SHA-256 of the key's current text, by which it is
    found again under another name."""

    digest: bytes | None = None
    last_seen: float | None = None
    last_used: float | None = None
    last_refused: float | None = None
    program: str = ""

    def times(self) -> KeyTimes:
        """As it is now."""
        return KeyTimes(self.last_seen, self.last_used, self.last_refused, self.program)

    def latest(self) -> float:
        """When anything happened to this key last; 0 for never."""
        return max(self.last_seen or 0.0, self.last_used or 0.0, self.last_refused or 0.0)

    def absorb(self, other: KeyState) -> None:
        """Become what both together know; no time moves back."""
        if other.program and (other.last_seen or 0.0) >= (self.last_seen or 0.0):
            self.program = other.program
        self.digest = self.digest or other.digest
        self.last_seen = later(self.last_seen, other.last_seen)
        self.last_used = later(self.last_used, other.last_used)
        self.last_refused = later(self.last_refused, other.last_refused)


def later(one: float | None, other: float | None) -> float | None:
    """The later of two times, either of which may be never."""
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)


@dataclass(frozen=True, slots=True)
class Owner:
    """Who an object of a provider belongs to: its id means nothing anywhere else."""

    provider: str
    credential: str
    group: str


ObjectKey = tuple[str, str]
"""The kind of an object, and its id."""
Objects = dict[ObjectKey, tuple[Owner, float]]
"""Each object's owner and when it was remembered, oldest first."""


@dataclass(slots=True)
class Contents:
    """What the file knows when it is opened."""

    keys: dict[str, KeyState] = field(default_factory=dict)
    objects: Objects = field(default_factory=dict)
    counts: Counts = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Renamed:
    """A key goes by another name from here on; its calls follow it."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A key that left the configuration long ago leaves no times behind."""

    name: str


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A call has not ended; `record` is what is said of it if this process dies before it does."""

    record: CallRecord


Step = CallRecord | UnderWay | Renamed | Forgotten


@dataclass(slots=True)
class Batch:
    """What is to be written: the newest state of keys, objects and counts, and the steps in their
    order."""

    keys: dict[str, KeyState] = field(default_factory=dict)
    objects: Objects = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    counts: Counts = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.keys) + len(self.objects) + len(self.steps) + len(self.counts)

    def then(self, later_one: Batch) -> Batch:
        """Both, in this order."""
        return Batch(
            self.keys | later_one.keys,
            self.objects | later_one.objects,
            self.steps + later_one.steps,
            self.counts | later_one.counts,
        )


@dataclass(frozen=True, slots=True)
class Keep:
    """For how many days calls are kept, how many bytes the file may fill, and by which time zone
    days are told apart; None is the machine's."""

    days: int = 90
    bytes: int = 1 << 30
    zone: tzinfo | None = None

    @property
    def days_kept(self) -> int:
        """For how many days the books by day are kept."""
        return max(self.days, DAYS_KEPT)


@dataclass(frozen=True, slots=True)
class NewProgram:
    """A program used a key for the first time, which others (`earlier`) had used before."""

    key: str
    program: str
    earlier: tuple[str, ...]


Plain = str | int | float | bytes | None
BIGGEST = (1 << 63) - 1
MOST_TOKENS, MOST_COST = 1 << 40, 1 << 46
"""No call uses a million million tokens, or costs 70,000 dollars (in nano-dollars): one that says
so must not make a sum of many exceed what SQLite can add up."""


def plain(value: Plain) -> Plain:
    """A value that SQLite takes for certain: a vendor's absurd number or broken character is bent
    into its range, since one row that cannot be written would hold up all that follow."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode() if not value.isascii() else value
    if isinstance(value, int):
        return max(-BIGGEST, min(BIGGEST, value))
    return value


def key_row(name: str, state: KeyState) -> tuple[Plain, ...]:
    """The parameters of `UPSERT_KEY`."""
    times = (state.last_seen, state.last_used, state.last_refused)
    return (plain(name), state.digest, *times, plain(state.program))


def object_row(key: ObjectKey, owner: Owner, created: float) -> tuple[Plain, ...]:
    """The parameters of `UPSERT_OBJECT`."""
    return (*map(plain, (*key, owner.provider, owner.credential, owner.group)), created)


def day_of(moment: float, zone: tzinfo | None) -> date:
    """The day of a moment (seconds since the epoch) in `zone`; None is the machine's."""
    return datetime.fromtimestamp(moment, zone).date()


def call_row(record: CallRecord, zone: tzinfo | None) -> tuple[Plain, ...]:
    """The parameters of `INSERT_CALL`; the call belongs to the day on which it began in `zone`."""
    usage = record.usage or Usage()
    refusal = None if record.refusal is None else record.refusal.name.lower()
    row: tuple[Plain, ...] = (
        record.call_id, record.started, record.key, record.group, record.vendor, record.dialect,
        record.endpoint, record.method, record.model_asked, record.model_served, record.streaming,
        record.provider, record.credential, record.status, record.outcome.value,
        refusal, record.reason, _json(record.attempts),
        record.wait, record.first_byte, record.duration,
        *_tokens(usage),
        _json(dict(usage.units)) if usage.units else "{}",
        usage.service_tier, record.usage_state.value,
        record.session, record.program,
        _json(record.waits), *_cost(record), *_caller(record),
        record.urgency, day_of(record.started, zone).isoformat(),
        record.cost is None or record.cost.whole,
    )  # fmt: skip
    return tuple(map(plain, row))


def _tokens(usage: Usage) -> tuple[int | None, ...]:
    counts = (
        usage.input_tokens, usage.output_tokens, usage.cache_read_tokens,
        usage.cache_write_tokens, usage.cache_write_1h_tokens, usage.reasoning_tokens,
    )  # fmt: skip
    return tuple(None if count is None else min(count, MOST_TOKENS) for count in counts)


def _cost(record: CallRecord) -> tuple[Plain, ...]:
    cost = record.cost
    if cost is None:
        return (None, None, None)
    return (min(cost.listed, MOST_COST), min(cost.charged, MOST_COST), cost.price)


def _caller(record: CallRecord) -> tuple[Plain, ...]:
    """All NULL when nobody looked; "" and 0 for what was looked for and not found."""
    who = record.caller
    if who is None:
        return (None, None, None, None, None)
    return (who.program, who.pid, who.directory, who.repo, who.branch)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
