"""How a caller is found: sockets, processes, programs and repositories, as this system has them."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from agent_programs import git, repository
from hypothesis import given
from hypothesis import strategies as st
from ledger_checks import call

from sidecar.access_log import Lines
from sidecar.callers import linux as sockets
from sidecar.callers.git import find_repository, read_head
from sidecar.callers.linux import (
    ProcFinder,
    Socket,
    SocketAddress,
    find_socket,
    read_reply,
    read_table,
)
from sidecar.callers.macos import LsofFinder, read_rows
from sidecar.callers.process_name import clean, program_name
from sidecar.files import read_start
from sidecar.records import Caller

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has /proc")
PORTS = st.integers(0, 65535)
ENDS = st.one_of(
    st.tuples(st.ip_addresses(v=4).map(str), PORTS), st.tuples(st.ip_addresses(v=6).map(str), PORTS)
)
NUMBERS = st.integers(1, 2**32 - 1)
Row = tuple[SocketAddress, SocketAddress, int, int]


def stays() -> bool:
    return False


# Sockets


def line(row: Row, number: int = 0) -> str:
    """A row of `/proc/net/tcp`, written from the format's description."""
    own, far, uid, inode = row

    def ends(end: SocketAddress) -> str:
        family = socket.AF_INET6 if ":" in end[0] else socket.AF_INET
        packed = socket.inet_pton(family, end[0])
        words = [packed[at : at + 4] for at in range(0, len(packed), 4)]
        text = "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)
        return f"{text}:{end[1]:04X}"

    return (
        f"{number:4d}: {ends(own)} {ends(far)} 01 00000000:00000000 02:000A7BF4 00000000 "
        f"{uid:5d}        0 {inode} 2 0000000000000000 20 4 30 10 -1\n"
    )


HEAD = (
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout\n"
)


@given(st.lists(st.tuples(ENDS, ENDS, NUMBERS, NUMBERS), unique_by=lambda row: row[:2], max_size=8))
def test_socket_table_returns_each_of_its_sockets_and_no_other(rows: list[Row]) -> None:
    table = (HEAD + "".join(line(row, n) for n, row in enumerate(rows))).encode()
    for own, far, uid, inode in rows:
        assert read_table(table, own, far) == Socket(inode, uid)
        if (far, own) not in [row[:2] for row in rows]:
            assert read_table(table, far, own) is None


@given(st.tuples(st.ip_addresses(v=4).map(str), PORTS), st.tuples(st.just("127.0.0.1"), PORTS))
def test_socket_table_finds_ipv4_ends_mapped_to_ipv6(
    own: SocketAddress, far: SocketAddress
) -> None:
    table = line(((f"::ffff:{own[0]}", own[1]), (f"::ffff:{far[0]}", far[1]), 1000, 77)).encode()
    assert read_table(table, own, far) == Socket(77, 1000)


@given(st.binary(max_size=200), ENDS, ENDS, st.integers(0, 200))
def test_socket_table_that_is_malformed_never_raises(
    junk: bytes, own: SocketAddress, far: SocketAddress, cut: int
) -> None:
    row = line((own, far, 1000, 77)).encode()
    assert read_table(junk, own, far) is None
    assert read_table(junk + row[:cut] + b"\n", own, far) in {
        None,
        Socket(77, 1000),
        Socket(7, 1000),
    }


@given(st.binary(max_size=100))
def test_netlink_reply_that_is_malformed_never_raises(junk: bytes) -> None:
    found = read_reply(junk)
    assert found is None or found.inode


@contextmanager
def connected(
    family: int = socket.AF_INET, host: str = "127.0.0.1"
) -> Iterator[tuple[int, SocketAddress, SocketAddress]]:
    """The inode of a client's socket, with the ends of its connection as the server sees them."""
    with (
        socket.create_server((host, 0), family=family) as server,
        socket.create_connection(server.getsockname()[:2]) as client,
        server.accept()[0] as accepted,
    ):
        inode = os.fstat(client.fileno()).st_ino
        yield inode, accepted.getpeername()[:2], accepted.getsockname()[:2]


