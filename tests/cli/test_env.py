"""`sidecar env`: lines that agents of today understand, at the address where Sidecar listens."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest
from cli_runner import FILE, Cli

from sidecar.agents.table import AGENTS

BASE = "http://127.0.0.1:8787"
EXPORTS = {
    "aider": {"OPENAI_API_BASE": "/v1", "OPENAI_API_KEY": None},
    "anthropic": {"ANTHROPIC_BASE_URL": "", "ANTHROPIC_API_KEY": None},
    "claude-code": {"ANTHROPIC_BASE_URL": "", "ANTHROPIC_AUTH_TOKEN": None},
    "codex": {"SIDECAR_KEY": None},
    "gemini-cli": {"GOOGLE_GEMINI_BASE_URL": "", "GEMINI_API_KEY": None},
    "google-genai": {"GOOGLE_GEMINI_BASE_URL": "", "GEMINI_API_KEY": None},
    "copilot-cli": {"COPILOT_PROVIDER_BASE_URL": "/v1", "COPILOT_PROVIDER_API_KEY": None},
    "crush": {"OPENAI_API_ENDPOINT": "/v1", "OPENAI_API_KEY": None, "ANTHROPIC_API_ENDPOINT": ""},
    "goose": {"OPENAI_HOST": "", "OPENAI_API_KEY": None},
    "groq": {"GROQ_BASE_URL": "", "GROQ_API_KEY": None},
    "llm": {"OPENAI_BASE_URL": "/v1", "OPENAI_API_KEY": None},
    "openai": {"OPENAI_BASE_URL": "/v1", "OPENAI_API_KEY": None},
    "openai-agents": {"OPENAI_BASE_URL": "/v1", "OPENAI_API_KEY": None},
    "qwen-code": {"OPENAI_BASE_URL": "/v1", "OPENAI_API_KEY": None},
}
"""What each must have: a path behind the address, or None for the key."""


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def exported(lines: str, cli: Cli, **before: str) -> dict[str, str]:
    """The variables after a shell has read the lines; it must read them without complaint."""
    done = subprocess.run(
        ["/bin/sh", "-euc", f"{lines}\nenv"], capture_output=True, text=True, check=True,
        env={"PATH": cli.env["PATH"], "MY_KEY": "the key; with $(odd) 'characters'", **before},
    )  # fmt: skip
    assert done.stderr == ""
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


@pytest.mark.parametrize("agent", AGENTS)
def test_env_lines_of_every_agent_run_in_a_shell(cli: Cli, agent: str) -> None:
    lines = cli.run("env", agent, "--key-env", "MY_KEY").out
    found = exported(lines, cli)
    for name, path in EXPORTS.get(agent, {"SIDECAR_KEY": None}).items():
        assert found[name] == ("the key; with $(odd) 'characters'" if path is None else BASE + path)
    assert BASE in lines
    assert "NO_PROXY=127.0.0.1,localhost" in lines
    assert "{{" not in lines.replace("${{ secrets.SIDECAR_KEY }}", "")


def test_env_lines_for_a_login_put_the_key_beside_it(cli: Cli) -> None:
    lines = cli.run("env", "--login", "claude", "--key-env", "MY_KEY").out
    found = exported(lines, cli, ANTHROPIC_API_KEY="of the vendor")
    assert found["ANTHROPIC_BASE_URL"] == BASE
    assert found["ANTHROPIC_CUSTOM_HEADERS"] == "x-sidecar-key: the key; with $(odd) 'characters'"
    assert not {"ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY"} & found.keys()
    fish, powershell = (
        cli.run("env", "--login", "claude", "--shell", each).out for each in ("fish", "powershell")
    )
    assert "set -gx ANTHROPIC_CUSTOM_HEADERS 'x-sidecar-key: '$SIDECAR_KEY\n" in fish
    assert "set -e ANTHROPIC_API_KEY\n" in fish
    assert "$env:ANTHROPIC_CUSTOM_HEADERS = 'x-sidecar-key: ' + $env:SIDECAR_KEY\n" in powershell
    assert "Remove-Item Env:ANTHROPIC_API_KEY -ErrorAction Ignore\n" in powershell
    assert "requires_openai_auth=true" in cli.run("env", "--login", "codex").out
    refused = cli.run("env", "--login", "gemini")
    assert refused.status == 2
    assert "these can: claude-code, codex" in refused.err


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_lines_without_the_key_stop_and_name_its_variable(cli: Cli, agent: str, shell: str) -> None:
    lines = cli.run("env", agent, "--key-env", "MY_KEY").out
    done = subprocess.run(
        [shell, "-c", f"{lines}\necho went on; env"], capture_output=True, text=True, check=False,
        env={"PATH": cli.env["PATH"], "MY_KEY": ""},
    )  # fmt: skip
    assert done.returncode != 0
    assert "MY_KEY: set it to a local key" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_codex_is_called_with_the_provider_wherever_it_is_started(cli: Cli, shell: str) -> None:
    """Its own file is not touched: what is appended to one may fall into a table of it."""
    program = cli.folder / "codex"
    program.write_text('#!/bin/sh\nprintf "%s\\0" "$SIDECAR_KEY" "$@"\n')
    program.chmod(0o755)
    lines = cli.run("env", "codex").out
    done = subprocess.run(
        [shell, "-euc", 'eval "$1"\ncodex exec "a b" --json', shell, lines],
        capture_output=True, text=True, check=True,
        env={"PATH": f"{cli.folder}:{cli.env['PATH']}", "SIDECAR_KEY": "k"},
    )  # fmt: skip
    key, *words = done.stdout.split("\0")[:-1]
    assert key == "k"
    assert words[4:] == ["exec", "a b", "--json"]
    assert words[0:4:2] == ["-c", "-c"]
    found = tomllib.loads(words[1].replace("=sidecar", '="sidecar"') + "\n" + words[3])
    assert found == {
        "model_provider": "sidecar",
        "model_providers": {
            "sidecar": {
                "name": "sidecar", "base_url": f"{BASE}/v1", "env_key": "SIDECAR_KEY",
                "wire_api": "responses",
            }
        },
    }  # fmt: skip


def test_continue_is_told_where_its_key_is(cli: Cli) -> None:
    assert "apiKey: ${{ secrets.SIDECAR_KEY }}" in cli.run("env", "continue").out


@pytest.mark.parametrize(
    ("listen", "base"),
    [
        ("127.0.0.1:9000", "http://127.0.0.1:9000"),
        ('["[::1]:9000"]', "http://[::1]:9000"),
        ("0.0.0.0:9000, allow_remote: true", "http://127.0.0.1:9000"),
        ('"[::]:9000", allow_remote: true', "http://[::1]:9000"),
    ],
)
def test_env_prints_an_address_that_local_clients_can_use(cli: Cli, listen: str, base: str) -> None:
    cli.config.write_text(f"{FILE}server: {{listen: {listen}}}\n")
    found = exported(cli.run("env", "anthropic", "--key-env", "MY_KEY").out, cli)
    assert found["ANTHROPIC_BASE_URL"] == base


def test_env_without_a_configuration_prints_the_usual_address(tmp_path: Path) -> None:
    done = Cli(tmp_path, text="").spawn("env", "openai")
    assert (done.status, done.err) == (0, "")
    assert "OPENAI_BASE_URL=http://127.0.0.1:8787/v1" in done.out


def test_env_with_an_unknown_agent_lists_the_known_ones(cli: Cli) -> None:
    done = cli.run("env", "cloud")
    assert done.status == 2
    assert "'claude-code'" in done.err


def test_env_takes_the_name_of_an_agents_program(cli: Cli) -> None:
    assert cli.run("env", "claude").out == cli.run("env", "claude-code").out


@pytest.mark.parametrize("agent", AGENTS)
def test_env_lines_for_fish_and_powershell_hold_every_variable_and_no_key(
    cli: Cli, agent: str
) -> None:
    fish = cli.run("env", agent, "--shell", "fish", "--key-env", "MY_KEY").out
    power = cli.run("env", agent, "--shell", "powershell", "--key-env", "MY_KEY").out
    for name, path in EXPORTS.get(agent, {"SIDECAR_KEY": None}).items():
        value = "$MY_KEY" if path is None else f"'{BASE}{path}'"
        assert f"  set -gx {name} {value}\n" in fish
        value = "$env:MY_KEY" if path is None else f"'{BASE}{path}'"
        assert f"$env:{name} = {value}\n" in power
    assert "export" not in fish.partition("NO_PROXY")[0] + power.partition("NO_PROXY")[0]
    assert "MY_KEY: set it to a local key" in fish
    assert "throw 'MY_KEY: set it to a local key" in power
