"""The server of the shared engine: its connection, its script and its failures."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from sidecar.errors import SidecarError
from sidecar.shared.addresses import ServerAddresses
from sidecar.shared.pipe import Pipe, open_pipe

if TYPE_CHECKING:
    from redis.asyncio import ConnectionPool
    from redis.asyncio.client import PubSub

TIMEOUT_SECONDS = 0.5
"""Seconds after which an operation counts as failed."""
MAX_REDIRECTIONS = 4
REFUSES = "refuses the script"
BESIDE = frozenset({"facts", "own", "owner", "nodes"})
"""Operations that count nothing: limits hold although the script refuses one of them."""


class EngineError(SidecarError):
    """The engine cannot be used; the text gives the reason without a secret."""


class ScriptRefused(EngineError):
    """The server runs, and refuses an operation: its data are not what the script expects."""


class Line:
    """A pipe to where the server is, which is opened when it is needed."""

    def __init__(
        self, addresses: ServerAddresses, connections: Callable[[str], ConnectionPool]
    ) -> None:
        self._addresses = addresses
        self._connections = connections
        self._pipe: Pipe | None = None
        self._opening = asyncio.Lock()

    async def run(self, commands: Sequence[Sequence[str]]) -> list[Any]:
        """Return the answers to commands, from the node that serves the namespace. Raises the
        errors of redis-py."""
        pipe = self._pipe
        try:
            for _ in range(MAX_REDIRECTIONS):
                pipe = await self._opened()
                try:
                    return await pipe.run(commands)
                except _client_errors().MovedError as moved:
                    await self._follow(pipe, moved.host, moved.port)
        except _client_errors().NoScriptError:
            raise
        except (_client_errors().RedisError, OSError):
            if pipe is self._pipe:
                await self.leave()
            raise
        raise EngineError("is a cluster whose nodes name one another")

    async def leave(self) -> None:
        """Give up the pipe and its address; the next command looks for another."""
        self._addresses.fail()
        await self.close()

    async def close(self) -> None:
        """End the connection."""
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            await pipe.close()

    async def _opened(self) -> Pipe:
        async with self._opening:
            if self._pipe is None or not self._pipe.is_open:
                await self.close()  # one that the server has ended
                pool: Any = self._connections(await self._addresses.find())
                self._pipe = await open_pipe(pool.make_connection())
            return self._pipe

    async def _follow(self, pipe: Pipe, host: str, port: int) -> None:
        """Use the node that serves the namespace; each command gets its own redirection."""
        if pipe is self._pipe:
            self._pipe = None
            self._addresses.follow(host, port)
        if pipe.is_idle:
            await pipe.close()


class Server:
    """A server that runs the script. Use `open_server`.

    Args:
        connections: Returns the pool of connections to an address; they connect when used.
    """

    def __init__(
        self, addresses: ServerAddresses, connections: Callable[[str], ConnectionPool]
    ) -> None:
        self._addresses = addresses
        self._connections = connections
        self._script = Line(addresses, connections)
        self._rest = Line(addresses, connections)  # so that no lease waits behind a long text

    async def run(self, words: Sequence[str]) -> list[Any]:
        """Run the script with one key and arguments. Raises `EngineError`."""
        text, digest = _script()
        try:
            [found] = await _answers(self._script, [("EVALSHA", digest, "1", *words)])
        except _client_errors().NoScriptError:
            [found] = await _answers(self._script, [("EVAL", text, "1", *words)])
        answer: list[Any] = found
        return answer

    async def send(self, commands: Iterable[Sequence[str]]) -> list[Any]:
        """Run commands in their order, in one round trip; return their answers. Raises
        `EngineError`."""
        return await _answers(self._rest, list(commands))

    @asynccontextmanager
    async def messages(self) -> AsyncIterator[PubSub]:
        """Open a connection for wake messages. Raises the errors of redis-py."""
        from redis.asyncio import Redis

        pool = self._connections(await self._addresses.find())
        async with Redis.from_pool(pool) as client, client.pubsub() as messages:
            yield messages

    async def close(self) -> None:
        """End the connections."""
        await self._script.close()
        await self._rest.close()


async def _answers(line: Line, commands: Sequence[Sequence[str]]) -> list[Any]:
    """Return the answers to commands. Raises `EngineError` for what fails or is not done in
    `TIMEOUT_SECONDS`, and redis-py's `NoScriptError`.

    A plain function, and errors that are named only when one is raised: every lease passes here.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as bound:
            first_half = loop.call_later(TIMEOUT_SECONDS / 2, _bound_second_half, bound, loop)
            try:
                return await line.run(commands)
            finally:
                first_half.cancel()
    except _client_errors().NoScriptError:
        raise
    except (_client_errors().RedisError, OSError, TimeoutError) as error:
        if type(error) is TimeoutError:  # else the line has given up its pipe already
            await line.leave()
        reason = _reason(error)
        refused = reason.startswith(REFUSES)
        raise (ScriptRefused if refused else EngineError)(reason) from None


