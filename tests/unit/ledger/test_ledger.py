from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_checks import (
    CALL,
    Wall,
    assert_in_step,
    call,
    digest,
    refused,
    rows,
    seen,
    snapshot,
    used,
)
from msgspec.structs import replace
from msgspec.structs import replace as replace_owner
from property_tests import examples

from sidecar.errors import ErrorKind
from sidecar.ledger.ledger import Ledger
from sidecar.ledger.model import MAX_OBJECTS, Claim, KeyState, Learned, Owner
from sidecar.ledger.reader import read_times
from sidecar.records import (
    AttemptRecord,
    CallRecord,
    Cost,
    KeyTimes,
    Outcome,
    Part,
    Usage,
    UsageState,
    program_of,
)

DAY = 86_400.0
OWNER = Owner("acme", "env:ACME_KEY", "G")


@pytest.fixture
def wall() -> Wall:
    return Wall()


async def test_key_that_was_never_presented_has_no_times(tmp_path: Path, wall: Wall) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        ledger.reconcile(snapshot({"nightly": "text"}))
        assert ledger.times("nightly") == KeyTimes(None, None, None, "")
        await ledger.flush()
    assert read_times(tmp_path) == {}


async def test_key_times_tell_seen_used_and_refused_apart(tmp_path: Path, wall: Wall) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        seen(ledger, "nightly", "codex/1.0 (linux)")
        start = wall.now
        wall.now += 1
        used(ledger, "nightly")
        wall.now += 1
        refused(ledger, "nightly")
        expected = KeyTimes(start + 2, start + 1, start + 2, "codex/1.0")
        assert ledger.times("nightly") == expected
        assert ledger.times("another") == KeyTimes()
    async with Ledger(tmp_path, wall=wall) as again:
        assert again.times("nightly") == expected
    assert read_times(tmp_path) == {"nightly": expected}


async def test_key_times_do_not_move_back_with_the_clock(tmp_path: Path, wall: Wall) -> None:
    before = wall.now
    async with Ledger(tmp_path, wall=wall) as ledger:
        seen(ledger, "nightly")
        used(ledger, "nightly")
        wall.now -= 3600
        seen(ledger, "nightly")
        used(ledger, "nightly")
        assert ledger.times("nightly") == KeyTimes(before, before)
    async with Ledger(tmp_path, wall=wall) as again:
        used(again, "nightly")
        assert again.times("nightly").last_used == before
    assert read_times(tmp_path)["nightly"].last_used == before


async def test_key_program_stays_when_a_later_call_names_none(tmp_path: Path, wall: Wall) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        seen(ledger, "nightly", "codex/1.0")
        seen(ledger, "nightly", "")
        assert ledger.times("nightly").program == "codex/1.0"
        seen(ledger, "nightly", "claude-cli/2.1 (external, cli)")
        assert ledger.times("nightly").program == "claude-cli/2.1"


async def test_key_program_is_that_of_the_last_served_call(tmp_path: Path, wall: Wall) -> None:
    """Lists say when a key was last used and by whom: that is one and the same call."""
    async with Ledger(tmp_path, wall=wall) as ledger:
        seen(ledger, "nightly", "curl/8.5")
        used(ledger, "nightly", "codex/1.0 (linux)")
        seen(ledger, "nightly", "curl/8.5")
        refused(ledger, "nightly")
        assert ledger.times("nightly").program == "codex/1.0"
        used(ledger, "nightly")
        assert ledger.times("nightly").program == "codex/1.0"
    assert read_times(tmp_path)["nightly"].program == "codex/1.0"


@given(st.text())
def test_program_is_one_short_printable_word(user_agent: str) -> None:
    program = program_of(user_agent)
    assert len(program) <= 64
    assert program.isprintable()
    assert not program or program[0] in user_agent
    assert " " not in program
    assert program_of(program) == program


