"""Agents as separate processes, in git repositories of their own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from running_sidecar import Sidecar

SCRIPT = """
import json, socket, sys

def answer(wire):
    head, blank, body = wire.recv(65536), b"", b""
    while True:
        head_, blank, body = head.partition(b"\\r\\n\\r\\n")
        length = [l for l in head_.lower().split(b"\\r\\n") if l.startswith(b"content-length:")]
        if blank and len(body) >= int(length[0].split(b":")[1]):
            return head_.split(b" ")[1].decode()
        head += wire.recv(65536)

wires = []
for line in sys.stdin:
    order = json.loads(line)
    family = socket.AF_INET6 if ":" in order["host"] else socket.AF_INET
    while len(wires) < order["connections"]:
        wires.append(socket.socket(family))
        wires[-1].connect((order["host"], order["port"]))
    for wire in wires:
        wire.sendall(order["request"].encode())
    if order["leave"]:
        break
    print(*[answer(wire) for wire in wires], flush=True)
    if order["end"]:
        break
"""
"""Takes an order a line: so many connections, a request on each, and the answers' statuses back."""


@dataclass
class Agent:
    """A running agent."""

    process: asyncio.subprocess.Process
    proxy: Sidecar

    @property
    def pid(self) -> int:
        return self.process.pid

    async def send(
        self,
        *,
        key: str = "gpt",
        host: str = "127.0.0.1",
        connections: int = 1,
        leave: bool = False,
        end: bool = False,
    ) -> None:
        """Have it make a call on each connection; it may leave at once or end after the answers."""
        body = '{"model":"gpt-5-mini"}'
        request = (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nUser-Agent: mine/1.0\r\n"
            f"Authorization: Bearer {self.proxy.keys.get(key, key)}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        )
        order = {"host": host, "port": self.proxy.port, "request": request, "leave": leave,
                 "end": end, "connections": connections}  # fmt: skip
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        await self.process.stdin.drain()

    async def statuses(self) -> list[str]:
        """The statuses of the answers, once all are there."""
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            return (await self.process.stdout.readline()).decode().split()

    async def call(self, *, key: str = "gpt", host: str = "127.0.0.1") -> str:
        """One call on its first connection; the answer's status."""
        await self.send(key=key, host=host)
        return (await self.statuses())[0]


@asynccontextmanager
async def agent(
    proxy: Sidecar, directory: Path, *arguments: str, script: Path | None = None
) -> AsyncIterator[Agent]:
    """An agent that stands in `directory`; its program is `script`, which is written."""
    script = script or directory / "agent.py"
    script.write_text(SCRIPT)
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), *arguments, cwd=directory,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Agent(process, proxy)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(20):
            await process.wait()


def git(folder: Path, *words: str) -> str:
    """Return git's output, independent of the configuration of this machine."""
    names = {f"GIT_{who}_{what}": "a@b.c" for who in ("AUTHOR", "COMMITTER")
             for what in ("NAME", "EMAIL")}  # fmt: skip
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **names}
    done = subprocess.run(
        ["git", "-c", "protocol.file.allow=always", *words],
        cwd=folder, env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout.strip()


def repository(folder: Path, branch: str = "main") -> Path:
    """A repository with one commit."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch", branch)
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "one")
    return folder
