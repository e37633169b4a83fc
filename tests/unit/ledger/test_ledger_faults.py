"""What happens to the books, and to those who write them, when the disk or the process fails."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from ledger_checks import CALL, Wall, assert_in_step, call, refused, rows, seen, snapshot, used
from project_paths import TESTS

from sidecar.ledger import writer
from sidecar.ledger.ledger import Ledger
from sidecar.ledger.migrations import MIGRATIONS
from sidecar.ledger.model import Batch, Keep, Owner
from sidecar.ledger.reader import APPLICATION, NoLedger, open_to_read, read_times
from sidecar.ledger.reports.usage import Dimension, UsageQuery, usage

OWNER = Owner("acme", "env:ACME_KEY", "G")
SUPPORT = TESTS / "support"


@pytest.fixture
def wall() -> Wall:
    return Wall()


def aside(state: Path) -> list[str]:
    return sorted(path.name for path in state.glob("sidecar.db.corrupt-*"))


def files(state: Path) -> list[str]:
    return sorted(path.name for path in state.iterdir())


def note(ledger: Ledger, call_id: str = "call_1") -> None:
    """One of everything."""
    seen(ledger, "nightly", "codex/1.0")
    used(ledger, "nightly")
    refused(ledger, "nightly")
    ledger.remember("file", "file-1", OWNER)
    ledger.finished(call(call_id=call_id))


def assert_noted(state: Path, *call_ids: str) -> None:
    assert [row["call_id"] for row in rows(state)] == list(call_ids)
    assert_in_step(state)
    assert read_times(state)["nightly"].last_used is not None
    assert rows(state, "SELECT id FROM objects") == [{"id": "file-1"}]


async def test_state_files_are_private(tmp_path: Path, wall: Wall) -> None:
    old = os.umask(0)
    try:
        async with Ledger(tmp_path / "state", wall=wall) as ledger:
            note(ledger)
            await ledger.flush()
            files = sorted((tmp_path / "state").iterdir())
            assert [file.name for file in files] == [
                "sidecar.db",
                "sidecar.db-shm",
                "sidecar.db-wal",
            ]
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


async def test_ledger_file_readable_by_others_is_made_private(tmp_path: Path, wall: Wall) -> None:
    async with Ledger(tmp_path, wall=wall):
        pass
    (tmp_path / "sidecar.db").chmod(0o644)
    async with Ledger(tmp_path, wall=wall):
        assert stat.S_IMODE((tmp_path / "sidecar.db").stat().st_mode) == 0o600


async def test_ledger_without_a_state_directory_answers_from_memory(
    tmp_path: Path, wall: Wall, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    state = tmp_path / "file/state"
    async with Ledger(state, wall=wall) as ledger:
        note(ledger)
        for _ in range(3):
            assert not await ledger.flush()
        assert not ledger.healthy
        assert ledger.failures >= 3
        assert "Not a directory" in ledger.warning
        assert ledger.times("nightly").last_used == wall.now
        assert ledger.owner("file", "file-1") == OWNER
        warnings = [entry for entry in caplog.records if entry.levelno == logging.WARNING]
        assert len(warnings) == 1, "one a minute, not one for each try"

        (tmp_path / "file").unlink()
        assert await ledger.flush()
        assert ledger.healthy
        assert ledger.warning == ""
    assert_noted(state, "call_1")


async def test_ledger_merges_the_file_once_it_is_readable(tmp_path: Path, wall: Wall) -> None:
    state = tmp_path / "state"
    async with Ledger(state, wall=wall) as ledger:
        ledger.reconcile(snapshot({"old": "text"}))
        used(ledger, "old")
        ledger.remember("file", "file-1", OWNER)
    hidden = state.rename(tmp_path / "hidden")
    state.write_text("in the way")
    async with Ledger(state, wall=wall) as ledger:
        ledger.reconcile(snapshot({"new": "text"}))
        assert ledger.times("new").last_used is None
        refused(ledger, "new")
        state.unlink()
        hidden.rename(state)
        assert await ledger.flush()
        assert ledger.times("new").last_used == wall.now
        assert ledger.times("new").last_refused == wall.now
        assert ledger.owner("file", "file-1") == OWNER
    assert set(read_times(state)) == {"new"}


DAMAGE = {
    "empty": b"",
    "text": b"this is no database\n" * 100,
    "a beginning like SQLite's": b"SQLite format 3\0" + b"\xff" * 5000,
}


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE.keys())
async def test_broken_ledger_file_is_renamed_and_replaced(
    content: bytes, tmp_path: Path, wall: Wall, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "sidecar.db").write_bytes(content)
    async with Ledger(tmp_path, wall=wall) as ledger:
        note(ledger)
        assert await ledger.flush()
        assert ledger.healthy
    assert aside(tmp_path) == ["sidecar.db.corrupt-20270115T080000Z"]
    assert (tmp_path / aside(tmp_path)[0]).read_bytes() == content
    assert "a new ledger is created" in caplog.text
    assert_noted(tmp_path, "call_1")


async def test_database_of_another_program_is_set_aside(tmp_path: Path, wall: Wall) -> None:
    with closing(sqlite3.connect(tmp_path / "sidecar.db")) as foreign:
        foreign.execute("CREATE TABLE keys (theirs)")
        foreign.commit()
    async with Ledger(tmp_path, wall=wall) as ledger:
        note(ledger)
    (kept,) = aside(tmp_path)
    with closing(sqlite3.connect(tmp_path / kept)) as foreign:
        tables = foreign.execute("SELECT name FROM sqlite_master").fetchall()
    assert tables == [("keys",)]
    assert_noted(tmp_path, "call_1")


async def test_directory_in_place_of_the_ledger_is_set_aside(tmp_path: Path, wall: Wall) -> None:
    (tmp_path / "sidecar.db").mkdir()
    async with Ledger(tmp_path, wall=wall) as ledger:
        note(ledger)
    assert_noted(tmp_path, "call_1")


async def test_truncated_ledger_file_is_set_aside(tmp_path: Path, wall: Wall) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        for number in range(500):
            note(ledger, f"call_{number}")
    with (tmp_path / "sidecar.db").open("r+b") as file:
        file.truncate(5000)
    async with Ledger(tmp_path, wall=wall) as ledger:
        note(ledger)
        await ledger.flush()
        assert ledger.healthy
    assert len(aside(tmp_path)) == 1
    assert_noted(tmp_path, "call_1")


async def test_ledger_file_damaged_while_in_use_is_replaced_from_memory(
    tmp_path: Path, wall: Wall
) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        for number in range(500):
            note(ledger, f"call_{number}")
        await ledger.flush()
        with closing(sqlite3.connect(tmp_path / "sidecar.db")) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with (tmp_path / "sidecar.db").open("r+b") as file:
            file.write(b"\xff" * 200_000)
        note(ledger, "call_after")
        await ledger.flush()
        used(ledger, "nightly")
        assert await ledger.flush()
        assert ledger.healthy
        assert ledger.failures > 0
    assert len(aside(tmp_path)) == 1
    assert_noted(tmp_path, "call_after")


async def test_ledger_file_removed_while_in_use_is_created_again(
    tmp_path: Path, wall: Wall
) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        note(ledger)
        await ledger.flush()
        for name in files(tmp_path):
            (tmp_path / name).unlink()
        note(ledger, "call_2")
        await ledger.flush()
        assert await ledger.flush()
    assert_noted(tmp_path, "call_2")


async def test_ledger_of_a_later_version_is_left_unchanged(
    tmp_path: Path, wall: Wall, caplog: pytest.LogCaptureFixture
) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        note(ledger)
    with closing(sqlite3.connect(tmp_path / "sidecar.db")) as later:
        later.execute("PRAGMA user_version = 99")
    async with Ledger(tmp_path, wall=wall) as ledger:
        note(ledger, "call_2")
        assert not await ledger.flush()
        assert "later version" in ledger.warning
    assert aside(tmp_path) == []
    assert_noted(tmp_path, "call_1")


async def test_stuck_disk_does_not_block_the_ledger(tmp_path: Path, wall: Wall) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        await ledger.flush()
        with closing(sqlite3.connect(tmp_path / "sidecar.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            writing = asyncio.create_task(ledger.flush())
            for number in range(1000):
                note(ledger, f"call_{number:03}")
                await asyncio.sleep(0)
            assert not writing.done()
            assert ledger.times("nightly").last_used == wall.now
            other.execute("ROLLBACK")
        await writing
        assert await ledger.flush()
    assert_noted(tmp_path, *(f"call_{number:03}" for number in range(1000)))


async def test_pending_calls_are_bounded_and_dropped_ones_counted(
    tmp_path: Path, wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MAX_PENDING_STEPS", 10)
    (tmp_path / "file").write_text("in the way")
    async with Ledger(tmp_path / "file/state", wall=wall) as ledger:
        for number in range(25):
            ledger.finished(call(call_id=f"call_{number:02}"))
            if number == 5:
                assert not await ledger.flush()
        await ledger.flush()
        assert ledger.dropped == 15
        (tmp_path / "file").unlink()
        assert await ledger.flush()
    assert [row["call_id"] for row in rows(tmp_path / "file/state")] == [
        f"call_{number:02}" for number in range(10)
    ]


def run(script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, str(SUPPORT), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


SCRIPT = """
import asyncio, os, resource, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from ledger_checks import Wall, call, refused, used
from sidecar.ledger.ledger import Ledger
state = Path(sys.argv[2])
"""

FULL_DISK = """
async def main():
    async with Ledger(state, wall=Wall()) as ledger:
        used(ledger, "nightly")
        assert await ledger.flush()
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        for number in range(500):
            used(ledger, "nightly")
            ledger.finished(call(call_id=f"call_{number:03}"))
        assert not await ledger.flush()
        assert not ledger.healthy and ledger.failures and not ledger.dropped
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert await ledger.flush(), ledger.warning
        assert ledger.healthy