async def test_renamed_key_keeps_its_times_and_calls(tmp_path: Path, wall: Wall) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        ledger.reconcile(snapshot({"old": "text", "other": "else"}))
        seen(ledger, "old", "codex/1.0")
        used(ledger, "old")
        ledger.finished(call(key="old"))
        ledger.finished(call(key="other", call_id="call_2"))
        ledger.reconcile(snapshot({"new": "text", "other": "else"}))
        assert ledger.times("new") == KeyTimes(wall.now, wall.now, None, "codex/1.0")
        assert ledger.times("old") == KeyTimes()
    assert {row["call_id"]: row["key"] for row in rows(tmp_path)} == {
        "call_1": "new",
        "call_2": "other",
    }
    assert set(read_times(tmp_path)) == {"new"}


async def test_renamed_key_is_found_after_a_restart(tmp_path: Path, wall: Wall) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        ledger.reconcile(snapshot({"old": "text"}))
        used(ledger, "old")
        ledger.finished(call(key="old"))
    async with Ledger(tmp_path, wall=wall) as again:
        again.reconcile(snapshot({"new": "text"}))
        assert again.times("new").last_used == wall.now
    assert [row["key"] for row in rows(tmp_path)] == ["new"]


async def test_key_renamed_and_rotated_at_once_is_found_by_its_previous_secret(
    tmp_path: Path, wall: Wall
) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        ledger.reconcile(snapshot({"old": "text"}))
        used(ledger, "old")
        ledger.reconcile(snapshot({"new": ("fresh", "text")}))
        assert ledger.times("new").last_used == wall.now
        ledger.reconcile(snapshot({"newest": "fresh"}))
        assert ledger.times("newest").last_used == wall.now


async def test_key_state_follows_the_name_before_the_hash(tmp_path: Path, wall: Wall) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        ledger.reconcile(snapshot({"a": "one", "b": "two"}))
        used(ledger, "a")
        wall.now += 5
        used(ledger, "b")
        ledger.reconcile(snapshot({"a": "two", "b": "one"}))
        assert ledger.times("a").last_used == wall.now - 5
        assert ledger.times("b").last_used == wall.now


async def test_deleted_key_is_forgotten_with_its_calls(tmp_path: Path, wall: Wall) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        ledger.reconcile(snapshot({"old": "text", "kept": "else"}))
        used(ledger, "old")
        used(ledger, "kept")
        ledger.reconcile(snapshot({"kept": "else"}, keep_days=10))
        wall.now += 9 * DAY
        ledger.reconcile(snapshot({"kept": "else"}, keep_days=10))
        assert ledger.times("old").last_used is not None
        wall.now += 2 * DAY
        ledger.reconcile(snapshot({"kept": "else"}, keep_days=10))
        assert ledger.times("old") == KeyTimes()
        assert ledger.times("kept").last_used is not None
    assert set(read_times(tmp_path)) == {"kept"}


TIME = st.none() | st.floats(0, 1e10)
STATE = st.builds(KeyState, st.none() | st.just(b"d"), TIME, TIME, TIME, st.sampled_from(["", "p"]))


@given(STATE, STATE)
def test_key_states_merge_in_either_order(one: KeyState, two: KeyState) -> None:
    def together(first: KeyState, second: KeyState) -> tuple[float | None, ...]:
        total = KeyState()
        total.merge(first)
        total.merge(second)
        for state in (first, second):
            assert (total.last_used or 0) >= (state.last_used or 0)
        return (total.last_seen, total.last_used, total.last_refused)

    assert together(one, two) == together(two, one)


async def test_object_has_its_owner_for_90_days(tmp_path: Path, wall: Wall) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        ledger.remember("file", "file-1", OWNER)
        assert ledger.owner("file", "file-1") == OWNER
        assert ledger.owner("batch", "file-1") is None
        assert ledger.owner("file", "file-2") is None
    wall.now += 89 * DAY
    async with Ledger(tmp_path, wall=wall) as ledger:
        assert ledger.owner("file", "file-1") == OWNER
        wall.now += 2 * DAY
        assert ledger.owner("file", "file-1") is None
    async with Ledger(tmp_path, wall=wall) as ledger:
        await ledger.flush()
    assert rows(tmp_path, "SELECT * FROM objects") == []


