"""The newest SDKs from PyPI, by the lines of `sidecar env` and by `sidecar run` alone."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from answering_vendor import AnsweringVendor, Turn
from project_paths import ROOT
from python_agents import installed
from running_sidecar import Sidecar
from running_sidecar import sidecar as start_sidecar
from scripted_vendor import ScriptedVendor
from user_machine import UserMachine

pytestmark = pytest.mark.timeout(600)
PROGRAMS = Path(__file__).with_name("python_clients")
SECONDS = 90
TEXT = "PONG-7"
TOOL = Turn(tools=(("add", {"a": 2, "b": 3}),))
VENDORS = {
    "openai": ("/v1", "gpt-5"), "anthropic": ("", "claude-sonnet-4-5"),
    "gemini": ("", "gemini-2.5-pro"), "mistral": ("/v1", "mistral-large-latest"),
    "groq": ("/openai/v1", "llama-3.3-70b-versatile"),
}  # fmt: skip
"""The path of each vendor's API, and a model of it."""


@dataclass(frozen=True)
class PythonClient:
    """A client: its packages, its program with an argument, what `sidecar env` calls it, the vendor
    that its model is of, and what stands before the model's name."""

    name: str
    packages: tuple[str, ...]
    program: str
    env: str
    vendor: str = "openai"
    argument: str = ""
    prefix: str = ""

    def __str__(self) -> str:
        return self.name

    @property
    def model(self) -> str:
        return self.prefix + VENDORS[self.vendor][1]


_LANGCHAIN = ("langchain", "langchain-openai", "langchain-anthropic", "langchain-google-genai")
_LLAMA_INDEX = ("llama-index-core", "llama-index-llms-openai")
_PYDANTIC_AI = ("pydantic-ai-slim[openai,anthropic,google]",)
CLIENTS = [
    PythonClient("openai", ("openai",), "chat_completions", "openai",
                 argument="openai:OpenAI"),
    PythonClient("openai, responses", ("openai",), "openai_responses", "openai"),
    PythonClient("anthropic", ("anthropic",), "anthropic_messages", "anthropic", "anthropic"),
    PythonClient("google-genai", ("google-genai",), "google_genai", "google-genai", "gemini"),
    PythonClient("mistralai", ("mistralai",), "mistral", "mistral", "mistral"),
    PythonClient("groq", ("groq",), "chat_completions", "groq", "groq", "groq:Groq"),
    PythonClient("litellm", ("litellm",), "litellm_completion", "litellm", prefix="openai/"),
    PythonClient("litellm, anthropic", ("litellm",), "litellm_completion", "litellm", "anthropic",
                 prefix="anthropic/"),
    PythonClient("litellm, gemini", ("litellm",), "litellm_completion", "litellm", "gemini",
                 prefix="gemini/"),
    PythonClient("langchain-openai", _LANGCHAIN, "langchain_chat", "langchain",
                 argument="langchain_openai:ChatOpenAI"),
    PythonClient("langchain-anthropic", _LANGCHAIN, "langchain_chat", "langchain", "anthropic",
                 "langchain_anthropic:ChatAnthropic"),
    PythonClient("langchain-google-genai", _LANGCHAIN, "langchain_chat", "langchain", "gemini",
                 "langchain_google_genai:ChatGoogleGenerativeAI"),
    PythonClient("llama-index-llms-openai", _LLAMA_INDEX, "llama_index_llm", "llamaindex",
                 argument="llama_index.llms.openai:OpenAI"),
    PythonClient("pydantic-ai, openai", _PYDANTIC_AI, "pydantic_ai_agent", "pydantic-ai",
                 prefix="openai-chat:"),
    PythonClient("pydantic-ai, anthropic", _PYDANTIC_AI, "pydantic_ai_agent", "pydantic-ai",
                 "anthropic", prefix="anthropic:"),
    PythonClient("pydantic-ai, google", _PYDANTIC_AI, "pydantic_ai_agent", "pydantic-ai", "gemini",
                 prefix="google:"),
    PythonClient("openai-agents", ("openai-agents",), "openai_agents", "openai-agents"),
]  # fmt: skip


