"""The client of the shared engine: what every node counts together, on a Redis or Valkey server.

A lease over all limits of a call is one atomic script, `engine.lua`, on the server's clock. A lease
is answered at once; settlements are sent in the background until the server has them, and have an
effect once. Nothing here decides what happens to a call when the server cannot be reached.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from sidecar.shared.facts import SharedFacts
from sidecar.shared.journal import MICROSECONDS, Change, Journal
from sidecar.shared.object_ids import ObjectIds
from sidecar.shared.scopes import NEVER, Denied, Node, Scope, Ticket, nodes_of, wake_in
from sidecar.shared.server import BESIDE, EngineError, ScriptRefused, Server, open_server
from sidecar.shared.usage import SharedUsage

BEAT_SECONDS = 3.0
"""Seconds between two signs of life; the leases of a node lapse after fifteen without one."""
RETRY_SECONDS = 0.25
"""Seconds until a server that failed is tried again; doubled each time."""
MAX_RETRY_SECONDS = 5.0
SILENCE_SECONDS = 15.0
"""Seconds without a message after which the connection for messages is tested."""
MAX_LEASES_AT_ONCE = 100
"""Leases that one message settles."""
FLUSH_SECONDS = 2.0
"""Seconds for which settlements are still sent when the process ends."""

Operation = tuple[str, list[str]]
About = Callable[[], Node]
OnWake = Callable[[str, int, bool], None]
"""Called with the name of a limit at which a call of this node may go now, the number of the
message, and whether it is the oldest call's turn. An empty name: messages may have been lost."""
_jitter = random.Random().uniform  # noqa: S311 - so that nodes do not come back at one moment