asyncio.run(main())
"""


def test_full_disk_delays_writes_without_losing_calls(tmp_path: Path) -> None:
    done = run(SCRIPT + FULL_DISK, tmp_path)
    assert done.returncode == 0, done.stderr
    assert [row["call_id"] for row in rows(tmp_path)] == [f"call_{n:03}" for n in range(500)]
    assert_in_step(tmp_path)
    assert aside(tmp_path) == []


READ_ONLY = """
if os.geteuid() == 0:
    os.setuid(65534)

async def main():
    async with Ledger(state, wall=Wall()) as ledger:
        before = ledger.times("nightly").last_used
        assert before is not None, "what is readable is read"
        refused(ledger, "nightly")
        assert not await ledger.flush()
        assert not ledger.healthy and ledger.failures
        print(ledger.warning)
asyncio.run(main())
"""


async def test_read_only_ledger_is_read_and_calls_are_served(tmp_path: Path, wall: Wall) -> None:
    for directory in (tmp_path, *tmp_path.parents[:3]):
        directory.chmod(0o755)  # root's tests run their subject as nobody
    state = tmp_path / "state"
    async with Ledger(state, wall=wall) as ledger:
        used(ledger, "nightly")
        ledger.finished(CALL)
    (state / "sidecar.db").chmod(0o444)
    state.chmod(0o555)
    try:
        assert read_times(state)["nightly"].last_used == wall.now
        assert reported(state) == 1
        done = run(SCRIPT + READ_ONLY, state)
    finally:
        state.chmod(0o700)
    assert done.returncode == 0, done.stderr
    assert "readonly" in done.stdout or "unable to open" in done.stdout
    assert aside(state) == []
    assert read_times(state)["nightly"].last_refused is None


KILLED = """
import time

