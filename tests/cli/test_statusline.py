"""`sidecar statusline`: short, for the right session, and silent when it knows nothing."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from cli_runner import PATIENCE, SIDECAR, Cli
from ledger_checks import call
from running_sidecar import sidecar
from scripted_vendor import ScriptedVendor, paced
from vendor_apis import until

from sidecar.ledger.database import DAY_SECONDS, open_database
from sidecar.ledger.model import Batch, Keep
from sidecar.records import CallRecord, Cost, Usage, UsageState

CENT = 10**7


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def used(number: int, cents: int | None, session: str = "s-1", **more: Any) -> CallRecord:
    cost = None if cents is None else Cost(0, cents * CENT, "list")
    fields = {"started": time.time(), "usage": Usage(100, 1, 80)} | more
    return call(call_id=f"call_{number}", session=session, cost=cost, **fields)


def write(cli: Cli, *records: CallRecord) -> None:
    database = open_database(cli.state, time.time())
    database.write(Batch(steps=list(records)), Keep())
    database.close()


def line(cli: Cli, *words: str, told: bytes = b"") -> str:
    """What it prints when an agent tells it this on standard input."""
    done = subprocess.run(
        [*SIDECAR, "statusline", *words], input=told, env=cli.env, cwd=cli.folder,
        capture_output=True, timeout=PATIENCE, check=True,
    )  # fmt: skip
    assert done.stderr == b""
    text = done.stdout.decode()
    assert text.count("\n") == 1
    return text.rstrip("\n")


def test_statusline_shows_the_agents_own_session(cli: Cli) -> None:
    write(
        cli, used(1, 300), used(2, 42, "s-2"), used(3, 8, "s-2"), used(4, 7, key="other"),
        used(5, 999, "s-2", started=time.time() - 2 * DAY_SECONDS),
    )  # fmt: skip
    told = json.dumps({"session_id": "s-2", "workspace": {"current_dir": "/home/me/app"}})
    assert line(cli, told=told.encode()) == "$0.5000 today · 80% cached"
    assert line(cli) == "$3.57 today · 80% cached"
    assert line(cli, "--key", "other") == "$0.0700 today · 80% cached"
    assert line(cli, "--session", "s-1", told=told.encode()) == "$3.07 today · 80% cached"
    assert line(cli, told=b'{"session_id": "s-9"}') == ""


def test_statusline_shows_unknown_cost_as_unknown(cli: Cli) -> None:
    write(cli, used(1, None), used(2, None, "s-2", usage=None, usage_state=UsageState.UNKNOWN))
    assert line(cli, "--session", "s-1") == "cost unknown · 80% cached"
    assert line(cli, "--session", "s-2") == "cost unknown"
    write(cli, used(3, 5))
    assert line(cli, "--session", "s-1") == "$0.0500+ today · 80% cached"


@pytest.mark.parametrize(
    "told",
    [b"{", b"[]", b'"s-1"', b'{"session_id": 7}', b'{"session_id": {"a": 1}}', b"\xff\xfe", b"{}"],
)
def test_statusline_ignores_invalid_input(cli: Cli, told: bytes) -> None:
    write(cli, used(1, 300))
    assert line(cli, told=told) in {"", "$3.00 today · 80% cached"}


def test_statusline_without_a_ledger_is_empty(cli: Cli) -> None:
    assert line(cli) == ""
    assert not cli.state.exists()
    cli.state.mkdir()
    (cli.state / "sidecar.db").write_bytes(b"damaged" * 1000)
    (cli.state / "admin.sock").write_bytes(b"")
    assert line(cli) == ""


def test_statusline_does_not_wait_for_an_open_input(cli: Cli) -> None:
    write(cli, used(1, 300))
    theirs, ours = os.pipe()
    try:
        done = cli.spawn("statusline", stdin=theirs)
    finally:
        os.close(theirs)
        os.close(ours)
    assert done.out == "$3.00 today · 80% cached\n"


def test_statusline_reads_no_configuration_and_loads_no_plugin(cli: Cli) -> None:
    write(cli, used(1, 300))
    cli.config.write_text("groups: [")
    found = subprocess.run(
        [SIDECAR[0], "-X", "importtime", *SIDECAR[1:], "statusline"], env=cli.env,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=True,
    )  # fmt: skip
    assert found.stdout == "$3.00 today · 80% cached\n"
    loaded = {row.rpartition("|")[2].strip() for row in found.stderr.splitlines()}
    assert "sidecar.ledger.reader" in loaded
    assert not loaded & {
        "sidecar.plugin_api.api",
        "sidecar.config",
        "aiohttp",
        "http.client",
        "yaml",
    }


YAML = """
providers:
  oa: {{plugin: openai, base_url: "{url}/v1", credential: env:UPSTREAM_KEY}}
groups:
  GPT: {{vendor: openai, routes: [oa], limits: {{concurrency: 1}}}}
keys:
  gpt: {{group: GPT, hash: "{{gpt}}"}}
"""
BODY = b'{"usage":{"prompt_tokens":10,"completion_tokens":2}}'
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)
    + BODY
)


async def test_statusline_counts_waiting_calls_and_why_names_the_limit(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    go_on = asyncio.Event()
    vendor.play(paced(go_on, ANSWER))
    async with sidecar(tmp_path, YAML.format(url=vendor.url), ("gpt",)) as proxy:
        calls = [
            asyncio.create_task(proxy.ask("/v1/chat/completions", b'{"model":"gpt-5-mini"}'))
            for _ in range(3)
        ]
        live = proxy.running.services.live
        await until(lambda: sum(call.waiter is not None for call in live) == 2)
        assert await typed(proxy.state, "statusline") == "2 waiting\n"
        go_on.set()
        answers = await asyncio.gather(*calls)
        assert [answer.status for answer in answers] == [200, 200, 200]
        await proxy.record(3)
        waited = max(proxy.records, key=lambda record: record.wait)
        told = await typed(proxy.state, "why", waited.call_id)
        assert "s: group GPT is at its limit of 1 concurrency (routes.yaml:5)" in told


async def typed(state: Path, *words: str) -> str:
    """What a command prints, typed while this process serves."""
    process = await asyncio.create_subprocess_exec(
        *SIDECAR, *words, env=Cli(state.parent, text="").env, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()