class Engine:
    """One node's view of a namespace. Use `open_engine`.

    Args:
        clock: Returns monotonic seconds.
        server_time: Replaces the server's own clock, in seconds since the epoch.

    Attributes:
        node: The name of this node.
        nodes: The nodes that lived at the last sign of life, this one included.
        is_reached: Whether the server works, and counts all that this node does.
        failure: The reason that it does not.
        on_change: Called when `is_reached` has changed.
        journal: What is restored after an outage.
        usage: The usage of all nodes.
        facts: What all nodes have found out.
        object_ids: The owners of objects.
        about: Returns what this node states of itself.
        latency: Seconds that a lease takes, averaged.
        denied: Leases that were denied.
    """

    def __init__(
        self, server: Server, namespace: str, clock: Callable[[], float],
        server_time: Callable[[], float] | None = None,
    ) -> None:  # fmt: skip
        self._server = server
        self._base = f"{{{namespace}}}"
        self._clock = clock
        self._server_time = server_time
        self._offset = (server_time or time.time)() - clock()
        self._epoch: str | None = None
        self._numbers = itertools.count()
        self._unsent: deque[Operation] = deque()
        self._has_unsent = asyncio.Event()
        self._beating = asyncio.Lock()
        self._failed = asyncio.Event()
        self.node = secrets.token_hex(8)
        self.nodes = 1
        self.is_reached = True
        self.failure = ""
        self.latency, self.denied = 0.0, 0
        self._failed_at, self._outages = 0.0, 0.0
        self.about: About = lambda: Node("", "", "")
        self.journal = Journal(clock, self.server_time)
        self.usage = SharedUsage(server, namespace, self.server_time, lambda: self.is_reached)
        self.facts = SharedFacts(self.node, self._run, clock, self._local)
        self.object_ids = ObjectIds(self._run, lambda: self.is_reached)
        self.on_wake: OnWake = lambda *_: None
        self.on_change: Callable[[], None] = lambda: None

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
        asked = self._clock()
        _, number, _, at, *rest = await self._run("lease", words)
        self.latency += (self._clock() - asked - self.latency) / 16
        if not at:
            self.journal.add(lease_id, scopes, granted=True)
            return None
        self.denied += 1
        try:
            opens, timed, *counts = rest
            settled, reserved, urgency, is_turn = map(int, counts)
            times = self._local(opens), self._local(timed)
            return Denied(at - 1, *times, settled, reserved, int(number), urgency, is_turn == 1)
        except ValueError:
            self._fail("has counts that are no numbers")
            raise EngineError(self.failure) from None

    def lease_alone(self, lease_id: str, scopes: Sequence[Scope]) -> None:
        """Take every scope without the engine, which counts them when it works again."""
        self.journal.add(lease_id, scopes, granted=False)

    def settle(self, lease_id: str, amounts: Sequence[int]) -> None:
        """Replace the estimates of a lease by amounts, in the order of its scopes."""
        if self.journal.end(lease_id, amounts):
            self._send_end(lease_id, amounts)

    def give_up(self, lease_id: str) -> None:
        """End a lease that the server may or may not have granted; it counts for nothing."""
        self._send("settle", [lease_id, "0"])

    def correct(self, changes: Iterable[Change]) -> None:
        """Add amounts, which may be negative, to calendar counts that still exist."""
        if self.is_reached:
            self._send("correct", self._changes(changes))
        else:
            self.journal.owe(changes)

    def queue(self, tickets: Iterable[tuple[str, Ticket]]) -> None:
        """Take places in the queues of limits, before the settlements that are sent next."""
        words = [word for limit_id, each in tickets for word in (limit_id, *self._order(each))]
        if words:
            self._send("queue", words)

    def leave(self, limit_ids: Iterable[str]) -> None:
        """Give up the place in the queues of limits at which no call of this node waits."""
        if words := list(limit_ids):
            self._send("leave", words)

    async def stop(self) -> None:
        """Send the last settlements, for as long as `FLUSH_SECONDS`."""
        with suppress(EngineError, TimeoutError):
            async with asyncio.timeout(FLUSH_SECONDS):
                if not self.is_reached:
                    await self.beat()
                while self._unsent:
                    await self._send_some()
                if self.facts.has_unsent:
                    await self.facts.sync()
                await self.object_ids.send()

    async def keep_alive(self) -> None:
        """Send signs of life, for ever; after a failure sooner, at growing distances."""
        wait = RETRY_SECONDS
        while True:
            if self.is_reached:
                wait = RETRY_SECONDS
                self._failed.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._failed.wait(), BEAT_SECONDS)
            if not self.is_reached:
                await asyncio.sleep(wait * _jitter(0.5, 1.5))
                wait = min(2 * wait, MAX_RETRY_SECONDS)
            with suppress(EngineError):
                await self.beat()

    async def send(self) -> None:
        """Send settlements as they come, for ever."""
        while True:
            await self._has_unsent.wait()
            with suppress(EngineError):
                async with self._beating:
                    if self.is_reached and self._unsent:
                        await self._send_some()
                        continue
            if self._unsent:
                await asyncio.sleep(RETRY_SECONDS)

    async def listen(self) -> None:
        """Receive messages, for ever."""
        from redis.exceptions import RedisError

        while True:
            with suppress(RedisError, OSError, TimeoutError, ValueError):  # a number that is none
                await self._listen_once()
            await asyncio.sleep(_jitter(0.5, 1.5))

    async def _listen_once(self) -> None:
        news = f"{self._base}:facts"
        async with self._server.messages() as pubsub:
            await pubsub.subscribe(f"{self._base}:wake:{self.node}", news)
            silent = False
            while True:
                message: Any = await pubsub.get_message(timeout=SILENCE_SECONDS)
                if message is None:
                    if silent:
                        return
                    silent = True
                    await pubsub.ping()
                    continue
                silent = False
                if message["type"] == "subscribe":
                    self.on_wake("", 0, False)
                    self.facts.check()
                elif message["channel"] == news:
                    self.facts.note(message["data"])
                elif message["type"] == "message" and (wake := wake_in(message["data"])):
                    self.on_wake(*wake)

    @property
    def outage(self) -> float:
        """The seconds of the present outage; 0 while the server works."""
        return 0.0 if self.is_reached else self._clock() - self._failed_at

    @property
    def outages(self) -> float:
        """The seconds of all outages."""
        return self._outages + self.outage

    async def living(self) -> list[Node]:
        """Return the nodes that live; none while the server fails."""
        try:
            found = await self._run("nodes", []) if self.is_reached else []
        except EngineError:
            return []
        return nodes_of(found[4:], self.node)

    async def beat(self) -> None:
        """Send a sign of life; after an outage, restore what the server lacks. Raises
        `EngineError`."""
        async with self._beating:
            *_, nodes, number = await self._run("beat", [" ".join(self.about()[:3])])
            self.nodes = max(1, int(nodes))
            if not self.is_reached:
                await self._restore()
                self.facts.start_over()  # a replica that was promoted may lack the latest
                self._outages += self.outage
                self.is_reached, self.failure = True, ""
                self.on_change()
            self.facts.note(number)
            self.object_ids.resume()

    async def _restore(self) -> None:
        epoch = self._epoch
        while True:
            if missing := self.journal.missing():
                words = [word for each in missing for word in self.journal.words(each)]
                await self._run("restore", words)
                for each in missing:
                    each.missing = self._epoch != epoch
            elif self._unsent:
                await self._send_some()
            elif owed := self.journal.take_owed():
                self._unsent.append(("owe", self._changes(owed)))
            elif self._epoch == epoch:
                return
            epoch = self._epoch

    def _send_end(self, lease_id: str, amounts: Sequence[int]) -> None:
        self._send("settle", [lease_id, str(len(amounts)), *map(str, amounts)])

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
        sent = list(itertools.islice(self._unsent, number))
        await self._run(name, words)
        for each in sent:
            if self._unsent and self._unsent[0] is each:  # else the server has lost its data
                self._unsent.popleft()
        if not self._unsent:
            self._has_unsent.clear()

    async def _run(self, operation: str, words: list[str]) -> list[Any]:
        """Run an operation of the script. Raises `EngineError`."""
        now = "" if self._server_time is None else str(round(self._server_time() * MICROSECONDS))
        try:
            found = await self._server.run([self._base, operation, self.node, now, *words])
        except EngineError as error:
            if operation not in BESIDE or not isinstance(error, ScriptRefused):
                self._fail(str(error))
            raise
        self._offset = int(found[0]) / MICROSECONDS - self._clock()
        before, self._epoch = self._epoch, found[2]
        if before not in {None, self._epoch}:
            self._unsent = deque(each for each in self._unsent if each[0] == "settle")
            if not self._unsent:
                self._has_unsent.clear()  # `send` would never wait again, and block the process
            self.journal.lose()
            self.facts.start_over()
            self.object_ids.lose()
            self._fail("has lost its data")
        return found

    def _fail(self, reason: str) -> None:
        self.failure = reason
        if self.is_reached:
            self.is_reached, self._failed_at = False, self._clock()
            self.journal.check_running()
            for lease_id, amounts in self.journal.settled():
                self._send_end(lease_id, amounts)
            self._failed.set()
            self.on_change()

    def _changes(self, changes: Iterable[Change]) -> list[str]:
        words = [self.new_id()]
        for limit_id, period, amount in changes:
            words += [limit_id, period.label, self.journal.keep(period), str(amount)]
        return words

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
    server_time: Callable[[], float] | None = None, *, about: About = lambda: Node("", "", ""),
) -> AsyncIterator[Engine]:  # fmt: skip
    """Join the nodes of a namespace on the server at `url`; `about` returns what this one states
    of itself.

    Raises `EngineError` as `open_server`. A server that does not answer is tried again.
    """
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(open_server(url))
        engine = Engine(server, namespace, clock, server_time)
        engine.about = about
        with suppress(EngineError):  # it is tried again
            await engine.beat()
            await engine.facts.sync()
        stack.push_async_callback(engine.stop)
        stack.push_async_callback(engine.usage.push_last)
        in_sync = engine.facts.keep_in_sync(lambda: engine.is_reached)
        endless = [engine.keep_alive(), engine.send(), engine.listen(), in_sync]
        endless += [engine.usage.keep_pushed(), engine.object_ids.keep_sending()]
        for each in endless:
            stack.push_async_callback(_cancelled, asyncio.create_task(each))
        yield engine


async def _cancelled(task: asyncio.Task[None]) -> None:
    while not task.done():  # the client may swallow a cancellation that meets a timeout
        task.cancel()
        await asyncio.wait([task], timeout=0.1)
