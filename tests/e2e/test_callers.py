"""Caller lookup: real processes in real repositories call a sidecar, and the ledger names them."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from threading import Event

import pytest
from agent_programs import agent, git, repository
from conftest import KEYS, YAML
from ledger_checks import rows
from running_sidecar import Sidecar, parse, request
from running_sidecar import sidecar as start_sidecar
from scripted_vendor import Script, ScriptedVendor, Wire, answer, hang
from vendor_apis import dial, figures, until

from sidecar.callers import Finder
from sidecar.callers.linux import Gone, ProcFinder, SocketAddress
from sidecar.records import Caller, CallRecord

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="callers are found by /proc")

GOOD = answer(b'{"id":"c1","model":"gpt-5-mini","choices":[]}')
NOBODY = Caller()
CHAT, BODY = "/v1/chat/completions", b'{"model":"gpt-5-mini"}'


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a look may take its time: a test waits for it."""
    monkeypatch.setattr("sidecar.callers.lookup.CALLER_LOOKUP_TIMEOUT_SECONDS", 30.0)


@pytest.fixture
def vendor(vendor: ScriptedVendor) -> ScriptedVendor:
    vendor.play(GOOD)
    return vendor


def gated(limiter: asyncio.Event) -> Script:
    """A vendor's answer that comes when the test says so."""

    async def script(wire: Wire) -> None:
        await limiter.wait()
        await GOOD(wire)

    return script


async def everybody_known(proxy: Sidecar, calls: int) -> None:
    """Wait until so many calls run and the process behind each is known."""
    live = proxy.running.services.live
    await until(lambda: len(live) == calls and all(call.caller for call in live), 20)


async def caller(proxy: Sidecar, number: int = 1) -> Caller:
    found = (await proxy.record(number)).caller
    assert found is not None
    return found


async def test_record_names_program_process_directory_repository_and_branch(
    proxy: Sidecar, vendor: ScriptedVendor, tmp_path: Path
) -> None:
    work = repository(tmp_path / "shop", "feature/basket") / "src"
    work.mkdir()
    async with agent(proxy, work, "--api-key", "sk-canary") as one:
        assert await one.call() == "200"
        found = await caller(proxy)
        assert found == Caller("agent.py", one.pid, str(work), "shop", "feature/basket")
    record = await proxy.record()
    assert record.program == "mine/1.0"
    assert await proxy.running.services.ledger.flush()
    [row] = rows(proxy.state)
    assert (row["program"], row["caller_program"], row["caller_pid"]) == (
        "mine/1.0", "agent.py", one.pid,
    )  # fmt: skip
    assert (row["caller_directory"], row["repo"], row["branch"]) == (
        str(work), "shop", "feature/basket",
    )  # fmt: skip
    metrics = (await proxy.running.services.metrics.render()).decode()
    assert "shop" not in metrics
    assert "basket" not in metrics
    assert await figures(proxy.running, "sidecar_caller_lookups_total") == {'result="found"': 1}
    sent = vendor.last.head + vendor.last.body
    assert b"shop" not in sent
    assert b"agent.py" not in sent


async def test_worktree_is_its_repository_with_another_branch(
    proxy: Sidecar, vendor: ScriptedVendor, tmp_path: Path
) -> None:
    home = repository(tmp_path / "shop")
    git(home, "worktree", "add", "--quiet", "-b", "fix", str(tmp_path / "shop-fix"))
    async with agent(proxy, tmp_path / "shop-fix") as one:
        await one.call()
        found = await caller(proxy)
    assert (found.repo, found.branch) == ("shop", "fix")
    assert found.directory == str(tmp_path / "shop-fix")


async def test_detached_head_is_a_short_hash(
    proxy: Sidecar, vendor: ScriptedVendor, tmp_path: Path
) -> None:
    home = repository(tmp_path / "shop")
    git(home, "checkout", "--quiet", "--detach")
    async with agent(proxy, home) as one:
        await one.call()
        found = await caller(proxy)
    assert (found.repo, found.branch) == ("shop", git(home, "rev-parse", "--short=7", "HEAD"))


async def test_caller_outside_a_repository_has_program_process_and_directory(
    proxy: Sidecar, vendor: ScriptedVendor, tmp_path: Path
) -> None:
    async with agent(proxy, tmp_path) as one:
        await one.call()
        assert await caller(proxy) == Caller("agent.py", one.pid, str(tmp_path), "", "")