async def test_oldest_objects_are_deleted_beyond_the_maximum(tmp_path: Path, wall: Wall) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        for number in range(MAX_OBJECTS + 10):
            wall.now += 1
            ledger.remember("response", f"r-{number}", OWNER)
        assert ledger.owner("response", "r-9") is None
        assert ledger.owner("response", "r-10") == OWNER
    async with Ledger(tmp_path, wall=wall) as ledger:
        await ledger.flush()
        assert ledger.owner("response", "r-9") is None
        assert ledger.owner("response", "r-10") == OWNER
    assert rows(tmp_path, "SELECT count(*) AS n FROM objects") == [{"n": MAX_OBJECTS}]


async def test_object_with_an_absurdly_long_id_is_not_recorded(tmp_path: Path, wall: Wall) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        ledger.remember("file", "x" * 257, OWNER)
        assert ledger.owner("file", "x" * 257) is None


async def test_finished_call_is_one_row_without_its_contents(tmp_path: Path, wall: Wall) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        ledger.finished(CALL)
    (row,) = rows(tmp_path)
    attempts = (
        '[{"provider":"acme","credential":"env:ACME_KEY","model":"m-1","verdict":"ok",'
        '"status":200,"reason":"","duration":1.5}]'
    )
    assert row == {
        "call_id": "call_1", "started": 1_800_000_000.0, "key": "nightly", "group_name": "G",
        "vendor": "acme", "dialect": "openai", "endpoint": "chat", "method": "POST",
        "model_asked": "m-1", "model_served": "m-1-2026", "streaming": 1, "provider": "acme",
        "credential": "env:ACME_KEY", "status": 200, "outcome": "ok", "refusal": None,
        "reason": "", "attempts": attempts, "wait": 0.25, "first_byte": 0.75, "duration": 1.75,
        "input_tokens": 100, "output_tokens": 50, "cache_read_tokens": 20,
        "cache_write_tokens": 5, "cache_write_1h_tokens": 2, "reasoning_tokens": 10,
        "units": '{"images":1}', "service_tier": "default", "usage_state": "reported",
        "session": "s-1", "program": "codex/1.0",
        "waits": '[{"behind":"tpm of group G (routes.yaml:7)","seconds":0.25}]',
        "cost_listed": 1_250_000, "cost_charged": 1_125_000, "price": "list 2026-11-01",
        "caller_program": "codex", "caller_pid": 4711, "caller_directory": "/home/me/app",
        "repo": "app", "branch": "main", "urgency": "background", "day": "2027-01-15",
        "cost_whole": 1, "parts": "[]", "transform": "",
    }  # fmt: skip


async def test_unknown_usage_is_null_and_never_zero(tmp_path: Path, wall: Wall) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        ledger.finished(
            call(
                usage=None,
                usage_state=UsageState.UNKNOWN,
                outcome=Outcome.REFUSED,
                refusal=ErrorKind.BUDGET_SPENT,
            )
        )
    (row,) = rows(tmp_path)
    assert row["input_tokens"] is None
    assert row["output_tokens"] is None
    assert (row["usage_state"], row["refusal"]) == ("unknown", "budget_spent")


async def test_unknown_price_and_caller_are_null(tmp_path: Path, wall: Wall) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        ledger.finished(call(cost=None, caller=None, waits=()))
    (row,) = rows(tmp_path)
    assert row["waits"] == "[]"
    unknown = ("cost_listed", "cost_charged", "price", "caller_program", "caller_pid",
               "caller_directory", "repo", "branch")  # fmt: skip
    assert {row[name] for name in unknown} == {None}


async def test_call_recorded_twice_has_one_row(tmp_path: Path, wall: Wall) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        ledger.finished(CALL)
        await ledger.flush()
        ledger.finished(CALL)
        ledger.finished(CALL)
    assert len(rows(tmp_path)) == 1


