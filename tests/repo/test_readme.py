"""The README is exact: its YAML is loaded, its commands are run, its log lines are compared."""

from __future__ import annotations

import logging
import os
import re
import shlex
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

from sidecar.access_log import Lines
from sidecar.admin.agent_setup import AGENTS, agent_lines
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


COMMANDS = [
    line
    for block in blocks("sh")
    for line in block.splitlines()
    if line.startswith("sidecar ") and line.split()[1] not in {"serve", "init"}
]
YAML = blocks("yaml")


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
    config.write_text(YAML[0])
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


def test_commands_of_the_readme_exit_with_0(tmp_path: Path) -> None:
    assert len(COMMANDS) >= 5
    with serving(tmp_path):
        for line in COMMANDS:
            argv = [str(tmp_path / word[2:]) if word.startswith("~/") else word
                    for word in shlex.split(line, comments=True)]  # fmt: skip
            done = subprocess.run(
                [*SIDECAR, *argv[1:]],
                env=environ(tmp_path),
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{line}\n{done.stderr}"


def test_init_command_of_the_readme_writes_a_valid_file(tmp_path: Path) -> None:
    assert "sidecar init " in README
    env = environ(tmp_path) | {"OPENAI_API_KEY": "sk-x"}
    done = subprocess.run(
        [*SIDECAR, "init", "--yes"], env=env, capture_output=True, text=True, check=True
    )
    assert "sk-sidecar-" in done.stdout
    assert (tmp_path / "routes.yaml").stat().st_mode & 0o777 == 0o600


def test_make_targets_of_the_readme_exist() -> None:
    for target in ("run", "test"):
        assert f"make {target} " in README
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, check=False)
        assert done.returncode == 0


def test_agent_line_of_the_readme_is_printed_by_env() -> None:
    line = agent_lines(AGENTS["openai"], "http://127.0.0.1:8787", "$SIDECAR_KEY")
    assert line in README
    for agent in re.findall(r"`sidecar env ([\w-]+)`", README):
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
    snapshot = load(YAML[0].encode(), file="routes.yaml", registry=discover())
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


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", README))
def test_links_of_the_readme_have_a_target(link: str) -> None:
    assert link.startswith("http") or (ROOT / link).exists()
