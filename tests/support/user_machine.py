"""A user's machine for real clients: an empty home, a file, a vendor, and a shell to type in."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

from cli_runner import SIDECAR, Cli, Done
from running_sidecar import CANARY

FILE = """
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0"}}
defaults: {{max_wait: 0s}}
providers:
  openai: {{base_url: "{url}/v1", credential: env:UPSTREAM_KEY}}
  anthropic: {{base_url: "{url}", credential: env:UPSTREAM_KEY}}
  gemini: {{base_url: "{url}", credential: env:UPSTREAM_KEY}}
groups:
  GPT: {{vendor: openai}}
  Claude: {{vendor: anthropic}}
  Gemini: {{vendor: gemini}}
"""
QUIET = {
    "DISABLE_TELEMETRY": "1", "DISABLE_AUTOUPDATER": "1", "DO_NOT_TRACK": "1", "CI": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "CLINE_TELEMETRY_DISABLED": "1",
    "CONTINUE_TELEMETRY_ENABLED": "0", "GEMINI_TELEMETRY_ENABLED": "false",
    "OPENCODE_DISABLE_AUTOUPDATE": "1", "OPENCODE_DISABLE_MODELS_FETCH": "1",
    "OPENAI_AGENTS_DISABLE_TRACING": "1", "ANONYMIZED_TELEMETRY": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_UPDATE_NOTIFIER": "1",
}  # fmt: skip
"""What keeps clients from calling their makers."""


@dataclass
class UserMachine(Cli):
    """A machine on which nothing was set up; `path` are folders with programs."""

    path: list[str] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        path = ":".join([*self.path, str(self.bin), os.environ["PATH"]])
        return {**super().env, **QUIET, "UPSTREAM_KEY": CANARY, "PATH": path}

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def bin(self) -> Path:
        """A folder of PATH that has `sidecar`."""
        return self.folder / "bin"

    def settle_in(self) -> None:
        """Make the folders and the command."""
        for folder in (self.home, self.work, self.bin):
            folder.mkdir()
        sidecar = self.bin / "sidecar"
        sidecar.write_text(f'#!/bin/sh\nexec {" ".join(SIDECAR)} "$@"\n')
        sidecar.chmod(0o755)

    async def begin(self, line: str, **environ: str) -> asyncio.subprocess.Process:
        """Start a line of bash, in a process group of its own."""
        return await asyncio.create_subprocess_exec(
            "bash", "-c", line, cwd=self.work, env=self.env | environ, start_new_session=True,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def type(self, line: str, seconds: float = 90, **environ: str) -> Done:
        """Run a line of bash to its end; after `seconds` its processes are killed."""
        process = await self.begin(line, **environ)
        return await self.ended(process, seconds)

    async def ended(self, process: asyncio.subprocess.Process, seconds: float = 90) -> Done:
        """Wait for a line that was begun. A line that was killed has the status -9."""
        waiting = asyncio.ensure_future(process.communicate())
        done, _ = await asyncio.wait([waiting], timeout=seconds)
        if not done:
            os.killpg(process.pid, signal.SIGKILL)
        out, err = await waiting
        assert process.returncode is not None
        return Done(process.returncode, out.decode(), err.decode())