@dataclass
class Program:
    """A running program of a client."""

    process: asyncio.subprocess.Process
    environ: dict[str, str]
    model: str

    async def order(self, scenario: str, key: str) -> dict[str, str]:
        """What a scenario ends with, made with this key."""
        environ = {name: value.replace("KEY", key) for name, value in self.environ.items()}
        order = {"scenario": scenario, "model": self.model, "environ": environ}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        async with asyncio.timeout(SECONDS):
            line = await self.process.stdout.readline()
        found: dict[str, str] = json.loads(line or b'{"raised": "the end of the program"}')
        return found


def closed_port() -> int:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


def yaml(url: str, closed: int) -> str:
    """Return a file with a group and six keys for each vendor."""
    lines = ["providers:"]
    for vendor, (path, _) in VENDORS.items():
        for name, base in ((vendor, url), (f"{vendor}-down", f"http://127.0.0.1:{closed}")):
            lines.append(
                f'  {name}: {{plugin: {vendor}, base_url: "{base}{path}", '
                "credential: env:UPSTREAM_KEY}"
            )
    lines.append("groups:")
    for vendor in VENDORS:
        lines += [f"  {name}: {{vendor: {vendor}, routes: [{name}]}}"
                  for name in (vendor, f"{vendor}-down")]  # fmt: skip
    lines.append("keys:")
    for vendor in VENDORS:
        lines += [
            f'  {vendor}{name}: {{group: {vendor}{group}, hash: "{{{vendor}{name}}}"{more}}}'
            for name, group, more in KEYS
        ]
    return "\n".join(lines)


KEYS = (
    ("", "", ""), ("-off", "", ", enabled: false"), ("-other", "", ", models: [other]"),
    ("-limited", "", ", limits: {rpd: 1}"), ("-spent", "", ", budget: $0/day"),
    ("-down", "-down", ""),
)  # fmt: skip
UNKNOWN_KEY = "sk-sidecar-" + "x" * 43
FAILURES = {
    "wrong key": ("-unknown", "this is not a key of this Sidecar"),
    "disabled key": ("-off", "is disabled"),
    "model not allowed": ("-other", "is not offered to key"),
    "limit": ("-limited", "is at its limit of 1 rpd"),
    "budget spent": ("-spent", "is at its budget of $0/day"),
    "provider down": ("-down", "no provider could be reached"),
    "stream cut": ("", "it broke off in its answer"),
}
"""The columns of the page after the client and its version: the key that meets each failure, and
what the client must show of our text."""


@pytest.fixture
async def proxy(tmp_path: Path, vendor: ScriptedVendor) -> AsyncIterator[Sidecar]:
    names = tuple(f"{each}{name}" for each in VENDORS for name, _, _ in KEYS)
    async with start_sidecar(tmp_path, yaml(vendor.url, closed_port()), names) as started:
        yield started


@pytest.fixture
def answering(vendor: ScriptedVendor) -> AnsweringVendor:
    """The vendor's answers, in turns, to every call."""
    made = AnsweringVendor(is_main=lambda _: True)
    vendor.play(made.script)
    return made


@pytest.fixture
def machine(tmp_path: Path, proxy: Sidecar) -> UserMachine:
    """A machine on which the service runs already."""
    made = UserMachine(tmp_path, text="")
    made.settle_in()
    return made


@asynccontextmanager
async def running(
    client: PythonClient, clients: Path, machine: UserMachine, environ: dict[str, str], *before: str
) -> AsyncIterator[Program]:
    """The program of a client; `before` is what its line begins with."""
    python = installed(clients, client.packages) / "python"
    with (machine.folder / "program.err").open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *before, python, PROGRAMS / f"{client.program}.py", client.argument, cwd=machine.work,
            env=machine.env, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=errors,
        )  # fmt: skip
    try:
        yield Program(process, environ, client.model)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(SECONDS):
            await process.wait()


