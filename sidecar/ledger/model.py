"""Values of the ledger, and the rows and statements that store them.

Opens no file and runs no statement; the tables are defined in `sidecar.ledger.schema`.
"""

from __future__ import annotations

from datetime import date, datetime, tzinfo
from functools import lru_cache

import msgspec
from msgspec import Struct

from sidecar.records import CallRecord, Cost, KeyTimes, PeriodCounts, Usage, UsageState, later

DAYS_KEPT = 400
"""Days for which daily sums are kept at least, so that a month can be compared with that of the
year before. Calls are kept for `retention.days`; a longer value applies to both."""
OBJECT_DAYS = 90
MAX_OBJECTS = 50_000
"""Days for which, and number up to which, created objects are remembered; the oldest are deleted
first."""

_ROW = ", ".join("?" * 46)
INSERT_CALL = f"INSERT OR IGNORE INTO calls VALUES ({_ROW})"  # noqa: S608 - "?" alone
"""A call that has a row already keeps it: nothing is counted twice."""
INSERT_UNDER_WAY = f"INSERT OR REPLACE INTO under_way VALUES ({_ROW})"  # noqa: S608 - "?" alone
"""The trigger `call_ended` deletes the row when that of the finished call is written."""
EMPTY_VALUES = {None: "NULL", "": "''", "[]": "'[]'", "{}": "'{}'"}
"""The values that a third of the columns of most calls have, as SQL."""
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
        (SELECT * FROM objects ORDER BY created DESC LIMIT {MAX_OBJECTS})
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


class KeyState(Struct):
    """Times of one key while they change.

    `digest`: SHA-256 of the key's current secret, by which a renamed key is found.
    """

    digest: bytes | None = None
    last_seen: float | None = None
    last_used: float | None = None
    last_refused: float | None = None
    program: str = ""

    def times(self) -> KeyTimes:
        """Return the present times."""
        return KeyTimes(self.last_seen, self.last_used, self.last_refused, self.program)

    def latest(self) -> float:
        """Return when anything last happened to this key; 0 for never."""
        return max(self.last_seen or 0.0, self.last_used or 0.0, self.last_refused or 0.0)

    def merge(self, other: KeyState) -> None:
        """Merge the times of `other` into these; no time moves back."""
        if other.program and (other.last_seen or 0.0) >= (self.last_seen or 0.0):
            self.program = other.program
        self.digest = self.digest or other.digest
        self.last_seen = later(self.last_seen, other.last_seen)
        self.last_used = later(self.last_used, other.last_used)
        self.last_refused = later(self.last_refused, other.last_refused)


class Claim(Struct, frozen=True, omit_defaults=True):
    """Data to record the usage of an object once a response reports it.

    `call_id` created it, with `key` on `route`, at `started` (seconds since the epoch), for the
    model asked for and sent. `booked` is the usage that this call's row has so far, `listed` and
    `charged` its nano-dollars; `counted` is its input, output and money in calendar limits. `state`
    and `whole` become those of the call's usage and cost; `priced_as` is the name that prices it,
    where the route gives one.
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


class Owner(Struct, frozen=True):
    """The provider, credential and group of an object, whose id is valid nowhere else.

    `claim` is set while the usage of the object is unknown.
    """

    provider: str
    credential: str
    group: str
    claim: Claim | None = None


ObjectKey = tuple[str, str]
"""The kind of an object, and its id."""
Objects = dict[ObjectKey, tuple[Owner, float]]
"""The owner of each object and when it was recorded, oldest first."""


class Contents(Struct):
    """Contents of the file when it is opened, without the calls."""

    keys: dict[str, KeyState] = {}
    objects: Objects = {}
    counts: PeriodCounts = {}


class Renamed(Struct, frozen=True):
    """A key has a new name from here on; its calls follow it."""

    old: str
    new: str


class Forgotten(Struct, frozen=True):
    """A key that left the configuration long ago loses its times."""

    name: str


class Checkpoint(Struct, frozen=True):
    """A call in flight; `record` is its row if this process dies before it ends."""

    record: CallRecord


class Learned(Struct, frozen=True):
    """A later response reported the usage of an object: `usage` and `cost` replace those of the
    claim."""

    claim: Claim
    usage: Usage
    cost: Cost | None
    model_served: str | None


Step = CallRecord | Checkpoint | Renamed | Forgotten | Learned


class Batch(Struct):
    """Pending changes: the newest state of keys, objects and counts, and the steps in their
    order."""

    keys: dict[str, KeyState] = {}
    objects: Objects = {}
    steps: list[Step] = []
    counts: PeriodCounts = {}

    def __len__(self) -> int:
        return len(self.keys) + len(self.objects) + len(self.steps) + len(self.counts)

    def then(self, later_one: Batch) -> Batch:
        """Return both, in this order."""
        return Batch(
            self.keys | later_one.keys,
            self.objects | later_one.objects,
            self.steps + later_one.steps,
            self.counts | later_one.counts,
        )


class Keep(Struct, frozen=True):
    """Days for which calls are kept, bytes that the file may fill, and the time zone of its days;
    None is the machine's."""

    days: int = 90
    bytes: int = 1 << 30
    zone: tzinfo | None = None

    @property
    def days_kept(self) -> int:
        """Return the days for which daily sums are kept."""
        return max(self.days, DAYS_KEPT)


class NewProgram(Struct, frozen=True):
    """A program used a key for the first time, after the programs in `earlier`."""

    key: str
    program: str
    earlier: tuple[str, ...]


SqlValue = str | int | float | bytes | None
MAX_SQL_INTEGER = (1 << 63) - 1


@lru_cache(maxsize=64)
def insert_calls(values: tuple[str, ...]) -> str:
    """Return `INSERT_CALL` for rows with these values, each a "?" or one of `EMPTY_VALUES`."""
    return INSERT_CALL.replace(_ROW, ", ".join(values))


def sql_value(value: SqlValue) -> SqlValue:
    """Return a value that SQLite accepts.

    A vendor's absurd number or broken character is changed to fit: one row that cannot be written
    would hold up all that follow.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode() if not value.isascii() else value
    if isinstance(value, int):
        return max(-MAX_SQL_INTEGER, min(MAX_SQL_INTEGER, value))
    return value


def key_row(name: str, state: KeyState) -> tuple[SqlValue, ...]:
    """Return the parameters of `UPSERT_KEY`."""
    times = (state.last_seen, state.last_used, state.last_refused)
    return (sql_value(name), state.digest, *times, sql_value(state.program))


def object_row(key: ObjectKey, owner: Owner, created: float) -> tuple[SqlValue, ...]:
    """Return the parameters of `UPSERT_OBJECT`."""
    claim = None if owner.claim is None else msgspec.json.encode(owner.claim).decode()
    return (*map(sql_value, (*key, owner.provider, owner.credential, owner.group, claim)), created)


def read_owner(provider: str, credential: str, group: str, claim: str | None) -> Owner:
    """Return the owner in a row of `SELECT_OBJECTS`; a claim that cannot be read is dropped."""
    try:
        found = None if claim is None else msgspec.json.decode(claim, type=Claim)
    except msgspec.DecodeError:
        found = None
    return Owner(provider, credential, group, found)


def day_of(moment: float, zone: tzinfo | None) -> date:
    """Return the day of `moment` (seconds since the epoch) in `zone`; None is the machine's."""
    return datetime.fromtimestamp(moment, zone).date()
