"""`sidecar serve` as a separate process: its start, its signals, its end."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import KEYS, YAML
from ledger_checks import rows
from running_sidecar import CANARY, Sidecar, parse, request, talk
from scripted_vendor import STREAM_HEAD, Script, ScriptedVendor, Wire, answer, chunk, hang
from vendor_apis import CHAT, dial

from sidecar.admin.server import Admin
from sidecar.api_keys import digest, mint
from sidecar.config.model import Address
from sidecar.http.listeners import listening
from sidecar.http.request_guard import RequestGuard
from sidecar.http.responses import refuse_message
from sidecar.http.wire.agent_protocol import AgentServer

GOOD = answer(b'{"id":"c1","model":"gpt-5-mini","choices":[]}')
ADDRESSES = re.compile(rb"agents on http://\S+:(\d+), admin on http://\S+:(\d+)\b")


@dataclass
class Process:
    """A serving process; its log is `log` once it ended."""

    process: asyncio.subprocess.Process
    file: Path
    key: str
    port: int
    admin_port: int
    log: bytes = b""

    def asked(self, *, stream: bool = False) -> bytes:
        body = json.dumps({**CHAT.asked, "stream": stream}).encode()
        return request("POST", CHAT.path, CHAT.headers(self.key), body)

    async def status(self) -> int:
        return parse(await talk(self.port, self.asked())).status

    async def ready(self) -> int:
        return parse(await talk(self.admin_port, request("GET", "/readyz", {}))).status

    async def ended(self) -> int:
        async with asyncio.timeout(20):
            return await self.process.wait()


async def start(folder: Path, yaml: str) -> asyncio.subprocess.Process:
    (folder / "routes.yaml").write_text(yaml)
    (folder / "routes.yaml").chmod(0o600)
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sidecar", "serve", "--config", str(folder / "routes.yaml"),
        "--state", str(folder / "state"), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
        env={**os.environ, "UPSTREAM_KEY": CANARY}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


@asynccontextmanager
async def serving(
    folder: Path, vendor: ScriptedVendor, drain: str = "60s"
) -> AsyncIterator[Process]:
    texts = {name: mint() for name in KEYS}
    yaml = f"server: {{drain: {drain}}}\n" + YAML.format(url=vendor.url)
    for name, text in texts.items():
        yaml = yaml.replace("{" + name + "}", f"sha256:{digest(text).hex()}")
    process = await start(folder, yaml)
    assert process.stderr is not None
    head = b""
    try:
        async with asyncio.timeout(20):
            while not (
                found := re.search(rb"on http://.*:(\d+), admin on http://.*:(\d+)\b", head)
            ):
                line = await process.stderr.readline()
                assert line, head.decode()
                head += line
        reading = asyncio.create_task(process.stderr.read(-1))
        running = Process(
            process, folder / "routes.yaml", texts["gpt"], int(found[1]), int(found[2])
        )
        yield running
        if process.returncode is None:
            process.terminate()
            assert await running.ended() == 0
        running.log = head + await reading
        assert CANARY.encode() not in running.log
        assert texts["gpt"].encode() not in running.log
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def waiting(more: asyncio.Event) -> Script:
    async def script(wire: Wire) -> None:
        await wire.send(STREAM_HEAD + chunk(CHAT.begun))
        await more.wait()
        await wire.send(chunk(CHAT.ended) + b"0\r\n\r\n")

    return script


async def is_served(running: Process, key: str) -> None:
    """Wait until a call of this key is."""
    asked = request("GET", "/metrics", {})
    line = rb'sidecar_calls_in_flight\{key="%b",[^}]*\} 1' % key.encode()
    async with asyncio.timeout(10):
        while True:
            if re.search(line, parse(await talk(running.admin_port, asked)).body):
                return
            await asyncio.sleep(0.01)


async def takes_no_more(running: Process) -> None:
    """Wait until the agent port refuses connections."""
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", running.port)
            except ConnectionRefusedError:
                return
            writer.close()
            await asyncio.sleep(0.01)


async def test_sigterm_lets_running_calls_finish(tmp_path: Path, vendor: ScriptedVendor) -> None:
    more = asyncio.Event()
    vendor.play(waiting(more))
    async with serving(tmp_path, vendor) as running:
        assert await running.ready() == 200
        async with dial(running.port, running.asked(stream=True)) as (reader, _):
            await reader.readuntil(CHAT.begun + b"\r\n")
            running.process.terminate()
            await takes_no_more(running)
            assert await running.ready() == 503
            assert running.process.returncode is None
            more.set()
            assert (await reader.read(-1)).endswith(CHAT.ended + b"\r\n0\r\n\r\n")
        assert await running.ended() == 0
    assert not (tmp_path / "state" / "admin.sock").exists()


async def test_call_in_flight_at_a_kill_is_in_the_ledger(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(waiting(asyncio.Event()))
    async with (
        serving(tmp_path, vendor) as running,
        dial(running.port, running.asked(stream=True)) as (reader, _),
    ):
        await reader.readuntil(CHAT.begun + b"\r\n")
        async with asyncio.timeout(10):
            while not rows(tmp_path / "state", "SELECT * FROM under_way"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        running.process.kill()
        await running.ended()
    yaml = running.file.read_text()
    again = await start(tmp_path, yaml)
    async with asyncio.timeout(20):
        while not (found := rows(tmp_path / "state")):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    again.terminate()
    await again.wait()
    (row,) = found
    assert (row["key"], row["provider"], row["status"]) == ("gpt", "oa", 200)
    assert (row["outcome"], row["usage_state"]) == ("cut", "unknown")
    assert row["reason"] == "Sidecar was killed while it ran"


async def test_idle_connection_does_not_delay_the_stop(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(GOOD)
    async with serving(tmp_path, vendor) as running:
        asked = running.asked().replace(b"Connection: close\r\n", b"")
        async with dial(running.port, asked) as (reader, _):
            await reader.readuntil(b'"choices":[]}')
            running.process.terminate()
            assert await reader.read(-1) == b""
        assert await running.ended() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_second_signal_ends_running_streams_with_an_error(
    tmp_path: Path, vendor: ScriptedVendor, number: signal.Signals
) -> None:
    vendor.play(waiting(asyncio.Event()))
    async with serving(tmp_path, vendor) as running:
        async with dial(running.port, running.asked(stream=True)) as (reader, _):
            await reader.readuntil(CHAT.begun + b"\r\n")
            running.process.send_signal(number)
            await takes_no_more(running)
            running.process.send_signal(number)
            rest = await reader.read(-1)
        assert b"Sidecar is shutting down" in rest
        assert not rest.endswith(b"0\r\n\r\n")
        assert await running.ended() == 0


async def test_paused_call_does_not_delay_the_stop(tmp_path: Path, vendor: ScriptedVendor) -> None:
    async with serving(tmp_path, vendor, drain="1h") as running:
        pause = (sys.executable, "-m", "sidecar", "pause", "gpt", "--state", f"{tmp_path}/state")
        paused = await asyncio.create_subprocess_exec(*pause)
        assert await paused.wait() == 0
        async with dial(running.port, running.asked()) as (reader, _):
            await is_served(running, "gpt")
            running.process.terminate()
            found = parse(await reader.read(-1))
        assert (found.status, CHAT.code(json.loads(found.body))) == (503, "server_is_overloaded")
        assert await running.ended() == 0


async def test_drain_ends_after_its_time(tmp_path: Path, vendor: ScriptedVendor) -> None:
    vendor.play(hang)
    async with serving(tmp_path, vendor, drain="1s") as running:
        async with dial(running.port, running.asked()) as (reader, _):
            await vendor.arrived.wait()
            running.process.terminate()
            found = parse(await reader.read(-1))
        assert (found.status, CHAT.code(json.loads(found.body))) == (503, "server_is_overloaded")
        assert await running.ended() == 0
    assert b"server.drain" in running.log


async def test_sighup_reloads_the_file(tmp_path: Path, vendor: ScriptedVendor) -> None:
    vendor.play(GOOD)
    async with serving(tmp_path, vendor) as running:
        assert await running.status() == 200
        text = running.file.read_text()
        running.file.write_text(text.replace("gpt: {", "gpt: {enabled: false, ", 1))
        running.process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(5):
            while await running.status() != 403:  # noqa: ASYNC110 - another process has no event
                await asyncio.sleep(0.02)
        assert await running.ready() == 200


async def test_restart_after_a_kill_serves_calls(tmp_path: Path, vendor: ScriptedVendor) -> None:
    vendor.play(GOOD)
    async with serving(tmp_path, vendor) as running:
        assert await running.status() == 200
        running.process.kill()
        assert await running.ended() == -signal.SIGKILL
    async with serving(tmp_path, vendor) as running:
        assert await running.status() == 200


async def test_second_process_on_one_state_folder_is_rejected(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    async with serving(tmp_path, vendor) as running:
        second = await start(tmp_path, running.file.read_text())
        _, log = await asyncio.wait_for(second.communicate(), 20)
        assert second.returncode == 2
        assert f"is in use by process {running.process.pid}".encode() in log
        assert await running.ready() == 200


async def test_start_with_an_invalid_file_exits_2(tmp_path: Path) -> None:
    process = await start(tmp_path, "keys: [")
    _, log = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 2
    assert b"routes.yaml:1" in log
    assert b"Traceback" not in log


def resident(process: asyncio.subprocess.Process) -> int:
    """The memory of a process, in MiB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s*(\d+)", status)
    assert found is not None
    return int(found[1]) // 1024


