"""Limits, budgets and routes of keys, `sidecar groups …` and `sidecar providers …`."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_runner import Cli

from sidecar.config.editor import written

FILE = """\
groups:
  demo:                     # answers offline
    vendor: echo
    limits:
      tpm: 90k              # for all of them
      rpm: 30
keys:
  first: {group: demo}      # no secret yet
"""


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path, text=FILE)


def field(cli: Cli, *path: str) -> object:
    return written(cli.config.read_bytes(), path)


def test_key_created_with_limits_has_them_in_the_file(cli: Cli) -> None:
    done = cli.spawn(
        "keys", "create", "night", "--group", "demo", "--budget", "5/day, $30/month", "--rpm",
        "60", "--tpm", "200k", "--concurrency", "4", "--share", "2", "--max-wait", "10m",
        "--route", "echo",
    )  # fmt: skip
    assert done.status == 0, done.err
    assert field(cli, "keys", "night", "budget") == ["$5/day", "$30/month"]
    limits = {"rpm": "60", "tpm": "200k", "concurrency": "4"}
    assert field(cli, "keys", "night", "limits") == limits
    assert field(cli, "keys", "night", "share") == "2"
    assert field(cli, "keys", "night", "max_wait") == "10m"
    assert field(cli, "keys", "night", "routes") == ["echo"]


def test_limit_of_a_running_key_applies_to_its_next_call(cli: Cli) -> None:
    key = cli.create("codex", "--max-wait", "0s")
    with cli.serving() as served:
        assert served.call(key) == 200
        assert cli.spawn("keys", "edit", "codex", "--rpm", "1").status == 0
        assert [served.call(key), served.call(key)].count(429) >= 1
        assert cli.spawn("keys", "edit", "codex", "--rpm", "").status == 0
        assert served.call(key) == 200


@pytest.mark.parametrize("kind", ["keys", "groups"])
def test_edit_of_one_limit_keeps_the_others_and_their_comments(cli: Cli, kind: str) -> None:
    cli.config.write_text(FILE.replace("first: {group: demo}      # no secret yet", """first:
    group: demo
    limits:
      tpm: 90k              # mine
      rpm: 30"""))  # fmt: skip
    before = cli.config.read_text()
    name = {"keys": "first", "groups": "demo"}[kind]
    assert cli.run(kind, "edit", name, "--rpm", "", "--concurrency", "4").status == 0
    assert field(cli, kind, name, "limits") == {"tpm": "90k", "concurrency": "4"}
    after = cli.config.read_text()
    assert [line for line in before.splitlines() if "#" in line] == [
        line for line in after.splitlines() if "#" in line
    ]
    assert cli.run(kind, "edit", name, "--tpm", "", "--concurrency", "").status == 0
    assert field(cli, kind, name, "limits") is None


def test_routes_are_set_in_the_typed_order_and_keep_their_options(cli: Cli) -> None:
    assert cli.run("groups", "add", "GPT", "--vendor", "openai").status == 0
    cli.config.write_text(cli.config.read_text().replace(
        "{vendor: openai}", "{vendor: openai, routes: [openai, {openrouter: {models: gpt-5*}}]}"
    ))  # fmt: skip
    edit = ("groups", "edit", "GPT")
    done = cli.run(*edit, "--route", "openrouter", "--route", "openai")
    assert done.status == 0, done.err
    routes = [{"openrouter": {"models": "gpt-5*"}}, "openai"]
    assert field(cli, "groups", "GPT", "routes") == routes
    claude = ["groups", "add", "Claude", "--vendor", "anthropic", "--route"]
    refused = cli.run(*claude, "openai")
    assert (refused.status, "translate: true" in refused.err) == (2, True)
    assert cli.run(*claude, "openai:translate").status == 0
    assert field(cli, "groups", "Claude", "routes") == [{"openai": {"translate": "true"}}]
    assert cli.run("groups", "edit", "Claude", "--route", "openai").status == 0
    assert field(cli, "groups", "Claude", "routes") == [{"openai": {"translate": "true"}}]
    changed = ("groups", "edit", "Claude", "--route", "openai:translate=responses")
    assert cli.run(*changed).status == 0
    assert field(cli, "groups", "Claude", "routes") == [
        {"openai": {"transforms": {"translate": {"api": "responses"}}}}
    ]
    assert cli.run(*edit, "--route", "").status == 0
    assert field(cli, "groups", "GPT", "routes") is None
    refused = cli.run(*edit, "--route", "opnrouter")
    assert (refused.status, "openrouter" in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("option", "value"),
    [("--rpm", "many"), ("--budget", "5/year"), ("--share", "0"), ("--max-wait", "soon")],
)
def test_wrong_value_is_refused_and_nothing_is_changed(cli: Cli, option: str, value: str) -> None:
    for words in (("create", "x", "--group", "demo"), ("edit", "first")):
        done = cli.run("keys", *words, option, value)
        assert (done.status, option in done.err) == (2, True)
    assert cli.config.read_text() == FILE


def test_group_lifecycle_leaves_the_file_as_it_was(cli: Cli) -> None:
    added = cli.spawn("groups", "add", "Work", "--vendor", "echo", "--multiplier", "0.9",
                      "--budget", "20/day", "--description", "for work", "--json")  # fmt: skip
    row = {
        "name": "Work", "vendor": "echo", "multiplier": "0.9", "keys": 0, "limits": ["$20/day"],
        "routes": ["echo"], "description": "for work",
    }  # fmt: skip
    assert added.json == row
    assert cli.run("groups", "list", "--json").json[-1] == row
    assert "0.9" in cli.run("groups", "list").out
    assert cli.run("groups", "add", "Work", "--vendor", "echo").status == 2
    edited = cli.run("groups", "edit", "Work", "--multiplier", "", "--json")
    assert edited.json["multiplier"] == "1"
    cli.run("keys", "create", "k", "--group", "Work")
    refused = cli.run("groups", "remove", "Work")
    assert (refused.status, "keys belong to it: k" in refused.err) == (2, True)
    cli.run("keys", "delete", "k", "--yes")
    assert cli.run("groups", "remove", "Work", "--json").json["name"] == "Work"
    assert cli.config.read_text() == FILE


def test_unknown_group_or_provider_is_refused_with_a_suggestion(cli: Cli) -> None:
    for words in (("groups", "edit", "dmo"), ("groups", "remove", "dmo")):
        done = cli.run(*words)
        assert (done.status, 'did you mean "demo"' in done.err) == (2, True)
    for command in ("edit", "remove"):
        done = cli.run("providers", command, "ech")
        assert (done.status, 'did you mean "echo"' in done.err) == (2, True)
    absent = cli.run("providers", "edit", "openai", "--rpm", "5").err
    assert "has no entry yet; add one with: sidecar providers add openai" in absent
    for words in (("groups", "edit", "demo"), ("providers", "edit", "echo")):
        assert "nothing to change was given" in cli.run(*words).err


def test_provider_lifecycle_leaves_the_rest_of_the_file(cli: Cli) -> None:
    url = "http://127.0.0.1:8000/v1"
    added = cli.spawn("providers", "add", "office", "--plugin", "vllm", "--base-url", url,
                      "--credential", "env:OFFICE_KEY", "--rpm", "50", "--json")  # fmt: skip
    assert added.json == {
        "name": "office", "vendor": "vllm", "base_url": url, "credentials": ["env:OFFICE_KEY"],
        "limits": ["rpm 50"],
    }  # fmt: skip
    rows = {row["name"]: row for row in cli.run("providers", "list", "--json").json}
    assert "OFFICE_KEY is not set" in rows["office"]["unavailable"]
    assert rows["echo"]["unavailable"] is None
    assert cli.run("providers", "edit", "office", "--credential", "").status == 0
    assert field(cli, "providers", "office", "credential") is None
    cli.run("groups", "edit", "demo", "--vendor", "openai", "--route", "office")
    refused = cli.run("providers", "remove", "office")
    assert (refused.status, "nothing was changed" in refused.err) == (2, True)
    cli.run("groups", "edit", "demo", "--vendor", "echo", "--route", "")
    assert cli.run("providers", "remove", "office").status == 0
    assert field(cli, "providers") is None
    assert "no entry to remove" in cli.run("providers", "remove", "echo").err


def test_providers_of_a_running_process_are_listed_with_what_it_holds(cli: Cli) -> None:
    cli.run("providers", "add", "office", "--plugin", "vllm", "--credential", "env:OFFICE_KEY",
            "--base-url", "http://127.0.0.1:8000/v1")  # fmt: skip
    cli.environ["OFFICE_KEY"] = "a-credential"
    with cli.serving():
        del cli.environ["OFFICE_KEY"]
        rows = {row["name"]: row for row in cli.run("providers", "list", "--json").json}
    assert rows["office"]["unavailable"] is None
