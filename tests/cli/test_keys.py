"""`sidecar keys …` against a file alone and against a process that serves it."""

from __future__ import annotations

import json
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cli_runner import FILE, Cli
from ledger_checks import call

from sidecar.api_keys import digest, looks_like_key
from sidecar.ledger.database import DAY_SECONDS, open_database
from sidecar.ledger.model import Batch, Keep, KeyState, Step
from sidecar.records import Cost

DOLLAR = 10**9

FIELDS = [
    "name", "group", "vendor", "enabled", "created", "expires",
    "last_seen", "last_used", "last_used_on", "last_refused",
]  # fmt: skip


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def listed(cli: Cli, name: str) -> dict[str, object]:
    rows = cli.run("keys", "list", "--json").json
    return next(row for row in rows if row["name"] == name)


def test_key_lifecycle_is_confirmed_by_the_process_at_every_step(cli: Cli) -> None:
    with cli.serving() as served:
        key = cli.create("codex")
        assert served.call(key, "codex_cli_rs/0.169.0 (Linux)") == 200
        used = listed(cli, "codex")["last_used"]
        assert isinstance(used, str)
        assert datetime.now(UTC) - datetime.fromisoformat(used) < timedelta(minutes=1)

        disabled = cli.run("keys", "disable", "codex", "--json")
        assert 'key "codex" was used just now by codex_cli_rs/0.169.0' in disabled.err
        assert disabled.json["enabled"] is False
        assert served.call(key) == 403
        assert cli.run("keys", "enable", "codex").status == 0
        assert served.call(key) == 200

        rotated = cli.run("keys", "rotate", "codex", "--overlap", "1h")
        second = rotated.out.strip()
        shown = cli.run("keys", "show", "codex").out
        ends = next(line.split()[-1] for line in shown.splitlines() if "old secret ends" in line)
        assert f"the old secret is accepted until {ends}\n" in rotated.err
        assert [served.call(key), served.call(second)] == [200, 200]
        again = cli.run("keys", "rotate", "codex", "--json")
        third = again.json["key"]
        assert "the old secret is no longer accepted\n" in again.err
        assert [served.call(each) for each in (key, second, third)] == [401, 401, 200]

        assert cli.run("keys", "rename", "codex", "laptop").status == 0
        assert served.call(third) == 200
        assert listed(cli, "laptop")["last_used"]

        revoked = cli.run("keys", "revoke", "laptop")
        assert "0 running calls were cut" in revoked.err
        assert served.call(third) == 403
        assert cli.run("keys", "delete", "laptop", "--yes").status == 0
        assert served.call(third) == 401
    assert cli.config.read_text() == FILE


def test_times_are_known_when_no_process_runs(cli: Cli) -> None:
    key = cli.create("codex")
    with cli.serving() as served:
        served.call(key, "claude-cli/2.1.330")
    row = listed(cli, "codex")
    assert row["last_used"]
    assert row["last_seen"]
    assert row["last_refused"] is None
    deleted = cli.run("keys", "delete", "codex", "--yes")
    assert "was used just now by claude-cli/2.1.330" in deleted.err
    assert "no process runs" in deleted.err