async def test_two_callers_at_once_are_distinguished(
    proxy: Sidecar, vendor: ScriptedVendor, tmp_path: Path
) -> None:
    limiter = asyncio.Event()
    vendor.play(gated(limiter))
    shop, bank = repository(tmp_path / "shop"), repository(tmp_path / "bank", "trunk")
    async with agent(proxy, shop) as one, agent(proxy, bank) as other:
        await one.send(key="gpt")
        await other.send(key="mini")
        await everybody_known(proxy, 2)
        limiter.set()
        await one.statuses()
        await other.statuses()
        await proxy.record(2)
        found = {record.key: record.caller for record in proxy.records}
        assert found == {
            "gpt": Caller("agent.py", one.pid, str(shop), "shop", "main"),
            "mini": Caller("agent.py", other.pid, str(bank), "bank", "trunk"),
        }


async def test_process_that_ends_with_its_response_is_recorded(
    proxy: Sidecar, vendor: ScriptedVendor, tmp_path: Path
) -> None:
    limiter = asyncio.Event()
    vendor.play(gated(limiter))
    async with agent(proxy, repository(tmp_path / "shop")) as one:
        await one.send(end=True)
        await everybody_known(proxy, 1)
        limiter.set()
        await one.process.wait()
        found = await caller(proxy)
        assert (found.pid, found.repo) == (one.pid, "shop")


async def test_process_that_ends_before_its_response_causes_no_error(
    proxy: Sidecar, vendor: ScriptedVendor, tmp_path: Path
) -> None:
    """The lookup may be too late; the call is recorded once, and never with another caller."""
    vendor.play(hang)
    async with agent(proxy, repository(tmp_path / "shop")) as one:
        await one.send(leave=True)
        found = await caller(proxy)
        assert found.pid in {0, one.pid}
    assert [record.outcome for record in proxy.records] == ["cancelled"]


async def looked(proxy: Sidecar) -> dict[str, float]:
    """Return the results of the lookups, after the first has ended."""
    results = proxy.running.services.callers.results
    await until(lambda: any(count for _, count in results()), 20)
    return await figures(proxy.running, "sidecar_caller_lookups_total")


async def test_caller_lookup_starts_when_the_connection_opens(proxy: Sidecar) -> None:
    """Some have gone by the time that their request was read."""
    async with dial(proxy.port, b""):
        assert await looked(proxy) == {'result="found"': 1}
    assert proxy.records == []


async def test_caller_of_a_rejected_call_is_recorded(proxy: Sidecar) -> None:
    async with dial(proxy.port, b"") as (reader, writer):
        await looked(proxy)
        writer.write(request("POST", CHAT, {"Authorization": "Bearer not-ours"}, BODY))
        assert parse(await reader.read()).status == 401
    record = await proxy.record()
    assert (record.key, (await caller(proxy)).pid) == ("", os.getpid())


async def test_branch_change_during_a_connection_is_recorded(
    proxy: Sidecar, vendor: ScriptedVendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ProcFinder, "fresh", 0.0)
    home = repository(tmp_path / "shop")
    async with agent(proxy, home) as one:
        await one.call()
        assert (await caller(proxy)).branch == "main"
        git(home, "checkout", "--quiet", "-b", "next")
        await one.call()
        found = await caller(proxy, 2)
    assert (found.pid, found.branch) == (one.pid, "next")
    assert vendor.connections == 1


async def test_connections_of_one_process_are_all_attributed(
    proxy: Sidecar, vendor: ScriptedVendor, tmp_path: Path
) -> None:
    async with agent(proxy, repository(tmp_path / "shop")) as one:
        for _ in range(2):
            await one.send(connections=150)
            assert await one.statuses() == ["200"] * 150
        await proxy.record(300)
        assert {record.caller.pid for record in proxy.records if record.caller} == {one.pid}
    counted = await figures(proxy.running, "sidecar_caller_lookups_total")
    assert set(counted) == {'result="found"'}


