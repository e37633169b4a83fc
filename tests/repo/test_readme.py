"""The README is exact: its YAML is loaded, its commands are run, its log lines are compared."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ledger_checks import call
from msgspec import structs
from project_paths import ROOT
from sample_answers import CHAT
from scripted_vendor import ScriptedVendor, answer

from sidecar.access_log import Lines
from sidecar.agents.table import AGENTS
from sidecar.config.loader import load
from sidecar.plugin_api.manager import discover
from sidecar.pricing.price_list import load as load_prices
from sidecar.pricing.prices import Prices
from sidecar.records import Usage

README = (ROOT / "README.md").read_text()
SIDECAR = [sys.executable, "-m", "sidecar"]


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def after(mark: str) -> str:
    match = re.search(rf"<!-- {mark} -->\n```\n(.*?)```", README, re.DOTALL)
    assert match is not None
    return match[1]


YAML = blocks("yaml")
FILE = """\
groups:
  Claude: {vendor: anthropic}
  GPT: {vendor: openai}
keys:
  claude:
    group: Claude
    hash: sha256:0000000000000000000000000000000000000000000000000000000000000001
  nightly:
    group: GPT
    models: gpt-5-mini
    hash: sha256:0000000000000000000000000000000000000000000000000000000000000002
"""
SET_UP = ("make ", "pipx ", "sidecar run claude")
"""Commands of the page that set up a machine, which this one is, or need an agent that it lacks:
tests/cli/test_run.py has one."""


def environ(folder: Path) -> dict[str, str]:
    (folder / "projects").mkdir(exist_ok=True)
    return {
        **os.environ,
        "HOME": str(folder),
        "SIDECAR_CONFIG": str(folder / "routes.yaml"),
        "SIDECAR_STATE": str(folder / "state"),
        "BROWSER": "true",  # opens nothing
    }


@contextmanager
def serving(folder: Path) -> Iterator[Path]:
    """A real process on the README's own file; yields its log."""
    config = folder / "routes.yaml"
    config.write_text(FILE)
    config.chmod(0o600)
    log = folder / "log"
    argv = [*SIDECAR, "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    with log.open("w") as out:
        process = subprocess.Popen(argv, env=environ(folder), stderr=out)
    try:
        wait_for(lambda: "serving agents" in log.read_text())
        yield log
    finally:
        process.terminate()
        process.wait(10)


def wait_for(condition: object, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


@pytest.mark.parametrize("text", YAML)
def test_yaml_blocks_of_the_readme_load_without_errors(text: str) -> None:
    assert load(text.encode(), file="README.md", registry=discover()).keys


def commands() -> list[str]:
    """Every command of the page, in its order; one that goes on over lines is one."""
    text = "\n".join(blocks("sh")).replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith(SET_UP)]


async def run(line: str, env: dict[str, str]) -> str:
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", line, env=env, cwd=env["HOME"], stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    printed, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, f"{line}\n{printed.decode()}"
    return printed.decode()


async def test_commands_of_the_page_work_in_their_order(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    """As a reader types them, on free ports, with a scripted vendor in the place of OpenAI."""
    env = {"HOME": str(tmp_path), "BROWSER": "true", "TERM": "dumb"}
    env["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    vendor.play(answer(json.dumps(CHAT).encode()))
    ports = {"8787": str(unused_port()), "8788": str(unused_port())}
    process, agent = None, env
    try:
        for line in commands():
            if line.startswith("export "):
                env |= dict(word.split("=", 1) for word in shlex.split(line, comments=True)[1:])
            elif line == "sidecar serve":
                process = await serve(tmp_path, env, ports, vendor.url)
            else:
                printed = await run(line, agent)
            if line.startswith("sidecar init"):
                # A model server of this machine may have a line of its own.
                (export,) = re.findall(r"^OpenAI, .*\nexport (OPENAI_BASE_URL.*)$", printed, re.M)
                agent = env | dict(
                    word.split("=", 1) for word in export.replace("8787", ports["8787"]).split()
                )
                for shown in after("output: init").replace("sk-sidecar-…", "").splitlines():
                    assert shown in printed
    finally:
        if process is not None:
            process.terminate()
            await process.wait()
    assert len(vendor.requests) == 1


async def serve(
    folder: Path, env: dict[str, str], ports: dict[str, str], vendor: str
) -> asyncio.subprocess.Process:
    """`sidecar serve`, with the file that `init` wrote, on these ports."""
    file = folder / ".config/sidecar/routes.yaml"
    listen = f'{{listen: "127.0.0.1:{ports["8787"]}", admin: "127.0.0.1:{ports["8788"]}"}}'
    file.write_text(
        file.read_text() + f"server: {listen}\nproviders: {{openai: {{base_url: '{vendor}/v1'}}}}\n"
    )
    log = folder / "serve.log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec("sidecar", "serve", env=env, stderr=out)
    await asyncio.to_thread(wait_for, lambda: "serving agents" in log.read_text())
    return process


def unused_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def test_vendors_of_the_page_are_those_of_the_plugins() -> None:
    vendors = discover().vendors
    for served in ("openai", "anthropic", "gemini"):
        (row,) = re.findall(rf"^\| `{served}`.*\| (.*) \|$", README, re.MULTILINE)
        serving_it = {name for name, each in vendors.items() if served in (name, *each.serves)}
        assert set(row.split(", ")) == serving_it - {"echo"}


def test_make_targets_of_the_readme_exist() -> None:
    for target in ("run", "test"):
        assert f"make {target} " in README
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, check=False)
        assert done.returncode == 0


def test_pictures_are_small_and_load_nothing() -> None:
    pictures = list((ROOT / "docs/pictures").iterdir())
    assert sum(each.stat().st_size for each in pictures) < 600_000
    assert {each.name for each in pictures} == {"keys.png", "live.png", "top.svg", "usage.png"}
    drawing = (ROOT / "docs/pictures/top.svg").read_text()
    assert re.search(r"url\(.?http|<script|href=.http", drawing) is None


def test_agents_of_the_page_are_those_of_env() -> None:
    for agent in re.findall(r"`sidecar env ([a-z][\w-]+)`", README):
        assert agent in AGENTS


def logged(text: str) -> str:
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "<time>", text)


def test_readme_log_of_a_valid_and_an_invalid_edit_is_exact(tmp_path: Path) -> None:
    with serving(tmp_path) as log:
        config = tmp_path / "routes.yaml"
        good = config.read_text().replace(
            "    models: gpt-5-mini\n", "    models: gpt-5-mini\n    enabled: false\n"
        )
        config.write_text(good)
        wait_for(lambda: after("log: good").strip() in log.read_text())
        config.write_text(good.replace("group: GPT\n", "group: GTP\n"))
        wait_for(lambda: "REFUSED" in log.read_text())
        said = logged(log.read_text().replace("\\", "").replace(str(tmp_path) + "/", ""))
        for line in logged(after("log: bad")).strip().splitlines():
            assert re.sub(r":\d+:\d+:", ":", line) in re.sub(r":\d+:\d+:", ":", said), said


def test_readme_log_line_of_a_call_is_exact() -> None:
    """The very line, for a call of those tokens at today's list price."""
    snapshot = load(FILE.encode(), file="routes.yaml", registry=discover())
    codex = call(
        call_id="call_4be1f0", key="codex", model_asked="gpt-5-mini", model_served="gpt-5-mini",
        provider="openai", duration=0.812, usage=Usage(5200, 330), attempts=(), caller=None,
    )  # fmt: skip
    prices = Prices(load_prices(), time.time)
    prices.reconcile(snapshot)
    cost = prices.cost(codex, snapshot.providers["openai"], snapshot.groups["GPT"])
    told = {"call": structs.replace(codex, cost=cost), "levelno": logging.INFO}
    line = logging.makeLogRecord(told)
    assert Lines(as_json=False).format(line).partition(" ")[2] == after("log: cost").strip()


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_every_link_leads_somewhere(link: str) -> None:
    assert link.startswith("http") or (ROOT / link).exists()