async def main():
    async with Ledger(state) as ledger:
        start = time.monotonic()
        for number in range(100_000):
            used(ledger, "nightly")
            ledger.finished(call(call_id=f"call_{number:06}", started=time.time()))
            print(number, time.monotonic() - start, flush=True)
            await asyncio.sleep(0.002)
asyncio.run(main())
"""


def test_killed_process_loses_at_most_its_last_second(tmp_path: Path) -> None:
    told: list[tuple[int, float]] = []
    for lifetime in (1.9, 1.3):  # the second one finds what the first one left, and tells it again
        victim = subprocess.Popen(
            [sys.executable, "-c", SCRIPT + KILLED, SUPPORT, tmp_path],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert victim.stdout is not None
        told = []
        with victim:
            for line in victim.stdout:
                number, at = line.split()
                told.append((int(number), float(at)))
                if told[-1][1] > lifetime:
                    victim.send_signal(signal.SIGKILL)
                    break
        kept = [row["call_id"] for row in rows(tmp_path)]
        assert len(kept) == len(set(kept))
        assert_in_step(tmp_path)
        last = told[-1][1]
        owed = {f"call_{number:06}" for number, at in told if at < last - 1.0}
        assert owed
        assert owed <= set(kept)
        assert read_times(tmp_path)["nightly"].last_used is not None


def reported(state: Path) -> int:
    """How many calls a report counts."""
    with open_to_read(state) as books:
        return sum(line.sums.calls for line in usage(books, UsageQuery((Dimension.KEY,))))


async def test_report_reads_one_snapshot_without_blocking_the_writer(
    tmp_path: Path, wall: Wall
) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        ledger.finished(CALL)
        await ledger.flush()
        with open_to_read(tmp_path) as books:
            question = UsageQuery((Dimension.KEY,))
            before = usage(books, question)
            ledger.finished(call(call_id="call_2"))
            assert await ledger.flush(), "the reader held nothing up"
            assert usage(books, question) == before
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                books.execute("DELETE FROM days")
        assert reported(tmp_path) == 2


def test_reader_names_the_version_of_another_ledger(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "sidecar.db")) as old:
        old.executescript(MIGRATIONS[0])
        old.execute(f"PRAGMA application_id = {APPLICATION}")
        old.execute("PRAGMA user_version = 1")
        old.commit()
        with pytest.raises(NoLedger, match=r"earlier version.*sidecar serve"):
            reported(tmp_path)
        old.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
        with pytest.raises(NoLedger, match="later version"):
            reported(tmp_path)
        old.execute("PRAGMA application_id = 7")
        with pytest.raises(NoLedger, match="another program"):
            reported(tmp_path)


def test_read_times_without_a_ledger_is_empty(tmp_path: Path) -> None:
    assert read_times(tmp_path / "absent") == {}
    assert read_times(tmp_path) == {}
    assert files(tmp_path) == []
    for content in DAMAGE.values():
        (tmp_path / "sidecar.db").write_bytes(content)
        assert read_times(tmp_path) == {}
        assert (tmp_path / "sidecar.db").read_bytes() == content


async def test_read_times_leaves_no_files_behind(tmp_path: Path, wall: Wall) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        used(ledger, "nightly")
    before = (tmp_path / "sidecar.db").read_bytes()
    assert read_times(tmp_path)["nightly"].last_used == wall.now
    assert files(tmp_path) == ["sidecar.db"]
    assert (tmp_path / "sidecar.db").read_bytes() == before


async def test_read_times_works_while_the_process_writes(tmp_path: Path, wall: Wall) -> None:
    async with Ledger(tmp_path, wall=wall) as ledger:
        used(ledger, "nightly")
        await ledger.flush()
        assert read_times(tmp_path)["nightly"].last_used == wall.now
        wall.now += 1
        used(ledger, "nightly")
        assert await ledger.flush(), "the reader held nothing up"
        assert read_times(tmp_path)["nightly"].last_used == wall.now


async def test_second_ledger_on_one_file_merges_without_moving_times_back(
    tmp_path: Path, wall: Wall
) -> None:
    """The lock of the state keeps processes apart; should it fail, nothing is lost all the same."""
    later = Wall(wall.now + 10)
    async with Ledger(tmp_path, wall=wall) as one, Ledger(tmp_path, wall=later) as two:
        used(two, "nightly")
        two.finished(call(call_id="call_2"))
        await two.flush()
        used(one, "nightly")
        refused(one, "nightly")
        one.finished(CALL)
        await one.flush()
    times = read_times(tmp_path)["nightly"]
    assert (times.last_used, times.last_refused) == (later.now, wall.now)
    assert {row["call_id"] for row in rows(tmp_path)} == {"call_1", "call_2"}
    assert_in_step(tmp_path)


# --- a stop while the ledger cannot be written -------------------------------------------------


def unwritten(state: Path) -> list[str]:
    return [name for name in files(state) if name.startswith("unwritten")]


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.ledger.ledger.FLUSH_TIMEOUT_SECONDS", 0.2)


@pytest.mark.usefixtures("hasty")
async def test_stop_while_the_ledger_is_locked_keeps_finished_calls_for_the_next_start(
    tmp_path: Path, wall: Wall, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(tmp_path, wall=wall)
    await ledger.open()
    ledger.finished(call(call_id="call_0"))
    assert await ledger.flush()
    with closing(sqlite3.connect(tmp_path / "sidecar.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        note(ledger, "call_1")
        ledger.checkpoint(call(call_id="call_2"))
        await ledger.close()
    assert "1 finished calls saved in" in caplog.text
    assert stat.S_IMODE((tmp_path / "unwritten.db").stat().st_mode) == 0o600
    async with Ledger(tmp_path, wall=wall) as ledger:
        assert await ledger.flush()
    assert_noted(tmp_path, "call_0", "call_1", "call_2")
    assert unwritten(tmp_path) == []


@pytest.mark.usefixtures("hasty")
async def test_unwritten_calls_that_are_on_the_ledger_already_are_not_counted_twice(
    tmp_path: Path, wall: Wall
) -> None:
    keep = Keep()
    for _ in range(2):
        async with Ledger(tmp_path, wall=wall) as ledger:
            note(ledger)
        writer.save_unwritten(tmp_path, Batch(steps=[call(call_id="call_1")]), keep)
    async with Ledger(tmp_path, wall=wall) as ledger:
        assert await ledger.flush()
    assert_noted(tmp_path, "call_1")


async def test_unwritten_file_that_is_damaged_is_set_aside(
    tmp_path: Path, wall: Wall, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "unwritten.db").write_bytes(b"no database" * 1000)
    async with Ledger(tmp_path, wall=wall) as ledger:
        note(ledger)
        assert await ledger.flush()
    assert_noted(tmp_path, "call_1")
    assert "unwritten.db.corrupt-" in unwritten(tmp_path)[0]
    assert "unwritten.db cannot be used" in caplog.text


@pytest.mark.usefixtures("hasty")
async def test_stop_while_nothing_can_be_written_counts_the_lost_calls(
    tmp_path: Path, wall: Wall, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(tmp_path, wall=wall)
    await ledger.open()
    assert await ledger.flush()
    (tmp_path / "unwritten.db").mkdir()
    with closing(sqlite3.connect(tmp_path / "sidecar.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        note(ledger)
        await ledger.close()
    assert ledger.dropped == 1
    assert "1 finished calls lost" in caplog.text