@examples(15)
@given(st.text(), st.integers())
async def test_odd_values_of_a_call_do_not_block_later_rows(
    tmp_path_factory: pytest.TempPathFactory, text: str, count: int
) -> None:
    state = tmp_path_factory.mktemp("state")
    async with Ledger(state, wall=Wall()) as ledger:
        surrogate = text + "\ud800"
        seen(ledger, surrogate, surrogate)
        ledger.remember(surrogate, surrogate, OWNER)
        tried = AttemptRecord("p", "c", surrogate, "ok", 200, surrogate, 0.1)
        odd = Usage(input_tokens=count * 10**18, units=((surrogate, 1),))
        ledger.finished(call(model_asked=surrogate, attempts=(tried,), usage=odd))
        ledger.finished(call(call_id="call_2"))
        assert await ledger.flush()
        assert (ledger.failures, ledger.dropped) == (0, 0)
    assert [row["call_id"] for row in rows(state)] == ["call_1", "call_2"]


UNENDED = call(call_id="call_2", outcome=Outcome.CUT, usage=None, usage_state=UsageState.UNKNOWN)


async def test_call_in_flight_at_a_kill_is_recorded_by_the_next_process(
    tmp_path: Path, wall: Wall
) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        ledger.checkpoint(UNENDED)
        ledger.finished(CALL)
        await ledger.flush()
        assert [row["call_id"] for row in rows(tmp_path)] == [CALL.call_id]
    for _ in range(2):  # once, however often a process starts
        async with Ledger(tmp_path, wall=wall) as again:
            await again.flush()
        found = {row["call_id"]: row for row in rows(tmp_path)}
        assert found.keys() == {CALL.call_id, "call_2"}
        assert (found["call_2"]["outcome"], found["call_2"]["usage_state"]) == ("cut", "unknown")
        assert rows(tmp_path, "SELECT sum(unknown_calls) AS n FROM days") == [{"n": 1}]
        assert_in_step(tmp_path)
    assert rows(tmp_path, "SELECT * FROM under_way") == []


@pytest.mark.parametrize(
    ("ended", "used", "refused"),
    [
        (call(), True, False),
        (call(outcome=Outcome.CUT), True, False),
        (call(outcome=Outcome.CANCELLED, status=0), False, False),
        (call(outcome=Outcome.UPSTREAM_ERROR), False, False),
        (call(outcome=Outcome.CLIENT_ERROR, status=400), False, False),
        (call(outcome=Outcome.REFUSED, status=403, refusal=ErrorKind.FORBIDDEN), False, True),
        (call(outcome=Outcome.REVOKED, refusal=ErrorKind.KEY_DISABLED), True, True),
        (
            call(outcome=Outcome.UPSTREAM_ERROR, status=502, refusal=ErrorKind.UPSTREAM_TIMEOUT),
            False, False,
        ),
    ],
)  # fmt: skip
async def test_times_of_a_key_follow_from_its_call(
    tmp_path: Path, wall: Wall, ended: CallRecord, used: bool, refused: bool
) -> None:
    at = ended.started + ended.duration
    async with Ledger(tmp_path, wall=wall) as ledger:
        ledger.note_times(ended)
        ledger.note_times(replace(ended, started=ended.started - DAY))  # ends later
        ledger.note_times(replace(ended, key=""))
        assert ledger.times(ended.key) == KeyTimes(
            ended.started, at if used else None, at if refused else None, program_of(ended.program)
        )
        assert ledger.times("") == KeyTimes()


async def test_checkpoint_of_a_call_that_waits_has_times_and_no_row(
    tmp_path: Path, wall: Wall
) -> None:
    waits = replace(UNENDED, provider="", status=0)
    async with Ledger(tmp_path, wall=wall) as ledger:
        ledger.checkpoint(waits)
        await ledger.flush()
    assert rows(tmp_path, "SELECT * FROM under_way") == []
    assert read_times(tmp_path)[waits.key].last_seen == waits.started


