"""What each agent is started with: its arguments, its environment, its file for one run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from sidecar.agents.agent import Agent
from sidecar.agents.launch import AgentTarget, Launch, keep_new_files, launch
from sidecar.agents.table import AGENTS, GENERIC, agent_for
from sidecar.api_keys import mint

BASE, SECRET = "http://127.0.0.1:9000", mint()
PROGRAMS = [each for each in AGENTS.values() if each.program]


def launched(
    agent: Agent, tmp_path: Path, model: str | None = "m-1", takes_login: bool = False,
    **environ: str,
) -> Launch:  # fmt: skip
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    words = [agent.program or "tool", "--own", "flag"]
    return launch(
        agent, words, AgentTarget(BASE, SECRET, model, takes_login), {"HOME": str(home), **environ},
        {"VENDOR_KEY"}, tmp_path,
    )  # fmt: skip


@pytest.mark.parametrize("agent", [*PROGRAMS, GENERIC], ids=lambda each: each.name)
def test_secret_of_a_launch_is_in_no_argument(tmp_path: Path, agent: Agent) -> None:
    found = launched(agent, tmp_path)
    assert not any(SECRET in word for word in found.argv)
    assert any(SECRET in value for value in found.environ.values())
    assert any(BASE in text for text in [*found.argv, *found.environ.values(), *files(tmp_path)])
    texts = [*found.argv, *found.environ.values(), *files(tmp_path)]
    assert any("m-1" in text for text in texts) == agent.takes_model
    assert found.argv[-2:] == ["--own", "flag"]
    values = "".join(found.environ.values()).replace("{env:SIDECAR_KEY}", "")
    assert "{" not in values.replace('{"', "").replace(": {", "")


def files(folder: Path) -> list[str]:
    """Return the texts of an agent's files, which only its user can read."""
    found = [each for each in folder.iterdir() if each.is_file()]
    assert all(each.stat().st_mode & 0o777 == 0o600 for each in found)
    return [each.read_text() for each in found]


def test_environment_of_an_agent_loses_vendors_logins_and_other_local_keys(tmp_path: Path) -> None:
    found = launched(
        AGENTS["claude-code"], tmp_path, VENDOR_KEY="v", CLAUDE_CODE_OAUTH_TOKEN="t",
        CLAUDE_CODE_USE_BEDROCK="1", OPENAI_BASE_URL="https://elsewhere.example", MINE=mint(),
        EDITOR="vi",
    ).environ  # fmt: skip
    gone = {"VENDOR_KEY", "CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CODE_USE_BEDROCK", "OPENAI_BASE_URL",
            "MINE"}  # fmt: skip
    assert not gone & found.keys()
    assert (found["EDITOR"], found["SIDECAR_KEY"]) == ("vi", SECRET)


def test_login_of_an_agent_stays_where_a_provider_takes_it(tmp_path: Path) -> None:
    own = {"CLAUDE_CODE_OAUTH_TOKEN": "t", "ANTHROPIC_AUTH_TOKEN": "other", "VENDOR_KEY": "v"}
    found = launched(AGENTS["claude-code"], tmp_path, takes_login=True, **own).environ
    assert found["ANTHROPIC_CUSTOM_HEADERS"] == f"x-sidecar-key: {SECRET}"
    assert found["CLAUDE_CODE_OAUTH_TOKEN"] == "t"
    assert not {"ANTHROPIC_AUTH_TOKEN", "VENDOR_KEY"} & found.keys()
    codex = launched(AGENTS["codex"], tmp_path, takes_login=True)
    assert "requires_openai_auth=true" in codex.argv[4]
    assert not any(SECRET in word for word in codex.argv)
    assert "ANTHROPIC_CUSTOM_HEADERS" not in codex.environ
    gemini = launched(AGENTS["gemini-cli"], tmp_path, takes_login=True)
    assert gemini.environ["GEMINI_API_KEY"] == SECRET


@pytest.mark.parametrize("variable", ["", "GEMINI_CLI_HOME"])
def test_login_of_gemini_is_laid_over_the_settings_beside_the_users_other_files(
    tmp_path: Path, variable: str
) -> None:
    agent, home = AGENTS["gemini-cli"], tmp_path / (variable or "home")
    own = home / ".gemini"
    own.mkdir(parents=True)
    (own / "settings.json").write_text(
        '{"security": {"auth": {"enforced": 1}}, "ui": {"theme": 1}}'
    )
    (own / "history").mkdir()
    (own / "login.json").write_text("old")
    environ = {variable: str(home)} if variable else {}
    run = Path(launched(agent, tmp_path, **environ).environ["GEMINI_CLI_HOME"]) / ".gemini"
    assert json.loads((run / "settings.json").read_text()) == {
        "security": {"auth": {"enforced": 1, "selectedType": "gemini-api-key"}}, "ui": {"theme": 1},
    }  # fmt: skip
    (run / "history" / "new").write_text("asked")
    (run / "memory").mkdir()
    (run / "login.json").unlink()
    (run / "login.json").write_text("new")
    keep_new_files(agent, {"HOME": str(tmp_path / "home"), **environ}, run.parent)
    assert (own / "history" / "new").read_text() == "asked"
    assert (own / "memory").is_dir()
    assert (own / "login.json").read_text() == "new"
    assert "selectedType" not in (own / "settings.json").read_text()


def test_models_of_the_user_stay_behind_that_of_a_run_of_continue(tmp_path: Path) -> None:
    own = tmp_path / "home" / ".continue" / "config.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("name: mine\nmodels: [{name: theirs, provider: ollama, model: x}]\nrules: [r]\n")
    found = launched(AGENTS["continue"], tmp_path)
    assert found.argv[1] == "--config"
    content = yaml.safe_load(Path(found.argv[2]).read_text())
    assert [each["name"] for each in content["models"]] == ["m-1 by Sidecar", "theirs"]
    assert content["models"][0]["apiKey"] == "${{ secrets.SIDECAR_KEY }}"
    assert content["rules"] == ["r"]


def test_no_proxy_gets_this_machine_where_a_proxy_is_set(tmp_path: Path) -> None:
    agent = AGENTS["codex"]
    assert "NO_PROXY" not in launched(agent, tmp_path).environ
    found = launched(agent, tmp_path, https_proxy="http://p", NO_PROXY="a.example").environ
    assert found["NO_PROXY"] == "a.example,127.0.0.1,localhost,::1"
    assert found["no_proxy"] == "127.0.0.1,localhost,::1"


def test_agent_is_found_by_name_program_and_alias() -> None:
    assert agent_for("claude") is agent_for("claude-code") is AGENTS["claude-code"]
    assert agent_for("github-copilot") is AGENTS["copilot-cli"]
    assert agent_for("openai") is None
