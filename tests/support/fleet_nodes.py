"""Several `sidecar serve` processes with one file, that share limits on one real Redis."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from real_redis import redis_server
from running_sidecar import CANARY, Raw, parse, request
from scripted_vendor import ScriptedVendor
from warm_starts import WarmProcess, warm_start

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
_PORTS = re.compile(r"on http://.*:(\d+), admin on http://.*:(\d+)\b")


@dataclass
class Node:
    """A serving process."""

    state: Path
    process: WarmProcess
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


def started(words: list[str], folder: Path, environ: dict[str, str], log: Path) -> WarmProcess:
    with Path(os.devnull).open("w+") as nothing, log.open("w") as stderr:
        streams = [nothing.fileno(), nothing.fileno(), stderr.fileno()]
        return warm_start(words, folder, environ, streams)


@asynccontextmanager
async def node(folder: Path, yaml: str, key: str) -> AsyncIterator[Node]:
    file = written(folder, yaml)
    words = [
        "serve", "--config", str(file), "--state", str(folder / "state"),
        "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
    ]  # fmt: skip
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "UPSTREAM_KEY": CANARY}
    log = folder / "log"
    process = started(words, folder, environ, log)
    try:
        async with asyncio.timeout(30):
            while not (found := _PORTS.search(log.read_text())):
                assert process.poll() is None, log.read_text()
                await asyncio.sleep(0.02)
        yield Node(folder / "state", process, int(found[1]), int(found[2]), key)
    finally:
        process.kill()
        process.wait()


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
