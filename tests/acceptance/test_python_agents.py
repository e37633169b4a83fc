"""The newest agents from PyPI, by `sidecar run`, by the lines of `sidecar env` and by `setup`."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from answering_vendor import AnsweringVendor, Turn
from python_agents import AGENTS, QUESTION, SAID, PythonAgent, installed
from running_sidecar import CANARY
from scripted_vendor import ScriptedVendor
from user_machine import UserMachine

from sidecar.api_keys import PREFIX_BYTES

pytestmark = pytest.mark.timeout(600)

OWN = "# mine\ndark-mode: true"
SECONDS = 120


@pytest.fixture
def answering(vendor: ScriptedVendor) -> AnsweringVendor:
    """The vendor's answers, in turns, to every call."""
    made = AnsweringVendor(is_main=lambda _: True)
    vendor.play(made.script)
    return made


async def key_of(machine: UserMachine, group: str) -> str:
    """Start the service; return a key of the group."""
    await machine.type(f"sidecar run --group {group} true")
    return (await machine.type(f"sidecar keys create mine --group {group}")).out.strip()


async def interrupt(process: asyncio.subprocess.Process, gone: asyncio.Event) -> None:
    """Press Ctrl-C until the call is gone: aider takes the first for the end of its answer alone,
    and two within two seconds for the end of the program."""
    while not gone.is_set():
        os.killpg(process.pid, signal.SIGINT)
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await gone.wait()


async def completes(
    machine: UserMachine, agent: PythonAgent, before: str, key: str, vendor: ScriptedVendor,
    answering: AnsweringVendor,
) -> None:  # fmt: skip
    """A stream, an answer without one, a tool round, a 429 and a cancelled stream."""
    question, environ = f"'{QUESTION}'", {"SIDECAR_KEY": key} if key else {}
    for words in (agent.words, agent.words.replace(" -", " --no-stream -", 1)):
        answering.play(Turn(SAID))
        done = await machine.type(f"{before}{words} {question}", SECONDS, **environ)
        assert (done.status, SAID in done.out) == (0, True), done
    answering.play(*agent.round)
    done = await machine.type(f"{before}{agent.tool_words} {question}", SECONDS, **environ)
    assert (done.status, SAID in done.out) == (0, True), done
    assert (machine.work / "made.txt").read_text() == "made\n"
    answering.play(Turn(status=429, retry_after="1"), Turn(SAID))
    done = await machine.type(f"{before}{agent.words} {question}", SECONDS, **environ)
    assert (done.status, SAID in done.out) == (0, True), done
    answering.play(Turn(SAID, holds=True))
    process = await machine.begin(f"{before}{agent.words} {question}", **environ)
    async with asyncio.timeout(SECONDS):
        await answering.held.wait()
        vendor.gone.clear()
        await interrupt(process, vendor.gone)
    assert (await machine.ended(process, 20)).status != -signal.SIGKILL
    assert any(CANARY.encode() in each.head for each in vendor.requests)
    assert not any(PREFIX_BYTES in each.head + each.body for each in vendor.requests)


@pytest.mark.parametrize("agent", AGENTS, ids=str)
@pytest.mark.parametrize("way", ["run", "env"])
async def test_agent_completes_its_rounds(
    machine: UserMachine, clients: Path, answering: AnsweringVendor, vendor: ScriptedVendor,
    agent: PythonAgent, way: str,
) -> None:  # fmt: skip
    machine.path.append(str(installed(clients, agent.packages)))
    if way == "run":
        before, key = f"sidecar run --group {agent.group} ", ""
    else:
        before, key = f'eval "$(sidecar env {agent.env})" && ', await key_of(machine, agent.group)
    await completes(machine, agent, before, key, vendor, answering)


async def test_aider_that_was_set_up_answers_and_undo_restores_its_file(
    machine: UserMachine, clients: Path, answering: AnsweringVendor
) -> None:
    aider = AGENTS[0]
    machine.path.append(str(installed(clients, aider.packages)))
    own = machine.home / ".aider.conf.yml"
    own.write_text(OWN)
    key = await key_of(machine, aider.group)
    done = await machine.type(f"sidecar setup {aider.env}", SIDECAR_KEY=key)
    assert done.status == 0, done
    answering.play(Turn(SAID))
    done = await machine.type(f"{aider.words} '{QUESTION}'", SECONDS)
    assert (done.status, SAID in done.out) == (0, True), done
    assert (await machine.type(f"sidecar setup {aider.env} --undo")).status == 0
    assert own.read_text() == OWN
