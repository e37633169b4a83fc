"""Names on the command line: completed by the shell, and never the text of a key."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from cli_runner import Cli

from sidecar.api_keys import mint
from sidecar.cli import SECTIONS
from sidecar.cli import cli as sidecar_command


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def typing(line: str) -> dict[str, str]:
    """The environment in which bash asks for the last word of a line."""
    words = f"sidecar {line}"
    place = str(len(words.split(" ")) - 1)
    return {"COMP_WORDS": words, "COMP_CWORD": place, "_SIDECAR_COMPLETE": "bash_complete"}


def completed(cli: Cli, line: str) -> list[str]:
    """What bash is offered for the last word of a line."""
    done = cli.run(**typing(line))
    assert (done.status, done.err) == (0, "")
    return [item.partition(",")[2] for item in done.out.split()]


def test_completion_works_in_the_installed_command(cli: Cli) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("sidecar")], env=cli.env | typing("keys show "),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("plain,first\n", "")


def test_completion_offers_commands_options_keys_groups_and_agents(cli: Cli) -> None:
    cli.create("second")
    assert completed(cli, "keys rot") == ["rotate"]
    assert "--overlap" in completed(cli, "keys rotate first --")
    assert completed(cli, "keys show ") == ["first", "second"]
    assert completed(cli, "keys disable se") == ["second"]
    assert completed(cli, "explain --key f") == ["first"]
    assert completed(cli, "keys create x --group o") == ["other"]
    assert completed(cli, "env claude") == ["claude-code"]


def test_completion_is_silent_without_a_good_file(cli: Cli) -> None:
    cli.config.write_text("groups: [")
    assert completed(cli, "keys show ") == []
    assert completed(cli, f"keys show --config {cli.folder}/none ") == []


@pytest.mark.parametrize(
    "words",
    [
        ["keys", "create", "KEY", "--group", "demo"],
        ["keys", "create", "x", "--group", "KEY"],
        ["keys", "delete", "KEY", "--yes"],
        ["keys", "rename", "first", "KEY"],
        ["explain", "--key", "KEY", "--model", "echo"],
        ["models", "--key", "KEY"],
    ],
    ids=" ".join,
)
def test_secret_in_place_of_a_name_is_refused_and_not_repeated(cli: Cli, words: list[str]) -> None:
    key, before = mint(), cli.config.read_bytes()
    done = cli.run(*[key if word == "KEY" else word for word in words])
    assert done.status == 2
    assert "sidecar keys rotate" in done.err
    assert key not in done.out + done.err
    assert cli.config.read_bytes() == before


def test_misspelt_name_gets_a_suggestion(cli: Cli) -> None:
    assert 'did you mean "first"?' in cli.run("keys", "show", "frist").err
    assert "sidecar keys list" in cli.run("keys", "show", "zzz").err


@pytest.mark.parametrize(("typed", "meant"), [("key list", "keys"), ("keys lst", "list")])
def test_misspelt_command_gets_a_suggestion(cli: Cli, typed: str, meant: str) -> None:
    done = cli.run(*typed.split())
    assert (done.status, f"Did you mean '{meant}'?" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "unused"),
    [
        ("--version", {"aiohttp", "rich", "yaml", "asyncio", "sidecar.config"}),
        ("--help", {"aiohttp", "rich", "yaml", "asyncio", "sidecar.config"}),
    ],
)
def test_help_and_version_load_no_server(words: str, unused: set[str]) -> None:
    code = (
        "import sys; from sidecar.cli import cli\n"
        f"cli([{words!r}], standalone_mode=False)\n"
        f"print({unused} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize(
    ("name", "text"),
    [(name, text) for section in SECTIONS.values() for name, (_, text) in section.items()],
)
def test_help_says_of_a_command_what_the_command_says_of_itself(name: str, text: str) -> None:
    command = sidecar_command.get_command(click.Context(sidecar_command), name)
    assert command is not None
    assert command.get_short_help_str(limit=200) == text


def test_command_on_the_file_loads_no_watcher_of_it(cli: Cli) -> None:
    code = (
        "import sys; from sidecar.cli import cli\n"
        "cli(['keys', 'list'], standalone_mode=False)\n"
        "print({'watchfiles', 'anyio'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=cli.env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