@linux
@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_socket_is_found_by_netlink_and_by_the_tables(
    family: int, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connected(family, host) as (inode, peer, own):
        assert find_socket(peer, own) == Socket(inode, os.geteuid())
        # As in a sandbox that forbids netlink: no such protocol.
        monkeypatch.setattr(sockets, "_SOCK_DIAG", 9999)
        assert find_socket(peer, own) == Socket(inode, os.geteuid())
        assert find_socket(peer, (own[0], 1)) is None


@linux
def test_socket_of_another_machine_is_not_found() -> None:
    assert find_socket(("192.0.2.1", 40_000), ("127.0.0.1", 8787)) is None
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # The kernel would offer the listener of that port.
        assert find_socket(listener.getsockname(), ("127.0.0.1", 8787)) is None
    with pytest.raises(OSError, match="illegal IP address"):
        find_socket(("localhost", 1), ("127.0.0.1", 8787))


@linux
def test_closed_connection_has_no_caller() -> None:
    with connected() as (_, peer, own):
        pass
    assert find_socket(peer, own) is None


# Processes


@linux
def test_recent_caller_is_found_by_its_descriptor(finder: ProcFinder) -> None:
    with connected() as (_, peer, own), connected() as (_, other_peer, other_own):
        first = finder.find(peer, own, stays)
        assert (first.pid, first.directory) == (os.getpid(), str(Path.cwd()))
        assert finder.find(other_peer, other_own, stays) == first


@linux
def test_burst_of_connections_needs_one_search(monkeypatch: pytest.MonkeyPatch) -> None:
    finder, searched = ProcFinder(), 0
    descriptors = sockets._descriptors

    def counting(pid: int) -> list[str]:
        nonlocal searched
        searched += 1
        return descriptors(pid)

    monkeypatch.setattr(sockets, "_descriptors", counting)
    with ExitStack() as stack:
        burst = [stack.enter_context(connected()) for _ in range(8)]
        assert finder.find(*burst[0][1:], stays).pid == os.getpid()
        once = searched
        assert {finder.find(*ends, stays).pid for _, *ends in burst} == {os.getpid()}
        assert searched == once
        burst[3] = stack.enter_context(connected())  # a descriptor may have another socket by now
        assert finder.find(*burst[3][1:], stays).pid == os.getpid()


@pytest.fixture
def finder() -> Iterator[ProcFinder]:
    with closing(ProcFinder()) as one:
        yield one


@linux
def test_next_connections_of_a_recent_caller_are_found_without_a_search(
    finder: ProcFinder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, ExitStack() as stack:

        def connect() -> tuple[SocketAddress, SocketAddress]:
            client = stack.enter_context(socket.create_connection(server.getsockname()))
            return client.getsockname(), client.getpeername()

        burst = [connect(), connect()]
        assert finder.find_recent(*burst[0]) is None, "nothing has called yet"
        caller = finder.find(*burst[0], stays)
        assert caller.pid == os.getpid()
        monkeypatch.setattr(sockets, "_descriptors", None)
        burst += [connect(), connect()]
        # In order: each of those that came later has the descriptor after the one before.
        assert [finder.find_recent(*ends) for ends in burst] == [caller] * 4


@linux
def test_next_connection_with_the_same_descriptor_is_found_without_a_search(
    finder: ProcFinder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connected() as (_, *ends):
        caller = finder.find(*ends, stays)
    assert finder.find_recent(*ends) is None, "it is closed"
    monkeypatch.setattr(sockets, "_descriptors", None)
    with connected() as (_, *again):
        assert finder.find_recent(*again) == caller


@linux
def test_connection_of_another_process_is_none_of_a_recent_caller(finder: ProcFinder) -> None:
    with connected() as (_, *own):
        finder.find(*own, stays)
    with socket.create_server(("127.0.0.1", 0)) as server:
        script = f"exec 3<>/dev/tcp/127.0.0.1/{server.getsockname()[1]}; read -r line <&3"
        with subprocess.Popen(["bash", "-c", script]) as process:
            with server.accept()[0] as wire:
                ends = wire.getpeername(), wire.getsockname()
                assert finder.find_recent(*ends) is None
                found = finder.find(*ends, stays)
                assert finder.find_recent(*ends) == found
                assert found.pid == process.pid
            process.wait(10)


@linux
def test_description_of_a_recent_caller_expires(
    finder: ProcFinder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connected() as (_, *ends):
        finder.find(*ends, stays)
        monkeypatch.setattr(ProcFinder, "fresh", 0.0)
        assert finder.find_recent(*ends) is None


@linux
def test_process_search_stops_when_the_connection_is_closed() -> None:
    """Our own process is not the youngest: others are asked before it."""
    with connected() as (_, peer, own), subprocess.Popen(["sleep", "60"]) as younger:
        assert ProcFinder().find(peer, own, lambda: True) == Caller()
        assert ProcFinder().find(peer, own, stays).pid == os.getpid()
        younger.kill()


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Act as a user without rights over others; root becomes one for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@linux
@pytest.mark.parametrize(("mode", "readable"), [(0o755, True), (0o111, False)])
def test_process_hidden_from_its_user_is_not_named(mode: int, readable: bool) -> None:
    """A program that may be run but not read is closed to everybody but root."""
    user = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.create_server(("127.0.0.1", 0)) as server,
    ):
        Path(folder).chmod(0o755)
        shell = Path(shutil.copy(str(shutil.which("bash")), folder))
        shell.chmod(mode)
        script = f"exec 3<>/dev/tcp/127.0.0.1/{server.getsockname()[1]}; read -r line <&3"
        with subprocess.Popen([str(shell), "-c", script], cwd="/", **user) as process:
            with server.accept()[0] as wire, ordinary_user():
                found = ProcFinder().find(wire.getpeername(), wire.getsockname(), stays)
            process.wait(10)
    assert found == (Caller("bash", process.pid, "/") if readable else Caller())


@linux
def test_directory_of_another_mount_namespace_is_unknown(tmp_path: Path) -> None:
    """As in a container that shares this machine's network."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("only root may mount in a namespace of its own")
    home = repository(tmp_path / "shop")
    with socket.create_server(("127.0.0.1", 0)) as server:
        script = (
            f"mount -t tmpfs none {home} && cd {home} && "
            f"exec 3<>/dev/tcp/127.0.0.1/{server.getsockname()[1]} && read -r line <&3"
        )
        server.settimeout(20)
        with subprocess.Popen(["unshare", "--mount", "bash", "-c", script]) as process:
            with server.accept()[0] as wire:
                found = ProcFinder().find(wire.getpeername(), wire.getsockname(), stays)
            process.wait(10)
    assert found == Caller("bash", process.pid)


@linux
def test_directory_that_was_removed_is_unknown(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        script = f"rmdir ../gone; exec 3<>/dev/tcp/127.0.0.1/{port}; read -r line <&3"
        (tmp_path / "gone").mkdir()
        with subprocess.Popen(["bash", "-c", script], cwd=tmp_path / "gone") as process:
            with server.accept()[0] as wire:
                found = ProcFinder().find(wire.getpeername(), wire.getsockname(), stays)
            process.wait(10)
    assert found == Caller("bash", process.pid)


# Programs


@pytest.mark.parametrize(
    ("command", "executable", "name"),
    [
        ("curl -H Authorization:sk-secret", "/usr/bin/curl", "curl"),
        ("claude --resume", "/home/me/.local/share/claude/versions/2.1.3", "claude"),
        ("-zsh", "/usr/bin/zsh", "zsh"),
        ("/proc/self/exe --type=utility", "/opt/editor/editor", "editor"),
        ("", "/opt/updated/agent (deleted)", "agent"),
        ("", "", ""),
        ("python3", "/usr/bin/python3.11", "python3"),
        ("python3 -u {}/agent.py --key sk-secret", "/usr/bin/python3.11", "agent.py"),
        ("python agent.py", "/usr/bin/python3.11", "agent.py"),
        ("python3.12 -m pytest -q sk-secret", "/usr/bin/python3.12", "pytest"),
        ("python3 -m sk-secret", "/usr/bin/python3", "python3"),
        ("python3 -c sk-secret agent.py", "/usr/bin/python3", "python3"),
        ("bash -lc sk-secret agent.py", "/bin/bash", "bash"),
        ("node -e sk-secret agent.py", "/usr/bin/node", "node"),
        ("node --secret sk-secret", "/usr/bin/node", "node"),
        ("node --import hook {}/agent.py", "/usr/bin/node", "agent.py"),
        ("node {}/codex/dist/cli.js", "/usr/bin/node", "codex"),
        ("bun run codex/dist/cli.js", "/usr/bin/bun", "codex"),
        ("java -jar {}/agent.py", "/usr/bin/java", "agent.py"),
        ("node", "/usr/bin/node", "node"),
    ],
)  # fmt: skip
def test_program_name_has_nothing_of_the_other_arguments(
    tmp_path: Path, command: str, executable: str, name: str
) -> None:
    (tmp_path / "agent.py").touch()
    (tmp_path / "codex" / "dist").mkdir(parents=True)
    (tmp_path / "codex" / "dist" / "cli.js").touch()
    line = "".join(f"{word}\0" for word in command.format(tmp_path).split())
    assert program_name(line.encode(), executable, str(tmp_path)) == name


def test_program_with_a_title_is_named_by_its_executable() -> None:
    assert program_name(b"worker: sk-secret\0\0\0", "/usr/bin/agent", "/") == "agent"
    assert program_name(b"node sk-secret\0", "/usr/bin/node", "/") == "node"


@given(st.lists(st.binary(min_size=1).filter(lambda word: b"\0" not in word)))
def test_argument_that_is_no_file_is_never_the_program_name(arguments: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as empty:
        words = [
            each for each in arguments if each != b"-m" and b"/" not in each and each[:1] != b"."
        ]
        assert program_name(b"\0".join([b"node", *words, b""]), "/usr/bin/node", empty) == "node"


# Repositories


def test_repository_and_branch_of_every_kind_of_checkout(tmp_path: Path) -> None:
    home = repository(tmp_path / "shop", "feature/one")
    deep = home / "a" / "b"
    deep.mkdir(parents=True)
    assert find_repository(str(deep)) == ("shop", "feature/one")
    git(home, "worktree", "add", "--quiet", "-b", "two", str(tmp_path / "tree"))
    assert find_repository(str(tmp_path / "tree")) == ("shop", "two")

    git(tmp_path, "clone", "--quiet", "--bare", str(home), "bare.git")
    git(tmp_path / "bare.git", "worktree", "add", "--quiet", "-b", "three", str(tmp_path / "third"))
    assert find_repository(str(tmp_path / "third")) == ("bare", "three")

    git(tmp_path, "clone", "--quiet", "--bare", str(home), "hidden/.bare")
    hidden = tmp_path / "hidden" / ".bare"
    git(hidden, "worktree", "add", "--quiet", "-b", "four", str(tmp_path / "hidden" / "four"))
    assert find_repository(str(tmp_path / "hidden" / "four")) == ("hidden", "four")

    outer = repository(tmp_path / "outer")
    git(outer, "submodule", "--quiet", "add", str(home), "part")
    assert find_repository(str(outer / "part")) == ("part", "feature/one")
    assert find_repository(str(outer)) == ("outer", "main")

    git(tmp_path, "init", "--quiet", "--separate-git-dir", str(tmp_path / "apart"), "split")
    assert find_repository(str(tmp_path / "split"))[0] == "split"


def test_directory_outside_of_a_repository_has_none(tmp_path: Path) -> None:
    assert find_repository(str(tmp_path)) == ("", "")
    assert find_repository("/") == ("", "")


def test_folder_named_git_without_a_head_is_skipped(tmp_path: Path) -> None:
    home = repository(tmp_path / "shop")
    (home / "sub" / ".git").mkdir(parents=True)
    assert find_repository(str(home / "sub")) == ("shop", "main")


def test_repository_lookup_ignores_fifo_loop_and_oversized_head(tmp_path: Path) -> None:
    home = repository(tmp_path / "shop")
    head = home / ".git" / "HEAD"
    head.unlink()
    os.mkfifo(head)
    assert find_repository(str(home)) == ("", "")
    head.unlink()
    head.symlink_to(head)
    assert find_repository(str(home)) == ("", "")
    head.unlink()
    head.write_bytes(b"ref: refs/heads/main" + b" " * (1 << 20) + b"x")
    assert find_repository(str(home)) == ("shop", "main")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / ".git").write_text("gitdir: /nowhere\n")
    assert find_repository(str(tmp_path / "broken")) == ("", "")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert find_repository(str(tmp_path / "loop")) == ("", "")
    deep = tmp_path.joinpath(*["d"] * 100)
    assert find_repository(str(deep)) == ("", "")


def test_repository_behind_a_symlink_is_found(tmp_path: Path) -> None:
    home = repository(tmp_path / "shop")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / ".git").symlink_to(home / ".git")
    assert find_repository(str(tmp_path / "linked")) == ("linked", "main")


NAMES = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), min_size=1, max_size=40
)


@given(NAMES)
def test_head_with_any_branch_returns_that_branch(name: str) -> None:
    assert read_head(f"ref: refs/heads/{name}\n".encode()) == name


@given(st.binary(min_size=20, max_size=32).filter(lambda each: len(each) in {20, 32}))
def test_head_with_a_commit_returns_its_short_hash(commit: bytes) -> None:
    assert read_head(commit.hex().encode() + b"\n") == commit.hex()[:7]


@given(st.binary(max_size=100))
def test_head_that_is_malformed_never_raises(junk: bytes) -> None:
    found = read_head(junk)
    assert found is None or junk.startswith((b"ref:", found.encode()[:7])) or junk[:1].isspace()


def test_head_of_a_reftable_has_no_branch() -> None:
    assert read_head(b"ref: refs/heads/.invalid\n") == ""
    assert read_head(b"ref: refs/bisect/bad\n") == "refs/bisect/bad"
    assert read_head(b"root:x:0:0:root:/root:/bin/bash\n") is None


def test_read_start_reads_regular_files_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_start(str(tmp_path / "file"), 3) == b"123"
    assert read_start(str(tmp_path), 3) == b""
    assert read_start("/dev/zero", 3) == b""


@given(st.text())
def test_clean_returns_one_printable_line(text: str) -> None:
    found = clean(text, 16)
    assert found.isprintable()
    assert len(found) == min(len(text), 16)


# lsof, as macOS has it; Linux has the same one


@pytest.mark.skipif(shutil.which("lsof") is None, reason="there is no lsof here")
@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_lsof_finds_a_process(family: int, host: str) -> None:
    with connected(family, host) as (_, peer, own):
        found = LsofFinder().find(peer, own, stays)
    assert (found.pid, found.directory) == (os.getpid(), str(Path.cwd()))
    assert found.program
    assert LsofFinder().find(peer, own, stays) == Caller()


@given(st.text())
def test_lsof_output_that_is_malformed_never_raises(text: str) -> None:
    assert all(pid for pid, _, _ in read_rows(text))


def test_lsof_output_is_parsed_by_its_field_letters() -> None:
    listing = "p12\ncnode\nf3\nn127.0.0.1:5->127.0.0.1:8787\nf4\nnx\np13\nccurl\nf5\nny\n"
    assert list(read_rows(listing)) == [
        (12, "node", "127.0.0.1:5->127.0.0.1:8787"), (12, "node", "x"), (13, "curl", "y"),
    ]  # fmt: skip


# The log


@pytest.mark.parametrize(
    ("caller", "words"),
    [
        (Caller("claude", 7, "/work/shop", "shop", "main"), "by claude@shop"),
        (Caller("curl", 7, "/"), "by curl"),
        (Caller(), ""),
        (None, ""),
    ],
)
def test_log_line_of_a_call_names_its_caller(caller: Caller | None, words: str) -> None:
    record = logging.LogRecord("sidecar.call", logging.INFO, "", 0, "call", (), None)
    record.call = call(caller=caller)
    human = Lines(as_json=False).format(record)
    assert words in human
    assert ("by " in human) == bool(words)
    said = f'"caller": "{words[3:]}"' if words else '"caller": null'
    assert said in Lines(as_json=True).format(record)
