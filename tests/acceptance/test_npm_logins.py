"""Real agents with a login of their own, and on the API of another vendor."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from answering_vendor import AnsweringVendor, Turn
from npm_agents import CLAUDE, CODEX, QUESTION, NpmAgent, install
from running_sidecar import CANARY
from scripted_vendor import ScriptedVendor
from user_machine import UserMachine

from sidecar.api_keys import PREFIX_BYTES

pytestmark = pytest.mark.timeout(300)

SAID = "The answer is 42."
LOGIN = "sk-ant-oat01-" + "login0canary1" * 7 + "-AA"
ACCOUNT = "11111111-2222-3333-4444-555555555555"
ENDS = ("/messages", "/responses")
PLANS = """
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0"}}
providers:
  claude-plan: {{plugin: anthropic, base_url: "{url}", credential: caller}}
  chatgpt-plan: {{plugin: openai, base_url: "{url}/v1", credential: caller}}
groups:
  Claude: {{vendor: anthropic, routes: [claude-plan]}}
  GPT: {{vendor: openai, routes: [chatgpt-plan]}}
"""


def token() -> str:
    """Return a JSON Web Token of a ChatGPT account, without a signature that counts."""
    account = {"chatgpt_account_id": ACCOUNT, "chatgpt_plan_type": "pro", "chatgpt_user_id": "u1"}
    claims = {"exp": 4_000_000_000, "email": "a@b.example", "https://api.openai.com/auth": account}
    parts = [json.dumps(each).encode() for each in ({"alg": "RS256", "typ": "JWT"}, claims)]
    return ".".join(
        base64.urlsafe_b64encode(each).rstrip(b"=").decode() for each in [*parts, b"signed"]
    )


@pytest.fixture
def planned(machine: UserMachine, vendor: ScriptedVendor) -> UserMachine:
    """A machine whose providers take the logins of their callers."""
    machine.config.write_text(PLANS.format(url=vendor.url))
    return machine


def log_in_to_codex(planned: UserMachine) -> None:
    """Write the login as Codex keeps it."""
    tokens = {"id_token": token(), "access_token": token(), "refresh_token": "r",
              "account_id": ACCOUNT}  # fmt: skip
    own = planned.home / ".codex" / "auth.json"
    own.parent.mkdir()
    own.write_text(json.dumps({
        "auth_mode": "chatgpt", "OPENAI_API_KEY": None, "tokens": tokens,
        "last_refresh": "2099-01-01T00:00:00Z",
    }))  # fmt: skip


@pytest.mark.parametrize("place", ["variable", "file"])
async def test_run_of_claude_sends_its_login_and_the_key_in_a_header(
    planned: UserMachine, clients: Path, answering: AnsweringVendor, vendor: ScriptedVendor,
    place: str,
) -> None:  # fmt: skip
    planned.path.append(install(CLAUDE, clients))
    environ = {"ANTHROPIC_API_KEY": "sk-ant-api-canary"}
    if place == "variable":
        environ["CLAUDE_CODE_OAUTH_TOKEN"] = LOGIN
    else:
        login = {"accessToken": LOGIN, "refreshToken": "r", "expiresAt": 4_000_000_000_000,
                 "scopes": ["user:inference"], "subscriptionType": "max"}  # fmt: skip
        own = planned.home / ".claude" / ".credentials.json"
        own.parent.mkdir()
        own.write_text(json.dumps({"claudeAiOauth": login}))
    answering.play(Turn(SAID))
    done = await planned.type(CLAUDE.line, **environ)
    assert (done.status, SAID in done.out) == (0, True), done
    assert "sidecar: 1 call" in done.err
    [asked] = [each for each in vendor.requests if "/messages" in each.path]
    assert asked.get("authorization") == [f"Bearer {LOGIN}"]
    assert "oauth" in asked.get("anthropic-beta")[0]
    assert not any(
        text in each.head + each.body
        for each in vendor.requests
        for text in (PREFIX_BYTES, b"api-canary", CANARY.encode())
    )


async def test_run_of_codex_sends_its_login_and_the_key_in_a_header(
    planned: UserMachine, clients: Path, answering: AnsweringVendor, vendor: ScriptedVendor
) -> None:
    planned.path.append(install(CODEX, clients))
    log_in_to_codex(planned)
    answering.play(Turn(SAID))
    done = await planned.type(CODEX.line)
    assert (done.status, SAID in done.out) == (0, True), done
    [asked] = [each for each in vendor.requests if "/responses" in each.path]
    assert asked.get("authorization") == [f"Bearer {token()}"]
    assert asked.get("chatgpt-account-id") == [ACCOUNT]
    assert not any(PREFIX_BYTES in each.head + each.body for each in vendor.requests)


@pytest.mark.parametrize(("agent", "group"), [(CLAUDE, "Claude"), (CODEX, "GPT")], ids=str)
async def test_lines_of_env_for_a_login_send_it_and_the_key_in_a_header(
    planned: UserMachine, clients: Path, answering: AnsweringVendor, vendor: ScriptedVendor,
    agent: NpmAgent, group: str,
) -> None:  # fmt: skip
    planned.path.append(install(agent, clients))
    log_in_to_codex(planned)
    await planned.type(f"sidecar run --group {group} true")
    key = (await planned.type(f"sidecar keys create mine --group {group}")).out.strip()
    answering.play(Turn(SAID))
    done = await planned.type(
        f'eval "$(sidecar env --login {agent.name})" && {agent.words} \'{QUESTION}\'',
        SIDECAR_KEY=key, CLAUDE_CODE_OAUTH_TOKEN=LOGIN, ANTHROPIC_API_KEY="sk-ant-api-canary",
    )  # fmt: skip
    assert (done.status, SAID in done.out) == (0, True), done
    [asked] = [each for each in vendor.requests if each.path.partition("?")[0].endswith(ENDS)]
    login = LOGIN if agent is CLAUDE else token()
    assert asked.get("authorization") == [f"Bearer {login}"]
    assert not any(PREFIX_BYTES in each.head + each.body for each in vendor.requests)