async def test_caller_lookup_runs_once_for_all_calls_of_a_connection(
    proxy: Sidecar, vendor: ScriptedVendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ProcFinder, "fresh", 600.0)
    async with agent(proxy, tmp_path) as one:
        for number in range(1, 6):
            await one.call()
            assert (await caller(proxy, number)).pid == one.pid
    assert await figures(proxy.running, "sidecar_caller_lookups_total") == {'result="found"': 1}


@pytest.fixture
async def over_ipv6(tmp_path: Path, vendor: ScriptedVendor) -> AsyncIterator[Sidecar]:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    yaml = YAML.format(url=vendor.url)
    async with start_sidecar(tmp_path, yaml, KEYS, listen="[::1]:0") as started:
        yield started


async def test_caller_over_ipv6_is_recorded(over_ipv6: Sidecar, tmp_path: Path) -> None:
    async with agent(over_ipv6, repository(tmp_path / "shop")) as one:
        assert await one.call(host="::1") == "200"
        found = await caller(over_ipv6)
        assert (found.pid, found.repo) == (one.pid, "shop")


async def test_caller_over_ipv4_from_a_dual_stack_socket_is_recorded(
    proxy: Sidecar, vendor: ScriptedVendor, tmp_path: Path
) -> None:
    """Java's sockets, for one, are of IPv6 always."""
    async with agent(proxy, repository(tmp_path / "shop")) as one:
        assert await one.call(host="::ffff:127.0.0.1") == "200"
        assert (await caller(proxy)).pid == one.pid


async def test_caller_lookup_that_is_switched_off_does_not_run(
    tmp_path: Path, vendor: ScriptedVendor
) -> None:
    yaml = YAML.format(url=vendor.url) + "server: {callers: false}\n"
    async with start_sidecar(tmp_path, yaml, KEYS) as proxy:
        async with agent(proxy, repository(tmp_path / "shop")) as one:
            assert await one.call() == "200"
        assert (await proxy.record()).caller is None
        assert await figures(proxy.running, "sidecar_caller_lookups_total") == {}
        assert await proxy.running.services.ledger.flush()
        [row] = rows(proxy.state)
        assert [row[name] for name in ("caller_program", "caller_pid", "repo")] == [None] * 3


