"""`sidecar run`: a real agent process behind a real service, against a scripted vendor."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from cli_runner import PATIENCE, SIDECAR, Cli, Done
from msgspec import structs
from running_sidecar import CANARY
from sample_answers import CHAT, MESSAGE, body
from scripted_vendor import ScriptedVendor, answer

from sidecar.api_keys import digest, find_keys, mint
from sidecar.child_keys import ChildKey

FILE = """
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0"}}
providers:
  openai: {{base_url: "{url}/v1", credential: env:UPSTREAM_KEY}}
  anthropic: {{base_url: "{url}", credential: env:UPSTREAM_KEY}}
groups:
  GPT: {{vendor: openai, models: [gpt-*]}}
  Claude: {{vendor: anthropic}}
keys:
  mine: {{group: GPT, hash: "sha256:{digest}", urgency: background}}
"""
OPENAI_AGENT = """
import json, os, sys, openai
print(json.dumps(dict(os.environ)), flush=True)
try:
    made = openai.OpenAI(max_retries=0).chat.completions.create(
        model=sys.argv[1], messages=[{"role": "user", "content": "Hello"}]
    )
except openai.OpenAIError as error:
    sys.exit(f"the agent failed: {error}")
print(made.choices[0].message.content)
sys.exit(int(sys.argv[2]))
"""
PLAIN_AGENT = """
import json, os, sys, urllib.error, urllib.request
body = json.dumps({"model": sys.argv[1], "messages": [{"role": "user", "content": "Hello"}]})
head = {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}
place = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
try:
    urllib.request.urlopen(urllib.request.Request(place, body.encode(), head)).read()
except urllib.error.HTTPError as error:
    sys.exit(f"status {error.code}: {json.load(error)['error']['message']}")
"""
"""Starts in a fraction of the time that an SDK takes."""
CLAUDE = """#!{python} -S
import json, os, sys, urllib.request
print(json.dumps({{"argv": sys.argv[1:], "env": dict(os.environ)}}), flush=True)
body = {{"model": "claude-x", "max_tokens": 9, "messages": [{{"role": "user", "content": "?"}}]}}
head = {{"Authorization": "Bearer " + os.environ["ANTHROPIC_AUTH_TOKEN"]}}
place = os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages"
opener = urllib.request.build_opener(urllib.request.ProxyHandler({{}}))
asked = urllib.request.Request(place, json.dumps(body).encode(), head)
print(json.load(opener.open(asked))["content"][0]["text"])
"""
WAITS = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print("up", flush=True)
time.sleep(60)
"""


@dataclass
class Shop(Cli):
    """A file with a scripted vendor behind it, and no service yet."""

    async def go(self, *words: str, **environ: str) -> Done:
        """Type a command while the vendor answers in this loop."""
        environ = {"UPSTREAM_KEY": CANARY} | environ
        return await asyncio.to_thread(lambda: self.spawn(*words, **environ))

    async def ask(self, *words: str) -> Done:
        """Type a command in this process while the vendor answers in this loop."""
        return await asyncio.to_thread(self.run, *words)

    def script(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)
        return str(path)

    def children(self) -> list[ChildKey]:
        kept = (self.state / "child-keys.json").read_bytes()
        found = msgspec.json.decode(kept, type=list[ChildKey])
        return [each for each in found if not each.ended and each.expires > time.time()]


@pytest.fixture
async def shop(tmp_path: Path, vendor: ScriptedVendor) -> AsyncIterator[Shop]:
    shop = Shop(tmp_path, text=FILE.format(url=vendor.url, digest="0" * 64))
    yield shop
    await shop.ask("stop")


