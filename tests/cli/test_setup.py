"""`sidecar setup`: written into the agents' own files, and taken out again byte for byte."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import pytest
from cli_runner import Cli

from sidecar.agents.table import AGENTS
from sidecar.api_keys import mint

BASE = "http://127.0.0.1:8787"
SECRET = mint()
KEY = {"SIDECAR_KEY": SECRET}
WITH_FILES = [each.name for each in AGENTS.values() if each.own]
BEFORE = {
    ".claude/settings.json": '{\n    "model": "opus",\n    "env": {"A": "ü"}\n}',
    ".codex/config.toml": 'model = "gpt-5"  # mine\nmodel_provider = "openai"\n\n[tools]\nweb = 1',
    ".gemini/settings.json": '{"security": {"auth": {"selectedType": "oauth-personal"}}}\n',
    ".gemini/.env": "GEMINI_API_KEY=old\nOTHER=1",
    ".config/opencode/opencode.json": '{\n\t"provider": {"openai": {"options": {"a": 5}}}\n}\n',
    ".cline/data/settings/providers.json": '{"version": 1, "providers": {}}',
    ".aider.conf.yml": "# mine\ndark-mode: true\nopenai-api-base: elsewhere\n",
}


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    (tmp_path / "home").mkdir()
    return Cli(tmp_path)


def own_files(cli: Cli, agent: str) -> list[Path]:
    return [each.place(cli.env) for each in AGENTS[agent].own]


def prepare(cli: Cli, agent: str) -> dict[Path, bytes]:
    """Write the files that a user of the agent may have."""
    for each in AGENTS[agent].own:
        place = each.place(cli.env)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(BEFORE.get(each.path, ""))
        place.chmod(0o640)
    return {place: place.read_bytes() for place in own_files(cli, agent)}


@pytest.mark.parametrize("agent", WITH_FILES)
def test_setup_is_undone_byte_for_byte(cli: Cli, agent: str) -> None:
    before = prepare(cli, agent)
    done = cli.run("setup", agent, **KEY)
    assert done.status == 0, done.err
    assert BASE in "".join(each.read_text() for each in before)
    assert SECRET not in done.out + done.err
    assert all(each.stat().st_mode & 0o077 == 0 for each in before if SECRET in each.read_text())
    assert cli.run("setup", agent, "--undo").status == 0
    assert {each: each.read_bytes() for each in before} == before
    assert {each.stat().st_mode & 0o777 for each in before} == {0o640}
    assert "is not set up" in cli.run("setup", agent, "--undo").err


@pytest.mark.parametrize("agent", WITH_FILES)
def test_second_setup_changes_nothing_and_keeps_the_way_back(cli: Cli, agent: str) -> None:
    before = prepare(cli, agent)
    assert cli.run("setup", agent, **KEY).status == 0
    written = {each: each.read_bytes() for each in before}
    again = cli.run("setup", agent, **KEY)
    assert (again.status, again.out) == (0, "")
    assert "is set up already" in again.err
    assert {each: each.read_bytes() for each in before} == written
    cli.run("setup", agent, SIDECAR_KEY=mint())
    assert cli.run("setup", agent, "--undo").status == 0
    assert {each: each.read_bytes() for each in before} == before


@pytest.mark.parametrize("theirs", [False, True], ids=["its own fields", "a field of the user"])
def test_undo_of_a_file_that_its_agent_rewrote_keeps_the_users_changes(
    cli: Cli, theirs: bool
) -> None:
    [(place, text)] = prepare(cli, "cline").items()
    first = cli.run("setup", "cline", **KEY)
    assert first.status == 0
    assert "set in your shell as well: CLINE_SESSION_BACKEND_MODE=local" in first.err
    found = json.loads(place.read_bytes())
    ours = found["providers"]["openai-compatible"]
    ours["settings"]["model"], ours["updatedAt"] = "gpt-5", "2026-11-29T18:00:00.000Z"
    if theirs:
        found["providers"]["mine"] = {}
    place.write_text(json.dumps({"modes": {}, **found}))
    written = place.read_bytes()
    again = cli.run("setup", "cline", **KEY)
    assert ("is set up already" in again.err, place.read_bytes() == written) == (True, True)
    done = cli.run("setup", "cline", "--undo")
    assert done.status == (2 if theirs else 0), done.err
    assert place.read_bytes() == (written if theirs else text)


@pytest.mark.parametrize("agent", WITH_FILES)
def test_undo_removes_files_that_were_not_there(cli: Cli, agent: str) -> None:
    assert cli.run("setup", agent, **KEY).status == 0
    assert all(each.exists() for each in own_files(cli, agent))
    assert cli.run("setup", agent, "--undo").status == 0
    assert not any(each.exists() for each in own_files(cli, agent))


def test_setup_of_claude_code_adds_address_key_and_status_line(cli: Cli) -> None:
    prepare(cli, "claude-code")
    done = cli.run("setup", "claude", **KEY)
    settings = json.loads((cli.folder / "home/.claude/settings.json").read_text())
    assert settings == {
        "model": "opus",
        "env": {
            "A": "ü", "ANTHROPIC_BASE_URL": BASE, "ANTHROPIC_AUTH_TOKEN": SECRET,
            "ENABLE_TOOL_SEARCH": "true",
        },
        "statusLine": {"type": "command", "command": "sidecar statusline"},
    }  # fmt: skip
    assert '+        "ANTHROPIC_BASE_URL": "http://127.0.0.1:8787"' in done.out
    assert "switches off the search of MCP tools" in done.err


def test_setup_of_claude_code_keeps_a_status_line_of_the_user(cli: Cli) -> None:
    place = cli.folder / "home/.claude/settings.json"
    place.parent.mkdir()
    place.write_text('{"statusLine": {"type": "command", "command": "mine"}}')
    cli.run("setup", "claude-code", **KEY)
    assert json.loads(place.read_text())["statusLine"]["command"] == "mine"


def test_setup_of_codex_puts_values_before_the_first_table(cli: Cli) -> None:
    prepare(cli, "codex")
    assert cli.run("setup", "codex").status == 0  # the key stays in the environment
    text = (cli.folder / "home/.codex/config.toml").read_text()
    found = tomllib.loads(text)
    assert found["model_provider"] == "sidecar"
    assert found["tools"] == {"web": 1}
    assert found["model_providers"]["sidecar"]["base_url"] == f"{BASE}/v1"
    assert 'model = "gpt-5"  # mine' in text


def test_setup_of_codex_refuses_a_foreign_entry_of_its_name(cli: Cli) -> None:
    place = cli.folder / "home/.codex/config.toml"
    place.parent.mkdir()
    place.write_text('[model_providers.sidecar]\nname = "mine"\n')
    done = cli.run("setup", "codex")
    assert done.status == 2
    assert "nothing was changed" in done.err
    assert place.read_text() == '[model_providers.sidecar]\nname = "mine"\n'


def test_undo_of_a_file_that_was_changed_since_restores_nothing(cli: Cli) -> None:
    prepare(cli, "claude-code")
    cli.run("setup", "claude-code", **KEY)
    place = cli.folder / "home/.claude/settings.json"
    place.write_text(place.read_text() + "\n")
    done = cli.run("setup", "claude-code", "--undo")
    assert done.status == 2
    assert "was changed since; nothing was restored" in done.err


def test_setup_of_a_file_with_comments_changes_nothing(cli: Cli) -> None:
    place = cli.folder / "home/.config/opencode/opencode.json"
    place.parent.mkdir(parents=True)
    place.write_text("{ // mine\n}")
    done = cli.run("setup", "opencode")
    assert done.status == 2
    assert "is no JSON that can be changed safely" in done.err
    assert place.read_text() == "{ // mine\n}"


def test_files_of_two_homes_of_an_agent_are_both_restored(cli: Cli) -> None:
    places = [cli.folder / name / "config.toml" for name in ("one", "two")]
    for place in places:
        place.parent.mkdir()
        place.write_text(f'model = "{place.parent.name}"\n')
        assert cli.run("setup", "codex", CODEX_HOME=str(place.parent)).status == 0
    assert cli.run("setup", "codex", "--undo").status == 0
    assert [each.read_text() for each in places] == ['model = "one"\n', 'model = "two"\n']


def test_undo_removes_the_target_of_a_link_and_keeps_the_link(cli: Cli) -> None:
    place, target = cli.folder / "home/.claude/settings.json", cli.folder / "settings.json"
    place.parent.mkdir()
    place.symlink_to(target)
    assert cli.run("setup", "claude-code", **KEY).status == 0
    assert SECRET in target.read_text()
    assert cli.run("setup", "claude-code", "--undo").status == 0
    assert place.is_symlink()
    assert not target.exists()


def test_difference_has_no_credential_and_nothing_that_a_terminal_obeys(cli: Cli) -> None:
    place = cli.folder / "home/.claude/settings.json"
    place.parent.mkdir()
    token, odd = "sk-ant-oat01-abcdefghijklmnopqrstuvwxyz", "f00dcafe" * 4
    env = {"ANTHROPIC_AUTH_TOKEN": token, "OTHER": odd, "X": "\x9b2J\u202e"}
    place.write_text(json.dumps({"env": env}, ensure_ascii=False))
    done = cli.run("setup", "claude-code", **KEY)
    assert done.status == 0
    assert "ANTHROPIC_AUTH_TOKEN" in done.out
    assert not any(each in done.out for each in (token, odd, SECRET, "\x9b", "\u202e"))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\xff\xfe", "is no UTF-8 text"),
        (b'{"a":' * 5000, "nested too deeply"),
        (None, "is not a regular file"),
    ],
)
def test_setup_of_a_file_that_cannot_be_read_changes_nothing(
    cli: Cli, content: bytes | None, why: str
) -> None:
    place = cli.folder / "home/.claude/settings.json"
    place.parent.mkdir()
    os.mkfifo(place) if content is None else place.write_bytes(content)
    done = cli.run("setup", "claude-code", **KEY)
    assert done.status == 2
    assert why in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("words", [(), ("--undo",)])
def test_damaged_backup_is_named_and_nothing_changes(cli: Cli, words: tuple[str, ...]) -> None:
    prepare(cli, "claude-code")
    assert cli.run("setup", "claude-code", **KEY).status == 0
    (place,) = own_files(cli, "claude-code")
    written = place.read_bytes()
    (kept,) = cli.folder.rglob("setup/claude-code.json")
    kept.write_text("{")
    done = cli.run("setup", "claude-code", *words, **KEY)
    assert (done.status, place.read_bytes()) == (2, written)
    assert f"{kept} is damaged" in done.err


def test_setup_without_the_key_names_its_variable(cli: Cli) -> None:
    done = cli.run("setup", "claude-code")
    assert done.status == 2
    assert "set SIDECAR_KEY to a local key" in done.err


def test_setup_on_a_terminal_asks_after_the_difference(cli: Cli) -> None:
    done = cli.typed("n\n", "setup", "codex")
    assert done.status == 2
    assert "+model_provider" in done.out
    assert "nothing was changed" in done.err
    assert not (cli.folder / "home/.codex/config.toml").exists()


@pytest.mark.parametrize("agent", ["continue", "copilot-cli", "openai"])
def test_setup_of_an_agent_without_a_file_names_env(cli: Cli, agent: str) -> None:
    done = cli.run("setup", agent, **KEY)
    assert done.status == 2
    assert f"sidecar env {agent}" in done.err
