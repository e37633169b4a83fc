"""Agents from PyPI that are programs: how each is installed, asked, and made to use its tool."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from answering_vendor import Turn

DAY_SECONDS = 86400
QUESTION = "What is the answer?"
SAID = "The answer is 42."
_AIDER = "aider --yes-always --no-show-release-notes --model {model} --message"
_ADD = (
    "def add(a: int, b: int) -> int:\n    open('made.txt', 'w').write('made\\n')\n    return a + b"
)
_EDIT = f"{SAID}\n\nmade.txt\n```\n<<<<<<< SEARCH\n=======\nmade\n>>>>>>> REPLACE\n```\n"


@dataclass(frozen=True)
class PythonAgent:
    """An agent: its packages, what `sidecar env` calls it, the group of its model, its words for a
    question, those that let it use its tool, and the turns of a round that writes made.txt."""

    name: str
    packages: tuple[str, ...]
    env: str
    group: str
    words: str
    tool_words: str
    round: tuple[Turn, ...]

    def __str__(self) -> str:
        return self.name


def _aider(name: str, group: str, model: str) -> PythonAgent:
    words = _AIDER.format(model=model)
    return PythonAgent(name, ("aider-chat",), "aider", group, words, words, (Turn(_EDIT),))


def _llm(name: str, group: str, model: str, env: str) -> PythonAgent:
    call = Turn(tools=(("add", {"a": 40, "b": 2}),))
    return PythonAgent(
        name, ("llm", "llm-anthropic"), env, group, f"llm -m {model}",
        f'llm -m {model} --functions "{_ADD}"', (call, Turn(SAID)),
    )  # fmt: skip


AGENTS = [
    _aider("aider", "GPT", "openai/gpt-5"),
    _aider("aider, anthropic", "Claude", "anthropic/claude-sonnet-4-5"),
    _llm("llm", "GPT", "gpt-5", "llm"),
    _llm("llm-anthropic", "Claude", "claude-sonnet-4.5", "anthropic"),
]


def installed(clients: Path, packages: tuple[str, ...]) -> Path:
    """Return the programs of a virtual environment with the newest of these packages; one that is
    kept is renewed after a day."""
    folder = clients / "venvs" / packages[0].partition("[")[0]
    ready, programs = folder / ".ready", folder / "bin"
    if not ready.exists() or time.time() - ready.stat().st_mtime > DAY_SECONDS:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [
            programs / "python",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        subprocess.run([*pip, "--upgrade", *packages], check=True)
        ready.touch()
    return programs