async def test_run_starts_the_service_and_ends_with_what_the_agent_took(
    shop: Shop, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(body(CHAT)))
    agent = shop.script("agent.py", OPENAI_AGENT)
    done = await shop.go(
        "run", "--key", "mine", "--", sys.executable, agent, "gpt-5-mini", "3",
        OPENAI_API_KEY="sk-vendor-canary", ANTHROPIC_AUTH_TOKEN="canary-token",
    )  # fmt: skip
    assert done.status == 3, done.err
    environ, said = done.out.splitlines()
    assert said == "Hi"
    found = json.loads(environ)
    [secret] = find_keys(found["OPENAI_API_KEY"].encode())
    assert "canary" not in environ
    assert "UPSTREAM_KEY" not in found
    assert "the service was started and stays" in done.err
    assert "end it with: sidecar stop" in done.err
    last = done.err.splitlines()[-1]
    assert re.fullmatch(
        r"sidecar: 1 call · 1,540 tokens · 85% of the input cached · \$\S+ · no waiting", last
    ), last
    assert vendor.last.get("authorization") == [f"Bearer {CANARY}"]
    assert shop.children() == []
    assert secret not in done.err + (shop.state / "serve.log").read_text()
    assert secret.encode() not in b"".join(
        each.read_bytes() for each in shop.state.rglob("*") if each.is_file()
    )


async def test_run_of_claude_takes_the_only_group_of_its_vendor(
    shop: Shop, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(body(MESSAGE)))
    shop.script("claude", CLAUDE.format(python=sys.executable))
    path = f"{shop.folder}:{os.environ['PATH']}"
    done = await shop.go(
        "run", "--model", "claude-x", "claude", "-p", "--key", "x", PATH=path,
        HTTP_PROXY="http://127.0.0.1:9",
    )  # fmt: skip
    assert done.status == 0, done.err
    said = json.loads(done.out.splitlines()[0])
    assert said["argv"] == ["-p", "--key", "x"]
    assert said["env"]["ANTHROPIC_MODEL"] == "claude-x"
    assert said["env"]["ANTHROPIC_DEFAULT_HAIKU_MODEL"] == "claude-x"
    assert said["env"]["NO_PROXY"] == "127.0.0.1,localhost,::1"
    assert "sidecar: 1 call" in done.err
    assert "Claude (run)" in (await shop.ask("usage", "--by", "key", "--json")).out


async def test_run_whose_call_fails_ends_with_the_count_and_the_command_that_explains_it(
    shop: Shop, vendor: ScriptedVendor
) -> None:
    vendor.play(answer(b'{"error": {"message": "no such model"}}', "404 Not Found"))
    agent = shop.script("agent.py", PLAIN_AGENT)
    done = await shop.go("run", "--key", "mine", "--", sys.executable, agent, "gpt-5-mini")
    assert "sidecar: 1 call · 1 failed (see: sidecar why) · " in done.err


async def test_run_of_claude_on_a_provider_with_other_models_names_the_option(
    shop: Shop, vendor: ScriptedVendor
) -> None:
    shop.config.write_text(
        f"providers: {{ollama: {{base_url: '{vendor.url}/v1'}}}}\n"
        "server: {listen: '127.0.0.1:0', admin: '127.0.0.1:0'}\ngroups: {Local: {vendor: ollama}}\n"
    )
    vendor.play(answer(body(MESSAGE)), answer(body(MESSAGE)))
    shop.script("claude", CLAUDE.format(python=sys.executable))
    path = f"{shop.folder}:{os.environ['PATH']}"
    done = await shop.go("run", "claude", PATH=path)
    assert "claude-code asks for models by its own names, and no route of group" in done.err
    named = await shop.go("run", "--model", "claude-x", "claude", PATH=path)
    assert (done.status, named.status) == (0, 0)
    assert "its own names" not in named.err


async def test_run_in_a_shell_with_a_variable_that_the_process_lacks_names_it(shop: Shop) -> None:
    note = "was started without UPSTREAM_KEY, which this shell has; end it with sidecar stop"
    words = ("run", "--group", "GPT", "true")
    assert note not in (await shop.go(*words, UPSTREAM_KEY="")).err
    assert note in (await shop.go(*words)).err


async def test_run_in_the_group_without_a_vendor_names_init(shop: Shop) -> None:
    shop.config.write_text(
        "server: {listen: '127.0.0.1:0', admin: '127.0.0.1:0'}\ngroups: {demo: {vendor: echo}}\n"
    )
    done = await shop.go("run", "true")
    assert 'group "demo" answers offline with an echo' in done.err
    assert "and run: sidecar init" in done.err


