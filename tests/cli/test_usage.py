"""`sidecar usage`: the books of a file alone, and of a process that writes them."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import time
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cli_runner import PATIENCE, SIDECAR, Cli
from ledger_checks import call

from sidecar.humanize import curve, money, share
from sidecar.ledger.database import DAY_SECONDS, open_database
from sidecar.ledger.model import Batch, Keep, day_of
from sidecar.records import Caller, CallRecord, Cost, UsageState

COLUMNS = [
    "calls", "unknown_calls", "partial_calls", "input_tokens", "output_tokens",
    "cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "cost_usd", "unpriced_calls",
]  # fmt: skip
YAML = """\
groups:
  demo: {vendor: echo}
  cheap: {vendor: echo, multiplier: 0.25}
keys:
  codex: {group: demo}
"""


def used(key: str = "codex", days_ago: float = 0, **more: Any) -> CallRecord:
    """100 tokens in, 20 of them from the cache, 50 out, for $0.001125."""
    used.count += 1
    return call(
        call_id=f"call_{used.count}", key=key, started=time.time() - days_ago * DAY_SECONDS, **more
    )


used.count = 0


def day(days_ago: int) -> str:
    return (day_of(time.time(), None) - timedelta(days_ago)).isoformat()


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path, text=YAML)


def write(cli: Cli, *records: CallRecord) -> None:
    database = open_database(cli.state, time.time())
    database.write(Batch(steps=list(records)), Keep())
    database.close()


def usage(cli: Cli, *words: str) -> list[dict[str, Any]]:
    done = cli.run("usage", *words, "--json")
    assert done.status == 0, done.err
    found: list[dict[str, Any]] = json.loads(done.out, parse_float=Decimal)
    return found


def test_usage_marks_partial_usage_as_a_lower_bound(cli: Cli) -> None:
    write(cli, used(), used("nightly", usage_state=UsageState.PARTIAL))
    rows = {row["key"]: row for row in usage(cli)}
    assert [rows[key]["partial_calls"] for key in ("codex", "nightly")] == [0, 1]
    assert rows["nightly"]["input_tokens"] == 100  # the vendor told that much
    done = cli.run("usage")
    whole, part = (
        next(line for line in done.out.splitlines() if line.startswith(key))
        for key in ("codex", "nightly")
    )
    assert "+" not in whole
    assert "100+" in part
    assert "$0.0011+" in part
    assert "1 call with partial usage" in done.out


def test_usage_json_and_csv_have_the_same_columns_and_figures(cli: Cli) -> None:
    write(
        cli, used(), used(), used("nightly", usage=None, usage_state=UsageState.UNKNOWN, cost=None)
    )
    by = "key,group,provider,model,day,session,program,repo,branch"
    rows = usage(cli, "--by", by)
    assert list(rows[0]) == [*by.split(","), *COLUMNS]
    assert rows[0] == {
        "key": "codex", "group": "G", "provider": "acme", "model": "m-1", "day": day(0),
        "session": "s-1", "program": "codex", "repo": "app", "branch": "main",
        "calls": 2, "unknown_calls": 0, "partial_calls": 0,
        "input_tokens": 200, "output_tokens": 100,
        "cache_read_tokens": 40, "cache_write_tokens": 10, "reasoning_tokens": 20,
        "cost_usd": Decimal("0.00225"), "unpriced_calls": 0,
    }  # fmt: skip
    unknown = {name: rows[1][name] for name in COLUMNS}
    assert unknown == dict.fromkeys(COLUMNS) | {
        "calls": 1, "unknown_calls": 1, "partial_calls": 0, "unpriced_calls": 0
    }  # fmt: skip

    done = cli.run("usage", "--by", by, "--csv")
    sheet = list(csv.DictReader(io.StringIO(done.out)))
    assert list(sheet[0]) == list(rows[0])
    assert sheet == [
        {name: "" if value is None else str(value) for name, value in row.items()} for row in rows
    ]


def test_usage_table_has_totals_shares_and_a_curve(cli: Cli) -> None:
    write(cli, *(used(days_ago=ago) for ago in (0, 0, 0, 1)), used("nightly", 6))
    done = cli.run("usage")
    title, codex, nightly, total = done.out.splitlines()
    assert title.split() == [
        "key", "calls", "input", "cached", "output", "reasoning", "cost",
        "share", "of", "cost", "cost", "over", "time",
    ]  # fmt: skip
    assert codex.split() == ["codex", "4", "400", "20%", "200", "40", "$0.0045", "80%",
                             "▁▁▁▁▁▃█"]  # fmt: skip
    assert nightly.split()[-2:] == ["20%", "█▁▁▁▁▁▁"]
    assert total.split() == ["total", "5", "500", "20%", "250", "50", "$0.0056", "100%",
                             "▃▁▁▁▁▃█"]  # fmt: skip


def test_usage_prints_unknown_figures_and_marks_incomplete_sums(cli: Cli) -> None:
    write(
        cli, used(), used(cost=None), used(usage=None, usage_state=UsageState.UNKNOWN, cost=None),
        used("dark", usage=None, usage_state=UsageState.UNKNOWN, cost=None),
        used("idle", usage=None, usage_state=UsageState.NONE, cost=None, status=429),
    )  # fmt: skip
    done = cli.run("usage")
    lines = {line.split()[0]: line.split() for line in done.out.splitlines()}
    assert lines["codex"][1:] == ["3", "200+", "20%", "100+", "20+", "1", "1", "$0.0011+",
                                  "100%", "▁▁▁▁▁▁█"]  # fmt: skip
    assert lines["dark"][1:] == ["1", *["unknown"] * 3, "1", "0", "unknown", "▁▁▁▁▁▁?"]
    assert lines["idle"][1:] == ["1", "0", "0", "0", "0", "0", "$0.00", "0%", "▁▁▁▁▁▁▁"]
    assert "2 calls used an unknown number of tokens" in done.out
    assert "1 call without a price" in done.out


def test_usage_of_a_free_provider_costs_nothing(cli: Cli) -> None:
    free = Cost(0, 0, "free")
    write(cli, used(usage=None, usage_state=UsageState.UNKNOWN, cost=free), used(cost=free))
    line = cli.run("usage").out.splitlines()[1].split()
    assert line[:3] == ["codex", "2", "100+"]
    assert "$0.00" in line


def test_usage_since_counts_whole_days_and_exact_hours(cli: Cli) -> None:
    write(cli, *(used(days_ago=ago) for ago in (0, 1, 6, 7, 29)), used(days_ago=2 / 24))
    calls = {
        words: usage(cli, "--by", "key", *words)[0]["calls"]
        for words in (
            (), ("--since", "1w"), ("--since", "8d"), ("--since", "1h"), ("--since", "170h"),
            ("--since", day(29)), ("--since", day(29), "--until", day(7)),
            ("--since", day(7), "--until", day(7)),
        )
    }  # fmt: skip
    today = 2 if day_of(time.time() - 7200, None) == day_of(time.time(), None) else 1
    assert list(calls.values()) == [4, 4, 5, 1, 5, 6, 2, 1]
    assert usage(cli, "--since", "1d")[0]["calls"] == today
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() - DAY_SECONDS / 2))
    assert usage(cli, "--since", day(29), "--until", moment)[0]["calls"] == 4
    assert usage(cli, "--since", moment)[0]["calls"] == 2
    assert usage(cli, "--since", moment, "--until", day(0))[0]["calls"] == 2
    assert usage(cli, "--since", "170h", "--until", day(1))[0]["calls"] == 5 - today


@pytest.mark.parametrize(
    "words",
    [
        ("--since", "7"), ("--since", "soon"), ("--since", "2026-13-01"), ("--since", "1.5d"),
        ("--since", "99999999w"), ("--until", "7d"), ("--until", "yesterday"), ("--by", "kye"),
        ("--since", "2026-11-02", "--until", "2026-11-01"), ("--json", "--csv"),
        ("--as-if-group", "chaep"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_usage_refuses_invalid_options(cli: Cli, words: tuple[str, ...]) -> None:
    write(cli, used())
    done = cli.run("usage", *words)
    assert (done.status, done.out) == (2, "")
    assert words[0] in done.err or "cheap" in done.err


def test_usage_filters_by_names_and_patterns(cli: Cli) -> None:
    write(
        cli, used(model_asked="gpt-5"), used(model_asked="gpt-5-mini"), used(model_asked="o[3]"),
        used("nightly", model_asked="gpt-5", caller=Caller(repo="web", branch="fix")),
        used(caller=None, session=None, program="", model_asked=None, group="H", provider=""),
    )  # fmt: skip

    def calls(*words: str) -> int:
        return sum(row["calls"] for row in usage(cli, *words))

    assert calls() == 5
    assert calls("--key", "codex") == 4
    assert calls("--key", "codex", "--model", "gpt-5*") == 2
    assert calls("--model", "gpt-5", "--model", "o[?]") == 3
    assert calls("--group", "H") == calls("--provider", "") == calls("--session", "") == 1
    assert calls("--repo", "web", "--branch", "f?x", "--program", "codex") == 1
    assert calls("--session", "s-1") == 4
    assert calls("--key", "nobody") == 0
    assert cli.run("usage", "--key", "nobody").out == "no calls\n"
    (everything,) = usage(cli, "--by", "")
    assert list(everything) == COLUMNS
    assert everything["calls"] == 5
    assert len(cli.run("usage", "--by", "").out.splitlines()) == 2  # no total of one line


def test_usage_as_if_group_prints_the_cost_in_that_group(cli: Cli) -> None:
    write(cli, used(), used(), used("nightly", cost=None))
    rows = usage(cli, "--as-if-group", "cheap")
    assert list(rows[0]) == ["key", *COLUMNS, "cost_as_if_usd"]
    assert [row["cost_as_if_usd"] for row in rows] == [Decimal("0.000625"), None]
    done = cli.run("usage", "--as-if-group", "cheap")
    assert "in cheap" in done.out
    assert "$0.0006" in done.out
    assert (
        cli.run("usage", "--as-if-group", "cheap", "--csv")
        .out.splitlines()[1]
        .endswith(",0.000625")
    )


def test_usage_notes_since_when_calls_are_kept(cli: Cli) -> None:
    write(cli, *(used(days_ago=ago) for ago in (0, 2, 50)))
    assert "single calls" not in cli.run("usage", "--by", "session", "--since", "90d").err
    database = open_database(cli.state, time.time())
    while database.tidy(Keep(days=10), time.time()):
        pass
    database.close()
    assert usage(cli, "--since", "90d")[0]["calls"] == 3
    assert usage(cli, "--since", "90d", "--by", "session")[0]["calls"] == 2
    assert "single calls are kept since" in cli.run(
        "usage", "--by", "session", "--since", "90d"
    ).err  # fmt: skip
    assert cli.run("usage", "--by", "session", "--since", "3h").err == ""


def test_usage_without_a_ledger_names_serve(cli: Cli) -> None:
    done = cli.run("usage")
    assert (done.status, done.out) == (2, "")
    assert "there is no ledger" in done.err
    assert not cli.state.exists()


def test_usage_names_an_unreadable_ledger_and_leaves_it_unchanged(cli: Cli) -> None:
    cli.state.mkdir()
    file = cli.state / "sidecar.db"
    for content in (b"", b"no database" * 100, b"SQLite format 3\0" + b"\xff" * 5000):
        file.write_bytes(content)
        done = cli.run("usage")
        assert (done.status, done.out) == (2, "")
        assert str(file) in done.err
        assert file.read_bytes() == content
        assert [path.name for path in cli.state.iterdir()] == ["sidecar.db"]


def test_usage_works_with_an_invalid_configuration(cli: Cli) -> None:
    write(cli, used())
    cli.config.write_text("groups: [")
    assert usage(cli)[0]["calls"] == 1


def test_usage_escapes_control_characters_of_clients(cli: Cli) -> None:
    write(cli, used(model_asked="\x1b[2Jm", session="a\nb"))
    done = cli.run("usage", "--by", "model,session")
    assert "\x1b" not in done.out
    assert "\\x1b[2Jm" in done.out
    assert "a\\x0ab" in done.out


def test_usage_has_the_process_write_pending_calls_first(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    with cli.serving() as served:
        key = cli.create("codex")
        for number in range(1, 6):
            assert served.call(key, "codex_cli_rs/0.169.0 (Linux)") == 200
            (row,) = usage(cli, "--by", "key,program")
            assert (row["key"], row["program"], row["calls"]) == ("codex", "codex_cli_rs", number)
        before = {path.name for path in cli.state.iterdir()}
        assert cli.spawn("usage").out.startswith("key")
        assert {path.name for path in cli.state.iterdir()} == before
    assert usage(cli)[0]["input_tokens"] == 5
    assert [path.name for path in cli.state.glob("sidecar.db*")] == ["sidecar.db"]


def test_usage_table_is_as_wide_as_the_terminal(cli: Cli) -> None:
    write(cli, *(used(f"a key with a long name, number {number}") for number in range(3)))
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen:
        subprocess.run(
            [*SIDECAR, "usage", "--by", "key,model"], cwd=cli.folder, stdout=theirs, check=True,
            env=cli.env | {"COLUMNS": "90", "TERM": "dumb"}, timeout=PATIENCE,
        )  # fmt: skip
        os.close(theirs)
        lines = screen.read(1 << 16).decode().splitlines()
    assert len(lines) > 5
    assert max(map(len, lines)) <= 90


def test_usage_curve_uses_plain_characters_without_block_characters(cli: Cli) -> None:
    write(cli, used(), used(days_ago=1), used())
    done = cli.spawn_cold("usage", PYTHONIOENCODING="ascii")
    assert done.status == 0, done.err
    assert "_____-#" in done.out or "_____=#" in done.out


def test_humanized_figures_have_units_and_separators() -> None:
    assert [money(each) for each in (None, 0, 1, 99_999, 100_000, 12_300_000_000)] == [
        "unknown", "$0.00", "<$0.0001", "<$0.0001", "$0.0001", "$12.30",
    ]  # fmt: skip
    assert money(1_234_567_890_000, whole=False) == "$1,234.57+"
    assert [share(each) for each in (None, 0.0, 0.001, 0.5, 1.0)] == [
        "", "0%", "<1%", "50%", "100%",
    ]  # fmt: skip
    assert curve([0, 1, 7, None]) == "▁▂█?"
    assert curve([]) == ""
    assert len(curve(list(range(400)))) <= 30
    assert curve([0] * 60) == "▁" * 30
