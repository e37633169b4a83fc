"""What the ledger keeps: its values, and the rows and statements that they become.

Opens no file and runs no statement; the tables stand in `sidecar.ledger.schema`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, tzinfo

import msgspec
from msgspec import Struct

from sidecar.records import CallRecord, Cost, KeyTimes, PeriodCounts, Usage, UsageState, later

DAYS_KEPT = 400
"""Days for which the books by day are kept at least: a month of this year beside that of the last.
Calls are kept for `retention.days`; where that is longer, it holds for both."""
OBJECT_DAYS = 90
OBJECT_COUNT = 50_000
"""How long, and how many, created objects are remembered; the oldest go first."""

_ROW = ", ".join("?" * 45)
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
    INSERT OR REPLACE INTO objects (kind, id, provider, credential, group_name, claim, created)
    VALUES (?, ?, ?, ?, ?, ?, ?)
"""
SELECT_KEYS = "SELECT name, digest, last_seen, last_used, last_refused, program FROM keys"
SELECT_OBJECTS = f"""
    SELECT kind, id, provider, credential, group_name, claim, created FROM
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


class Claim(Struct, frozen=True, omit_defaults=True):
    """What is needed to book the usage of an object once an answer tells it.

    `call_id` is the call that made it, of `key` on `route`, at `started` (seconds since the epoch)
    for the model that was asked for and sent. `booked` is what that call's books say of it so far,
    for `listed` and `charged` nano-dollars; `counted` is its input, output and money in limits by
    the calendar. `state` and `whole` are what the call's usage and cost become; `priced_as` is the
    name by which it is priced, where its route gives one.
    """

    call_id: str
    key: str
    route: str
    started: float
    model_asked: str | None = None
    model_sent: str | None = None
    booked: Usage | None = None
    listed: int = 0
    charged: int = 0
    counted: tuple[int, int, int] = (0, 0, 0)
    state: UsageState = UsageState.REPORTED
    whole: bool = True
    priced_as: str | None = None


@dataclass(frozen=True, slots=True)
class Owner:
    """Who an object of a provider belongs to: its id means nothing anywhere else. `claim` is there
    while nobody has told what it used."""

    provider: str
    credential: str
    group: str
    claim: Claim | None = None


ObjectKey = tuple[str, str]
"""The kind of an object, and its id."""
Objects = dict[ObjectKey, tuple[Owner, float]]
"""Each object's owner and when it was remembered, oldest first."""


@dataclass(slots=True)
class Contents:
    """What the file knows when it is opened."""

    keys: dict[str, KeyState] = field(default_factory=dict)
    objects: Objects = field(default_factory=dict)
    counts: PeriodCounts = field(default_factory=dict)


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
class Checkpoint:
    """A call has not ended; `record` is what is said of it if this process dies before it does."""

    record: CallRecord


@dataclass(frozen=True, slots=True)
class Learned:
    """A later answer told what an object used: `usage` for `cost`, in place of what the books of
    the claim's call say of it so far."""

    claim: Claim
    usage: Usage
    cost: Cost | None
    model_served: str | None


Step = CallRecord | Checkpoint | Renamed | Forgotten | Learned


@dataclass(slots=True)
class Batch:
    """What is to be written: the newest state of keys, objects and counts, and the steps in their
    order."""

    keys: dict[str, KeyState] = field(default_factory=dict)
    objects: Objects = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    counts: PeriodCounts = field(default_factory=dict)

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


SqlValue = str | int | float | bytes | None
MAX_SQL_INTEGER = (1 << 63) - 1


def sql_value(value: SqlValue) -> SqlValue:
    """A value that SQLite takes for certain: a vendor's absurd number or broken character is bent
    into its range, since one row that cannot be written would hold up all that follow."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode() if not value.isascii() else value
    if isinstance(value, int):
        return max(-MAX_SQL_INTEGER, min(MAX_SQL_INTEGER, value))
    return value


def key_row(name: str, state: KeyState) -> tuple[SqlValue, ...]:
    """The parameters of `UPSERT_KEY`."""
    times = (state.last_seen, state.last_used, state.last_refused)
    return (sql_value(name), state.digest, *times, sql_value(state.program))


def object_row(key: ObjectKey, owner: Owner, created: float) -> tuple[SqlValue, ...]:
    """The parameters of `UPSERT_OBJECT`."""
    claim = None if owner.claim is None else msgspec.json.encode(owner.claim).decode()
    return (*map(sql_value, (*key, owner.provider, owner.credential, owner.group, claim)), created)


def read_owner(provider: str, credential: str, group: str, claim: str | None) -> Owner:
    """Return the owner that a row of `SELECT_OBJECTS` has; a claim that cannot be read is none."""
    try:
        found = None if claim is None else msgspec.json.decode(claim, type=Claim)
    except msgspec.DecodeError:
        found = None
    return Owner(provider, credential, group, found)


def day_of(moment: float, zone: tzinfo | None) -> date:
    """The day of a moment (seconds since the epoch) in `zone`; None is the machine's."""
    return datetime.fromtimestamp(moment, zone).date()
