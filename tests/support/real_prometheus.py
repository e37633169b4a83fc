"""A real Prometheus on loopback with a short interval, for one module of tests."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from observability import CONFIG, RULES

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="there is no prometheus here (apt-get install prometheus): dashboards and rules were"
    " only read, not run",
)
EVERY = "1s"
TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class Prometheus:
    """A running one, asked over its HTTP API."""

    url: str
    client: aiohttp.ClientSession

    async def ask(self, path: str, **query: str) -> Any:
        """The data of an answer; AssertionError with Prometheus' own words for an error."""
        async with self.client.get(f"{self.url}/api/v1/{path}", params=query) as response:
            answer = await response.json()
            assert answer["status"] == "success", answer
            return answer["data"]

    async def query(self, expr: str) -> list[dict[str, Any]]:
        """The vector that an expression gives now."""
        data = await self.ask("query", query=expr)
        assert data["resultType"] == "vector"
        found: list[dict[str, Any]] = data["result"]
        return found

    async def value(self, expr: str) -> float | None:
        """The only figure that an expression gives; None when it gives none."""
        found = await self.query(expr)
        return float(found[0]["value"][1]) if found else None

    async def until(self, what: str, holds: Callable[[], Awaitable[bool]]) -> None:
        """Wait until something is so."""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                while not await holds():  # noqa: ASYNC110 - another process has no event
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"never so: {what}") from None


@asynccontextmanager
async def prometheus(folder: Path, target: str, token: Path) -> AsyncIterator[Prometheus]:
    """One that scrapes `target` with the secret in `token`, by the repository's own configuration
    and rules; and, as job `stranger`, without the secret."""
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(_configuration(target, token)))
    port = _free_port()
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "prometheus",
            f"--config.file={file}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
            stderr=log,
        )
    try:
        async with aiohttp.ClientSession() as client:
            made = Prometheus(f"http://127.0.0.1:{port}", client)
            await made.until("Prometheus is ready", lambda: _ready(made))
            yield made
    finally:
        process.terminate()
        await process.wait()


def _configuration(target: str, token: Path) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    config["global"] = {"scrape_interval": EVERY, "evaluation_interval": EVERY}
    config["rule_files"] = [str(_hurried(file, token.parent)) for file in RULES]
    (job,) = config["scrape_configs"]
    job["static_configs"] = [{"targets": [target]}]
    stranger = {**job, "job_name": "stranger"}
    job["authorization"] = {"credentials_file": str(token)}
    config["scrape_configs"].append(stranger)
    return config


def _hurried(file: Path, folder: Path) -> Path:
    """The same rules, evaluated as often as the test needs it."""
    groups = yaml.safe_load(file.read_text())["groups"]
    for group in groups:
        group.pop("interval", None)
    copy = folder / file.name
    copy.write_text(yaml.safe_dump({"groups": groups}))
    return copy


async def _ready(made: Prometheus) -> bool:
    try:
        async with made.client.get(f"{made.url}/-/ready") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
