"""Several `sidecar serve` processes with one file, that share limits on one real Redis."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from real_redis import redis_server
from running_sidecar import CANARY, Raw, parse, request
from scripted_vendor import ScriptedVendor

from sidecar.api_keys import digest, mint

YAML = """
timezone: UTC
state: {{shared: "{server}", namespace: team, on_outage: {on_outage}}}
prices: {{dear: {{input: 1000, output: 1000}}, "*": {{input: 1, output: 1}}}}
providers:
  oa: {{plugin: openai, base_url: "{url}/v1", credential: env:UPSTREAM_KEY}}
groups: {{GPT: {{vendor: openai, routes: [oa]{limit}}}}}
keys: {{gpt: {{group: GPT, hash: "sha256:{hash}", max_wait: {max_wait}}}}}
"""
PATH = "/v1/chat/completions"


@dataclass
class Node:
    """A serving process."""

    state: Path
    process: asyncio.subprocess.Process
    port: int
    admin_port: int
    key: str

    async def ask(self, model: str = "gpt-5", session: str = "") -> Raw:
        asked = json.dumps({"model": model, "max_tokens": 100, "user": session}).encode()
        headers = {"Authorization": f"Bearer {self.key}", "session-id": session}
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request("POST", PATH, headers, asked))
        try:
            return parse(await reader.read(-1))
        finally:
            writer.close()


def written(folder: Path, yaml: str) -> Path:
    folder.mkdir()
    file = folder / "routes.yaml"
    file.write_text(yaml)
    file.chmod(0o600)
    return file


@asynccontextmanager
async def node(folder: Path, yaml: str, key: str) -> AsyncIterator[Node]:
    file = written(folder, yaml)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sidecar", "serve", "--config", str(file),
        "--state", str(folder / "state"), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
        env={**os.environ, "UPSTREAM_KEY": CANARY}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    log = b""
    try:
        async with asyncio.timeout(30):
            while not (found := re.search(rb"on http://.*:(\d+), admin on http://.*:(\d+)\b", log)):
                line = await process.stderr.readline()
                assert line, log.decode()
                log += line
        reading = asyncio.create_task(process.stderr.read(-1))
        yield Node(folder / "state", process, int(found[1]), int(found[2]), key)
        reading.cancel()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def fleet(
    folder: Path, vendor: ScriptedVendor, limit: str, max_wait: str = "0s", *,
    server: str = "", names: Sequence[str] = ("a", "b"), on_outage: str = "local",
) -> AsyncIterator[list[Node]]:  # fmt: skip
    """Processes with one file, on a server of their own if none is given."""
    key = mint()
    async with AsyncExitStack() as stack:
        server = server or stack.enter_context(redis_server())
        yaml = YAML.format(
            url=vendor.url, server=server, limit=f", {limit}", max_wait=max_wait,
            hash=digest(key).hex(), on_outage=on_outage,
        )  # fmt: skip
        yield [await stack.enter_async_context(node(folder / name, yaml, key)) for name in names]
