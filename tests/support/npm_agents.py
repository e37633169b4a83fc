"""Agents from npm: how each is installed, asked one question, and made to run a line of shell."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

QUESTION = "What is the answer?"


@dataclass(frozen=True)
class NpmAgent:
    """An agent: its package, its words for one question without a terminal, the call of its tool
    for a line of shell, and the options of `sidecar run`."""

    name: str
    package: str
    words: str
    tool: tuple[str, Callable[[str], dict[str, Any] | str]]
    options: str = ""

    def __str__(self) -> str:
        return self.name

    @property
    def line(self) -> str:
        return f"sidecar run {self.options} {self.words} '{QUESTION}'"


def _described(line: str) -> dict[str, Any]:
    return {"command": line, "description": "Run it", "is_background": False}


CLAUDE = NpmAgent(
    "claude-code",
    "@anthropic-ai/claude-code",
    "claude --allowedTools Bash -p --",
    ("Bash", lambda line: {"command": line, "description": "Run it"}),
)
CODEX = NpmAgent(
    "codex",
    "@openai/codex",
    "codex exec --skip-git-repo-check --dangerously-bypass-approvals-and-sandbox",
    ("exec", lambda line: f'text(await tools.exec_command({{cmd: "{line}"}}))'),
)
AGENTS = [
    CLAUDE,
    CODEX,
    NpmAgent(
        "gemini-cli", "@google/gemini-cli", "gemini --skip-trust --yolo -p",
        ("run_shell_command", _described),
    ),
    NpmAgent(
        "opencode", "opencode-ai", "opencode run", ("bash", _described), "--model openai/gpt-5"
    ),
    NpmAgent(
        "qwen-code", "@qwen-code/qwen-code", "qwen --yolo -p", ("run_shell_command", _described),
        "--model gpt-5",
    ),
    NpmAgent(
        "continue", "@continuedev/cli", "cn --auto -p",
        ("Bash", lambda line: {"command": line}), "--model gpt-5",
    ),
    NpmAgent(
        "cline", "cline", "cline", ("run_commands", lambda line: {"commands": [line]}),
        "--model gpt-5",
    ),
    NpmAgent(
        "copilot-cli", "@github/copilot", "copilot --allow-all-tools -s -p",
        ("bash", lambda line: {"command": line, "description": "Run it"}), "--model gpt-5",
    ),
]  # fmt: skip


def install(agent: NpmAgent, clients: Path) -> str:
    """Install the newest release below `clients`, unless it is there; return the folder of its
    program."""
    folder = clients / agent.name
    if not folder.exists():
        folder.mkdir()
        subprocess.run(
            ["npm", "install", "--prefix", str(folder), "--cache", str(clients / "cache"),
             "--silent", "--no-fund", "--no-audit", f"{agent.package}@latest"],
            check=True, timeout=250,
        )  # fmt: skip
    return str(folder / "node_modules" / ".bin")
