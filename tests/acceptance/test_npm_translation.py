"""Claude Code and Codex on the API of another vendor."""

from __future__ import annotations

from pathlib import Path

import pytest
from answering_vendor import AnsweringVendor, Turn
from npm_agents import CLAUDE, CODEX, NpmAgent, install
from scripted_vendor import ScriptedVendor
from user_machine import UserMachine

pytestmark = pytest.mark.timeout(300)

SAID = "The answer is 42."
FILE = """
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0"}}
providers:
  oa: {{plugin: openai, base_url: "{url}/v1", credential: env:UPSTREAM_KEY}}
  an: {{plugin: anthropic, base_url: "{url}", credential: env:UPSTREAM_KEY}}
  ge: {{plugin: gemini, base_url: "{url}", credential: env:UPSTREAM_KEY}}
groups:
  agents: {{vendor: {vendor}, routes: [{route}]}}
"""
CHAT = 'oa: {translate: true, as: {"*": gpt-5}}'
RESPONSES = 'oa: {transforms: {translate: {api: responses}}, as: {"*": gpt-5}}'
GEMINI = 'ge: {translate: true, as: {"*": gemini-2.5-pro}}'
MESSAGES = 'an: {translate: true, as: {"*": claude-opus-5-5}}'


@pytest.mark.parametrize(
    ("agent", "route", "path"),
    [
        (CLAUDE, CHAT, "/v1/chat/completions"),
        (CLAUDE, RESPONSES, "/v1/responses"),
        (CLAUDE, GEMINI, "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"),
        (CODEX, MESSAGES, "/v1/messages"),
        (CODEX, GEMINI, "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"),
    ],
    ids=["Claude Code on chat", "Claude Code on Responses", "Claude Code on Gemini",
         "Codex on Messages", "Codex on Gemini"],
)  # fmt: skip
async def test_five_rounds_of_parallel_calls_pass_a_translation(
    machine: UserMachine, clients: Path, answering: AnsweringVendor, vendor: ScriptedVendor,
    agent: NpmAgent, route: str, path: str,
) -> None:  # fmt: skip
    machine.path.append(install(agent, clients))
    machine.config.write_text(
        FILE.format(
            url=vendor.url, vendor="anthropic" if agent is CLAUDE else "openai", route=route
        )
    )
    rounds = [[f"{number}-{at}" for at in range(2)] for number in range(5)]
    turns = [
        Turn("On it.", tools=tuple(_call(agent, f"echo {word} >> made.txt") for word in words))
        for words in rounds
    ]
    answering.play(*turns, Turn(SAID))
    done = await machine.type(agent.line)
    assert (done.status, SAID in done.out) == (0, True), done
    made = (machine.work / "made.txt").read_text().split()
    assert sorted(made) == [word for words in rounds for word in words]
    assert {each.path for each in vendor.requests} == {path}
    assert len(answering.main) == 6


def _call(agent: NpmAgent, line: str) -> tuple[str, dict[str, object]]:
    """Return the call of the agent's tool, as a provider of another API writes it."""
    name, arguments = agent.tool
    given = arguments(line)
    if isinstance(given, str):  # a custom tool, in a namespace
        return f"functions__{name}", {"input": given}
    return name, given
