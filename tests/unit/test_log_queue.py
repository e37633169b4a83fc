"""A log that nobody reads: lines wait within a bound, then are dropped and counted."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from conftest import KEYS, YAML
from hypothesis import given
from hypothesis import strategies as st
from ledger_checks import call
from running_sidecar import CANARY, parse, request, talk
from scripted_vendor import ScriptedVendor, answer
from vendor_apis import CHAT

from sidecar.access_log import CallLog, Lines, LogQueue, open_standard_streams
from sidecar.api_keys import digest, mint
from sidecar.records import Caller, CallRecord, Cost, Outcome, Usage

GOOD = answer(b'{"id":"c1","model":"gpt-5-mini","choices":[]}')
IGNORED = [signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF]


@pytest.fixture
def pipe() -> list[int]:
    return list(os.pipe())


def fill(end: int) -> int:
    """Fill a pipe to its last byte; how many bytes that took."""
    os.set_blocking(end, False)
    size = 0
    for piece in (b"x" * 4096, b"x"):
        with suppress(BlockingIOError):
            while True:
                size += os.write(end, piece)
    os.set_blocking(end, True)
    return size


def read_until(end: int, wanted: bytes) -> bytes:
    found = b""
    while wanted not in found:
        piece = os.read(end, 65536)
        assert piece, found
        found += piece
    return found


def test_log_queue_reader_present_writes_lines_in_order(pipe: list[int]) -> None:
    reader, writer = pipe
    queue = LogQueue(writer)
    queue.write("one\n")
    queue.write("")
    queue.write("two\n")
    assert queue.finish(10)
    assert os.read(reader, 100) == b"one\ntwo\n"
    assert queue.dropped == 0


def test_log_queue_pipe_full_drops_counts_and_reports_when_read_again(pipe: list[int]) -> None:
    reader, writer = pipe
    size = fill(writer)
    queue = LogQueue(writer, max_bytes=1000)
    for number in range(500):
        queue.write(f"line {number:03}\n")
    assert queue.dropped >= 500 - 1000 // 9 - 1000 // 9  # one queue, and one being written
    while size:
        size -= len(os.read(reader, min(size, 65536)))
    found = read_until(reader, b"dropped")
    said = re.search(rb"(\d+) log lines were dropped", found)
    assert said is not None
    assert int(said[1]) == queue.dropped
    assert found.startswith(b"line 000\nline 001\n")
    queue.write("after\n")
    read_until(reader, b"after\n")
    assert queue.finish(10)


@pytest.mark.parametrize("how", ["reader gone", "closed"])
def test_log_queue_stream_unusable_drops_without_raising(pipe: list[int], how: str) -> None:
    reader, writer = pipe
    os.close(reader)
    if how == "closed":
        os.close(writer)
    queue = LogQueue(writer)
    for _ in range(3):
        queue.write("line\n")
    assert queue.finish(10)
    assert queue.dropped == 3


def test_log_queue_nonblocking_stream_waits_for_the_reader(pipe: list[int]) -> None:
    reader, writer = pipe
    size = fill(writer)
    os.set_blocking(writer, False)
    queue = LogQueue(writer)
    queue.write("later\n")
    while size:
        size -= len(os.read(reader, min(size, 65536)))
    assert read_until(reader, b"later\n")
    assert queue.finish(10)
    assert queue.dropped == 0


def test_line_of_a_call_with_half_a_character_is_written() -> None:
    stream = io.StringIO()
    CallLog(stream, as_json=True)(call(model_asked="m\ud83d"), call(model_asked="m"))
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["model"], second["model"]) == ("m\ud83d", "m")


def test_log_queue_closed_while_stuck_returns_after_its_max_wait(pipe: list[int]) -> None:
    reader, writer = pipe
    fill(writer)
    queue = LogQueue(writer)
    queue.write("line\n")
    assert not queue.finish(0.05)
    os.close(reader)
    assert queue.finish(10)


def test_standard_streams_closed_are_replaced_before_a_file_takes_their_number() -> None:
    code = (
        "import os, sys; from sidecar.access_log import open_standard_streams as o;"
        "o(); f = os.open('/', os.O_RDONLY); print('lost', file=sys.stderr);"
        "sys.exit(0 if f > 2 and sys.stderr and sys.stdin and sys.stdout else 1)"
    )
    for closed in ("2>&-", "1>&- 2>&-", "0<&- 1>&- 2>&-"):
        assert os.system(f'"{sys.executable}" -c "{code}" {closed}') == 0
    open_standard_streams()  # with all of them open it changes nothing
    assert os.fstat(2)


def free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


class Serving:
    """A serving process whose log tells nothing to the test."""

    def __init__(self, process: asyncio.subprocess.Process, key: str, port: int) -> None:
        self.process = process
        self.key = key
        self.port = port

    async def is_ready(self) -> None:
        async with asyncio.timeout(30):
            while True:
                assert self.process.returncode is None, "it ended"
                with suppress(OSError):
                    await talk(self.port, request("GET", "/", {}))
                    return
                await asyncio.sleep(0.02)

    async def status(self) -> int:
        body = json.dumps(CHAT.asked).encode()
        asked = request("POST", CHAT.path, CHAT.headers(self.key), body)
        return parse(await talk(self.port, asked)).status

    def signals_caught(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"SigCgt:\s*(\w+)", status)
        return 0 if found is None else int(found[1], 16)


@asynccontextmanager
async def serving(
    folder: Path,
    vendor: ScriptedVendor,
    stderr: int = asyncio.subprocess.DEVNULL,
    shell: str = "",
) -> AsyncIterator[Serving]:
    texts = {name: mint() for name in KEYS}
    yaml = YAML.format(url=vendor.url)
    for name, text in texts.items():
        yaml = yaml.replace("{" + name + "}", f"sha256:{digest(text).hex()}")
    file = folder / "routes.yaml"
    file.write_text(yaml)
    file.chmod(0o600)
    port, admin = free_ports()
    argv: Sequence[str] = (
        sys.executable, "-m", "sidecar", "serve", "--config", str(file),
        "--state", str(folder / "state"), "--listen", f"127.0.0.1:{port}",
        "--admin", f"127.0.0.1:{admin}",
    )  # fmt: skip
    if shell:
        argv = ("sh", "-c", f'exec "$@" {shell}', "sh", *argv)
    environ = {**os.environ, "UPSTREAM_KEY": CANARY}
    process = await asyncio.create_subprocess_exec(*argv, env=environ, stderr=stderr)
    try:
        yield Serving(process, texts["gpt"], port)
        process.terminate()
        async with asyncio.timeout(20):
            assert await process.wait() == 0
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_service_stderr_is_a_full_pipe_answers_and_logs_when_it_is_read(
    tmp_path: Path, vendor: ScriptedVendor, pipe: list[int]
) -> None:
    reader, writer = pipe
    size = fill(writer)
    vendor.play(GOOD)
    async with serving(tmp_path, vendor, writer) as running:
        os.close(writer)
        await running.is_ready()
        assert [await running.status() for _ in range(250)] == [200] * 250
        found = await asyncio.to_thread(read_log, reader, size, 250)
        assert found.count(b'"call":') == 250


def read_log(reader: int, size: int, calls: int) -> bytes:
    found = b""
    while found.count(b'"call":') < calls:
        piece = os.read(reader, 65536)
        assert piece
        found += piece
    return found[size:]


async def test_service_stderr_stays_a_full_pipe_ends_with_status_0(
    tmp_path: Path, vendor: ScriptedVendor, pipe: list[int]
) -> None:
    _, writer = pipe
    fill(writer)
    vendor.play(GOOD)
    async with serving(tmp_path, vendor, writer) as running:
        await running.is_ready()
        assert await running.status() == 200


@pytest.mark.parametrize("how", ["2>&-", "1>&- 2>&-", "0<&- 1>&- 2>&-"])
async def test_service_standard_streams_closed_serves(
    tmp_path: Path, vendor: ScriptedVendor, how: str
) -> None:
    vendor.play(GOOD)
    async with serving(tmp_path, vendor, shell=how) as running:
        await running.is_ready()
        assert await running.status() == 200


async def test_service_log_reader_leaves_serves_on(
    tmp_path: Path, vendor: ScriptedVendor, pipe: list[int]
) -> None:
    reader, writer = pipe
    vendor.play(GOOD)
    async with serving(tmp_path, vendor, writer) as running:
        os.close(writer)
        await running.is_ready()
        os.close(reader)
        assert [await running.status() for _ in range(3)] == [200] * 3


async def test_service_signals_without_meaning_during_start_serves(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    vendor.play(GOOD)
    async with serving(tmp_path, vendor) as running:
        async with asyncio.timeout(20):
            while True:
                if running.signals_caught() >> (signal.SIGHUP - 1) & 1:
                    break
                await asyncio.sleep(0.001)
        for each in (signal.SIGHUP, *IGNORED):
            running.process.send_signal(each)
        await running.is_ready()
        for each in (signal.SIGHUP, *IGNORED):
            running.process.send_signal(each)
        assert await running.status() == 200


def test_line_of_a_call_has_each_field_by_its_name() -> None:
    stream, usage, cost = io.StringIO(), Usage(3, 4), Cost(1, 2_500_000, "")
    who = Caller(program="prog", repo="r")
    CallLog(stream, as_json=True)(
        call(
            started=1e9, duration=1.25, key="k", caller=who, provider="p", endpoint="chat",
            model_asked="m", status=429, outcome=Outcome.OK, reason="", usage=usage, cost=cost,
        )
    )  # fmt: skip
    assert stream.getvalue() == (
        '{"time":"2001-09-09T01:46:41.250Z","level":"info","logger":"sidecar.call",'
        '"call":"call_1","key":"k","caller":"prog@r","provider":"p","endpoint":"chat",'
        '"model":"m","status":429,"outcome":"ok","ms":1250,"input_tokens":3,"output_tokens":4,'
        '"cost_usd":0.0025,"reason":null}\n'
    )


NAMES = st.one_of(st.text(max_size=3), st.sampled_from(["m" * 300, "m\ud83d", '"\\\n']))


@given(
    record=st.builds(
        call,
        started=st.floats(0, 4e9),
        duration=st.floats(0, 1e5),
        model_asked=st.none() | NAMES,
        key=NAMES,
        reason=NAMES,
        outcome=st.sampled_from(Outcome),
        caller=st.none() | st.builds(Caller, program=NAMES, repo=NAMES),
        usage=st.none() | st.builds(Usage, st.none() | st.integers(0, 1 << 62)),
        cost=st.none() | st.builds(Cost, st.just(0), st.integers(0, 1 << 50), st.just("free")),
    )
)
def test_line_of_a_call_has_the_fields_that_the_logging_library_would_write(
    record: CallRecord,
) -> None:
    stream = io.StringIO()
    CallLog(stream, as_json=True)(record)
    entry = logging.LogRecord("sidecar.call", logging.INFO, "", 0, "call", (), None)
    entry.__dict__ |= {"call": record, "created": record.started + record.duration}
    written = json.loads(stream.getvalue())
    assert [*written.items()] == [*json.loads(Lines(as_json=True).format(entry)).items()]