async def variables(client: PythonClient, machine: UserMachine) -> dict[str, str]:
    """What the lines of `sidecar env` set, with the word KEY for the key."""
    done = await machine.type(f'eval "$(sidecar env {client.env})" && env -0', SIDECAR_KEY="KEY")
    assert done.status == 0, done.err
    found = dict(each.split("=", 1) for each in done.out.split("\0") if each)
    return {name: value for name, value in found.items() if machine.env.get(name) != value}


async def completes(
    program: Program, key: str, vendor: AnsweringVendor, gone: asyncio.Event
) -> None:
    """A chat, a stream, a tool round, a cancelled stream and a 429."""
    vendor.play(Turn(TEXT))
    assert await program.order("chat", key) == {"text": TEXT}
    assert await program.order("stream", key) == {"text": TEXT}
    vendor.play(TOOL, Turn(TEXT))
    assert await program.order("tools", key) == {"text": TEXT}
    assert len(vendor.main) == 2
    vendor.play(Turn(TEXT, holds=True))
    gone.clear()
    found = await program.order("cancel", key)
    assert TEXT.startswith(found.get("text") or "nothing"), found
    async with asyncio.timeout(SECONDS):
        await gone.wait()
    vendor.play(Turn(status=429, retry_after="1"), Turn(TEXT))
    assert await program.order("chat", key) == {"text": TEXT}


@pytest.mark.parametrize("client", CLIENTS, ids=str)
async def test_client_completes_its_calls_by_the_lines_of_env(
    client: PythonClient, clients: Path, machine: UserMachine, proxy: Sidecar,
    answering: AnsweringVendor, vendor: ScriptedVendor,
) -> None:  # fmt: skip
    async with running(client, clients, machine, await variables(client, machine)) as program:
        await completes(program, proxy.keys[client.vendor], answering, vendor.gone)


@pytest.mark.parametrize("client", CLIENTS, ids=str)
async def test_client_completes_its_calls_by_run(
    client: PythonClient, clients: Path, machine: UserMachine, answering: AnsweringVendor,
    vendor: ScriptedVendor,
) -> None:  # fmt: skip
    before = ("sidecar", "run", "--key", client.vendor, "--")
    async with running(client, clients, machine, {}, *before) as program:
        await completes(program, "", answering, vendor.gone)


@pytest.mark.parametrize("client", CLIENTS, ids=str)
async def test_client_raises_what_the_page_says(
    client: PythonClient,
    clients: Path,
    machine: UserMachine,
    proxy: Sidecar,
    answering: AnsweringVendor,
) -> None:
    answering.play(Turn(TEXT))
    shown, wanted = {}, page_row(client)
    async with running(client, clients, machine, await variables(client, machine)) as program:
        for heading, (suffix, text) in FAILURES.items():
            key = proxy.keys.get(client.vendor + suffix, UNKNOWN_KEY)
            if heading == "limit":
                await program.order("chat", key)
            if heading == "stream cut":
                answering.play(Turn(TEXT, cuts=True))
            result = await program.order("stream" if heading == "stream cut" else "chat", key)
            shown[heading] = f"`{result.get('raised')}`"
            if wanted[heading] != "`ResponseValidationError`":
                assert text in result.get("message", ""), (heading, result)
    assert shown == {heading: wanted[heading] for heading in FAILURES}


def page_row(client: PythonClient) -> dict[str, str]:
    """The row of a client on the page, by heading."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (ROOT / "docs/clients.md").read_text().splitlines()
        if line.startswith(("| client ", f"| {client.name} |"))
    ]
    [head] = [row for row in rows if list(FAILURES) == row[2:]]
    [row] = [row for row in rows if row[0] == client.name]
    return dict(zip(head, row, strict=True))
