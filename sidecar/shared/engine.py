"""The client of the shared engine: what every node counts together, on a Redis or Valkey server.

A lease over all limits of a call is one atomic script, `engine.lua`, on the server's clock. A lease
is answered at once; settlements are sent in the background until the server has them, and have an
effect once. Nothing here decides what happens to a call when the server cannot be reached.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
import secrets
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = logging.getLogger("sidecar.shared")

TIMEOUT_SECONDS = 0.5
"""Seconds after which an operation counts as failed."""
MAX_CONNECTIONS = 16
BEAT_SECONDS = 3.0
"""Seconds between two signs of life; the leases of a node lapse after fifteen without one."""
RETRY_SECONDS = 1.0
SILENCE_SECONDS = 15.0
"""Seconds without a message after which the connection for messages is tested."""
MAX_LEASES_AT_ONCE = 100
"""Leases that one message settles."""
FLUSH_SECONDS = 2.0
"""Seconds for which settlements are still sent when the process ends."""
MICROSECONDS = 1_000_000
NEVER = float("inf")


class EngineError(SidecarError):
    """The engine cannot be used; the text gives the reason without a secret."""


class Ticket(NamedTuple):
    """The order of the calls that wait at a limit: the first one's urgency and arrival, and the
    arrival of the oldest. Arrivals are monotonic seconds."""

    urgency: int
    arrival: float
    oldest: float


class CalendarPeriod(NamedTuple):
    """A calendar period; `ends` is seconds since the epoch."""

    label: str
    ends: float


class Scope(NamedTuple):
    """The amount that one lease takes of one limit.

    Attributes:
        kind: `window` (sixty seconds), `slots`, `calendar` or `budget`.
        ceiling: The part of the limit that calls of its urgency may use while headroom binds them.
        holds: Whether the amount is an estimate, of which a part may be returned.
        has_headroom: Whether a part is kept for more urgent calls.
        waiting: The other calls of this node that wait here; None if there are none.
        periods: The current calendar period and the next.
    """

    id: str
    kind: str
    limit: int
    ceiling: int
    amount: int
    holds: bool = False
    has_headroom: bool = False
    waiting: Ticket | None = None
    periods: tuple[CalendarPeriod, CalendarPeriod] | None = None


class Denied(NamedTuple):
    """The reason that a lease was denied. Times are monotonic seconds.

    Attributes:
        at: The position of the scope that may open last.
        opens_at: The earliest time at which it may; `NEVER` if waiting cannot help.
        timed_at: When time alone opens it; `NEVER` if only an event can.
        settled, reserved: What counts there.
        number: The order of this answer among the wake messages.
    """

    at: int
    opens_at: float
    timed_at: float
    settled: int
    reserved: int
    number: int


Operation = tuple[str, list[str]]
OnWake = Callable[[str, int], None]
"""Called with the name of a limit at which a call of this node may go now, and the number of the
message. An empty name means that messages may have been lost."""


class Engine:
    """One node's view of a namespace. Use `open_engine`.

    Args:
        commands: The client for scripts.
        messages: The client for wake messages.
        clock: Returns monotonic seconds.
        server_time: Replaces the server's own clock, in seconds since the epoch.
    """

    def __init__(
        self, commands: Redis, messages: Redis, namespace: str, clock: Callable[[], float],
        server_time: Callable[[], float] | None = None,
    ) -> None:  # fmt: skip
        self._commands = commands
        self._messages = messages
        self._base = f"{{{namespace}}}"
        self._clock = clock
        self._server_time = server_time
        self._offset = 0.0
        self._numbers = itertools.count()
        self._unsent: deque[Operation] = deque()
        self._has_unsent = asyncio.Event()
        self._is_reached = True
        self.node = secrets.token_hex(8)
        self.on_wake: OnWake = lambda _, __: None

    def new_id(self) -> str:
        """Return a name for a lease, unique among all nodes."""
        return f"{self.node}-{next(self._numbers)}"

    def server_time(self) -> float:
        """Return the server's time as of its latest answer, in seconds since the epoch."""
        return self._clock() + self._offset

    async def lease(
        self, lease_id: str, urgency: int, arrival: float, scopes: Sequence[Scope]
    ) -> Denied | None:
        """Take every scope or none; return the reason if the lease was denied.

        `arrival` is monotonic seconds. Raises `EngineError`; the lease may then exist, and must be
        given up.
        """
        words = [lease_id, str(urgency), self._millis(arrival)]
        for scope in scopes:
            words += self._words(scope)
        _, number, at, *rest = await self._run("lease", words)
        if not at:
            return None
        opens, timed, settled, reserved = rest
        return Denied(
            at - 1, self._local(opens), self._local(timed), int(settled), int(reserved),
            int(number),
        )  # fmt: skip

    def settle(self, lease_id: str, amounts: Sequence[int]) -> None:
        """Replace the estimates of a lease by amounts, in the order of its scopes."""
        self._send("settle", [lease_id, str(len(amounts)), *map(str, amounts)])

    def give_up(self, lease_id: str) -> None:
        """End a lease that the server may or may not have granted; it counts for nothing."""
        self._send("settle", [lease_id, "0"])

    def correct(self, changes: Iterable[tuple[str, CalendarPeriod, int]]) -> None:
        """Add amounts, which may be negative, to calendar counts that still exist."""
        words = [self.new_id()]
        for limit_id, period, amount in changes:
            kept = max(1, int(period.ends - self.server_time()) + 8 * 86400)
            words += [limit_id, period.label, str(kept), str(amount)]
        self._send("correct", words)

    def queue(self, tickets: Iterable[tuple[str, Ticket]]) -> None:
        """Take places in the queues of limits, before the settlements that are sent next."""
        words = [word for limit_id, each in tickets for word in (limit_id, *self._order(each))]
        if words:
            self._send("queue", words)

    def leave(self, limit_ids: Iterable[str]) -> None:
        """Give up the place in the queues of limits at which no call of this node waits."""
        self._send("leave", list(limit_ids))

    async def stop(self) -> None:
        """Send the last settlements, for as long as `FLUSH_SECONDS`."""
        with suppress(EngineError, TimeoutError):
            async with asyncio.timeout(FLUSH_SECONDS):
                while self._unsent:
                    await self._send_some()

    async def keep_alive(self) -> None:
        """Send signs of life, for ever."""
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            with suppress(EngineError):
                await self.beat()

    async def send(self) -> None:
        """Send settlements as they come, for ever."""
        while True:
            await self._has_unsent.wait()
            try:
                await self._send_some()
            except EngineError:
                await asyncio.sleep(RETRY_SECONDS)

    async def listen(self) -> None:
        """Receive wake messages, for ever."""
        from redis.exceptions import RedisError

        while True:
            with suppress(RedisError, OSError, TimeoutError):
                await self._listen_once()
            await asyncio.sleep(RETRY_SECONDS)

    async def _listen_once(self) -> None:
        pubsub: Any = self._messages.pubsub()
        try:
            await pubsub.subscribe(f"{self._base}:wake:{self.node}")
            silent = False
            while True:
                message = await pubsub.get_message(timeout=SILENCE_SECONDS)
                if message is None:
                    if silent:
                        return
                    silent = True
                    await pubsub.ping()
                    continue
                silent = False
                if message["type"] == "subscribe":
                    self.on_wake("", 0)
                elif message["type"] == "message":
                    number, _, limit_id = message["data"].partition(" ")
                    self.on_wake(limit_id, int(number))
        finally:
            await pubsub.aclose()

    async def beat(self) -> None:
        """Send a sign of life. Raises `EngineError`."""
        await self._run("beat", [])

    def _send(self, operation: str, words: list[str]) -> None:
        self._unsent.append((operation, words))
        self._has_unsent.set()

    async def _send_some(self) -> None:
        """Send the first operations that are of one kind; they stay unsent if that fails."""
        name, words = self._unsent[0]
        number = 1
        if name == "settle":
            words = list(words)
            for other, more in itertools.islice(self._unsent, 1, MAX_LEASES_AT_ONCE):
                if other != name:
                    break
                words += more
                number += 1
        await self._run(name, words)
        for _ in range(number):
            self._unsent.popleft()
        if not self._unsent:
            self._has_unsent.clear()

    async def _run(self, operation: str, words: list[str]) -> list[Any]:
        """Run an operation of the script. Raises `EngineError`."""
        from redis.exceptions import NoScriptError, RedisError

        now = "" if self._server_time is None else str(round(self._server_time() * MICROSECONDS))
        text, digest = _script()
        words = [self._base, operation, self.node, now, *words]
        run: Callable[..., Awaitable[Any]] = self._commands.execute_command
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                try:
                    found: list[Any] = await run("EVALSHA", digest, 1, *words)
                except NoScriptError:
                    found = await run("EVAL", text, 1, *words)
        except (RedisError, OSError, TimeoutError) as error:
            reason = _reason(error)
            self._note(reached=False, reason=reason)
            raise EngineError(reason) from None
        self._note(reached=True)
        self._offset = int(found[0]) / MICROSECONDS - self._clock()
        return found

    def _note(self, *, reached: bool, reason: str = "") -> None:
        """Log that the engine fails or works again, once each."""
        if reached != self._is_reached:
            self._is_reached = reached
            if reached:
                log.warning("shared state: the server answers again")
            else:
                log.error("shared state: the server %s; calls with limits are rejected", reason)

    def _words(self, scope: Scope) -> list[str]:
        ticket, periods = scope.waiting, scope.periods
        order = ("", "") if ticket is None else self._order(ticket)
        calendar = ("", "", "", "") if periods is None else (
            periods[0].label, str(periods[0].ends), periods[1].label, str(periods[1].ends)
        )  # fmt: skip
        flags = ("h" if scope.holds else "") + ("u" if scope.has_headroom else "")
        return [
            scope.id, scope.kind, str(scope.limit), str(scope.ceiling), str(scope.amount), flags,
            *order, *calendar,
        ]  # fmt: skip

    def _order(self, ticket: Ticket) -> tuple[str, str]:
        score = ticket.urgency * 10**13 + int(self._millis(ticket.arrival))
        return str(score), self._millis(ticket.oldest)

    def _millis(self, at: float) -> str:
        return str(round((at + self._offset) * 1000))

    def _local(self, micros: str) -> float:
        return NEVER if micros == "-1" else int(micros) / MICROSECONDS - self._offset


