"""The newest agents from npm, each by `sidecar run` alone."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from answering_vendor import AnsweringVendor, Turn
from npm_agents import AGENTS, NpmAgent, install
from running_sidecar import CANARY
from scripted_vendor import ScriptedVendor
from user_machine import UserMachine

from sidecar.api_keys import PREFIX_BYTES

pytestmark = pytest.mark.timeout(300)

SAID = "The answer is 42."
LINE = "echo made > made.txt"


@pytest.fixture(scope="module", params=AGENTS, ids=lambda each: each.name)
def agent(request: pytest.FixtureRequest, clients: Path) -> NpmAgent:
    """An agent, which npm installs."""
    found: NpmAgent = request.param
    install(found, clients)
    return found


@pytest.fixture
def user(machine: UserMachine, agent: NpmAgent, clients: Path) -> UserMachine:
    """A machine that has the agent, and nothing of it in its home."""
    machine.path.append(install(agent, clients))
    return machine


async def test_agent_prints_what_is_streamed_and_its_key_stays_here(
    user: UserMachine, agent: NpmAgent, answering: AnsweringVendor, vendor: ScriptedVendor
) -> None:
    answering.play(Turn(SAID))
    done = await user.type(agent.line)
    assert (done.status, SAID in done.out) == (0, True), done
    assert " tokens · " in done.err.splitlines()[-1]
    assert any(CANARY.encode() in each.head for each in vendor.requests)
    assert not any(PREFIX_BYTES in each.head + each.body for each in vendor.requests)


async def test_agent_calls_a_tool_and_sends_its_result(
    user: UserMachine, agent: NpmAgent, answering: AnsweringVendor
) -> None:
    name, arguments = agent.tool
    answering.play(Turn(tools=((name, arguments(LINE)),)), Turn(SAID))
    done = await user.type(agent.line)
    assert (done.status, SAID in done.out) == (0, True), done
    assert (user.work / "made.txt").read_text() == "made\n"
    assert len(answering.main) >= 2


async def test_interrupt_of_a_run_cancels_the_call_at_the_vendor(
    user: UserMachine, agent: NpmAgent, answering: AnsweringVendor, vendor: ScriptedVendor
) -> None:
    answering.play(Turn(SAID, holds=True))
    process = await user.begin(agent.line)
    async with asyncio.timeout(60):
        await answering.held.wait()
        os.killpg(process.pid, signal.SIGINT)
        await vendor.gone.wait()
    done = await user.ended(process, 20)
    assert done.status != -signal.SIGKILL, done
    assert "sidecar: 1 call" in done.err or "sidecar: 2 calls" in done.err


async def test_agent_waits_out_a_429_of_the_vendor(
    user: UserMachine, agent: NpmAgent, answering: AnsweringVendor
) -> None:
    answering.play(Turn(status=429, retry_after="1"), Turn(SAID))
    done = await user.type(agent.line)
    assert (done.status, SAID in done.out) == (0, True), done