async def test_run_of_a_command_that_fits_two_groups_lists_them(shop: Shop) -> None:
    done = await shop.go("run", "true")
    assert done.status == 2
    assert '2 groups fit true: choose one with --group: "GPT", "Claude"' in done.err
    assert (await shop.go("run", "--group", "GPT", "true")).status == 0


@pytest.mark.parametrize(
    ("option", "value", "model", "message"),
    [
        ("--models", "gpt-5*", "gpt-4o", 'is not offered to key "mine"'),
        ("--models", "*", "o3", 'is not offered to key "mine"'),
        ("--budget", "$0/day", "gpt-5-mini", "its budget of $0/day"),
    ],
)
async def test_own_limits_of_a_run_bind_beside_those_of_its_parent(
    shop: Shop, option: str, value: str, model: str, message: str
) -> None:
    agent = shop.script("agent.py", PLAIN_AGENT)
    words = ("run", "--key", "mine", option, value, sys.executable, agent, model)
    done = await shop.go(*words)
    assert done.status == 1
    assert message in done.err


async def test_run_with_a_wrong_budget_starts_no_agent(shop: Shop) -> None:
    done = await shop.go("run", "--key", "mine", "--budget", "5", "echo", "started")
    assert (done.status, done.out) == (2, "")
    assert '"5" is not a budget; write one such as $10/day' in done.err


async def test_run_of_a_program_that_is_not_installed_has_status_127(shop: Shop) -> None:
    done = await shop.go("run", "--key", "mine", "no-such-agent")
    assert done.status == 127
    assert "no-such-agent is not installed" in done.err
    assert shop.children() == []


@contextmanager
def started(shop: Shop) -> Iterator[subprocess.Popen[bytes]]:
    """A run whose agent is up."""
    agent = shop.script("waits.py", WAITS)
    with subprocess.Popen(
        [*SIDECAR, "run", "--key", "mine", sys.executable, agent],
        env=shop.env | {"UPSTREAM_KEY": CANARY}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        yield process


async def test_signal_to_a_run_reaches_the_agent_and_ends_its_key(shop: Shop) -> None:
    with started(shop) as process:
        listed = json.loads((await shop.ask("keys", "list", "--json")).out)
        assert [(each["name"], len(each["children"])) for each in listed] == [("mine", 1)]
        assert "mine › python" in (await shop.ask("keys", "list")).out
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, PATIENCE) == 7
    assert shop.children() == []


async def test_killed_run_leaves_a_key_that_expires_also_over_a_restart(shop: Shop) -> None:
    with started(shop) as process:
        process.kill()
    [child] = shop.children()
    assert (await shop.ask("stop")).status == 0
    place = shop.state / "child-keys.json"
    assert place.stat().st_mode & 0o777 == 0o600
    secret = mint()
    expired = structs.replace(
        child, expires=1.0, order=structs.replace(child.order, digest=digest(secret).hex())
    )
    place.write_bytes(msgspec.json.encode([expired]))
    agent = shop.script(
        "agent.py", f"import os\nos.environ['OPENAI_API_KEY'] = {secret!r}\n" + PLAIN_AGENT
    )
    done = await shop.go("run", "--key", "mine", "--", sys.executable, agent, "gpt-5-mini")
    assert "status 403" in done.err
    assert "the key of this run expired on 19" in done.err
    assert "start the agent again with: sidecar run python" in done.err
    assert shop.children() == []


async def test_stop_without_a_service_has_status_3(shop: Shop) -> None:
    done = await shop.ask("stop")
    assert (done.status, done.err) == (3, "sidecar: no process runs\n")


async def test_run_without_a_file_writes_the_first_one(shop: Shop) -> None:
    shop.config.unlink()
    done = await shop.go("run", "true")
    assert shop.config.exists()
    assert done.out == ""
    assert "a first one is written" in done.err
