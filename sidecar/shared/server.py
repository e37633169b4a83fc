"""The server of the shared engine: its clients, its script and its failures."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from redis.asyncio import Redis

TIMEOUT_SECONDS = 0.5
"""Seconds after which an operation counts as failed."""
MAX_CONNECTIONS = 16


class EngineError(SidecarError):
    """The engine cannot be used; the text gives the reason without a secret."""


class Server:
    """A server that runs the script. Use `open_server`.

    Args:
        commands: The client for scripts.
        messages: The client for wake messages.
    """

    def __init__(self, commands: Redis, messages: Redis) -> None:
        self.commands = commands
        self.messages = messages

    async def run(self, words: Sequence[str]) -> list[Any]:
        """Run the script with one key and arguments. Raises `EngineError`."""
        from redis.exceptions import NoScriptError

        text, digest = _script()
        run: Callable[..., Awaitable[list[Any]]] = self.commands.execute_command
        async with _errors_named():
            try:
                return await run("EVALSHA", digest, 1, *words)
            except NoScriptError:
                return await run("EVAL", text, 1, *words)

    async def send(self, commands: Iterable[Sequence[str]]) -> list[Any]:
        """Run commands in their order, in one round trip; return their answers. Raises
        `EngineError`."""
        async with _errors_named():
            pipeline: Any = self.commands.pipeline(transaction=False)
            for words in commands:
                pipeline.execute_command(*words)
            answers: list[Any] = await pipeline.execute()
        return answers


@asynccontextmanager
async def _errors_named() -> AsyncIterator[None]:
    """Raise `EngineError` for what fails within, or is not done in `TIMEOUT_SECONDS`."""
    from redis.exceptions import RedisError

    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            yield
    except (RedisError, OSError, TimeoutError) as error:
        raise EngineError(_reason(error)) from None


@asynccontextmanager
async def open_server(url: str) -> AsyncIterator[Server]:
    """Make the clients of a server, which connect when they are used.

    Raises `EngineError` if the client is not installed, or for a URL that it cannot use.
    """
    try:
        from redis.asyncio import BlockingConnectionPool, Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError:
        raise EngineError(
            "state.shared needs the redis client; install it with pip install 'sidecar-llm[shared]'"
        ) from None
    options: dict[str, Any] = {
        "decode_responses": True, "retry": Retry(NoBackoff(), 0), "client_name": "sidecar",
        "socket_connect_timeout": TIMEOUT_SECONDS, "max_connections": MAX_CONNECTIONS,
        "timeout": TIMEOUT_SECONDS,
    }  # fmt: skip

    def client(timeout: float | None) -> Redis:
        try:
            pool = BlockingConnectionPool.from_url(url, socket_timeout=timeout, **options)
        except ValueError:  # its text may quote the URL
            raise EngineError("is not the URL of a server (not shown)") from None
        return Redis.from_pool(pool)

    async with client(TIMEOUT_SECONDS) as commands, client(None) as messages:
        yield Server(commands, messages)


@cache
def _script() -> tuple[str, str]:
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
        (exceptions.BusyLoadingError, "is still loading its data"),
        ((exceptions.TimeoutError, TimeoutError), f"did not answer within {TIMEOUT_SECONDS:g} s"),
        ((exceptions.ConnectionError, OSError), "cannot be reached"),
    )
    for kinds, reason in reasons:
        # The client wraps an error of its handshake.
        if any(isinstance(each, kinds) for each in (error, error.__cause__, error.__context__)):
            return reason
    return f"refuses the script ({type(error).__name__})"