async def test_process_of_another_user_is_not_recorded(
    proxy: Sidecar, vendor: ScriptedVendor, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can start a process of another user")
    script = (
        f"exec 3<>/dev/tcp/127.0.0.1/{proxy.port}; read -r go; printf 'POST /v1/x HTTP/1.1\\r\\n"
        "Host: localhost\\r\\nContent-Length: 0\\r\\n\\r\\n' >&3; read -r line <&3; echo $line"
    )
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", script, user=65534, group=65534, extra_groups=[], cwd="/",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert await looked(proxy) == {'result="unknown"': 1}
    said, _ = await process.communicate(b"go\n")
    assert said.startswith(b"HTTP/1.1 401")
    assert await caller(proxy) == NOBODY


class Held:
    """A way to find callers that is stuck until it is let go, as on a dead network disk."""

    fresh = 600.0
    found = Caller("found", 7)
    broken = closed = False

    def __init__(self) -> None:
        self.go, self.asked = Event(), Event()

    def find(self, peer: SocketAddress, own: SocketAddress, gone: Gone) -> Caller:
        self.asked.set()
        self.go.wait(30)
        if self.broken:
            raise OSError("no such table")
        return self.found

    def find_recent(self, _peer: SocketAddress, _own: SocketAddress) -> Caller | None:
        if self.broken:
            raise OSError("no such socket")
        return None

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    finder = Held()

    def find_finder() -> Finder:
        return finder

    monkeypatch.setattr("sidecar.callers.find_finder", find_finder)
    yield finder
    finder.go.set()


@pytest.fixture
async def stuck(tmp_path: Path, vendor: ScriptedVendor, held: Held) -> AsyncIterator[Sidecar]:
    async with start_sidecar(tmp_path, YAML.format(url=vendor.url), KEYS) as started:
        yield started


async def ask_while_looked_at(proxy: Sidecar, held: Held) -> int:
    """The status of a call on a connection that is being looked at when the call is made."""
    async with dial(proxy.port, b"") as (reader, writer):
        await until(held.asked.is_set)
        writer.write(request("POST", CHAT, proxy.bearer("gpt"), BODY))
        return parse(await reader.read()).status


async def test_call_is_answered_during_the_lookup_and_recorded_after_it(
    stuck: Sidecar, held: Held
) -> None:
    assert await ask_while_looked_at(stuck, held) == 200
    assert stuck.records == []
    held.go.set()
    assert await caller(stuck) == held.found
    assert await stuck.running.services.ledger.flush()
    assert [row["caller_pid"] for row in rows(stuck.state)] == [7]


async def test_flush_waits_for_records_whose_lookup_runs(
    stuck: Sidecar, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.callers.lookup.CALLER_LOOKUP_TIMEOUT_SECONDS", 30.0)
    await stuck.running.services.finished.settle()  # of none
    assert await ask_while_looked_at(stuck, held) == 200
    settled = asyncio.create_task(stuck.running.services.finished.settle())
    await asyncio.sleep(0)
    assert not settled.done()
    held.go.set()
    await settled
    assert [record.caller for record in stuck.records] == [held.found]


async def test_flush_does_not_wait_for_a_lookup_that_never_ends(
    stuck: Sidecar, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.callers.lookup.CALLER_LOOKUP_TIMEOUT_SECONDS", 0.01)
    assert await ask_while_looked_at(stuck, held) == 200
    await stuck.running.services.finished.settle()
    assert not held.go.is_set()
    assert len(stuck.records) == 1


async def test_caller_of_a_connection_stays_known_after_a_failed_lookup(
    stuck: Sidecar, held: Held, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later look may come when there is nothing left to be seen."""
    monkeypatch.setattr(held, "fresh", 0.0)
    held.go.set()
    async with agent(stuck, tmp_path) as one:
        await one.call()
        assert await caller(stuck) == Caller("found", 7)
        monkeypatch.setattr(held, "found", NOBODY)
        await one.call()
        assert await caller(stuck, 2) == Caller("found", 7)


async def test_failed_lookup_records_no_caller_and_the_next_one_runs(
    stuck: Sidecar, held: Held, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held, "fresh", 0.0)
    monkeypatch.setattr(held, "broken", True)
    held.go.set()
    async with agent(stuck, tmp_path) as one:
        await one.call()
        assert await caller(stuck) == NOBODY
        monkeypatch.setattr(held, "broken", False)
        await one.call()
        assert await caller(stuck, 2) == held.found


async def test_finder_is_closed_with_sidecar(
    tmp_path: Path, vendor: ScriptedVendor, held: Held
) -> None:
    async with start_sidecar(tmp_path, YAML.format(url=vendor.url), KEYS):
        assert not held.closed
    assert held.closed


async def test_lookup_that_never_ends_times_out(
    stuck: Sidecar, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.callers.lookup.CALLER_LOOKUP_TIMEOUT_SECONDS", 0.01)
    assert await ask_while_looked_at(stuck, held) == 200
    assert (await stuck.record()).caller is None
    held.go.set()
    await stuck.ask(CHAT, BODY)
    await stuck.record(2)
    assert len({record.call_id for record in stuck.records}) == 2


async def test_records_that_wait_for_a_lookup_are_written_at_shutdown(
    tmp_path: Path, vendor: ScriptedVendor, held: Held
) -> None:
    async with start_sidecar(tmp_path, YAML.format(url=vendor.url), KEYS) as proxy:
        await ask_while_looked_at(proxy, held)
        assert proxy.records == []
    told: list[CallRecord] = proxy.records
    assert [record.caller for record in told] == [None]
    assert [row["call_id"] for row in rows(tmp_path / "state")] == [told[0].call_id]


async def test_lookups_beyond_the_queue_limit_are_dropped_and_counted(
    tmp_path: Path, vendor: ScriptedVendor, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.callers.lookup.MAX_WAITING", 2)
    async with start_sidecar(tmp_path, YAML.format(url=vendor.url), KEYS) as proxy:
        await ask_while_looked_at(proxy, held)
        for _ in range(4):
            assert (await proxy.ask(CHAT, BODY)).status == 200
        await proxy.record(2)
        assert [record.caller for record in proxy.records] == [None, None]
        counted = await figures(proxy.running, "sidecar_caller_lookups_total")
        # Two connections, of which each was tried as it was made and again with its call.
        assert counted == {'result="skipped"': 4}
        held.go.set()
        await proxy.record(5)
