"""SDKs and Claude Code on a model that llama.cpp really serves, through translated routes."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import openai
import pytest
from google import genai
from npm_agents import CLAUDE, install
from python_agents import installed
from running_sidecar import Sidecar
from running_sidecar import sidecar as start_sidecar
from user_machine import UserMachine

pytestmark = pytest.mark.timeout(600)
SERVER = Path(__file__).with_name("python_clients") / "llama_server.py"
SAID = "The answer is 42."
HELLO: Any = [{"role": "user", "content": "Hello"}]
COUNT: Any = [{"role": "user", "content": "Count"}]
SCHEMA = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
BASH: Any = [{"name": "Bash", "input_schema": SCHEMA}]
CALLED = {"command": "echo made > made.txt"}
FILE = """
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0"}}
defaults: {{max_wait: 0s}}
providers:
  local: {{plugin: llamacpp, base_url: "{url}/v1", price: free}}
groups:
  Claude: {{vendor: anthropic, routes: [local: {{as: tiny, {chat}}}]}}
  GPT: {{vendor: openai, routes: [local: {{as: tiny, {chat}}}]}}
  Gemini: {{vendor: gemini, routes: [local: {{as: tiny, {chat}}}]}}
"""
CHAT = "transforms: {translate: {api: chat}}"
KEYS = ("claude", "gpt", "gemini")


@pytest.fixture(scope="module")
def llama(clients: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of llama.cpp."""
    python = installed(clients, ("xllamacpp", "gguf")) / "python"
    weights = tmp_path_factory.mktemp("weights") / "tiny.gguf"
    with subprocess.Popen(
        [python, SERVER, weights], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdin is not None
        yield next(line for line in process.stdout if "listening on" in line).split()[-1]
        process.stdin.close()


@pytest.fixture
async def local(tmp_path: Path, llama: str) -> AsyncIterator[Sidecar]:
    """A sidecar in front of the server."""
    yaml = FILE.format(url=llama, chat=CHAT) + "keys:\n"
    yaml += "".join(
        f'  {key}: {{group: {group}, hash: "{{{key}}}"}}\n'
        for key, group in zip(KEYS, ("Claude", "GPT", "Gemini"), strict=True)
    )
    async with start_sidecar(tmp_path, yaml, KEYS) as started:
        yield started


@pytest.fixture
async def claude(local: Sidecar) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(
        base_url=local.url, api_key=local.keys["claude"], max_retries=0
    ) as made:
        yield made


async def test_anthropic_sdk_chats_streams_and_calls_a_tool(
    local: Sidecar, claude: anthropic.AsyncAnthropic
) -> None:
    message = await claude.messages.create(model="c", max_tokens=99, messages=HELLO)
    assert message.content[0].text == SAID  # type: ignore[union-attr]
    assert (message.stop_reason, message.usage.output_tokens) == ("end_turn", 5)
    async with claude.messages.stream(
        model="c", max_tokens=99, messages=HELLO, tools=BASH, tool_choice={"type": "any"}
    ) as stream:
        called = await stream.get_final_message()
    (call,) = called.content
    assert (called.stop_reason, call.input) == ("tool_use", CALLED)  # type: ignore[union-attr]
    cut = await claude.messages.create(model="c", max_tokens=3, messages=COUNT)
    assert cut.stop_reason == "max_tokens"
    counted = await claude.messages.count_tokens(model="c", messages=HELLO)
    assert 0 < counted.input_tokens < 10
    records = [await local.record(number) for number in (1, 2, 3)]
    assert [each.usage_state.value for each in records] == ["reported"] * 3
    assert {each.transform for each in records} == {"translate"}


async def test_context_that_is_too_long_is_an_error_of_the_client(
    claude: anthropic.AsyncAnthropic,
) -> None:
    long: Any = [{"role": "user", "content": "x" * 3000}] * 25
    with pytest.raises(anthropic.BadRequestError, match="exceeds the available context size"):
        await claude.messages.create(model="c", max_tokens=9, messages=long)


async def test_cancelled_stream_frees_the_slot_of_the_server(
    local: Sidecar, claude: anthropic.AsyncAnthropic, llama: str
) -> None:
    stream = await claude.messages.create(model="c", max_tokens=60000, messages=COUNT, stream=True)
    async with aiohttp.ClientSession(llama) as server:
        async for event in stream:
            if event.type == "content_block_delta":
                break
        assert (await _slot(server))["is_processing"]
        await stream.close()
        async with asyncio.timeout(5):
            while (slot := await _slot(server))["is_processing"]:
                pass
    assert slot["n_prompt_tokens"] < 60000
    record = await local.record()
    assert record.outcome.value == "cancelled"


async def _slot(server: aiohttp.ClientSession) -> Any:
    async with server.get("/slots") as got:
        (slot,) = await got.json()
    return slot


async def test_openai_sdk_streams_a_response_and_calls_a_tool(local: Sidecar) -> None:
    tool: Any = {"type": "function", "name": "Bash", "parameters": SCHEMA, "strict": False}
    async with openai.AsyncOpenAI(
        base_url=f"{local.url}/v1", api_key=local.keys["gpt"], max_retries=0
    ) as client:
        async with client.responses.stream(model="g", input="Hello") as stream:
            response = await stream.get_final_response()
        called = await client.responses.create(
            model="g", input="Hello", tools=[tool], tool_choice="required"
        )
    assert (response.status, response.output_text) == ("completed", SAID)
    assert response.usage is not None
    assert response.usage.output_tokens == 5
    assert [each.type for each in called.output] == ["function_call"]


async def test_google_sdk_streams(local: Sidecar) -> None:
    client = genai.Client(
        api_key=local.keys["gemini"], http_options=genai.types.HttpOptions(base_url=local.url)
    )
    stream = await client.aio.models.generate_content_stream(model="g", contents="Hello")
    chunks = [each async for each in stream]
    assert "".join(each.text or "" for each in chunks) == SAID
    assert chunks[-1].usage_metadata is not None
    assert chunks[-1].usage_metadata.candidates_token_count == 5


async def test_claude_code_runs_a_tool_that_the_local_model_calls(
    machine: UserMachine, clients: Path, llama: str
) -> None:
    machine.path.append(install(CLAUDE, clients))
    machine.config.write_text(FILE.format(url=llama, chat=CHAT))
    done = await machine.type(CLAUDE.line)
    assert (done.status, SAID in done.out) == (0, True), done
    assert (machine.work / "made.txt").read_text() == "made\n"
