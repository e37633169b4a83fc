"""One connection to the server, on which no operation waits for the answer to another one.

The client of redis-py takes a connection out of its pool for each operation. Here the operations
of one moment leave in one write, and answers are given out in their order: that is a third of the
processor time. Connecting, TLS, passwords and parsing are those of redis-py.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any


class Pipe:
    """A connection that is open. Use `open_pipe`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._words: list[bytes] = []
        self._has_words = asyncio.Event()
        self._unanswered: deque[asyncio.Future[Any]] = deque()
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._read())]
        self.is_open = True

    @property
    def is_idle(self) -> bool:
        """Return whether no command waits for its answer."""
        return all(each.done() for each in self._unanswered)

    async def run(self, commands: Sequence[Sequence[str]]) -> list[Any]:
        """Return the answers to commands. Raises the errors of redis-py, for the first that
        fails."""
        loop = asyncio.get_running_loop()
        answers: list[asyncio.Future[Any]] = [loop.create_future() for _ in commands]
        self._words += map(_packed, commands)
        self._unanswered += answers
        self._has_words.set()
        try:
            return [await each for each in answers]
        finally:
            for each in answers:
                each.cancel()

    async def close(self) -> None:
        """End the connection, and every operation without an answer."""
        self._end(ConnectionResetError("the connection was closed"))
        for each in self._tasks:
            each.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(OSError):
            await self._connection.disconnect(nowait=True)

    async def _write(self) -> None:
        try:
            while True:
                await self._has_words.wait()
                self._has_words.clear()
                words, self._words = self._words, []
                await self._connection.send_packed_command(words, check_health=False)
        except Exception as error:  # noqa: BLE001 - each operation raises it
            self._end(error)

    async def _read(self) -> None:
        from redis.exceptions import ResponseError

        try:
            while True:
                answer: Any
                try:
                    answer = await self._connection.read_response(disconnect_on_error=False)
                except ResponseError as error:
                    answer = error
                waiting = self._unanswered.popleft()
                if waiting.done():
                    continue
                if isinstance(answer, Exception):
                    waiting.set_exception(answer)
                else:
                    waiting.set_result(answer)
        except Exception as error:  # noqa: BLE001 - each operation raises it
            self._end(error)

    def _end(self, error: Exception) -> None:
        self.is_open = False
        while self._unanswered:
            waiting = self._unanswered.popleft()
            if not waiting.done():
                waiting.set_exception(error)


async def open_pipe(connection: Any) -> Pipe:
    """Open a pipe on a connection of redis-py. Raises its errors."""
    try:
        await connection.connect()
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    return Pipe(connection)


def _packed(words: Sequence[str]) -> bytes:
    parts = [f"*{len(words)}\r\n"]
    for word in words:
        length = len(word) if word.isascii() else len(word.encode())
        parts.append(f"${length}\r\n{word}\r\n")
    return "".join(parts).encode()