async def test_memory_of_large_bodies_is_used_once_and_released(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(GOOD)
    async with serving(tmp_path, vendor) as running:
        assert await running.status() == 200
        before = resident(running.process)
        for size in (20 << 20, 9 << 20):
            body = json.dumps({**CHAT.asked, "pad": "p" * size}).encode()
            asked = request("POST", CHAT.path, CHAT.headers(running.key), body)
            found = await asyncio.gather(*(talk(running.port, asked) for _ in range(8)))
            assert [parse(each).status for each in found] == [200] * 8
            vendor.requests.clear()
        refused = b'{"model": "", "pad": "' + b"p" * (40 << 20) + b'"}'
        asked = request("POST", CHAT.path, CHAT.headers(running.key), refused)
        assert parse(await talk(running.port, asked)).status == 400
        assert resident(running.process) - before < 16


async def test_admin_request_during_the_start_waits_until_calls_are_served(
    proxy: Sidecar,
) -> None:
    opened, draining = asyncio.Event(), asyncio.Event()
    guard = RequestGuard(frozenset({"127.0.0.1"}), frozenset())
    side = Admin(proxy.running.console, proxy.running.services, guard, opened, draining)
    address = (Address("127.0.0.1", 0),)
    async with listening(AgentServer(side.over_tcp, refuse_message), address) as urls:
        port = int(urls[0].rpartition(":")[2])
        asked = asyncio.create_task(talk(port, request("GET", "/readyz", {})))
        done, _ = await asyncio.wait({asked}, timeout=0.1)
        assert not done
        opened.set()
        assert parse(await asked).status == 200
