"""Engines of one namespace on a real server, each with a clock that began at another moment."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from manual_clock import HandClock

from sidecar.shared.engine import Engine, open_engine
from sidecar.shared.scopes import Node

_names = itertools.count()


class Namespace:
    """A namespace of its own; `clock` is that of the server. The hosts are `host0`, `host1`, …"""

    def __init__(self, server: str, stack: AsyncExitStack) -> None:
        self.clock = HandClock()
        self.clock.advance(5000.0)
        self._server, self._stack = server, stack
        self._name = f"facts{next(_names)}"
        self._joined = itertools.count()

    async def join(self) -> tuple[Engine, Callable[[], float]]:
        """Return another engine, and its clock."""
        number = next(self._joined)
        host, clock = f"host{number}", lambda: self.clock.now - 1000.0 * number
        opened = open_engine(
            self._server, self._name, clock, lambda: 1.8e9 + self.clock.now,
            about=lambda: Node(host, "", ""),
        )  # fmt: skip
        return await self._stack.enter_async_context(opened), clock


@asynccontextmanager
async def namespace(server: str) -> AsyncIterator[Namespace]:
    """A namespace; its engines are closed with it."""
    async with AsyncExitStack() as stack:
        yield Namespace(server, stack)
