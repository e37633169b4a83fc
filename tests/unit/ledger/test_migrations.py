"""Ledger files of earlier versions keep their contents and get the tables of a new file."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ledger_checks import CALL, Wall, assert_in_step, rows
from msgspec.structs import replace

from sidecar.ledger.call_rows import call_row
from sidecar.ledger.database import open_file
from sidecar.ledger.ledger import Ledger
from sidecar.ledger.migrations import MIGRATIONS, VERSION
from sidecar.ledger.model import Owner, day_of
from sidecar.ledger.reader import APPLICATION
from sidecar.plugin_api.error_class import ErrorClass
from sidecar.records import Cost, Part, Usage, UsageState

VERSION_8 = (Path(__file__).parent / "data" / "version_8.sql").read_text()
"""The dump of a file that a process of schema version 8 wrote."""


@pytest.fixture
def wall() -> Wall:
    return Wall()


def write_old_file(path: Path, version: int) -> None:
    """Write an empty ledger file of `version`."""
    with closing(sqlite3.connect(path)) as old:
        for step in MIGRATIONS[:version]:
            old.executescript(step)
        old.execute(f"PRAGMA application_id = {APPLICATION}")
        old.execute(f"PRAGMA user_version = {version}")
        old.commit()


def schema_of(path: Path) -> dict[str, Any]:
    """Return each table's columns (name, affinity, place in the primary key), and the SQL of
    everything else, with single spaces."""
    with closing(sqlite3.connect(path)) as connection:
        found: dict[str, Any] = {"version": connection.execute("PRAGMA user_version").fetchone()}
        master = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"
        for kind, name, sql in connection.execute(master).fetchall():
            columns = connection.execute(f"PRAGMA table_info({name})").fetchall()
            found[name] = (
                [(each[1], each[2], each[5]) for each in columns]
                if kind == "table"
                else " ".join(sql.split())
            )
        return found


@pytest.mark.parametrize("version", range(1, VERSION + 1))
def test_migrated_file_has_the_schema_of_a_new_file(tmp_path: Path, version: int) -> None:
    open_file(tmp_path / "new.db").close()
    write_old_file(tmp_path / "old.db", version)
    open_file(tmp_path / "old.db").close()
    assert schema_of(tmp_path / "old.db") == schema_of(tmp_path / "new.db")


async def test_ledger_of_version_8_keeps_its_rows_and_renames_error_classes(
    tmp_path: Path, wall: Wall
) -> None:
    with closing(sqlite3.connect(tmp_path / "sidecar.db")) as old:
        old.executescript(VERSION_8)
        days = old.execute("SELECT day, key, calls, cost_charged FROM days").fetchall()
    async with Ledger(tmp_path, wall=wall) as ledger:
        assert ledger.times("nightly").last_used == CALL.started
        assert ledger.owner("file", "file_1") == Owner("acme", "env:ACME_KEY", "G")
    found = {row["call_id"]: json.loads(row["attempts"]) for row in rows(tmp_path)}
    classes = {name: [each["verdict"] for each in tried] for name, tried in found.items()}
    assert classes == {
        "call_1": ["ok"],
        "call_2": [
            "ok", "client_error", "rate_limited", "overloaded", "quota_exhausted", "auth_failed",
            "model_not_found", "failed", "cancelled",
        ],
        "call_3": [],
        "call_4": ["ok"],
        "call_5": ["quota_exhausted", "ok"],  # it ran when the process of version 8 ended
    }  # fmt: skip
    assert set(classes["call_2"][:7]) == set(ErrorClass)
    assert found["call_2"][2]["reason"] == 'said "verdict":"take"', "a text is left as it is"
    kept = rows(tmp_path, "SELECT day, key, calls, cost_charged FROM days WHERE day < '2027-01-16'")
    assert [tuple(row.values()) for row in kept] == days[:2]
    assert_in_step(tmp_path)
    assert rows(tmp_path, "SELECT used FROM counts") == [{"used": 170}]


async def test_ledger_of_version_1_keeps_its_calls_and_gets_their_days(
    tmp_path: Path, wall: Wall
) -> None:
    with closing(sqlite3.connect(tmp_path / "sidecar.db")) as old:
        old.executescript(MIGRATIONS[0])
        old.execute(f"PRAGMA application_id = {APPLICATION}")
        old.execute("PRAGMA user_version = 1")
        old.execute(
            "INSERT INTO calls SELECT 'call_0', 1.8e9 - 1, 'nightly', '', '', '', '', '', NULL,"
            " NULL, 0, '', '', 200, 'ok', NULL, '', '[]', 0, NULL, 1, 7, 5, NULL, NULL, NULL, NULL,"
            " '{}', NULL, 'reported', NULL, ''"
        )
        old.commit()
    async with Ledger(tmp_path, wall=wall) as ledger:
        ledger.finished(CALL)
    before, after = rows(tmp_path)
    assert (before["call_id"], before["input_tokens"], before["waits"]) == ("call_0", 7, "[]")
    assert before["cost_charged"] is None
    assert after["cost_charged"] == 1_125_000
    assert before["day"] == day_of(before["started"], None).isoformat()
    assert_in_step(tmp_path)
    assert rows(tmp_path, "SELECT sum(input_tokens) AS n FROM days") == [{"n": 107}]


async def test_ledger_of_version_6_gets_partial_calls_for_calls_and_days(
    tmp_path: Path, wall: Wall
) -> None:
    with closing(sqlite3.connect(tmp_path / "sidecar.db")) as old:
        for step in MIGRATIONS[:6]:
            old.executescript(step)
        old.execute(f"PRAGMA application_id = {APPLICATION}")
        old.execute("PRAGMA user_version = 6")
        for number in range(3):
            row = call_row(
                replace(CALL, call_id=f"call_{number}", usage_state=UsageState.PARTIAL), None
            )[:44]
            old.execute(f"INSERT INTO calls VALUES ({', '.join('?' * len(row))})", row)
        old.execute("UPDATE calls SET usage_state = 'reported' WHERE call_id = 'call_0'")
        old.execute(
            "INSERT INTO days SELECT day, key, group_name, provider, model, program, repo, branch,"
            " 3, 0, 0, 0, 0, 300, 150, 60, 15, 30, 3375000, 3375000 FROM call_figures LIMIT 1"
        )
        old.execute(
            "INSERT INTO days SELECT '2026-12-01', key, group_name, provider, model,"
            " program, repo, branch, 9, 0, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9 FROM days"
        )
        old.commit()
    async with Ledger(tmp_path, wall=wall) as ledger:
        ledger.finished(replace(CALL, call_id="call_4", usage_state=UsageState.PARTIAL))
    days = rows(tmp_path, "SELECT calls, partial_calls, input_tokens FROM days ORDER BY day")
    assert days == [
        {"calls": 9, "partial_calls": 0, "input_tokens": 9},  # of calls that are long gone
        {"calls": 4, "partial_calls": 3, "input_tokens": 400},
    ]
    assert rows(tmp_path, "SELECT sum(partial_calls) AS n FROM call_figures") == [{"n": 3}]


async def test_ledger_of_version_9_keeps_calls_without_a_transform(
    tmp_path: Path, wall: Wall
) -> None:
    with closing(sqlite3.connect(tmp_path / "sidecar.db")) as old:
        for step in MIGRATIONS[:9]:
            old.executescript(step)
        old.execute(f"PRAGMA application_id = {APPLICATION}")
        old.execute("PRAGMA user_version = 9")
        for table, name in (("calls", "call_0"), ("under_way", "call_u")):
            row = call_row(replace(CALL, call_id=name), None)[:45]
            old.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * 45)})", row)
        old.commit()
    async with Ledger(tmp_path, wall=wall) as ledger:
        ledger.finished(replace(CALL, call_id="call_1", transform="redact, translate"))
    found = {row["call_id"]: row["transform"] for row in rows(tmp_path)}
    assert found == {"call_0": "", "call_u": "", "call_1": "redact, translate"}


async def test_ledger_of_version_7_gets_parts_for_new_calls(tmp_path: Path, wall: Wall) -> None:
    with closing(sqlite3.connect(tmp_path / "sidecar.db")) as old:
        for step in MIGRATIONS[:7]:
            old.executescript(step)
        old.execute(f"PRAGMA application_id = {APPLICATION}")
        old.execute("PRAGMA user_version = 7")
        for table, name in (("calls", "call_0"), ("under_way", "call_u")):
            row = call_row(replace(CALL, call_id=name), None)[:44]
            old.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * 44)})", row)
        old.execute("INSERT INTO objects VALUES ('file', 'f_1', 'acme', '', 'G', 1.8e9)")
        old.execute(
            "INSERT INTO days SELECT day, key, group_name, provider, model, program, repo, branch,"
            " 1, 0, 0, 0, 0, 100, 50, 20, 5, 10, 1250000, 1125000, 0 FROM call_figures LIMIT 1"
        )
        old.commit()
    parts = (Part("message", None, Usage(60, 20)), Part("advisor_message", "o", Usage(40, 30)))
    usage = replace(CALL.usage, parts=parts)
    cost = Cost(30, 27, "p", parts=(Cost(10, 9, "p"), Cost(20, 18, "p")))
    async with Ledger(tmp_path, wall=wall) as ledger:
        assert ledger.owner("file", "f_1") == Owner("acme", "", "G")
        ledger.finished(replace(CALL, call_id="call_1", usage=usage, cost=cost))
    assert [row["parts"] == "[]" for row in rows(tmp_path)] == [True, True, False]
    assert_in_step(tmp_path)
    days = rows(
        tmp_path,
        "SELECT model, calls, input_tokens, output_tokens, cost_charged FROM days ORDER BY model",
    )
    assert [tuple(day.values()) for day in days] == [
        ("m-1", 3, 260, 120, 2_250_009), ("o", 0, 40, 30, 18),
    ]  # fmt: skip
