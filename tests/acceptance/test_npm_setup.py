"""Real agents by `sidecar setup`, and what its undo leaves of their files; and by `sidecar env`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from answering_vendor import AnsweringVendor, Turn
from npm_agents import AGENTS, QUESTION, NpmAgent, install
from scripted_vendor import ScriptedVendor
from user_machine import UserMachine

pytestmark = pytest.mark.timeout(300)

SAID = "The answer is 42."
OWN = {
    "claude-code": {".claude/settings.json": '{\n   "theme": "dark",\n   "env": {"MINE": "1"}}'},
    "codex": {".codex/config.toml": '# mine\n[profiles.fast]\nmodel = "gpt-5.1-codex"'},
    "gemini-cli": {".gemini/settings.json": '{"ui": {"hideTips": true}}\n', ".gemini/.env": "A=1"},
    "opencode": {".config/opencode/opencode.json": '{"theme": "system"}'},
    "cline": {".cline/data/settings/providers.json": '{"version": 1, "providers": {}}\n'},
    "qwen-code": {".qwen/settings.json": '{ "$version": 7 }', ".qwen/.env": "OPENAI_MODEL=gpt-5\n"},
}
"""The files of a user before, written by hand, by agent."""
WORDS = {"opencode": "opencode run --model openai/gpt-5", "cline": "cline -m gpt-5"}
GROUPS = {"claude-code": "Claude", "gemini-cli": "Gemini"}


@pytest.mark.parametrize("agent", [each for each in AGENTS if each.name in OWN], ids=str)
async def test_agent_that_was_set_up_answers_and_undo_restores_its_files(
    machine: UserMachine, clients: Path, answering: AnsweringVendor, vendor: ScriptedVendor,
    agent: NpmAgent,
) -> None:  # fmt: skip
    machine.path.append(install(agent, clients))
    for name, text in OWN[agent.name].items():
        (machine.home / name).parent.mkdir(parents=True, exist_ok=True)
        (machine.home / name).write_text(text)
    group = GROUPS.get(agent.name, "GPT")
    await machine.type(f"sidecar run --group {group} true")
    key = (await machine.type(f"sidecar keys create mine --group {group}")).out.strip()
    done = await machine.type(f"sidecar setup {agent.name}", SIDECAR_KEY=key)
    assert done.status == 0, done
    answering.play(Turn(SAID))
    words = WORDS.get(agent.name, agent.words)
    done = await machine.type(f"{words} '{QUESTION}'", SIDECAR_KEY=key)
    assert (done.status, SAID in done.out) == (0, True), done
    assert answering.main
    done = await machine.type(f"sidecar setup {agent.name} --undo")
    assert done.status == 0, done
    found = {name: (machine.home / name).read_text() for name in OWN[agent.name]}
    assert found == OWN[agent.name]


CONTINUE = """name: Mine
version: 1.0.0
schema: v1
models:
  - name: one
    provider: openai
    apiBase: {base}/v1
    apiKey: ${{ secrets.SIDECAR_KEY }}
    model: gpt-5
"""
NOTED = {
    "gemini-cli": (".gemini/settings.json", json.dumps(
        {"security": {"auth": {"selectedType": "gemini-api-key"}}}
    )),
    "continue": (".continue/config.yaml", CONTINUE),
}  # fmt: skip
"""The file that the comments of an agent's lines ask for."""
MODELS = {"qwen-code": {"OPENAI_MODEL": "gpt-5"}, "copilot-cli": {"COPILOT_MODEL": "gpt-5"}}


@pytest.mark.parametrize("agent", [each for each in AGENTS if each.name != "cline"], ids=str)
async def test_agent_answers_by_the_lines_of_env(
    machine: UserMachine, clients: Path, answering: AnsweringVendor, vendor: ScriptedVendor,
    agent: NpmAgent,
) -> None:  # fmt: skip
    machine.path.append(install(agent, clients))
    group = GROUPS.get(agent.name, "GPT")
    await machine.type(f"sidecar run --group {group} true")
    key = (await machine.type(f"sidecar keys create mine --group {group}")).out.strip()
    if agent.name in NOTED:
        base = await machine.type("sidecar env openai-agents", SIDECAR_KEY=key)
        name, text = NOTED[agent.name]
        (machine.home / name).parent.mkdir()
        address = base.out.partition("OPENAI_BASE_URL=")[2].partition("/v1")[0]
        (machine.home / name).write_text(text.replace("{base}", address))
    answering.play(Turn(SAID))
    line = f"{WORDS.get(agent.name, agent.words)} '{QUESTION}'"
    environ = {"SIDECAR_KEY": key, **MODELS.get(agent.name, {})}
    done = await machine.type(f'eval "$(sidecar env {agent.name})" && {line}', **environ)
    assert (done.status, SAID in done.out) == (0, True), done
    assert answering.main