async def test_checkpointed_call_that_ends_has_one_row(tmp_path: Path, wall: Wall) -> None:
    ended = call(call_id="call_2")
    async with Ledger(tmp_path, wall=wall) as ledger:
        ledger.checkpoint(UNENDED)
        await ledger.flush()
        ledger.finished(ended)
    async with Ledger(tmp_path, wall=wall) as again:
        await again.flush()
    assert [(row["call_id"], row["outcome"]) for row in rows(tmp_path)] == [("call_2", "ok")]
    assert_in_step(tmp_path)


async def test_reopened_file_keeps_calls_in_flight_of_this_process(
    tmp_path: Path, wall: Wall
) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        ledger.checkpoint(UNENDED)
        await ledger.flush()
        with closing(sqlite3.connect(tmp_path / "sidecar.db", isolation_level=None)) as other:
            other.execute(
                "CREATE TRIGGER refuse BEFORE INSERT ON keys BEGIN SELECT RAISE(ABORT, ''); END"
            )
            used(ledger, "nightly")
            assert not await ledger.flush()
            other.execute("DROP TRIGGER refuse")
        used(ledger, "nightly")
        assert await ledger.flush()
        assert rows(tmp_path) == []
        ledger.finished(call(call_id="call_2"))
    assert [row["outcome"] for row in rows(tmp_path)] == ["ok"]


async def test_calls_older_than_the_kept_days_are_deleted(tmp_path: Path, wall: Wall) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        ledger.finished(call(call_id="old", started=wall.now - 31 * DAY))
        ledger.finished(call(call_id="young", started=wall.now - 29 * DAY))
    async with Ledger(tmp_path, wall=wall) as ledger:
        ledger.reconcile(snapshot({"nightly": "text"}, keep_days=30))
        await _tidied(ledger)
    assert [row["call_id"] for row in rows(tmp_path)] == ["young"]


