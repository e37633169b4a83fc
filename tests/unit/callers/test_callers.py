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
from contextlib import contextmanager
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
def test_a_table_has_each_of_its_sockets_and_no_other(rows: list[Row]) -> None:
    table = (HEAD + "".join(line(row, n) for n, row in enumerate(rows))).encode()
    for own, far, uid, inode in rows:
        assert read_table(table, own, far) == Socket(inode, uid)
        if (far, own) not in [row[:2] for row in rows]:
            assert read_table(table, far, own) is None


@given(st.tuples(st.ip_addresses(v=4).map(str), PORTS), st.tuples(st.just("127.0.0.1"), PORTS))
def test_a_table_has_ipv4_ends_in_the_clothes_of_ipv6(
    own: SocketAddress, far: SocketAddress
) -> None:
    table = line(((f"::ffff:{own[0]}", own[1]), (f"::ffff:{far[0]}", far[1]), 1000, 77)).encode()
    assert read_table(table, own, far) == Socket(77, 1000)


@given(st.binary(max_size=200), ENDS, ENDS, st.integers(0, 200))
def test_no_table_is_too_broken_to_be_read(
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
def test_no_reply_is_too_broken_to_be_read(junk: bytes) -> None:
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
def test_both_ways_find_a_real_socket(
    family: int, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connected(family, host) as (inode, peer, own):
        assert find_socket(peer, own) == Socket(inode, os.geteuid())
        # As in a sandbox that forbids netlink: no such protocol.
        monkeypatch.setattr(sockets, "_SOCK_DIAG", 9999)
        assert find_socket(peer, own) == Socket(inode, os.geteuid())
        assert find_socket(peer, (own[0], 1)) is None


@linux
def test_what_is_not_on_this_machine_is_not_found() -> None:
    assert find_socket(("192.0.2.1", 40_000), ("127.0.0.1", 8787)) is None
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # The kernel would offer the listener of that port.
        assert find_socket(listener.getsockname(), ("127.0.0.1", 8787)) is None
    with pytest.raises(OSError, match="illegal IP address"):
        find_socket(("localhost", 1), ("127.0.0.1", 8787))


@linux
def test_a_closed_connection_has_no_holder() -> None:
    with connected() as (_, peer, own):
        pass
    assert find_socket(peer, own) is None


# Processes


@linux
def test_a_process_is_found_again_by_what_is_known_of_it() -> None:
    finder = ProcFinder()
    with connected() as (_, peer, own), connected() as (_, other_peer, other_own):
        first = finder.find(peer, own, stays)
        assert (first.pid, first.directory) == (os.getpid(), str(Path.cwd()))
        assert finder.find(other_peer, other_own, stays) == first


@linux
def test_the_search_stops_once_the_connection_is_gone() -> None:
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
def test_a_process_that_hides_from_its_own_user_is_not_named(mode: int, readable: bool) -> None:
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
def test_a_path_that_means_something_else_there_is_not_taken_for_ours(tmp_path: Path) -> None:
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
def test_a_directory_that_was_removed_is_unknown(tmp_path: Path) -> None:
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
def test_a_program_is_called_by_its_name_and_nothing_else_is_told(
    tmp_path: Path, command: str, executable: str, name: str
) -> None:
    (tmp_path / "agent.py").touch()
    (tmp_path / "codex" / "dist").mkdir(parents=True)
    (tmp_path / "codex" / "dist" / "cli.js").touch()
    line = "".join(f"{word}\0" for word in command.format(tmp_path).split())
    assert program_name(line.encode(), executable, str(tmp_path)) == name


def test_a_title_is_not_taken_for_a_name() -> None:
    assert program_name(b"worker: sk-secret\0\0\0", "/usr/bin/agent", "/") == "agent"
    assert program_name(b"node sk-secret\0", "/usr/bin/node", "/") == "node"


@given(st.lists(st.binary(min_size=1).filter(lambda word: b"\0" not in word)))
def test_an_argument_that_is_no_file_is_never_told(arguments: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as empty:
        words = [
            each for each in arguments if each != b"-m" and b"/" not in each and each[:1] != b"."
        ]
        assert program_name(b"\0".join([b"node", *words, b""]), "/usr/bin/node", empty) == "node"


# Repositories


def test_repositories_as_git_makes_them(tmp_path: Path) -> None:
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


def test_a_directory_outside_of_any_repository(tmp_path: Path) -> None:
    assert find_repository(str(tmp_path)) == ("", "")
    assert find_repository("/") == ("", "")


def test_a_folder_that_is_only_called_git_is_passed_over(tmp_path: Path) -> None:
    home = repository(tmp_path / "shop")
    (home / "sub" / ".git").mkdir(parents=True)
    assert find_repository(str(home / "sub")) == ("shop", "main")


def test_what_lies_in_the_way_holds_nobody_up(tmp_path: Path) -> None:
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


def test_a_repository_behind_a_link_is_found(tmp_path: Path) -> None:
    home = repository(tmp_path / "shop")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / ".git").symlink_to(home / ".git")
    assert find_repository(str(tmp_path / "linked")) == ("linked", "main")


NAMES = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), min_size=1, max_size=40
)


@given(NAMES)
def test_any_branch_is_read(name: str) -> None:
    assert read_head(f"ref: refs/heads/{name}\n".encode()) == name


@given(st.binary(min_size=20, max_size=32).filter(lambda each: len(each) in {20, 32}))
def test_any_commit_is_shortened(commit: bytes) -> None:
    assert read_head(commit.hex().encode() + b"\n") == commit.hex()[:7]


@given(st.binary(max_size=100))
def test_no_head_is_too_broken_to_be_read(junk: bytes) -> None:
    found = read_head(junk)
    assert found is None or junk.startswith((b"ref:", found.encode()[:7])) or junk[:1].isspace()


def test_a_head_that_keeps_its_branches_elsewhere_has_none() -> None:
    assert read_head(b"ref: refs/heads/.invalid\n") == ""
    assert read_head(b"ref: refs/bisect/bad\n") == "refs/bisect/bad"
    assert read_head(b"root:x:0:0:root:/root:/bin/bash\n") is None


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_start(str(tmp_path / "file"), 3) == b"123"
    assert read_start(str(tmp_path), 3) == b""
    assert read_start("/dev/zero", 3) == b""


@given(st.text())
def test_a_name_is_one_printable_line(text: str) -> None:
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
def test_no_listing_is_too_broken_to_be_read(text: str) -> None:
    assert all(pid for pid, _, _ in read_rows(text))


def test_a_listing_is_read_by_its_letters() -> None:
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
def test_the_line_of_a_call_says_who(caller: Caller | None, words: str) -> None:
    record = logging.LogRecord("sidecar.call", logging.INFO, "", 0, "call", (), None)
    record.call = call(caller=caller)
    human = Lines(as_json=False).format(record)
    assert words in human
    assert ("by " in human) == bool(words)
    said = f'"caller": "{words[3:]}"' if words else '"caller": null'
    assert said in Lines(as_json=True).format(record)