@asynccontextmanager
async def open_engine(
    url: str, namespace: str, clock: Callable[[], float],
    server_time: Callable[[], float] | None = None,
) -> AsyncIterator[Engine]:  # fmt: skip
    """Join the nodes of a namespace on the server at `url`.

    Raises `EngineError` if the client is not installed, or for a URL that it cannot use. A server
    that does not answer is tried again.
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
    async with AsyncExitStack() as stack:

        def client(timeout: float | None) -> Redis:
            try:
                pool = BlockingConnectionPool.from_url(url, socket_timeout=timeout, **options)
            except ValueError:  # its text may quote the URL
                raise EngineError("is not the URL of a server (not shown)") from None
            found = Redis.from_pool(pool)
            stack.push_async_callback(found.aclose)
            return found

        engine = Engine(client(TIMEOUT_SECONDS), client(None), namespace, clock, server_time)
        with suppress(EngineError):  # logged: calls are rejected until it answers
            await engine.beat()
        stack.push_async_callback(engine.stop)
        for endless in (engine.keep_alive(), engine.send(), engine.listen()):
            stack.push_async_callback(_cancelled, asyncio.create_task(endless))
        yield engine


async def _cancelled(task: asyncio.Task[None]) -> None:
    while not task.done():  # the client may swallow a cancellation that meets a timeout
        task.cancel()
        await asyncio.wait([task], timeout=0.1)


@cache
def _script() -> tuple[str, str]:
    text = resources.files("sidecar.shared").joinpath("engine.lua").read_text("utf-8")
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _reason(error: Exception) -> str:
    """Return why an operation failed, without the text of the server, which may quote words."""
    from redis import exceptions

    reasons: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
        (exceptions.AuthenticationError, "rejects the user or password"),
        (exceptions.NoPermissionError, "does not permit this user to run scripts"),
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