async def test_oldest_calls_are_deleted_when_the_file_is_too_big(
    tmp_path: Path, wall: Wall
) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        for number in range(12_000):
            ledger.finished(call(call_id=f"call_{number}", started=wall.now + number))
    full = (tmp_path / "sidecar.db").stat().st_size
    async with Ledger(tmp_path, wall=wall) as ledger:
        ledger.reconcile(snapshot({"nightly": "text"}, keep_bytes=full // 2))
        await _tidied(ledger)
    left = [row["call_id"] for row in rows(tmp_path)]
    assert 3_000 < len(left) < 7_000
    assert left == [f"call_{number}" for number in range(12_000 - len(left), 12_000)]
    assert (tmp_path / "sidecar.db").stat().st_size < full * 0.75


async def _tidied(ledger: Ledger) -> None:
    """Have the file tidied now rather than at its next time."""
    ledger._store._tidied = float("-inf")
    await ledger.flush()
    while ledger._store._tidied == float("-inf"):
        await ledger.flush()


async def test_uses_of_keys_are_written_in_one_batch(tmp_path: Path, wall: Wall) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        await ledger.flush()
        for _ in range(1000):
            wall.now += 0.001
            seen(ledger, "nightly", "codex/1.0")
            used(ledger, "nightly")
        await ledger.flush()
        # A transaction of its own for each would be two thousand pages of log.
        assert (tmp_path / "sidecar.db-wal").stat().st_size < 50 * 4096
        assert read_times(tmp_path)["nightly"].last_used == wall.now


async def test_key_digest_is_stored(tmp_path: Path, wall: Wall) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        seen(ledger, "nightly")
        ledger.reconcile(snapshot({"nightly": "text"}))
    assert rows(tmp_path, "SELECT digest FROM keys") == [{"digest": digest("text")}]


CLAIM = Claim(
    "call_1", "nightly", "acme", CALL.started, "m-1", "m-1", Usage(10, 5), 7, 6, (100, 200, 300)
)
LEARNT = Learned(CLAIM, Usage(100, 50, 20), Cost(70, 60, "p"), "m-2")


@pytest.mark.parametrize("first", ["row", "look"])
async def test_usage_learned_of_an_object_replaces_the_recorded_figures(
    tmp_path: Path, wall: Wall, first: str
) -> None:
    owner = replace_owner(OWNER, claim=CLAIM)
    cut_off = replace(
        CALL, usage=Usage(10, 5), usage_state=UsageState.PARTIAL, cost=Cost(7, 6, "p")
    )
    async with Ledger(tmp_path, wall=wall) as ledger:
        ledger.remember("response", "r", owner)
        if first == "row":
            ledger.finished(cut_off)
            await ledger.flush()
        ledger.learned("response", "r", LEARNT)
        assert ledger.owner("response", "r") == OWNER
        if first == "look":  # a record waits until its caller is known
            await ledger.flush()
            ledger.finished(cut_off)
    (row,) = rows(tmp_path)
    assert (row["usage_state"], row["model_served"]) == ("reported", "m-2")
    assert (row["input_tokens"], row["output_tokens"], row["cache_read_tokens"]) == (100, 50, 20)
    assert (row["cost_listed"], row["cost_charged"], row["cost_whole"]) == (70, 60, 1)
    assert_in_step(tmp_path)
    async with Ledger(tmp_path, wall=wall) as ledger:
        assert ledger.owner("response", "r") == OWNER


async def test_claim_survives_a_restart_and_follows_its_key(tmp_path: Path, wall: Wall) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        ledger.reconcile(snapshot({"nightly": "text"}))
        seen(ledger, "nightly")
        ledger.remember("response", "r", replace_owner(OWNER, claim=CLAIM))
        ledger.finished(CALL)
    async with Ledger(tmp_path, wall=wall) as ledger:
        ledger.reconcile(snapshot({"daily": "text"}))
        owner = ledger.owner("response", "r")
        assert owner is not None
        assert owner.claim == replace(CLAIM, key="daily")


EMPTY = call(session=None, usage=None, cost=None, caller=None, reason="", waits=(), attempts=())


async def test_rows_written_together_are_those_written_alone(tmp_path: Path, wall: Wall) -> None:
    calls = [
        replace(each, call_id=f"call_{number}", started=wall.now + number)
        for number, each in enumerate((EMPTY, CALL, EMPTY, EMPTY))
    ]
    for name, size in (("alone", 1), ("together", len(calls))):
        async with Ledger(tmp_path / name, wall=wall) as ledger:
            for first in range(0, len(calls), size):
                for each in calls[first : first + size]:
                    ledger.finished(each)
                assert await ledger.flush()
    alone, together = rows(tmp_path / "alone"), rows(tmp_path / "together")
    assert together == alone
    assert [row["session"] for row in alone] == [None, "s-1", None, None]


async def test_program_is_kept_with_its_first_and_last_use(tmp_path: Path, wall: Wall) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        for number, model in enumerate(("m-2", "m-1", "m-1", "m-2")):
            ledger.finished(
                call(call_id=f"call_{number}", started=wall.now + number, model_asked=model)
            )
    (row,) = rows(tmp_path, "SELECT key, program, first_seen, last_seen FROM programs")
    assert tuple(row.values()) == ("nightly", "codex", wall.now, wall.now + 3)


@pytest.mark.parametrize("at", range(3))
@pytest.mark.parametrize("size", [1, 3])
async def test_parts_are_summed_wherever_they_are_in_a_batch(
    tmp_path: Path, wall: Wall, at: int, size: int
) -> None:
    parts = (Part("message", None, Usage(60, 20)), Part("advisor_message", "o", Usage(40, 30)))
    async with Ledger(tmp_path, wall=wall) as ledger:
        for number in range(3):
            usage = replace(CALL.usage, parts=parts) if number == at else CALL.usage
            # In the opposite order, as a call may end before one that began earlier.
            ledger.finished(call(call_id=f"call_{number}", started=wall.now - number, usage=usage))
            if size == 1:
                assert await ledger.flush()
    assert_in_step(tmp_path)
    found = rows(tmp_path, "SELECT model, input_tokens FROM days ORDER BY model")
    assert [tuple(row.values()) for row in found] == [("m-1", 260), ("o", 40)]