def _bound_second_half(bound: asyncio.Timeout, loop: asyncio.AbstractEventLoop) -> None:
    """Start the second half of an operation's time.

    The time runs in two halves so that a stall of this process is no outage of the server: after a
    stall both timers would be due before the answer that has arrived meanwhile is read.
    """
    bound.reschedule(loop.time() + TIMEOUT_SECONDS / 2)


@cache
def _client_errors() -> Any:
    """Return the exceptions of redis-py, an extra, which is imported when it is used."""
    from redis import exceptions

    return exceptions


@asynccontextmanager
async def open_server(url: str) -> AsyncIterator[Server]:
    """Make the client of a server, which connects when it is used.

    Raises `EngineError` if redis-py is not installed, or for a URL that it cannot use.
    """
    try:
        from redis.asyncio import ConnectionPool
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError:
        raise EngineError(
            "state.shared needs the redis client; install it with pip install 'sidecar-llm[shared]'"
        ) from None

    def connections(address: str) -> ConnectionPool:
        return ConnectionPool.from_url(
            address, decode_responses=True, encoding_errors="replace",
            retry=Retry(NoBackoff(), 0), client_name="sidecar",
            socket_timeout=None, socket_connect_timeout=TIMEOUT_SECONDS,
        )  # fmt: skip

    try:
        addresses = ServerAddresses(url)
        connections(addresses.any)
    except ValueError:  # its text may quote the URL
        raise EngineError(
            "this is not the URL of a server (not shown); write redis://:PASSWORD@HOST:6379, with "
            "signs such as / and # of the password as %2F and %23"
        ) from None
    server = Server(addresses, connections)
    try:
        yield server
    finally:
        await server.close()


@cache
def _script() -> tuple[str, str]:
    from importlib import resources  # slow to import

    text = resources.files("sidecar.shared").joinpath("engine.lua").read_text("utf-8")
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _reason(error: Exception) -> str:
    """Return why an operation failed, without the text of the server, which may quote words."""
    from redis import exceptions

    reasons: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
        (exceptions.AuthenticationError, "rejects the user or password"),
        (exceptions.NoPermissionError, "does not permit this user the commands that Sidecar needs"),
        (exceptions.ReadOnlyError, "is a read-only replica"),
        (exceptions.OutOfMemoryError, "has no memory left"),
        (exceptions.AskError, "moves the namespace to another node of its cluster"),
        (exceptions.ClusterDownError, "is part of a cluster that is down"),
        (exceptions.BusyLoadingError, "is still loading its data"),
        ((exceptions.TimeoutError, TimeoutError), f"did not answer within {TIMEOUT_SECONDS:g} s"),
        ((exceptions.ConnectionError, OSError), "cannot be reached"),
    )
    for kinds, reason in reasons:
        # The client wraps an error of its handshake.
        if any(isinstance(each, kinds) for each in (error, error.__cause__, error.__context__)):
            return reason
    return f"{REFUSES} ({type(error).__name__})"
