"""Several real Redis servers as one: a cluster, or a primary with a replica under Sentinels."""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from real_redis import RealRedis, real_redis

if TYPE_CHECKING:
    from redis import Redis

SERVICE = "limits"
SECRET = "canary-server"
SENTINEL_SECRET = "canary-sentinel"


class Member:
    """One server of several, on a port of its own."""

    def __init__(self, server: RealRedis, port: int, secret: str) -> None:
        self.server = server
        self.port = port
        self.address = f"127.0.0.1:{port}"
        self.client = client(port, secret)

    def run(self, *words: object) -> Any:
        return self.client.execute_command(*words)

    def info(self, section: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.info(section)  # type: ignore[assignment]
        return found


def client(port: int, secret: str = "") -> Redis:
    from redis import Redis

    return Redis(port=port, password=secret or None, decode_responses=True)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_until(holds: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "the servers do not come together"
        time.sleep(0.02)


@contextmanager
def member(*options: str) -> Iterator[Member]:
    port = free_port()
    with real_redis("--port", str(port), "--bind", "127.0.0.1", *options) as server:
        found = Member(server, port, SECRET if SECRET in options else "")
        yield found
        found.client.close()


@contextmanager
def cluster() -> Iterator[list[Member]]:
    """Run three primaries and a replica of the first, which serves all slots but two."""
    with ExitStack() as stack:
        members = [
            stack.enter_context(
                member(
                    "--cluster-enabled", "yes", "--cluster-port", str(free_port()),
                    "--cluster-node-timeout", "600", "--repl-diskless-sync-delay", "0",
                )
            ) for _ in range(4)
        ]  # fmt: skip
        first, second, third, replica = members
        first.run("CLUSTER ADDSLOTSRANGE", 0, 16381)
        second.run("CLUSTER ADDSLOTS", 16382)
        third.run("CLUSTER ADDSLOTS", 16383)
        for number, each in enumerate(members):
            each.run("CLUSTER SET-CONFIG-EPOCH", number + 1)
            bus = each.client.config_get("cluster-port")["cluster-port"]  # type: ignore[index]
            first.run("CLUSTER MEET", "127.0.0.1", each.port, bus)
        wait_until(lambda: all(len(each.run("CLUSTER NODES")) == 4 for each in members))
        replica.run("CLUSTER REPLICATE", first.run("CLUSTER MYID"))
        wait_until(lambda: _follows(replica))
        wait_until(lambda: {_state(each) for each in members} == {"ok"})
        yield members


def move_slot(slot: int, source: Member, to: Member) -> Iterator[None]:
    """Move a slot from a primary to another; the test continues while it is on the way."""
    to.run("CLUSTER SETSLOT", slot, "IMPORTING", source.run("CLUSTER MYID"))
    source.run("CLUSTER SETSLOT", slot, "MIGRATING", to.run("CLUSTER MYID"))
    yield
    keys = source.run("CLUSTER GETKEYSINSLOT", slot, 10_000)
    source.run("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS", *keys)
    for each in (to, source):
        each.run("CLUSTER SETSLOT", slot, "NODE", to.run("CLUSTER MYID"))
    yield


@contextmanager
def pair(*options: str) -> Iterator[tuple[Member, Member]]:
    """Run a primary and its replica."""
    now = ("--repl-diskless-sync-delay", "0", *options)
    with member(*now) as primary:
        of = ("--replicaof", f"127.0.0.1 {primary.port}")
        with member(*of, *now) as replica:
            wait_until(lambda: _follows(replica))
            yield primary, replica


@contextmanager
def watched() -> Iterator[tuple[Member, Member, str]]:
    """Run a primary and a replica under a Sentinel, all with passwords; the URL of the Sentinel,
    behind one that is dead."""
    port = free_port()
    with pair("--requirepass", SECRET, "--masterauth", SECRET) as (primary, replica):
        lines = (
            f"monitor {SERVICE} 127.0.0.1 {primary.port} 1", f"auth-pass {SERVICE} {SECRET}",
            f"down-after-milliseconds {SERVICE} 400",
        )  # fmt: skip
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.writelines(f"sentinel {line}\n" for line in lines)
            file.flush()
            words = ("--port", str(port), "--sentinel", "--requirepass", SENTINEL_SECRET)
            with real_redis(*words, file=file.name):
                wait_until(lambda: _sees_replica(port))
                places = f":{SECRET}@127.0.0.1:{free_port()},127.0.0.1:{port}"
                options = f"sentinel_password={SENTINEL_SECRET}"
                yield primary, replica, f"redis+sentinel://{places}/{SERVICE}?{options}"


def _sees_replica(port: int) -> bool:
    with client(port, SENTINEL_SECRET) as found:
        info: Any = found.info("sentinel")
        return bool(info["master0"]["slaves"] == 1)


def _state(one: Member) -> str:
    return str(one.run("CLUSTER INFO")["cluster_state"])


def _follows(one: Member) -> bool:
    return one.info("replication").get("master_link_status") == "up"
