"""The books by day say what the calls say, and go on saying it when those are gone."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_checks import CALL, Wall, assert_in_step, call, rows, snapshot, used
from msgspec.structs import replace
from property_tests import examples

from sidecar.ledger import rollups
from sidecar.ledger.call_rows import MAX_COST, MAX_TOKENS
from sidecar.ledger.database import DAY_SECONDS, Database, open_database
from sidecar.ledger.ledger import Ledger
from sidecar.ledger.model import Batch, Keep, Renamed
from sidecar.ledger.reader import open_to_read
from sidecar.ledger.reports.activity import programs, today
from sidecar.ledger.reports.export import as_csv, as_json, columns, row
from sidecar.ledger.reports.sums import Sums, total
from sidecar.ledger.reports.usage import Dimension, UsageQuery, kept_since, usage
from sidecar.records import Caller, CallRecord, Cost, Usage, UsageState

NOW = 1_800_000_000.0
ZONE = ZoneInfo("Pacific/Apia")  # as far from Greenwich as a day can be
ALL = tuple(each for each in Dimension if each is not Dimension.NODE)
BY_DAY = tuple(each for each in ALL if each is not Dimension.SESSION)


# ── what calls come to, counted a second time and by hand ──────────────────────────────────────


def program_of(record: CallRecord) -> str:
    if record.program:
        return record.program.partition("/")[0] or record.program
    return "" if record.caller is None else record.caller.program


def names_of(record: CallRecord, zone: ZoneInfo | None) -> dict[Dimension, str]:
    caller = record.caller or Caller()
    return {
        Dimension.KEY: record.key,
        Dimension.GROUP: record.group,
        Dimension.PROVIDER: record.provider,
        Dimension.MODEL: record.model_asked or "",
        Dimension.DAY: datetime.fromtimestamp(record.started, zone).date().isoformat(),
        Dimension.SESSION: record.session or "",
        Dimension.PROGRAM: program_of(record),
        Dimension.REPO: caller.repo,
        Dimension.BRANCH: caller.branch,
    }


def figures_of(record: CallRecord) -> list[int | None]:
    used, cost = record.usage or Usage(), record.cost
    money = [None, None] if cost is None else [cost.listed, cost.charged]
    if record.usage_state is UsageState.NONE:  # but what is paid by the piece may cost all the same
        return [None] * 5 + [amount or None for amount in money]
    return [
        used.input_tokens, used.output_tokens, used.cache_read_tokens, used.cache_write_tokens,
        used.reasoning_tokens, *money,
    ]  # fmt: skip


def counted(
    records: list[CallRecord], by: tuple[Dimension, ...], zone: ZoneInfo | None = ZONE
) -> dict[tuple[str, ...], Sums]:
    groups: dict[tuple[str, ...], list[CallRecord]] = defaultdict(list)
    for record in records:
        names = names_of(record, zone)
        groups[tuple(names[each] for each in by)].append(record)
    return {names: summed(group) for names, group in groups.items()}


def costs_all(record: CallRecord) -> bool:
    return record.cost is not None and record.cost.whole


def summed(records: list[CallRecord]) -> Sums:
    """A figure is what is known of it; 0 if nothing was used, and else None if nothing is known."""
    states = [record.usage_state for record in records]
    told = {UsageState.REPORTED, UsageState.PARTIAL}
    idle = all(state is UsageState.NONE for state in states)
    figures = []
    for each in zip(*map(figures_of, records), strict=True):
        known = [figure for figure in each if figure is not None]
        figures.append(sum(known) if known or idle else None)
    return Sums(
        len(records),
        states.count(UsageState.UNKNOWN),
        states.count(UsageState.PARTIAL),
        sum(r.usage_state in told and not costs_all(r) for r in records),
        sum(r.usage_state is not UsageState.NONE and not costs_all(r) for r in records),
        states.count(UsageState.NONE),
        *figures,
    )


# ── any interleaving of writes, repeats, renames and retention ─────────────────────────────────

MONEY = st.integers(0, 10**12)
COUNT = st.none() | st.integers(0, 10**6)
USAGE = st.none() | st.builds(Usage, COUNT, COUNT, COUNT, COUNT, COUNT, COUNT)
# Few values of each, so that many calls meet in one line of a day.
RECORDS = st.builds(
    call,
    call_id=st.sampled_from([f"call_{number}" for number in range(40)]),
    started=st.sampled_from([NOW, NOW - 1, NOW - 1.5 * DAY_SECONDS, NOW - 10 * DAY_SECONDS]),
    key=st.sampled_from("ab"),
    provider=st.sampled_from(["acme", ""]),
    model_asked=st.sampled_from([None, "m[2]"]),
    session=st.sampled_from([None, "s-1"]),
    program=st.sampled_from(["codex/1.0", "codex/1.1", ""]),
    usage=USAGE,
    usage_state=st.sampled_from(list(UsageState)),
    cost=st.none() | st.builds(Cost, MONEY, MONEY, st.just("p"), st.booleans()),
    caller=st.sampled_from([None, Caller("node", 7, "/x", "app", "fix")]),
)
STEPS = RECORDS | st.builds(Renamed, st.sampled_from("abc"), st.sampled_from("abc"))
BATCHES = st.lists(STEPS, max_size=12)
KEEPS = st.builds(Keep, st.integers(1, 12), st.just(1 << 30), st.just(ZONE))
OPERATIONS = st.lists(BATCHES | KEEPS | st.just("again"), max_size=12)


@dataclass
class Twin:
    """The books, and the same by hand."""

    database: Database
    ever: dict[str, CallRecord] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)
    last: list[CallRecord | Renamed] = field(default_factory=list)

    def write(self, steps: list[CallRecord | Renamed]) -> None:
        # The row of a call is what it is known again by; what is gone is not told again.
        gone = self.ever.keys() - self.kept
        steps = [s for s in steps if not (isinstance(s, CallRecord) and s.call_id in gone)]
        steps = [s for s in steps if not (isinstance(s, Renamed) and s.old == s.new)]
        self.database.write(Batch(steps=list(steps)), Keep(zone=ZONE))
        self.last = steps
        for step in steps:
            if isinstance(step, Renamed):
                for call_id, record in self.ever.items():
                    if record.key == step.old:
                        self.ever[call_id] = replace(record, key=step.new)
            else:
                self.ever.setdefault(step.call_id, step)
                self.kept.add(step.call_id)

    def tidy(self, keep: Keep) -> None:
        while self.database.tidy(keep, NOW):
            pass
        for call_id in list(self.kept):
            if self.ever[call_id].started < NOW - keep.days * DAY_SECONDS:
                self.kept.remove(call_id)


@contextmanager
def twin(state: Path) -> Iterator[Twin]:
    database = open_database(state, NOW)
    try:
        yield Twin(database)
    finally:
        database.close()


def asked(state: Path, question: UsageQuery) -> dict[tuple[str, ...], Sums]:
    with open_to_read(state) as books:
        lines = usage(books, question)
    assert len({line.names for line in lines}) == len(lines)
    return {line.names: line.sums for line in lines}


@given(OPERATIONS, st.sets(st.sampled_from(ALL)))
@examples(20)
def test_rows_days_reports_and_csv_agree(
    tmp_path_factory: pytest.TempPathFactory,
    operations: list[list[CallRecord | Renamed] | Keep | str],
    dimensions: set[Dimension],
) -> None:
    state = tmp_path_factory.mktemp("state")
    by = tuple(dimensions)
    with twin(state) as books:
        for operation in operations:
            if isinstance(operation, Keep):
                books.tidy(operation)
            elif isinstance(operation, list):
                books.write(operation)
            else:
                books.write(books.last)
        ever = list(books.ever.values())
        kept = [record for record in ever if record.call_id in books.kept]
        source = kept if Dimension.SESSION in by else ever
        assert asked(state, UsageQuery(by)) == counted(source, by)
        assert total(asked(state, UsageQuery(by)).values()) == (
            summed(source) if source else Sums()
        )
        assert asked(state, UsageQuery((*BY_DAY, Dimension.SESSION))) == counted(
            kept, (*BY_DAY, Dimension.SESSION)
        )
        assert asked(state, UsageQuery(BY_DAY)) == counted(ever, BY_DAY)
    assert len(rows(state)) == len(kept)
    _assert_printed(state, by, counted(source, by))


def _assert_printed(
    state: Path, by: tuple[Dimension, ...], expected: dict[tuple[str, ...], Sums]
) -> None:
    """To the token and the nano-dollar, in JSON and in CSV."""
    with open_to_read(state) as books:
        lines = usage(books, UsageQuery(by))
    found = [row(by, line) for line in lines]
    read = json.loads(as_json(found), parse_float=Decimal)
    assert [tuple(each[name] for name in by) for each in read] == [line.names for line in lines]
    sheet = list(csv.DictReader(io.StringIO(as_csv(found, columns(by)))))
    for each, line in zip(zip(read, sheet, strict=True), lines, strict=True):
        sums = expected[line.names]
        as_object, as_fields = each
        cost = None if sums.charged is None else Decimal(sums.charged) / 10**9
        assert as_object["cost_usd"] == cost
        assert (
            as_fields["cost_usd"] == "" if cost is None else Decimal(as_fields["cost_usd"]) == cost
        )
        for name in ("calls", "unknown_calls", "partial_calls", "unpriced_calls",
                     "input_tokens", "output_tokens",
                     "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"):  # fmt: skip
            figure = getattr(sums, name)
            assert as_object[name] == figure
            assert as_fields[name] == ("" if figure is None else str(int(figure)))


# ── by and by, over the ledger ──────────────────────────────────────────────────────────────────


@pytest.fixture
def wall() -> Wall:
    return Wall(NOW)


async def test_call_counts_on_the_day_it_began_in_the_files_time_zone(
    tmp_path: Path, wall: Wall
) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        for number, name in enumerate(("Pacific/Apia", "Pacific/Pago_Pago", "UTC")):
            zone = UTC if name == "UTC" else ZoneInfo(name)
            ledger.reconcile(snapshot({"nightly": "text"}, timezone=zone))
            ledger.finished(call(call_id=f"call_{number}", started=1_799_971_200.0))  # midnight
            await ledger.flush()
            with open_to_read(tmp_path) as books:
                assert (
                    today(books, 1_799_971_200.0).isoformat()
                    == rows(tmp_path, f"SELECT day FROM calls WHERE call_id = 'call_{number}'")[0][
                        "day"
                    ]
                )
    found = asked(tmp_path, UsageQuery((Dimension.DAY,)))
    assert {names: sums.calls for names, sums in found.items()} == {
        ("2027-01-14",): 1,
        ("2027-01-15",): 2,
    }
    assert_in_step(tmp_path)


async def test_renamed_key_keeps_its_days_and_programs(tmp_path: Path, wall: Wall) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        ledger.reconcile(snapshot({"old": "text"}))
        used(ledger, "old")
        ledger.finished(call(key="old"))
        await ledger.flush()
        ledger.finished(call(key="new", call_id="call_2", program="curl"))  # as it was once called
        ledger.reconcile(snapshot({"new": "text"}))
        ledger.finished(call(key="old", call_id="call_3"))  # was running when it was renamed
    found = asked(tmp_path, UsageQuery((Dimension.KEY,)))
    assert {key: sums.calls for (key,), sums in found.items()} == {"new": 2, "old": 1}
    assert_in_step(tmp_path)
    with open_to_read(tmp_path) as books:
        known = programs(books, wall.now)
    assert {each.name for each in known["new"]} == {"codex", "curl"}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_daily_sum_keeps_known_figures_beside_unknown_ones(
    tmp_path: Path, wall: Wall, order: tuple[int, int]
) -> None:
    """Also when they come in different batches, or meet by a rename."""
    unknown = {"usage": None, "usage_state": UsageState.UNKNOWN, "cost": None}
    both = (call(call_id="call_1", **unknown), call(call_id="call_2"))
    others = (call(call_id="call_3", key="old", **unknown), call(call_id="call_4", key="old"))
    with twin(tmp_path) as books:
        for each in (*order, *order):
            books.write([both[each]])
            books.write([others[each]])
        books.write([Renamed("old", "nightly")])
    (sums,) = asked(tmp_path, UsageQuery((Dimension.KEY,))).values()
    assert (sums.calls, sums.unknown_calls) == (4, 2)
    assert (sums.input_tokens, sums.charged) == (200, 2 * 1_125_000)
    assert_in_step(tmp_path)


async def test_daily_sums_are_kept_for_400_days(tmp_path: Path, wall: Wall) -> None:
    ages = (30, 100, 399, 401)
    async with Ledger(tmp_path, wall=wall) as ledger:
        for age in ages:
            ledger.finished(call(call_id=f"call_{age}", started=wall.now - age * DAY_SECONDS))
    with twin(tmp_path) as books:
        books.tidy(Keep(days=90))
    assert [row["call_id"] for row in rows(tmp_path)] == ["call_30"]
    (total_sums,) = asked(tmp_path, UsageQuery()).values()
    assert total_sums.calls == len(ages) - 1
    with open_to_read(tmp_path) as read:
        assert kept_since(read, UsageQuery((Dimension.KEY,))) is None
        assert kept_since(read, UsageQuery((Dimension.SESSION,))) == wall.now - 30 * DAY_SECONDS
    with twin(tmp_path) as books:
        books.tidy(Keep(days=500))
    assert len(rows(tmp_path, "SELECT DISTINCT day FROM days")) == len(ages) - 1


async def test_calls_are_deleted_before_daily_sums_when_the_file_is_too_big(
    tmp_path: Path, wall: Wall
) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        for number in range(3000):
            ledger.finished(call(call_id=f"call_{number}", started=wall.now - number * 60))
    with twin(tmp_path) as books:
        while books.database.tidy(Keep(bytes=200_000), wall.now):
            pass
    assert len(rows(tmp_path)) < 500
    assert next(iter(asked(tmp_path, UsageQuery()).values())).calls == 3000
    with twin(tmp_path) as books:
        while books.database.tidy(Keep(bytes=1), wall.now):
            pass
    assert rows(tmp_path) == rows(tmp_path, "SELECT * FROM days") == []


async def test_failed_batch_changes_neither_rows_nor_daily_sums(tmp_path: Path, wall: Wall) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        ledger.finished(CALL)
        await ledger.flush()
        with closing(sqlite3.connect(tmp_path / "sidecar.db")) as other:
            other.execute(
                "CREATE TRIGGER never BEFORE INSERT ON days WHEN new.model = 'bad'"
                " BEGIN SELECT raise(ABORT, 'never'); END"
            )
        ledger.finished(call(call_id="call_2"))
        ledger.finished(call(call_id="call_3", model_asked="bad"))
        assert not await ledger.flush()
        ledger.finished(call(call_id="call_4"))
        assert await ledger.flush()
    assert [row["call_id"] for row in rows(tmp_path)] == ["call_1", "call_4"]
    assert_in_step(tmp_path)


async def test_absurd_figures_do_not_overflow_a_sum(tmp_path: Path, wall: Wall) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        for number in range(1000):
            ledger.finished(
                call(
                    call_id=f"call_{number}", usage=Usage(10**30, 1), cost=Cost(10**30, 10**30, "")
                )
            )
        assert await ledger.flush()
    (sums,) = asked(tmp_path, UsageQuery()).values()
    assert (sums.input_tokens, sums.charged) == (1000 * MAX_TOKENS, 1000 * MAX_COST)


async def test_batch_adds_only_its_own_calls_to_the_daily_sums(tmp_path: Path, wall: Wall) -> None:
    """However many are on the books: else each batch would take longer than the one before."""
    async with Ledger(tmp_path, wall=wall) as ledger:
        ledger.finished(CALL)
    with closing(sqlite3.connect(tmp_path / "sidecar.db")) as books:
        for statement in (
            rollups.SELECT_SUMS, rollups.SELECT_ANY_PARTS, rollups.ADD_PARTS, rollups.LAST_CALL
        ):  # fmt: skip
            parameters = (0,) * statement.count("?")
            plan = books.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
            steps = [step for *_, step in plan]
            assert any(step.startswith("SEARCH calls") for step in steps), steps
            assert not any("SCAN calls" in step for step in steps), steps


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_csv_cell_that_begins_like_a_formula_is_neutralised(start: str) -> None:
    text = as_csv([{"model": f'{start}HYPERLINK("x")', "calls": -1}], ["model", "calls"])
    found = list(csv.reader(io.StringIO(text, newline="")))
    assert found == [["model", "calls"], [f'\'{start}HYPERLINK("x")', "-1"]]


def test_csv_cell_with_a_formula_character_inside_is_unchanged() -> None:
    assert as_csv([{"model": "gpt-5=x"}], ["model"]) == "model\ngpt-5=x\n"