def test_new_key_is_printed_once_and_stored_as_a_hash(cli: Cli) -> None:
    done = cli.spawn("keys", "create", "codex", "--group", "demo")
    key = done.out.strip()
    assert looks_like_key(key)
    assert key not in done.err
    line = done.err.splitlines()[-2]  # a note that no process runs is the last
    assert line.startswith("export OPENAI_BASE_URL=http://127.0.0.1:8787/v1 OPENAI_API_KEY=")
    pasted = subprocess.run(
        ["bash", "-c", f"SIDECAR_KEY='{key}'\n{line}\nprintf %s $OPENAI_API_KEY"],
        capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip
    assert pasted.stdout == key
    text = cli.config.read_text()
    assert key not in text
    assert f"hash: sha256:{digest(key).hex()}" in text
    for words in (("list", "--json"), ("show", "codex", "--json"), ("show", "codex"), ("list",)):
        shown = cli.run("keys", *words)
        assert shown.status == 0
        assert key not in shown.out + shown.err


def test_new_key_has_the_given_fields(cli: Cli) -> None:
    done = cli.run(
        "keys", "create", "nightly", "--group", "demo", "--description", "each: night # really",
        "--models", "gpt-5-mini, gpt-5*", "--expires", "2h", "--urgency", "background", "--json",
    )  # fmt: skip
    row = done.json
    assert list(row) == ["name", "key", *FIELDS[1:]]
    ends = datetime.fromisoformat(row["expires"])
    assert timedelta(hours=1.9) < ends - datetime.now(UTC) < timedelta(hours=2.1)
    shown = cli.run("keys", "show", "nightly").out
    for part in ("each: night # really", "gpt-5-mini, gpt-5*", "background"):
        assert part in shown


def test_expiry_can_be_a_date_and_nonsense_is_refused(cli: Cli) -> None:
    cli.create("dated", "--expires", "2031-12-31")
    assert str(listed(cli, "dated")["expires"]).startswith(("2031-12-30", "2031-12-31"))
    before = cli.config.read_bytes()
    for wrong in ("2020-01-01", "2031", "20200101", "0s", "99999999w", "2h30", "x-y"):
        done = cli.run("keys", "create", "x", "--group", "demo", "--expires", wrong)
        assert (done.status, "--expires" in done.err) == (2, True), wrong
    refused = cli.run("keys", "create", "x", "--group", "demo", "--expires", "soon")
    assert refused.status == 2
    assert "--expires is a time such as 2h or 30d, or a date such as 2026-12-31" in refused.err
    assert cli.config.read_bytes() == before


def test_json_has_the_same_fields_everywhere_and_the_key_only_when_made(cli: Cli) -> None:
    cli.create("k")
    of_use = ["paused", "recent", "new_programs", "spike", "children"]
    assert list(listed(cli, "k")) == [*FIELDS, *of_use]
    assert list(cli.run("keys", "show", "k", "--json").json) == [*FIELDS, "paused"]
    assert list(cli.run("keys", "edit", "k", "--urgency", "normal", "--json").json) == FIELDS
    for command in ("disable", "enable", "revoke"):
        assert list(cli.run("keys", command, "k", "--json").json) == FIELDS
    assert list(cli.run("keys", "rotate", "k", "--json").json) == ["name", "key", *FIELDS[1:]]
    assert cli.run("keys", "rename", "k", "l", "--json").json["name"] == "l"
    assert list(cli.run("keys", "delete", "l", "--yes", "--json").json) == FIELDS


def test_keys_edit_changes_only_the_bytes_of_its_fields(cli: Cli) -> None:
    edited = cli.run("keys", "edit", "first", "--group", "other", "--urgency", "interactive")
    assert edited.status == 0, edited.err
    assert "key first: group demo -> other" in edited.err  # what it comes to, not what was typed
    expected = FILE.replace(
        """{group: demo, description: 'a "quoted" one'}""",
        """{group: other, description: 'a "quoted" one', urgency: interactive}""",
    )
    assert cli.config.read_text() == expected
    back = cli.run("keys", "edit", "first", "--description", "", "--models", "", "--expires", "")
    assert back.status == 0, back.err
    assert cli.config.read_text() == expected.replace(""", description: 'a "quoted" one'""", "")
    cli.run("keys", "rename", "first", "one: two")
    assert '"one: two":  {group: other' in cli.config.read_text().replace("'", '"')


def test_refused_change_leaves_the_file_unchanged_with_a_reason(cli: Cli) -> None:
    for words, why in (
        (
            ("create", "x", "--group", "dmo"),
            'sidecar: there is no group "dmo"; did you mean "demo"?',
        ),
        (
            ("edit", "first", "--group", "z"),
            'sidecar: there is no group "z"; there is: demo, other',
        ),
        (("create", "first", "--group", "demo"), 'key "first" is in the file, without a secret; '),
        (("create", "", "--group", "demo"), "a name is empty"),
        (("rename", "first", "first\nsecond"), "control characters"),
        (("edit", "first"), "nothing to change was given"),
        (("edit", "nobody", "--group", "demo"), 'there is no key "nobody"; there is: first'),
        (("rotate", "first", "--overlap", "1h"), "no secret yet"),
        (("delete", "first"), "needs --yes"),
    ):
        done = cli.run("keys", *words)
        assert done.status == 2, words
        assert why in done.err
        assert done.out == ""
    assert cli.config.read_text() == FILE


def test_invalid_file_must_be_corrected_before_a_change(cli: Cli) -> None:
    wrong = FILE + "surprise: 1\n"
    cli.config.write_text(wrong)
    for words in ("revoke first", "create x --group demo", "enable first", "rename first x"):
        done = cli.run("keys", *words.split())
        assert done.status == 2
        assert 'no field "surprise"' in done.err
        assert done.err.endswith("must be corrected first (sidecar edit); nothing was changed\n")
    assert cli.config.read_text() == wrong


def test_change_is_refused_when_the_file_changed_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from sidecar.cli import cli as command
    from sidecar.cli import keys

    cli = Cli(tmp_path)
    another = FILE.replace("offline", "on-line")

    def mint_late() -> str:
        # The moment between reading the file and writing it, at which somebody else saves.
        cli.config.write_text(another)
        return "sk-sidecar-x"

    monkeypatch.setattr(keys, "mint", mint_late)
    words = ["keys", "create", "x", "--group", "demo"]
    done = CliRunner().invoke(command, words, env=cli.env)
    assert done.exit_code == 2
    assert "was changed in the meantime" in done.stderr
    assert done.stdout == ""
    assert cli.config.read_text() == another


def test_new_key_is_printed_even_if_the_process_does_not_take_it_over(cli: Cli) -> None:
    with cli.serving():
        moved = cli.folder / "other.yaml"
        moved.write_text(FILE)
        done = cli.run("keys", "create", "x", "--group", "demo", "--config", moved)
    assert done.status == 1
    assert looks_like_key(done.out.strip())
    assert f"the process that runs serves {cli.config}" in done.err


def test_taking_access_asks_first_on_a_terminal(cli: Cli) -> None:
    cli.create("k")
    before = cli.config.read_bytes()
    for command in ("disable", "revoke", "delete"):
        done = cli.typed("n\n", "keys", command, "k")
        assert done.status == 2
        assert f'{command} key "k"?' in done.err
        assert "was never used" in done.err
        assert cli.config.read_bytes() == before
    assert cli.typed("y\n", "keys", "delete", "k").status == 0
    assert cli.config.read_text() == FILE


def test_revoke_cuts_running_calls(cli: Cli) -> None:
    import asyncio

    async def scene() -> str:
        async def stuck(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()  # until the other side gives up
            writer.close()

        server = await asyncio.start_server(stuck, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        cli.config.write_text(
            "providers:\n"
            f'  slow: {{plugin: vllm, base_url: "http://127.0.0.1:{port}/v1", credential: none}}\n'
            "groups:\n  demo: {vendor: openai, routes: [slow]}\n"
        )
        key = await asyncio.to_thread(cli.create, "k")
        with cli.serving() as served:
            call = asyncio.create_task(asyncio.to_thread(served.call, key))
            while (await asyncio.to_thread(cli.spawn, "status", "--json")).json["in_flight"] == 0:
                assert not call.done()
            revoked = await asyncio.to_thread(cli.spawn, "keys", "revoke", "k")
            assert await call == 403
        server.close()
        await server.wait_closed()
        return revoked.err

    assert "1 running calls were cut" in asyncio.run(scene())


def git(folder: Path, *words: str) -> None:
    quiet = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", "-C", str(folder)]
    subprocess.run([*quiet, *words], check=True, capture_output=True)


def test_scan_finds_keys_in_files_and_in_history_and_never_prints_one(cli: Cli) -> None:
    key, stranger = cli.create("leaky"), cli.create("gone")
    cli.run("keys", "delete", "gone", "--yes")
    repository = cli.folder / "project"
    (repository / "src").mkdir(parents=True)
    git(repository, "init", "--quiet")
    (repository / "src" / ".env").write_text(f"A=1\nKEY={key}\n")
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "--message", "one")
    (repository / "src" / ".env").write_text(f"A=1\nnot one: {key[:-1]}x\n")
    git(repository, "commit", "--quiet", "--all", "--message", f"two\n\nby {stranger}")
    for place in (repository, repository / "src", repository / "src" / ".env"):
        found = cli.run("keys", "scan", place)
        assert found.status == 1
        assert 'src/.env: key "leaky"' in found.out
        assert key not in found.out + found.err
    assert "message: a key that is not in this file" in cli.run("keys", "scan", repository).out
    notes = cli.folder / "notes"
    notes.write_text(f"\n\n{key}\n")
    assert cli.run("keys", "scan", notes).out == f'{notes}:3: key "leaky"\n'
    assert "rotate" in cli.run("keys", "scan", notes).err


def test_scan_of_a_clean_place_ends_with_0(cli: Cli) -> None:
    (cli.folder / "clean").mkdir()
    done = cli.run("keys", "scan", "clean")
    assert (done.status, done.out) == (0, "")


def test_state_holds_no_key(cli: Cli) -> None:
    key = cli.create("codex")
    with cli.serving() as served:
        served.call(key)
        cmdline = Path(f"/proc/{served.process.pid}/cmdline")
        if cmdline.exists():
            assert key.encode() not in cmdline.read_bytes()
        cli.run("keys", "rotate", "codex")
        log = served.log.read_text()
    assert key not in log
    for file in cli.state.rglob("*"):
        if file.is_file():
            assert key.encode() not in file.read_bytes(), file
    assert json.dumps(key) not in cli.config.read_text()


def test_keys_list_shows_recent_activity(cli: Cli) -> None:
    cli.create("codex")
    cli.create("idle")
    assert listed(cli, "codex")["recent"] is None  # nobody knows without books
    now = time.time()
    steps: list[Step] = [
        call(
            call_id=f"{ago} {n}",
            key="codex",
            started=now - ago * DAY_SECONDS,
            cost=Cost(0, cost, ""),
        )
        for ago, n, cost in (
            *((0, number, 4 * DOLLAR) for number in range(3)),
            (1, 0, DOLLAR),
            *((ago, 0, DOLLAR) for ago in range(3, 10)),
        )
    ]
    steps.append(call(call_id="one", key="first", started=now))  # its first one is not new
    steps.append(call(call_id="new", key="codex", started=now, program="curl/8", cost=None))
    write(cli, *steps)
    row = listed(cli, "codex")
    assert row["recent"] == {
        "calls_by_day": [1, 1, 1, 1, 0, 1, 4], "calls": 9, "unknown_calls": 0, "partial_calls": 0,
        "input_tokens": 900, "output_tokens": 450, "cache_read_tokens": 180,
        "cache_write_tokens": 45, "reasoning_tokens": 90, "cost_usd": 17, "unpriced_calls": 1,
    }  # fmt: skip
    assert row["new_programs"] == ["curl"]
    assert row["spike"] == {"measure": "cost", "today": 12, "usual": 1}
    assert listed(cli, "first")["recent"]["calls_by_day"] == [0, 0, 0, 0, 0, 0, 1]
    assert listed(cli, "first")["new_programs"] == []
    assert listed(cli, "idle")["recent"] == dict.fromkeys(row["recent"], 0) | {
        "calls_by_day": [0] * 7
    }  # fmt: skip
    shown = cli.run("keys", "list").out.splitlines()
    assert "▂▂▂▂▁▂█      9  $17.00+" in shown[2]
    assert shown[4:] == [
        'key "codex": used from a new program, curl, just now',
        'key "codex": $12.00 today, 12 times its usual $1.00',
    ]


def test_unused_keys_are_listed_as_stale(cli: Cli) -> None:
    for name in ("daily", "monthly", "never", "new"):
        cli.create(name)
    text = cli.config.read_text()  # all but the last were created some years ago
    cli.config.write_text(re.sub(r"created: \d{4}", "created: 2024", text, count=3))
    now = time.time()
    database = open_database(cli.state, now)
    times = {
        "daily": now - DAY_SECONDS,
        "monthly": now - 45 * DAY_SECONDS,
        "gone": now - 400 * DAY_SECONDS,
    }
    keys = {name: KeyState(last_used=used, program="curl") for name, used in times.items()}
    keys["never"] = KeyState(last_seen=now, last_refused=now)
    database.write(Batch(keys=keys), Keep())
    database.close()

    def stale(*words: str) -> list[str]:
        return [row["name"] for row in cli.run("keys", "stale", *words, "--json").json]

    assert stale() == ["first", "monthly", "never"]
    assert stale("--unused", "60d") == ["first", "never"]
    assert stale("--unused", "1h") == ["first", "daily", "monthly", "never"]
    (row,) = [row for row in cli.run("keys", "stale", "--json").json if row["name"] == "never"]
    assert list(row) == FIELDS
    assert row["last_used"] is None
    assert row["created"]
    lines = [line.split() for line in cli.run("keys", "stale").out.splitlines()]
    assert lines[2][:7] == ["monthly", "demo", "enabled", "45", "days", "ago", "curl"]
    assert lines[3][:7] == ["never", "demo", "enabled", "never,", "tried", "just", "now"]
    assert lines[3][-1] == "ago"
    for wrong in ("30", "soon", "", "9999999999w"):
        assert cli.run("keys", "stale", "--unused", wrong).status == 2, wrong
    cli.run("keys", "delete", "first", "--yes")
    cli.run("keys", "delete", "never", "--yes")
    assert (
        cli.run("keys", "stale", "--unused", "60d").out
        == "every key was used or created within 60d\n"
    )


def write(cli: Cli, *steps: Step) -> None:
    database = open_database(cli.state, time.time())
    database.write(Batch(steps=list(steps)), Keep())
    database.close()


def test_keys_created_at_once_queue_and_are_all_made(cli: Cli) -> None:
    with cli.serving(), ThreadPoolExecutor(5) as at_once:
        words = [("keys", "create", "--group", "demo", f"k{number}") for number in range(5)]
        ended = list(at_once.map(lambda each: cli.spawn(*each), words))
    assert [(each.status, each.err) for each in ended if each.status] == []
    made = {row["name"] for row in cli.run("keys", "list", "--json").json}
    assert {f"k{number}" for number in range(5)} < made


def test_create_of_a_key_with_a_secret_suggests_to_rotate_it(cli: Cli) -> None:
    cli.create("k")
    again = cli.run("keys", "create", "k", "--group", "demo")
    assert again.status == 2
    assert 'key "k" exists already; give it a new secret with: sidecar keys rotate "k"' in again.err
